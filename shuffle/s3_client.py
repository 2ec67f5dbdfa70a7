"""The requests of one bucket: what each of them sends, and returns. obstore reads."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import msgspec

from starling_py.shuffle.errors import CorruptObject, StoreError
from starling_py.shuffle.meter import RequestCounts
from starling_py.shuffle.objects import Buffer, ByteRange, ObjectInfo
from starling_py.shuffle.s3_access import BucketAccess
from starling_py.shuffle.s3_ask import Asker
from starling_py.shuffle.s3_errors import BrokenBody

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Sequence

    import obstore
    import obstore.store

    from starling_py.shuffle.meter import Meter
    from starling_py.shuffle.retry import Uniform
    from starling_py.shuffle.s3_credentials import Credentials
    from starling_py.shuffle.s3_options import S3Options
    from starling_py.shuffle.s3_upload import Uploader

    # Not the store itself: obstore keeps an error, with its frames and their variables, until it
    # is used again, and a store that one of them held would keep its connections.
    _Connect = Callable[[], obstore.store.S3Store]

__all__ = ["DELETE_LIMIT", "Got", "S3Client"]

DELETE_LIMIT = 1000  # keys in one DeleteObjects
_PAGE = 1000  # keys in one page of a listing


class Got(msgspec.Struct, frozen=True):
    """The bytes of a GET, and size and ETag of the whole object."""

    data: Buffer
    size: int
    etag: str


class S3Client:
    """The requests of one bucket. Keys are those of the bucket, already checked.

    All coroutines run on one event loop. obstore keeps the connections and, once for the process,
    the threads that drive them.

    Parameters
    ----------
    adopt
        Told of every task that the client starts, to cancel it when the loop is let go.
    """

    def __init__(
        self,
        bucket: str,
        options: S3Options,
        credentials: Callable[[], Credentials] | None,
        meter: Meter,
        random: Uniform,
        adopt: Callable[[asyncio.Task[Any]], None],
    ) -> None:
        self._access = BucketAccess(bucket, options, credentials)
        import obstore  # the line above says it best where that is missing

        self._bucket = bucket
        self._options = options
        self._meter = meter
        self._obstore = obstore
        self._asker = Asker(bucket, options, self._access, meter, random, adopt)
        self._slots = asyncio.Semaphore(options.parallel_reads)
        self._lock = threading.Lock()
        self._uploader: Uploader | None = None
        self._closed = False

    async def read(
        self,
        key: str,
        wanted: ByteRange,
        etag: str | None = None,
        *,
        alternate: str | None = None,
    ) -> memoryview:
        """GET a range, of the version with this ETag if one is given.

        A read that takes too long is asked for again under ``alternate``, the key of a copy, or
        under the same.
        """
        # The shorter call of obstore tells nothing of the object but costs half as much.
        short = etag is None

        async def send(connect: _Connect, name: str) -> memoryview:
            nonlocal short
            if short:
                data = memoryview(
                    await self._obstore.get_range_async(
                        connect(), name, start=wanted.offset, length=wanted.length
                    )
                )
                if len(data) != wanted.length:
                    short = False  # the next attempt learns whether the object ends there
                    raise BrokenBody(f"{len(data)} bytes came instead of {wanted.length}")
                return data
            options: obstore.GetOptions = {
                "range": (wanted.offset, wanted.offset + wanted.length),
            }
            if etag is not None and name == key:
                options["if_match"] = etag
            result = await self._obstore.get_async(connect(), name, options=options)
            size = result.meta["size"]
            if size < wanted.offset + wanted.length:
                del result  # whoever keeps the error would keep the connection
                raise CorruptObject(
                    f"s3://{self._bucket}/{key} has {size} bytes: too few for "
                    f"{wanted.length} from {wanted.offset}"
                )
            return await _body(result, wanted.length)

        async def attempt() -> memoryview:
            async with self._slots:
                return await self._asker.hedger.read(
                    wanted.length,
                    lambda: self._asker.counted("get", lambda: send(self._access.pooled, key), _in),
                    lambda: self._asker.counted(
                        "get", lambda: send(self._access.new_connection, alternate or key), _in
                    ),
                )

        return await self._asker.ask("get", key, attempt)

    async def get(self, key: str, etag: str | None = None) -> Got:
        """GET a whole object."""

        async def send() -> Got:
            options: obstore.GetOptions = {}
            if etag is not None:
                options["if_match"] = etag
            result = await self._obstore.get_async(self._access.pooled(), key, options=options)
            size = result.meta["size"]
            return Got(await _body(result, size), size, result.meta["e_tag"] or "")

        async def attempt() -> Got:
            async with self._slots:
                return await self._asker.counted("get", send, _in_of_whole)

        return await self._asker.ask("get", key, attempt)

    async def start(self, key: str, length: int) -> memoryview:
        """GET the first ``length`` bytes of an object that is not empty, or all that there are."""

        async def send(connect: _Connect) -> memoryview:
            options: obstore.GetOptions = {"range": (0, length)}
            result = await self._obstore.get_async(connect(), key, options=options)
            return await _body(result, min(length, result.meta["size"]))

        async def attempt() -> memoryview:
            async with self._slots:
                return await self._asker.hedger.read(
                    length,
                    lambda: self._asker.counted("get", lambda: send(self._access.pooled), _in),
                    lambda: self._asker.counted(
                        "get", lambda: send(self._access.new_connection), _in
                    ),
                )

        return await self._asker.ask("get", key, attempt)

    async def put(self, key: str, parts: Sequence[Buffer], *, create: bool) -> None:
        """PUT an object, with ``create`` only if there is none."""
        uploader = self._uploads()
        await self._asker.ask(
            "create" if create else "put",
            key,
            lambda: uploader.put_async(key, parts, create=create),
        )

    async def copy(self, source: str, target: str) -> None:
        """Let S3 copy an object of at most 5 GB, over what is there. It is billed as a PUT."""

        async def send() -> None:
            await self._obstore.copy_async(self._access.pooled(), source, target)

        await self._asker.ask("copy", source, lambda: self._asker.counted("put", send))

    async def head(self, key: str) -> ObjectInfo:
        async def send() -> ObjectInfo:
            meta = await self._obstore.head_async(self._access.pooled(), key)
            return ObjectInfo(key, meta["size"], meta["e_tag"] or "")

        return await self._asker.ask("head", key, lambda: self._asker.counted("head", send))

    async def delete(self, keys: Sequence[str]) -> None:
        """Delete at most ``DELETE_LIMIT`` objects with one request."""

        async def send() -> None:
            await self._obstore.delete_async(self._access.pooled(), list(keys))

        key = keys[0] if len(keys) == 1 else ""
        await self._asker.ask("delete", key, lambda: self._asker.counted("delete", send))

    def pages(self, folder: str) -> Callable[[], Coroutine[Any, Any, list[ObjectInfo]]]:
        """List what is below a folder (the whole bucket if it is ``""``).

        Each call of what is returned tells of one more page, or of none when there is no more.
        """
        last: str | None = None
        stream: AsyncIterator[Sequence[obstore.ObjectMeta]] | None = None

        async def send() -> list[ObjectInfo] | None:
            nonlocal stream
            begins = stream is None
            if stream is None:
                stream = aiter(
                    self._obstore.list(
                        self._access.pooled(), folder or None, offset=last, chunk_size=_PAGE
                    )
                )
            try:
                page = await anext(stream, None)
            except self._asker.caught:
                stream = None  # the next attempt goes on after the last key
                raise
            if page is None:
                return [] if begins else None
            return [_info(meta) for meta in page]

        def listed(page: list[ObjectInfo] | None) -> RequestCounts:
            return RequestCounts(list=int(page is not None))

        async def next_page() -> list[ObjectInfo]:
            nonlocal last
            page = await self._asker.ask(
                "list", "", lambda: self._asker.counted("list", send, listed)
            )
            if page:
                last = page[-1].key
            return page or []

        return next_page

    async def folder(self, folder: str) -> tuple[list[str], list[ObjectInfo]]:
        """Return the folders in a folder, and the objects in it itself."""

        async def send() -> tuple[list[str], list[ObjectInfo]]:
            found = await self._obstore.list_with_delimiter_async(
                self._access.pooled(), folder or None
            )
            return list(found["common_prefixes"]), [_info(meta) for meta in found["objects"]]

        def listed(found: tuple[list[str], list[ObjectInfo]]) -> RequestCounts:
            # obstore asks for all pages at once, and every page but the last is full.
            return RequestCounts(list=max(1, -(-(len(found[0]) + len(found[1])) // _PAGE)))

        return await self._asker.ask("list", "", lambda: self._asker.counted("list", send, listed))

    def close(self) -> None:
        """Let go of the connections; not in the event loop, because threads are waited for."""
        self._access.close()
        with self._lock:
            self._closed = True
            uploader, self._uploader = self._uploader, None
            self._asker.uploader = None
        if uploader is not None:
            uploader.close()

    def _uploads(self) -> Uploader:
        """Return what PUTs go through, loaded with the first of them: readers need none of it."""
        from starling_py.shuffle.s3_upload import Uploader

        with self._lock:
            if self._closed:
                raise StoreError("the store is closed")
            if self._uploader is None:
                self._uploader = Uploader(
                    self._bucket,
                    self._options,
                    self._access.keys if self._access.signs else None,
                    self._meter,
                    self._options.write,
                )
                self._asker.uploader = self._uploader
            return self._uploader


async def _body(result: obstore.GetResult, expected: int) -> memoryview:
    data = memoryview(await result.bytes_async())
    if len(data) != expected:
        raise BrokenBody(f"{len(data)} bytes came instead of {expected}")
    return data


def _info(meta: obstore.ObjectMeta) -> ObjectInfo:
    return ObjectInfo(meta["path"], meta["size"], meta["e_tag"] or "")


def _in(data: memoryview) -> RequestCounts:
    return RequestCounts(get=1, bytes_in=len(data))


def _in_of_whole(got: Got) -> RequestCounts:
    return RequestCounts(get=1, bytes_in=len(got.data))
