"""Deploying, looking at and removing the workers on AWS Lambda."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from starling_py.catalog.errors import UsageError
from starling_py.deploy.bucket import Bucket
from starling_py.deploy.contents import COORDINATOR, WORKER
from starling_py.deploy.errors import DeployError, ForeignObjects, NotDeployed, StackFailed
from starling_py.deploy.stack import Stack
from starling_py.shuffle.errors import StarlingError
from starling_py.worker.payload import VERSION

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from starling_py.deploy.aws import Aws
    from starling_py.deploy.bundle import Bundle
    from starling_py.deploy.settings import Settings

__all__ = ["Deployment", "deploy", "dockerfile", "status", "template", "undeploy"]

_OLDEST_RUNTIME = (3, 12)
_EMPTYINGS = 3


@dataclass(frozen=True, slots=True)
class Deployment:
    """What is deployed. ``memory`` is in MiB.

    ``function`` and ``coordinator`` are empty where there is none.
    """

    name: str
    state: str
    region: str
    bucket: str
    made_bucket: bool
    scratch: str
    function: str
    version: str
    runtime: str
    architecture: str
    memory: int
    timeout: int
    concurrency: int | None
    log_group: str
    coordinator: str = ""

    @property
    def fits(self) -> bool:
        """Whether this client can use it."""
        return self.version == VERSION


def template() -> str:
    """Return the CloudFormation template."""
    return files(__package__).joinpath("template.yaml").read_text(encoding="utf-8")


def dockerfile(handler: str = WORKER.handler) -> str:
    """Return the Dockerfile that makes a container image of a bundle with this handler."""
    text = files(__package__).joinpath("Dockerfile").read_text(encoding="utf-8")
    return text.replace(WORKER.handler, handler)


def deploy(
    aws: Aws,
    settings: Settings,
    bundle: Bundle,
    coordinator: Bundle,
    *,
    seconds: float = 900.0,
    told: Callable[[str], None] | None = None,
) -> Deployment:
    """Make a deployment, or change the one of that name; bundles are uploaded under their hashes.

    What a first deployment has made is removed again if it fails.

    Parameters
    ----------
    bundle, coordinator
        Those of the worker and of the coordinator.

    Raises
    ------
    UsageError
        If the deployment is in another bucket or prefix, the bundles are not those of a worker and
        its coordinator, or Lambda does not run them.
    DeployError
        If AWS refuses something, or CloudFormation gives up.
    VersionedBucket, WrongRegion
        If the bucket is not fit.
    """
    if bundle.manifest.platform.python < _OLDEST_RUNTIME:
        raise UsageError(
            f"Lambda's python{bundle.manifest.python} has too old a glibc",
            hint="build the bundle for Python 3.12 or later",
        )
    _check_kinds(bundle, coordinator)
    stack = Stack(aws, settings.name, seconds=seconds, told=told)
    bucket = Bucket(aws, settings.bucket, settings.prefix, settings.kms_key)
    before = stack.outputs()
    for key, wanted in (("Bucket", settings.bucket), ("Prefix", settings.prefix)):
        if before.get(key, wanted) != wanted:
            raise UsageError(
                f"the deployment {settings.name} has another {key.lower()}",
                hint="`starling undeploy` it first, or give the new one a --name",
            )
    is_there = bucket.exists()
    creates = before.get("CreatedBucket") == "true" or not is_there
    if is_there:
        bucket.check()
    text = template()

    def parameters(code_key: str = "", coordinator_key: str = "") -> dict[str, str]:
        return settings.parameters(
            bundle.manifest,
            code_key=code_key,
            coordinator_key=coordinator_key,
            creates_bucket=creates,
            partition=aws.partition,
        )

    try:
        if not is_there:
            # Lambda takes code from a bucket of its own region: this one, once it is made.
            stack.apply(text, parameters())
        bucket.ensure_expiry()
        keys = [_upload(bucket, each, told) for each in (bundle, coordinator)]
        stack.apply(text, parameters(*keys))
        bucket.empty(keep=keys)
    except (StarlingError, OSError):
        if not before:
            with suppress(StarlingError):
                _remove(aws, stack, bucket, created=creates, functions=())
        raise
    return status(aws, settings.name)


def _check_kinds(bundle: Bundle, coordinator: Bundle) -> None:
    if bundle.manifest.handler == COORDINATOR.handler:
        raise UsageError(f"{bundle.path} is the bundle of a coordinator, not of a worker")
    theirs, ours = coordinator.manifest, bundle.manifest
    if theirs.handler != COORDINATOR.handler:
        raise UsageError(
            f"{coordinator.path} is not the bundle of a coordinator",
            hint="make one with `starling lambda build --coordinator`",
        )
    if (theirs.version, theirs.platform) != (ours.version, ours.platform):
        raise UsageError("the bundles are of different versions or platforms")


def _upload(bucket: Bucket, bundle: Bundle, told: Callable[[str], None] | None) -> str:
    """Upload a bundle unless it is there, and return its key."""
    key = bucket.code_key(bundle.digest)
    if key not in dict(bucket.objects(key)):
        if told:
            told(f"uploading {bundle.zipped / 1e6:.0f} MB of code")
        bucket.upload(bundle.path, key)
    return key


def status(aws: Aws, name: str) -> Deployment:
    """Return what is deployed under a name.

    Raises
    ------
    NotDeployed
        If nothing is.
    """
    stack = Stack(aws, name)
    found = stack.describe()
    if found is None:
        raise _nothing(aws, name)
    outputs = {each["OutputKey"]: each["OutputValue"] for each in found.get("Outputs", ())}
    function = outputs.get("Function", "")
    facts: dict[str, Any] = {}
    concurrency = None
    if function:
        facts = aws.call("lambda", "get_function_configuration", FunctionName=function)
        reserve = aws.call("lambda", "get_function_concurrency", FunctionName=function)
        concurrency = reserve.get("ReservedConcurrentExecutions")
    return Deployment(
        name=name,
        state=found["StackStatus"],
        region=aws.region,
        bucket=outputs.get("Bucket", ""),
        made_bucket=outputs.get("CreatedBucket") == "true",
        scratch=outputs.get("Scratch", ""),
        function=function,
        version=outputs.get("WorkerVersion", ""),
        runtime=facts.get("Runtime", ""),
        architecture=next(iter(facts.get("Architectures", ())), ""),
        memory=facts.get("MemorySize", 0),
        timeout=facts.get("Timeout", 0),
        concurrency=concurrency,
        log_group=outputs.get("LogGroup", ""),
        coordinator=outputs.get("Coordinator", ""),
    )


def undeploy(
    aws: Aws,
    name: str,
    *,
    seconds: float = 900.0,
    told: Callable[[str], None] | None = None,
) -> None:
    """Remove a deployment with its functions, roles, logs, code and scratch objects.

    A bucket that was made for it is removed too; of another one only its own objects and rule.

    Raises
    ------
    NotDeployed
        If there is none of this name.
    ForeignObjects
        If the bucket that would be removed holds what somebody else put there.
    StackFailed
        If something cannot be removed.
    """
    stack = Stack(aws, name, seconds=seconds, told=told)
    found = stack.describe()
    if found is None:
        raise _nothing(aws, name)
    outputs = stack.outputs()
    created = outputs.get("CreatedBucket") == "true"
    if "Bucket" not in outputs:
        stack.delete()  # it was never made
        return
    bucket = Bucket(aws, outputs["Bucket"], outputs["Prefix"])
    if created and bucket.exists() and (number := bucket.foreign()):
        raise ForeignObjects(
            f"the bucket {outputs['Bucket']} was made for the deployment and would be removed, "
            f"but {number} of its objects are not Starling's",
            hint="move or remove them first",
        )
    functions = [outputs[name] for name in ("Coordinator", "Function") if name in outputs]
    _remove(aws, stack, bucket, created=created, functions=functions)


def _remove(
    aws: Aws, stack: Stack, bucket: Bucket, *, created: bool, functions: Sequence[str]
) -> None:
    for function in functions:
        # What runs goes on, but no more begins.
        with suppress(DeployError):
            aws.call(
                "lambda",
                "put_function_concurrency",
                FunctionName=function,
                ReservedConcurrentExecutions=0,
            )
    is_there = bucket.exists()
    if is_there and not created:
        bucket.remove_expiry()
    for attempt in range(1, _EMPTYINGS + 1):
        if is_there:
            bucket.empty()
        try:
            stack.delete()
            break
        except StackFailed:
            # Tasks that still ran may have written to the bucket after it was emptied.
            if attempt == _EMPTYINGS or not (created and bucket.exists()):
                raise
    if is_there and not created:
        bucket.empty()


def _nothing(aws: Aws, name: str) -> NotDeployed:
    return NotDeployed(
        f"there is no deployment {name} in {aws.region}",
        hint="`starling deploy` makes one; --region and --name say which",
    )
