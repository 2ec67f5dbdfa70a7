"""Deployments made, changed and removed in moto's AWS."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import boto3
import pytest
from account import things

from starling_py.deploy.aws import Aws
from starling_py.deploy.bundle import Bundle
from starling_py.deploy.contents import COORDINATOR
from starling_py.deploy.deployment import deploy, status, undeploy
from starling_py.deploy.errors import DeployError, ForeignObjects, NotDeployed
from starling_py.deploy.settings import Settings
from starling_py.errors import UsageError, VersionedBucket, WrongRegion
from starling_py.worker.payload import VERSION

Pair = tuple[Bundle, Bundle]


@pytest.fixture
def settings() -> Settings:
    """A deployment that nobody else has, in a bucket that is not there."""
    name = f"starling-{uuid4().hex[:12]}"
    return Settings(bucket=f"{name}-scratch", name=name)


@pytest.fixture
def bucket(aws: Aws, settings: Settings) -> str:
    """The bucket of ``settings``, made by somebody else."""
    aws.call("s3", "create_bucket", Bucket=settings.bucket)
    return settings.bucket


def keys(aws: Aws, bucket: str) -> set[str]:
    found = aws.call("s3", "list_objects_v2", Bucket=bucket).get("Contents", ())
    return {each["Key"] for each in found}


def rules(aws: Aws, bucket: str) -> list[dict[str, object]]:
    try:
        reply = aws.call("s3", "get_bucket_lifecycle_configuration", Bucket=bucket)
    except DeployError:
        return []
    return list(reply["Rules"])


def put(aws: Aws, bucket: str, key: str) -> None:
    aws.call("s3", "put_object", Bucket=bucket, Key=key, Body=b"x")


def test_a_deployment_comes_and_goes(aws: Aws, settings: Settings, pair: Pair):
    before = things(aws)
    told: list[str] = []
    done = deploy(aws, settings, *pair, told=told.append)
    assert done == status(aws, settings.name)
    assert done.fits
    assert done.function == f"{settings.name}-worker"
    assert done.made_bucket
    assert done.scratch == f"s3://{settings.bucket}/starling/scratch"
    assert (done.memory, done.timeout, done.runtime) == (3538, 900, "python3.13")

    assert done.coordinator == f"{settings.name}-coordinator"
    worker, coordinator = (
        aws.call("lambda", "get_function_configuration", FunctionName=name)
        for name in (done.function, done.coordinator)
    )
    assert worker["Handler"] == "starling_py.worker.handler.handle"
    assert coordinator["Handler"] == "starling_py.detached.handler.handle"
    for function in (worker, coordinator):
        assert function["Environment"]["Variables"] == {
            "STARLING_SCRATCH": done.scratch,
            "STARLING_VERSION": VERSION,
        }
    assert (coordinator["MemorySize"], coordinator["Timeout"]) == (1769, 900)
    assert coordinator["Role"] != worker["Role"]
    groups = aws.call("logs", "describe_log_groups", logGroupNamePrefix=done.log_group)
    assert [group["retentionInDays"] for group in groups["logGroups"]] == [7]
    code = {f"starling/code/{bundle.digest[:32]}.zip" for bundle in pair}
    assert keys(aws, settings.bucket) == code
    assert len(told) == 4
    now = things(aws)
    grown = {kind: len(now[kind] - before[kind]) for kind in now}
    assert grown == {"stacks": 1, "buckets": 1, "functions": 2, "roles": 2, "log groups": 2}

    put(aws, settings.bucket, "starling/scratch/q/object")
    undeploy(aws, settings.name)
    assert things(aws) == before
    with pytest.raises(NotDeployed, match=settings.name):
        undeploy(aws, settings.name)
    with pytest.raises(NotDeployed, match=settings.name):
        status(aws, settings.name)


def test_bundles_that_do_not_belong_together(
    aws: Aws, settings: Settings, small: Bundle, make_bundle: Callable[..., Bundle]
):
    other = make_bundle("other.zip", handler=COORDINATOR.handler, version="0.0.1+1")
    for bundles, reason in (
        ((other, other), "is the bundle of a coordinator"),
        ((small, small), "is not the bundle of a coordinator"),
        ((small, other), "different versions or platforms"),
    ):
        with pytest.raises(UsageError, match=reason):
            deploy(aws, settings, *bundles)


def test_scratch_objects_expire_after_a_day(aws: Aws, settings: Settings, pair: Pair):
    deploy(aws, settings, *pair)
    (rule,) = rules(aws, settings.bucket)
    assert rule["Status"] == "Enabled"
    assert rule["Filter"] == {"Prefix": "starling/scratch/"}
    assert rule["Expiration"]["Days"] == 1
    assert rule["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 1}
    undeploy(aws, settings.name)


def test_a_deployment_is_changed(
    aws: Aws, settings: Settings, pair: Pair, make_bundle: Callable[..., Bundle]
):
    deploy(aws, settings, *pair)
    told: list[str] = []
    # Nothing new to upload; moto makes an update of anything.
    deploy(aws, settings, *pair, told=told.append)
    assert not any("upload" in each for each in told)
    others = (
        make_bundle("other.zip", version="0.0.1+1"),
        make_bundle("coordinator-2.zip", version="0.0.1+1", handler=COORDINATOR.handler),
    )
    done = deploy(aws, replace(settings, memory=1769, log_days=30), *others)
    assert (done.memory, done.version, done.fits) == (1769, "0.0.1+1", False)
    code = {f"starling/code/{bundle.digest[:32]}.zip" for bundle in others}
    assert keys(aws, settings.bucket) == code
    undeploy(aws, settings.name)


def test_a_bucket_that_was_there_stays(aws: Aws, settings: Settings, bucket: str, pair: Pair):
    before = things(aws)
    put(aws, bucket, "mine")
    put(aws, bucket, "starling/mine")
    mine = {
        "ID": "mine",
        "Status": "Enabled",
        "Filter": {"Prefix": "logs/"},
        "Expiration": {"Days": 30},
    }
    aws.call(
        "s3",
        "put_bucket_lifecycle_configuration",
        Bucket=bucket,
        LifecycleConfiguration={"Rules": [mine]},
    )
    done = deploy(aws, settings, *pair)
    assert not done.made_bucket
    assert {rule["ID"] for rule in rules(aws, bucket)} == {"mine", "starling starling"}
    deploy(aws, settings, *pair)
    assert len(rules(aws, bucket)) == 2

    put(aws, bucket, "starling/scratch/q/object")
    undeploy(aws, settings.name)
    assert things(aws) == before
    assert keys(aws, bucket) == {"mine", "starling/mine"}
    assert [rule["ID"] for rule in rules(aws, bucket)] == ["mine"]


def test_the_only_rule_goes_too(aws: Aws, settings: Settings, bucket: str, pair: Pair):
    deploy(aws, settings, *pair)
    assert len(rules(aws, bucket)) == 1
    undeploy(aws, settings.name)
    assert rules(aws, bucket) == []


def test_uploads_that_were_cut_off_go_too(aws: Aws, settings: Settings, bucket: str, pair: Pair):
    deploy(aws, settings, *pair)
    aws.call("s3", "create_multipart_upload", Bucket=bucket, Key="starling/scratch/q/large")
    undeploy(aws, settings.name)
    assert aws.call("s3", "list_multipart_uploads", Bucket=bucket).get("Uploads", []) == []


def test_a_bucket_with_somebody_elses_objects_is_not_removed(
    aws: Aws, settings: Settings, pair: Pair
):
    deploy(aws, settings, *pair)
    put(aws, settings.bucket, "precious")
    with pytest.raises(ForeignObjects, match="1 of its objects"):
        undeploy(aws, settings.name)
    assert status(aws, settings.name).fits
    aws.call("s3", "delete_object", Bucket=settings.bucket, Key="precious")
    undeploy(aws, settings.name)


def test_a_versioned_bucket_is_refused(aws: Aws, settings: Settings, bucket: str, pair: Pair):
    before = things(aws)
    aws.call(
        "s3",
        "put_bucket_versioning",
        Bucket=bucket,
        VersioningConfiguration={"Status": "Enabled"},
    )
    with pytest.raises(VersionedBucket, match="versioned"):
        deploy(aws, settings, *pair)
    assert things(aws) == before


def test_a_bucket_in_another_region_is_refused(aws: Aws, settings: Settings, pair: Pair):
    with contextlib.closing(boto3.client("s3", region_name="eu-west-1")) as elsewhere:
        elsewhere.create_bucket(
            Bucket=settings.bucket,
            CreateBucketConfiguration={"LocationConstraint": "eu-west-1"},
        )
    before = things(aws)
    with pytest.raises(WrongRegion, match="is in eu-west-1, not in us-east-1") as caught:
        deploy(aws, settings, *pair)
    assert "--region" in caught.value.hint
    assert things(aws) == before


def test_a_deployment_does_not_move(aws: Aws, settings: Settings, pair: Pair):
    deploy(aws, settings, *pair)
    with pytest.raises(UsageError, match="another bucket"):
        deploy(aws, replace(settings, bucket="elsewhere"), *pair)
    with pytest.raises(UsageError, match="another prefix"):
        deploy(aws, replace(settings, prefix="other"), *pair)
    undeploy(aws, settings.name)


def test_a_first_deployment_that_fails_leaves_nothing(
    aws: Aws, settings: Settings, pair: Pair, tmp_path: Path
):
    before = things(aws)
    worker, coordinator = pair
    gone = replace(worker, path=tmp_path / "gone.zip")
    with pytest.raises(OSError, match=r"gone\.zip"):
        deploy(aws, settings, gone, coordinator)
    assert things(aws) == before


def test_lambda_does_not_run_an_old_python(
    aws: Aws, settings: Settings, make_bundle: Callable[..., Bundle]
):
    with pytest.raises(UsageError, match="glibc"):
        deploy(aws, settings, *(2 * (make_bundle(python="3.11"),)))
