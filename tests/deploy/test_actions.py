"""What a deployment asks of AWS is what ``docs/deploy.md`` says that it may have to ask."""

from __future__ import annotations

import re
from pathlib import Path
from uuid import uuid4

import pytest
from botocore.client import BaseClient

from starling_py.deploy.aws import Aws
from starling_py.deploy.bundle import Bundle
from starling_py.deploy.deployment import deploy, status, undeploy
from starling_py.deploy.settings import Settings

DOCS = Path(__file__).parents[2] / "docs/deploy.md"

# Where the action that IAM is asked about has another name than the operation.
S3_ACTIONS = {
    "AbortMultipartUpload": "AbortMultipartUpload",
    "CompleteMultipartUpload": "PutObject",
    "CreateMultipartUpload": "PutObject",
    "DeleteBucketLifecycle": "PutLifecycleConfiguration",
    "DeleteObjects": "DeleteObject",
    "GetBucketLifecycleConfiguration": "GetLifecycleConfiguration",
    "GetBucketVersioning": "GetBucketVersioning",
    "HeadBucket": "ListBucket",
    "ListMultipartUploads": "ListBucketMultipartUploads",
    "ListObjectsV2": "ListBucket",
    "PutBucketLifecycleConfiguration": "PutLifecycleConfiguration",
    "PutObject": "PutObject",
    "UploadPart": "PutObject",
}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> set[tuple[str, str]]:
    """Services and operations that boto3 is told to call."""
    found: set[tuple[str, str]] = set()
    call = BaseClient._make_api_call  # noqa: SLF001 - the only place through which all calls go

    def noted(self: BaseClient, operation: str, arguments: dict[str, object]) -> object:
        found.add((self.meta.service_model.service_name, operation))
        return call(self, operation, arguments)

    monkeypatch.setattr(BaseClient, "_make_api_call", noted)
    return found


def allowed() -> set[str]:
    """Return the actions that the page lists, each with its service."""
    text = DOCS.read_text(encoding="utf-8")
    listed = re.search(r"^- Credentials that may do this(.*?)^- ", text, re.DOTALL | re.MULTILINE)
    found, service = set(), ""
    for name in re.findall(r"`([\w:]+)`", listed[1]):
        prefix, colon, action = name.rpartition(":")
        service = prefix if colon else service
        found.add(f"{service}:{action}")
    return found


@pytest.mark.parametrize("is_there", [False, True], ids=["a new bucket", "a bucket"])
def test_what_is_asked_is_listed(
    aws: Aws, pair: tuple[Bundle, Bundle], asked: set[tuple[str, str]], is_there: bool
):
    name = f"starling-{uuid4().hex[:12]}"
    settings = Settings(bucket=f"{name}-scratch", name=name)
    if is_there:
        aws.call("s3", "create_bucket", Bucket=settings.bucket)
        asked.clear()
    deploy(aws, settings, *pair)
    aws.call("s3", "create_multipart_upload", Bucket=settings.bucket, Key="starling/scratch/q/x")
    status(aws, name)
    undeploy(aws, name)
    actions = {
        f"{service}:{S3_ACTIONS[operation] if service == 's3' else operation}"
        for service, operation in asked
    }
    assert {"cloudformation:CreateStack", "s3:PutObject", "s3:DeleteObject"} <= actions
    assert actions - allowed() == set()
