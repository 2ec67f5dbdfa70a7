"""A versioned bucket keeps what is deleted."""

from __future__ import annotations

import boto3
import pytest
from scripted_s3 import Fault, serving

from starling_py.shuffle.errors import StoreError, WrongRegion
from starling_py.shuffle.s3_bucket import keeps_deleted_objects
from starling_py.shuffle.s3_credentials import Credentials
from starling_py.shuffle.s3_options import S3Options

KEYS = Credentials("testing", "testing")


def test_versioned_buckets_are_found(s3_server) -> None:
    options = S3Options(endpoint=s3_server.endpoint)
    client = boto3.client(
        "s3",
        endpoint_url=s3_server.endpoint,
        region_name="us-east-1",
        aws_access_key_id=KEYS.access_key,
        aws_secret_access_key=KEYS.secret_key,
    )
    client.create_bucket(Bucket="plain-bucket")
    assert keeps_deleted_objects("plain-bucket", options, KEYS) is False
    for status, kept in (("Enabled", True), ("Suspended", False)):
        client.put_bucket_versioning(
            Bucket="plain-bucket", VersioningConfiguration={"Status": status}
        )
        assert keeps_deleted_objects("plain-bucket", options, KEYS) is kept
    client.create_bucket(Bucket="locked-bucket", ObjectLockEnabledForBucket=True)
    assert keeps_deleted_objects("locked-bucket", options, KEYS) is True
    with pytest.raises(StoreError, match="no-such-bucket"):
        keeps_deleted_objects("no-such-bucket", options, KEYS)
    client.close()


@pytest.mark.parametrize("status", [301, 400])
def test_a_bucket_in_another_region_is_told_at_once(status) -> None:
    with serving() as server:
        options = S3Options(endpoint=f"http://127.0.0.1:{server.server_port}")
        answer = Fault(status, "PermanentRedirect", "<Region>eu-west-1</Region>")
        server.script.faults.append(answer)
        with pytest.raises(WrongRegion, match="not in us-east-1, but in eu-west-1") as caught:
            keeps_deleted_objects("bucket", options, KEYS)
        assert caught.value.hint == "set AWS_REGION to eu-west-1"
        # Some servers answer so whatever the region is.
        for found in ("us-east-1", ""):
            extra = f"<Region>{found}</Region>" if found else ""
            server.script.faults.append(Fault(status, "BadRequest", extra))
            assert keeps_deleted_objects("bucket", options, KEYS) is None
