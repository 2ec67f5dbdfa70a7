"""obstore's side of a bucket: its connections, and the credentials that they sign with."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from starling_py.shuffle.errors import CredentialsExpired, StarlingError, StoreError
from starling_py.shuffle.retry import Fault
from starling_py.shuffle.s3_errors import read_reply

if TYPE_CHECKING:
    from collections.abc import Callable

    import obstore
    import obstore.store

    from starling_py.shuffle.s3_credentials import Credentials
    from starling_py.shuffle.s3_options import S3Options

__all__ = ["BucketAccess"]

# How long obstore uses credentials before it asks the source, which renews early, again.
_CREDENTIALS_FOR = timedelta(minutes=1)


class BucketAccess:
    """Opens a bucket with obstore, once with kept connections and once with new ones.

    Coroutines run on one event loop.
    """

    def __init__(
        self, bucket: str, options: S3Options, credentials: Callable[[], Credentials] | None
    ) -> None:
        try:
            import obstore
            import obstore.exceptions
            import obstore.store
        except ImportError as error:
            raise StoreError(
                "obstore is not installed, and S3 needs it", hint="pip install 'starling-py[s3]'"
            ) from error

        self._bucket = bucket
        self._options = options
        self._credentials = credentials
        self._signed_with: Credentials | None = None
        self._obstore = obstore
        self.errors: tuple[type[Exception], ...] = (
            obstore.exceptions.BaseError,
            FileNotFoundError,  # what obstore raises for 404
        )
        self.unauthenticated = obstore.exceptions.UnauthenticatedError
        self._renewing = asyncio.Lock()
        self.renewals = 0
        self._pooled: obstore.store.S3Store | None = self._connect(self._idle())
        self._unpooled: obstore.store.S3Store | None = None

    @property
    def signs(self) -> bool:
        """Whether requests are signed."""
        return self._credentials is not None

    def pooled(self) -> obstore.store.S3Store:
        """Return the store that keeps its connections."""
        store = self._pooled
        if store is None:
            raise StoreError("the store is closed")
        return store

    def new_connection(self) -> obstore.store.S3Store:
        """Return a store that keeps no connection, so that each request opens one."""
        if self._unpooled is None:
            self._unpooled = self._connect(0)
        return self._unpooled

    def keys(self) -> Credentials:
        """Return what requests are signed with now."""
        if self._credentials is None:
            raise StoreError("requests are not signed")
        found = self._signed_with = self._credentials()
        return found

    def close(self) -> None:
        """Let go of the connections."""
        self._pooled = self._unpooled = None

    async def own_fault(self, error: Exception) -> Fault | None:
        """Return what is wrong with our own source of credentials, if it is what failed."""
        if (
            not isinstance(error, self.unauthenticated)
            or self._credentials is None
            or read_reply(error).status is not None
        ):
            return None
        # Its error came back as text: ask it for the error itself.
        try:
            await asyncio.to_thread(self._credentials)
        except StarlingError as reason:
            return Fault(reason, retry=False)
        return Fault(CredentialsExpired("the AWS credentials cannot be renewed"), retry=True)

    async def renew(self, before: int) -> bool:
        """Ask the source of credentials again; return whether it has others now.

        ``before`` is how often that has been done when the request began.
        """
        if self._credentials is None:
            return False
        async with self._renewing:
            if self.renewals != before:
                return True
            try:
                found = await asyncio.to_thread(self._credentials)
            except StarlingError:
                return False
            if found == self._signed_with:
                return False
            # obstore forgets credentials that it has been given only with the store.
            self._pooled = self._connect(self._idle())
            self._unpooled = None
            self.renewals += 1
            return True

    def _idle(self) -> int:
        return self._options.pool_size or self._options.parallel_reads

    def _connect(self, idle_connections: int) -> obstore.store.S3Store:
        return self._obstore.store.S3Store(
            self._bucket,
            config=_config(self._bucket, self._options),
            client_options={
                "allow_http": (self._options.endpoint or "").startswith("http://"),
                "connect_timeout": timedelta(seconds=self._options.connect_timeout),
                "pool_max_idle_per_host": str(idle_connections),
                "timeout": timedelta(seconds=self._options.request_timeout),
            },
            retry_config={"max_retries": 0, "retry_timeout": timedelta(0)},
            credential_provider=self._sign_with if self._credentials else None,
        )

    def _sign_with(self) -> obstore.store.S3Credential:
        found = self.keys()
        return {
            "access_key_id": found.access_key,
            "secret_access_key": found.secret_key,
            "token": found.token,
            "expires_at": datetime.now(UTC) + _CREDENTIALS_FOR,
        }


def _config(bucket: str, options: S3Options) -> obstore.store.S3Config:
    url = options.bucket_url(bucket)
    config: obstore.store.S3Config = {
        # Both, because obstore reads the environment too and prefers the second.
        "endpoint": url,
        "aws_endpoint_url_s3": url,
        "region": options.region or "us-east-1",
        "virtual_hosted_style_request": not options.in_path(bucket),
        "skip_signature": options.anonymous,
        "request_payer": options.requester_pays,
        # TLS protects the body already, and its hash takes longer than sending it.
        "unsigned_payload": url.startswith("https://"),
    }
    if options.encryption is not None:
        config["server_side_encryption"] = options.encryption
    if options.encryption == "aws:kms":
        config["sse_bucket_key_enabled"] = True
        if options.kms_key is not None:
            config["sse_kms_key_id"] = options.kms_key
    return config
