"""How a bucket is reached, and where that comes from when nobody says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from starling_py.shuffle.errors import StoreError
from starling_py.shuffle.hedge_policy import HedgePolicy
from starling_py.shuffle.retry import RetryPolicy
from starling_py.shuffle.write_policy import WritePolicy

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["S3Options", "options_from_environment"]

Encryption = Literal["AES256", "aws:kms"]


class S3Options(msgspec.Struct, frozen=True):
    """How to talk to S3 or to what speaks its protocol.

    Attributes
    ----------
    endpoint
        URL of the service, without the bucket; ``None`` is AWS in ``region``. An ``http://``
        endpoint is allowed, and its data travels in the clear.
    region
        ``None`` is ``us-east-1``.
    profile
        Where the client looks for credentials; see :mod:`starling_py.shuffle.s3_credentials`.
    path_style
        The bucket in the path of the URL instead of in its host name. ``None`` chooses: in the
        path with an ``endpoint`` or a dot in the bucket's name, else in the host name.
    request_timeout, connect_timeout
        Seconds for one request with its body, and for its connection.
    encryption, kms_key
        SSE-S3 (``AES256``) or SSE-KMS with a key (the account's own if ``None``), for all that is
        written. Bucket keys are used, or KMS would cost more than the requests.
    kms_reads
        What is read is under a KMS key without a bucket key, so that each GET costs a request to
        KMS. Of what a store has put itself it knows.
    requester_pays
        Accept the bill of a bucket that somebody else owns.
    anonymous
        Sign nothing: for public data.
    parallel_reads
        GETs that all reads of a store together have in flight; second ones are beyond it.
    pool_size
        Idle connections that are kept; ``None`` is as many as ``parallel_reads``.
    gap
        Bytes between two wanted ranges below which both come with one request. A request costs
        as much money as a worker that waits for about 1 MiB.
    retry
        How often a request is repeated.
    hedge
        When a read is asked for a second time.
    write
        When an object is put a second time.
    """

    endpoint: str | None = None
    region: str | None = None
    profile: str | None = None
    path_style: bool | None = None
    request_timeout: float = 60.0
    connect_timeout: float = 5.0
    encryption: Encryption | None = None
    kms_key: str | None = None
    kms_reads: bool = False
    requester_pays: bool = False
    anonymous: bool = False
    parallel_reads: int = 16
    pool_size: int | None = None
    gap: int = 1 << 20
    retry: RetryPolicy = RetryPolicy()
    hedge: HedgePolicy = HedgePolicy()
    write: WritePolicy = WritePolicy()

    def __post_init__(self) -> None:
        if self.endpoint is not None and not self.endpoint.startswith(("http://", "https://")):
            raise ValueError(f"an endpoint starts with http:// or https://, not {self.endpoint!r}")
        if self.kms_key is not None and self.encryption != "aws:kms":
            raise ValueError("a KMS key needs the encryption 'aws:kms'")
        if min(self.request_timeout, self.connect_timeout) <= 0:
            raise ValueError("timeouts are positive")
        if self.parallel_reads < 1 or self.gap < 0:
            raise ValueError("there is at least one parallel read, and no negative gap")

    def in_path(self, bucket: str) -> bool:
        """Return whether the bucket stands in the path of the URL."""
        if self.path_style is not None:
            return self.path_style
        return self.endpoint is not None or "." in bucket

    def bucket_url(self, bucket: str) -> str:
        """Return the URL of the service, with the bucket in its host unless it is in the path."""
        region = self.region or "us-east-1"
        domain = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
        url = (self.endpoint or f"https://s3.{region}.{domain}").rstrip("/")
        if self.in_path(bucket):
            return url
        scheme, _, host = url.partition("://")
        return f"{scheme}://{bucket}.{host}"


def options_from_environment(
    environment: Mapping[str, str], options: S3Options | None = None
) -> S3Options:
    """Fill what ``options`` leaves open from environment variables. An empty one counts as none.

    Every AWS tool reads AWS_ENDPOINT_URL_S3 before AWS_ENDPOINT_URL, AWS_REGION before
    AWS_DEFAULT_REGION, and AWS_PROFILE. Some tools read AWS_VIRTUAL_HOSTED_STYLE_REQUEST,
    AWS_SERVER_SIDE_ENCRYPTION with AWS_SSE_KMS_KEY_ID, AWS_REQUEST_PAYER and AWS_SKIP_SIGNATURE.
    STARLING_KMS_READS is this project's own.

    Raises
    ------
    StoreError
        If one of them has a value that means nothing.
    """
    options = options or S3Options()

    def first(*names: str) -> str | None:
        return next((environment[name] for name in names if environment.get(name)), None)

    def flag(name: str, yes: str = "true", no: str = "false") -> bool | None:
        value = (first(name) or "").lower()
        if value not in ("", yes, no):
            raise StoreError(f"{name} is {value!r}, and may be {yes!r} or {no!r}")
        return None if not value else value == yes

    virtual = flag("AWS_VIRTUAL_HOSTED_STYLE_REQUEST")
    try:
        return msgspec.structs.replace(
            options,
            endpoint=options.endpoint or first("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"),
            region=options.region or first("AWS_REGION", "AWS_DEFAULT_REGION"),
            profile=options.profile or first("AWS_PROFILE"),
            path_style=_other(virtual) if options.path_style is None else options.path_style,
            encryption=options.encryption or _encryption(first("AWS_SERVER_SIDE_ENCRYPTION")),
            kms_key=options.kms_key or first("AWS_SSE_KMS_KEY_ID"),
            kms_reads=options.kms_reads or bool(flag("STARLING_KMS_READS")),
            requester_pays=options.requester_pays
            or bool(flag("AWS_REQUEST_PAYER", "requester", "bucketowner")),
            anonymous=options.anonymous or bool(flag("AWS_SKIP_SIGNATURE")),
        )
    except ValueError as error:
        raise StoreError(str(error)) from error


def _other(value: bool | None) -> bool | None:
    return None if value is None else not value


def _encryption(value: str | None) -> Encryption | None:
    match value:
        case None | "AES256" | "aws:kms":
            return value
        case _:
            raise ValueError(
                f"AWS_SERVER_SIDE_ENCRYPTION is {value!r}, and may be 'AES256' or 'aws:kms'"
            )
