"""The template that is shipped, as people get it who deploy with their own tools."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from cfnlint.api import lint_all

from starling_py.deploy.bundle import Manifest
from starling_py.deploy.contents import COORDINATOR, WORKER
from starling_py.deploy.deployment import dockerfile, template
from starling_py.deploy.settings import Settings
from starling_py.errors import UsageError
from starling_py.invokers.function_client import VERSION_VARIABLE
from starling_py.worker.function import SCRATCH_VARIABLE

DOCS = Path(__file__).parents[2] / "docs/deploy.md"


class Loader(yaml.SafeLoader):
    """Reads CloudFormation's short forms as ``{tag: value}``."""


def _short_form(loader: Loader, tag: str, node: yaml.Node) -> dict[str, object]:
    if isinstance(node, yaml.ScalarNode):
        return {tag: loader.construct_scalar(node)}
    if isinstance(node, yaml.SequenceNode):
        return {tag: loader.construct_sequence(node, deep=True)}
    return {tag: loader.construct_mapping(node, deep=True)}


Loader.add_multi_constructor("!", _short_form)


@pytest.fixture(scope="module")
def parsed() -> dict[str, dict]:
    return yaml.load(template(), Loader)  # noqa: S506 - a safe loader with more tags


def problems(text: str) -> list[str]:
    """Return errors and warnings, as ``cfn-lint`` does unless it is asked for more."""
    return [str(match) for match in lint_all(text) if match.rule.id[0] in "EW"]


def test_the_template_is_clean():
    assert problems(template()) == []


def test_a_bad_template_is_noticed():
    assert problems(template().replace("MemorySize: !Ref Memory", "MemorySize: !Ref Memroy"))


def test_parameters_are_those_that_are_set(parsed: dict[str, dict]):
    manifest = Manifest("1+1", WORKER.handler, "arm64", "3.13", ())
    given = Settings(bucket="bucket").parameters(
        manifest, code_key="k", creates_bucket=True, partition="aws"
    )
    # The code is in the same bucket, and nobody has asked for another size.
    assert set(parsed["Parameters"]) - set(given) == {"CodeBucket", "CoordinatorMemory"}
    assert set(given) <= set(parsed["Parameters"])
    defaults = {
        name: str(each["Default"])
        for name, each in parsed["Parameters"].items()
        if "Default" in each
        and name not in ("CodeKey", "WorkerVersion", "CodeBucket", "CoordinatorMemory")
    }
    assert {name: given[name] for name in defaults} == defaults


def test_the_example_for_terraform_sets_what_there_is_to_set(parsed: dict[str, dict]):
    example = re.search(
        r"```hcl\n(terraform \{.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL
    )
    block = re.search(r"\n  parameters = \{\n(.*?)\n  \}", example[1], re.DOTALL)
    given = {line.split("=")[0].strip() for line in block[1].splitlines()}
    required = {name for name, each in parsed["Parameters"].items() if "Default" not in each}
    # Without the last three there is no function, or none that a client takes.
    assert required | {"CodeBucket", "CodeKey", "WorkerVersion"} <= given
    assert given <= set(parsed["Parameters"])
    assert set(re.findall(r'outputs\["(\w+)"\]', example[1])) <= set(parsed["Outputs"])
    assert example[1].count("{") == example[1].count("}")


@pytest.mark.parametrize("function", ["Worker", "CoordinatorFunction"])
def test_the_function_is_told_what_it_asks_for(parsed: dict[str, dict], function: str):
    variables = parsed["Resources"][function]["Properties"]["Environment"]["Variables"]
    assert set(variables) == {SCRATCH_VARIABLE, VERSION_VARIABLE}


def test_the_bucket_is_private_and_its_scratch_short_lived(parsed: dict[str, dict]):
    bucket = parsed["Resources"]["ScratchBucket"]["Properties"]
    assert bucket["PublicAccessBlockConfiguration"] == {
        "BlockPublicAcls": True,
        "BlockPublicPolicy": True,
        "IgnorePublicAcls": True,
        "RestrictPublicBuckets": True,
    }
    (rule,) = bucket["LifecycleConfiguration"]["Rules"]
    assert rule["ExpirationInDays"] == 1
    assert rule["Prefix"] == {"Sub": "${Prefix}/scratch/"}
    _, with_key, _ = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"][0]["If"]
    assert with_key["BucketKeyEnabled"] is True
    policy = parsed["Resources"]["ScratchBucketPolicy"]["Properties"]["PolicyDocument"]
    (tls,) = policy["Statement"]
    assert (tls["Effect"], tls["Principal"], tls["Action"]) == ("Deny", "*", "s3:*")
    assert tls["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def test_everything_goes_with_the_stack(parsed: dict[str, dict]):
    policies = {each.get("DeletionPolicy", "Delete") for each in parsed["Resources"].values()}
    assert policies == {"Delete"}


def test_the_image_calls_the_same_handler():
    assert f'CMD ["{WORKER.handler}"]' in dockerfile()
    assert f'CMD ["{COORDINATOR.handler}"]' in dockerfile(COORDINATOR.handler)


def test_a_long_chain_of_coordinators_is_allowed(parsed: dict[str, dict]):
    assert parsed["Resources"]["CoordinatorFunction"]["Properties"]["RecursiveLoop"] == "Allow"


@pytest.mark.parametrize(
    "change",
    [
        {"bucket": "Not_A_Bucket"},
        {"bucket": "b"},
        {"prefix": "/x"},
        {"prefix": "x/"},
        {"prefix": ""},
        {"prefix": "../x"},
        {"name": "1st"},
        {"name": "a_b"},
        {"subnets": ("subnet-1",)},
        {"security_groups": ("sg-1",)},
        {"data": ("/local/path",)},
        {"data": ("s3://bucket/a,b",)},
        {"data": ("s3://",)},
        {"data_keys": ("",)},
    ],
)
def test_what_cannot_be_deployed(change: dict):
    with pytest.raises(UsageError):
        Settings(**({"bucket": "bucket"} | change))


@pytest.mark.parametrize(
    ("url", "arn"),
    [
        ("s3://lake", "arn:aws:s3:::lake/*"),
        ("s3://lake/tpch", "arn:aws:s3:::lake/tpch/*"),
        ("s3://lake/tpch/", "arn:aws:s3:::lake/tpch/*"),
        ("s3://lake/a/b.parquet", "arn:aws:s3:::lake/a/b.parquet"),
        ("s3://lake/a/*.parquet", "arn:aws:s3:::lake/a/*.parquet"),
    ],
)
def test_data_that_may_be_read(url: str, arn: str):
    manifest = Manifest("1+1", WORKER.handler, "arm64", "3.13", ())
    given = Settings(bucket="bucket", data=(url,)).parameters(
        manifest, code_key="", creates_bucket=True, partition="aws"
    )
    assert given["DataObjects"] == arn
    assert given["DataBuckets"] == "arn:aws:s3:::lake"
