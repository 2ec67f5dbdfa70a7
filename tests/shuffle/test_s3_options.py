"""How a bucket is reached, and who signs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from starling_py.shuffle.errors import CredentialsMissing, StoreError
from starling_py.shuffle.s3_credentials import (
    Credentials,
    chain_credentials,
    chain_region,
    environment_credentials,
)
from starling_py.shuffle.s3_options import S3Options, options_from_environment


@pytest.mark.parametrize(
    ("options", "bucket", "url"),
    [
        (S3Options(), "b", "https://b.s3.us-east-1.amazonaws.com"),
        (S3Options(region="eu-west-1"), "b.c", "https://s3.eu-west-1.amazonaws.com"),
        (S3Options(region="cn-north-1"), "b", "https://b.s3.cn-north-1.amazonaws.com.cn"),
        (S3Options(path_style=True), "b", "https://s3.us-east-1.amazonaws.com"),
        (S3Options(endpoint="http://localhost:9000/"), "b", "http://localhost:9000"),
        (S3Options(endpoint="https://x:1", path_style=False), "b", "https://b.x:1"),
    ],
)
def test_the_url_of_a_bucket(options: S3Options, bucket: str, url: str) -> None:
    assert options.bucket_url(bucket) == url


def test_the_usual_variables() -> None:
    environment = {
        "AWS_ENDPOINT_URL": "http://all:1",
        "AWS_ENDPOINT_URL_S3": "http://s3:1",
        "AWS_REGION": "",
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_PROFILE": "mine",
    }
    found = options_from_environment(environment)
    assert (found.endpoint, found.region, found.profile) == ("http://s3:1", "eu-west-1", "mine")
    del environment["AWS_ENDPOINT_URL_S3"]
    environment["AWS_REGION"] = "eu-west-2"
    found = options_from_environment(environment)
    assert (found.endpoint, found.region) == ("http://all:1", "eu-west-2")
    given = S3Options(endpoint="https://mine", region="r", profile="p", gap=5)
    assert options_from_environment(environment, given) == given
    assert options_from_environment({}) == S3Options()


def test_what_else_a_bucket_may_need() -> None:
    environment = {
        "AWS_VIRTUAL_HOSTED_STYLE_REQUEST": "False",
        "AWS_SERVER_SIDE_ENCRYPTION": "aws:kms",
        "AWS_SSE_KMS_KEY_ID": "key",
        "AWS_REQUEST_PAYER": "requester",
        "AWS_SKIP_SIGNATURE": "true",
    }
    found = options_from_environment(environment)
    assert (found.path_style, found.requester_pays, found.anonymous) == (True, True, True)
    assert (found.encryption, found.kms_key) == ("aws:kms", "key")
    virtual = options_from_environment({"AWS_VIRTUAL_HOSTED_STYLE_REQUEST": "true"})
    assert virtual.path_style is False
    given = S3Options(path_style=False, encryption="AES256")
    kept = options_from_environment({"AWS_VIRTUAL_HOSTED_STYLE_REQUEST": "false"}, given)
    assert kept == given


@pytest.mark.parametrize(
    "environment",
    [
        {"AWS_SERVER_SIDE_ENCRYPTION": "rot13"},
        {"AWS_SSE_KMS_KEY_ID": "key"},
        {"AWS_SKIP_SIGNATURE": "perhaps"},
        {"AWS_ENDPOINT_URL": "localhost:9000"},
    ],
)
def test_variables_that_mean_nothing(environment: dict[str, str]) -> None:
    with pytest.raises(StoreError):
        options_from_environment(environment)


@pytest.mark.parametrize(
    "wrong",
    [
        {"endpoint": "localhost:9000"},
        {"kms_key": "k"},
        {"request_timeout": 0.0},
        {"parallel_reads": 0},
        {"gap": -1},
    ],
)
def test_options_make_sense(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"endpoint|KMS|timeout|parallel"):
        S3Options(**wrong)


def test_credentials_of_the_environment() -> None:
    environment = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "hidden"}
    found = environment_credentials(environment)()
    assert found == Credentials("key", "hidden")
    assert "hidden" not in repr(found)
    temporary = {**environment, "AWS_SESSION_TOKEN": "session"}
    assert environment_credentials(temporary)() == Credentials("key", "hidden", "session")
    del environment["AWS_SECRET_ACCESS_KEY"]
    with pytest.raises(CredentialsMissing):
        environment_credentials(environment)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user with two profiles, and nothing else to find."""
    config = tmp_path / "config"
    config.write_text(
        "[default]\n[profile mine]\nregion = eu-north-1\n"
        "aws_access_key_id = of-profile\naws_secret_access_key = s\n"
    )
    for name in (
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_PROFILE",
        "AWS_DEFAULT_PROFILE",
        "AWS_REGION",
        "AWS_DEFAULT_REGION",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return tmp_path


@pytest.mark.usefixtures("home")
def test_credentials_of_the_chain(monkeypatch: pytest.MonkeyPatch) -> None:
    assert chain_credentials("mine")() == Credentials("of-profile", "s")
    assert chain_region("mine") == "eu-north-1"
    assert chain_region() is None
    with pytest.raises(CredentialsMissing):
        chain_credentials()
    with pytest.raises(CredentialsMissing, match="no AWS profile other"):
        chain_credentials("other")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "of-environment")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    assert chain_credentials()().access_key == "of-environment"


def test_a_worker_loads_no_boto3() -> None:
    program = """
import sys
from starling_py.shuffle.s3 import S3Store
store = S3Store("bucket")
assert "obstore" in sys.modules
assert not {"boto3", "botocore"} & set(sys.modules)
store.close()
"""
    environment = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True, timeout=60)
