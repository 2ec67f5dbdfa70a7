"""What a deployment is to be like, checked, and as the template's parameters."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from starling_py.catalog.errors import UsageError
from starling_py.deploy.contents import COORDINATOR
from starling_py.operators.task import STAGING
from starling_py.shuffle.errors import StoreError
from starling_py.shuffle.locations import is_remote, split_url

if TYPE_CHECKING:
    from starling_py.deploy.bundle import Manifest

__all__ = ["Settings"]

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_PART = r"[A-Za-z0-9_-][A-Za-z0-9._-]*"
_PREFIX = re.compile(rf"{_PART}(/{_PART})*")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,50}")
_WORKER = 1769
"""MiB for one vCPU."""


@dataclass(frozen=True, slots=True)
class Settings:
    """A deployment.

    Attributes
    ----------
    bucket, prefix
        Where scratch objects and the code are. A bucket that is not there is made.
    name
        Of the stack; the function's name begins with it.
    memory, disk
        Of the function, in MiB.
    timeout
        Seconds that one task may take.
    concurrency
        How many tasks run at once at most, kept for this function alone.
    data
        URLs of what queries may read.
    written
        URLs of the prefixes below which statements may write files.
    data_keys
        ARNs of the KMS keys that data, and what is written, is encrypted with.
    kms_key
        ARN of a KMS key for what tasks write.

    Raises
    ------
    UsageError
        If one of them cannot be.
    """

    bucket: str
    prefix: str = "starling"
    name: str = "starling"
    memory: int = 2 * _WORKER
    disk: int = 512
    timeout: int = 900
    concurrency: int | None = None
    log_days: int = 7
    data: tuple[str, ...] = ()
    written: tuple[str, ...] = ()
    data_keys: tuple[str, ...] = ()
    kms_key: str | None = None
    subnets: tuple[str, ...] = ()
    security_groups: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not _BUCKET.fullmatch(self.bucket):
            raise UsageError(f"{self.bucket!r} cannot be the name of a bucket")
        if not _PREFIX.fullmatch(self.prefix):
            raise UsageError(
                f"{self.prefix!r} cannot be a prefix",
                hint="names of letters, digits, '.', '_' and '-', with '/' between them",
            )
        if not _NAME.fullmatch(self.name):
            raise UsageError(
                f"{self.name!r} cannot be the name of a deployment",
                hint="letters, digits and '-', and a letter first",
            )
        if bool(self.subnets) != bool(self.security_groups):
            raise UsageError("a VPC needs both subnets and security groups")
        lists = (self.data, self.written, self.data_keys, self.subnets, self.security_groups)
        for value in (each for values in lists for each in values):
            if "," in value or not value:
                raise UsageError(f"{value!r} cannot be given: it is empty or has a comma")
        for url in self.data:
            _object_name(url)
        for url in self.written:
            _staged_name(url)

    def parameters(
        self,
        manifest: Manifest,
        *,
        code_key: str,
        creates_bucket: bool,
        partition: str,
        coordinator_key: str = "",
    ) -> dict[str, str]:
        """Return the parameters of the template; without a key there is no such function."""
        objects = [f"arn:{partition}:s3:::{_object_name(url)}" for url in self.data]
        buckets = dict.fromkeys(each.partition("/")[0] for each in objects)
        platform = manifest.platform
        return {
            "Bucket": self.bucket,
            "Prefix": self.prefix,
            "CreateBucket": "true" if creates_bucket else "false",
            "KmsKey": self.kms_key or "",
            "CodeKey": code_key,
            "CoordinatorKey": coordinator_key,
            "CoordinatorHandler": COORDINATOR.handler,
            "Handler": manifest.handler,
            "WorkerVersion": manifest.version,
            "Runtime": platform.runtime,
            "Architecture": platform.architecture,
            "Memory": str(self.memory),
            "Timeout": str(self.timeout),
            "Disk": str(self.disk),
            "ReservedConcurrency": str(-1 if self.concurrency is None else self.concurrency),
            "LogDays": str(self.log_days),
            "DataObjects": ",".join(objects),
            "DataBuckets": ",".join(buckets),
            "DataKeys": ",".join(self.data_keys),
            "WrittenObjects": ",".join(
                f"arn:{partition}:s3:::{_staged_name(url)}" for url in self.written
            ),
            "Subnets": ",".join(self.subnets),
            "SecurityGroups": ",".join(self.security_groups),
        }


def _object_name(url: str) -> str:
    """Return the end of the ARN of what a URL names: a file, a pattern, or all below a prefix."""
    bucket, key = _parts(url)
    if not key:
        return f"{bucket}/*"
    is_exact = key.endswith(".parquet") or "*" in key
    return f"{bucket}/{key}" if is_exact else f"{bucket}/{key}/*"


def _staged_name(url: str) -> str:
    """Return the end of the ARN of the staged files below a prefix."""
    bucket, key = _parts(url)
    if "*" in key:
        raise UsageError(f"{url!r} is a pattern: name a prefix below which to write")
    return f"{bucket}/{key}/*{STAGING}*" if key else f"{bucket}/*{STAGING}*"


def _parts(url: str) -> tuple[str, str]:
    if not is_remote(url):
        raise UsageError(f"{url!r} is not of the form s3://bucket/prefix")
    try:
        bucket, key = split_url(url)
    except StoreError as error:
        raise UsageError(error.message) from error
    return bucket, key.strip("/")
