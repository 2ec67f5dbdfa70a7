"""One request at a time: sent by obstore, counted, and repeated as the policy says."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, TypeVar

import msgspec

from starling_py.shuffle.errors import (
    CorruptObject,
    CredentialsExpired,
    StarlingError,
    StoreError,
)
from starling_py.shuffle.objects import Buffer, ByteRange, ObjectInfo
from starling_py.shuffle.retry import Fault, Retrier
from starling_py.shuffle.s3_errors import Action, BrokenBody, Request, classify, read_reply

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import obstore
    import obstore.store

    from starling_py.shuffle.meter import Meter, RequestKind
    from starling_py.shuffle.retry import Uniform
    from starling_py.shuffle.s3_credentials import Credentials
    from starling_py.shuffle.s3_options import S3Options

__all__ = ["DELETE_LIMIT", "Got", "S3Client"]

T = TypeVar("T")

DELETE_LIMIT = 1000  # keys in one DeleteObjects
_PAGE = 1000  # keys in one page of a listing
# How long obstore uses credentials before it asks the source, which renews early, again.
_CREDENTIALS_FOR = timedelta(minutes=1)


class Got(msgspec.Struct, frozen=True):
    """The bytes of a GET, and size and ETag of the whole object."""

    data: Buffer
    size: int
    etag: str


class S3Client:
    """The requests of one bucket. Keys are those of the bucket, already checked.

    May be used from several threads at once. obstore keeps the connections and, once for the
    process, the threads that drive them.
    """

    def __init__(
        self,
        bucket: str,
        options: S3Options,
        credentials: Callable[[], Credentials] | None,
        meter: Meter,
        random: Uniform,
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
        self._meter = meter
        self._obstore = obstore
        self._caught: tuple[type[Exception], ...] = (
            obstore.exceptions.BaseError,
            FileNotFoundError,  # what obstore raises for 404
            BrokenBody,
        )
        self._unauthenticated = obstore.exceptions.UnauthenticatedError
        self._closing = threading.Event()
        self._retrier = Retrier(options.retry, random, sleep=self._sleep)
        self._open_store: obstore.store.S3Store | None = obstore.store.S3Store(
            bucket,
            config=_config(bucket, options),
            client_options={
                "allow_http": (options.endpoint or "").startswith("http://"),
                "connect_timeout": timedelta(seconds=options.connect_timeout),
                "pool_max_idle_per_host": str(options.pool_size or options.parallel_reads),
                "timeout": timedelta(seconds=options.request_timeout),
            },
            retry_config={"max_retries": 0, "retry_timeout": timedelta(0)},
            credential_provider=self._sign_with if credentials else None,
        )

    def get(self, key: str, wanted: ByteRange | None, etag: str | None) -> Got:
        """GET an object or a range of it, of the version with this ETag if one is given."""
        options: obstore.GetOptions = {}
        if wanted is not None:
            options["range"] = (wanted.offset, wanted.offset + wanted.length)
        if etag is not None:
            options["if_match"] = etag

        def send() -> Got:
            result = self._obstore.get(self._store, key, options=options)
            size = result.meta["size"]
            if wanted is not None and size < wanted.offset + wanted.length:
                raise CorruptObject(
                    f"s3://{self._bucket}/{key} has {size} bytes: too few for "
                    f"{wanted.length} from {wanted.offset}"
                )
            data = memoryview(result.bytes())
            expected = size if wanted is None else wanted.length
            if len(data) != expected:
                raise BrokenBody(f"{len(data)} bytes came instead of {expected}")
            return Got(data, size, result.meta["e_tag"] or "")

        return self._ask("get", "get", key, send, lambda got: (len(got.data), 0))

    def put(self, key: str, parts: Sequence[Buffer], *, create: bool) -> None:
        """PUT an object, with ``create`` only if there is none."""
        # obstore takes unsigned bytes only, and Arrow's buffers say that theirs are signed.
        views = [memoryview(part).cast("B") for part in parts if len(part)]
        size = sum(len(view) for view in views)

        def send() -> None:
            self._obstore.put(
                self._store,
                key,
                views,
                mode="create" if create else "overwrite",
                use_multipart=False,
            )

        self._ask("put", "create" if create else "put", key, send, lambda _: (0, size))

    def head(self, key: str) -> ObjectInfo:
        def send() -> ObjectInfo:
            meta = self._obstore.head(self._store, key)
            return ObjectInfo(key, meta["size"], meta["e_tag"] or "")

        return self._ask("head", "head", key, send, lambda _: (0, 0))

    def delete(self, keys: Sequence[str]) -> None:
        """Delete at most ``DELETE_LIMIT`` objects with one request."""

        def send() -> None:
            self._obstore.delete(self._store, list(keys))

        key = keys[0] if len(keys) == 1 else ""
        self._ask("delete", "delete", key, send, lambda _: (0, 0))

    def pages(self, folder: str) -> Iterator[list[ObjectInfo]]:
        """Yield the objects below a folder (the whole bucket if it is ``""``), page by page."""
        last: str | None = None
        stream: Iterator[Sequence[obstore.ObjectMeta]] | None = None

        def send() -> list[ObjectInfo] | None:
            nonlocal stream
            begins = stream is None
            if stream is None:
                stream = iter(
                    self._obstore.list(self._store, folder or None, offset=last, chunk_size=_PAGE)
                )
            try:
                page = next(stream, None)
            except self._caught:
                stream = None  # the next attempt goes on after the last key
                raise
            if page is None:
                return [] if begins else None
            return [ObjectInfo(m["path"], m["size"], m["e_tag"] or "") for m in page]

        while True:
            page = self._ask(
                "list", "list", "", send, lambda page: (0, 0) if page is not None else None
            )
            if not page:
                return
            last = page[-1].key
            yield page

    def close(self) -> None:
        """End what waits between attempts, and let go of the connections."""
        self._closing.set()
        self._open_store = None

    @property
    def _store(self) -> obstore.store.S3Store:
        store = self._open_store
        if store is None:
            raise StoreError("the store is closed")
        return store

    def _ask(
        self,
        kind: RequestKind,
        action: Action,
        key: str,
        send: Callable[[], T],
        moved: Callable[[T], tuple[int, int] | None],
    ) -> T:
        """Send until it succeeds or there is no hope; count every request that left.

        ``moved`` returns the bytes that came and went, or None where no request was needed.
        """

        def once() -> T:
            try:
                result = send()
            except self._caught as error:
                if read_reply(error).sent and not isinstance(error, self._unauthenticated):
                    self._meter.count(kind)
                raise
            except CorruptObject:
                self._meter.count(kind)
                raise
            traffic = moved(result)
            if traffic is not None:
                self._meter.count(kind, bytes_in=traffic[0], bytes_out=traffic[1])
            return result

        request = Request(
            action,
            self._bucket,
            key,
            self._options.bucket_url(self._bucket),
            self._options.region or "us-east-1",
        )
        return self._retrier.call(once, self._caught, lambda error: self._judge(error, request))

    def _judge(self, error: Exception, request: Request) -> Fault:
        if (
            isinstance(error, self._unauthenticated)
            and self._credentials is not None
            and read_reply(error).status is None
        ):
            # Our own source failed, and its error came back as text: ask it for the error itself.
            try:
                self._credentials()
            except StarlingError as reason:
                return Fault(reason, retry=False)
            return Fault(CredentialsExpired("the AWS credentials cannot be renewed"), retry=True)
        return classify(error, request)

    def _sleep(self, seconds: float) -> None:
        if self._closing.wait(seconds):
            raise StoreError("the store was closed while it waited to ask again")

    def _sign_with(self) -> obstore.store.S3Credential:
        if self._credentials is None:
            raise StoreError("requests are not signed")
        found = self._credentials()
        return {
            "access_key_id": found.access_key,
            "secret_access_key": found.secret_key,
            "token": found.token,
            "expires_at": datetime.now(UTC) + _CREDENTIALS_FOR,
        }


def _listed(page: list[ObjectInfo] | None) -> tuple[int, int] | None:
    return None if page is None else (0, 0)


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
    }
    if options.encryption is not None:
        config["server_side_encryption"] = options.encryption
    if options.encryption == "aws:kms":
        config["sse_bucket_key_enabled"] = True
        if options.kms_key is not None:
            config["sse_kms_key_id"] = options.kms_key
    return config
