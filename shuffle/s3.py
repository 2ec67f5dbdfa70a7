"""A prefix of an S3 bucket as an object store."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import random
import time
from typing import TYPE_CHECKING

from starling_py.shuffle.errors import (
    CorruptObject,
    ObjectMissing,
    StoreError,
    StoreUnavailable,
)
from starling_py.shuffle.keys import check_key
from starling_py.shuffle.meter import Meter
from starling_py.shuffle.objects import Buffer, ByteRange, ObjectInfo
from starling_py.shuffle.ranges import merge_ranges
from starling_py.shuffle.s3_client import DELETE_LIMIT, S3Client
from starling_py.shuffle.s3_credentials import environment_credentials
from starling_py.shuffle.s3_loop import Lease
from starling_py.shuffle.s3_options import S3Options
from starling_py.shuffle.s3_reading import all_ended, all_of, in_order

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence

    from starling_py.shuffle.objects import ReadRequest
    from starling_py.shuffle.retry import Uniform
    from starling_py.shuffle.s3_credentials import Credentials

__all__ = ["S3Store"]

AHEAD = 64 << 20
_FIRST_POLL, _LAST_POLL = 0.02, 0.5  # seconds between two requests for what is not there yet


class S3Store:
    """The objects below a prefix of a bucket.

    A put is one request, so an object is seen whole or not at all; put-if-absent is
    ``If-None-Match: *``. A conditional put whose answer was lost is repeated, and then finds its
    own object: it raises ``ObjectExists`` like one that came second, and whoever asked looks at
    what is there. Keys with control characters are refused.

    Methods wait for requests that another thread drives (one for all stores of a process), so an
    interrupt ends the waiting at once and cuts off the request. A store cannot be used after a
    fork in the child.

    Parameters
    ----------
    bucket, prefix
        Where the objects are. The prefix has no slash at its ends.
    options
        How to get there.
    credentials
        Signs the requests; by default the keys in the environment.
    meter
        Counts the requests; by default one of the store's own.
    random_source
        Draws the waits between attempts.
    """

    def __init__(
        self,
        bucket: str,
        prefix: str = "",
        options: S3Options | None = None,
        *,
        credentials: Callable[[], Credentials] | None = None,
        meter: Meter | None = None,
        random_source: Uniform | None = None,
    ) -> None:
        self._options = options or S3Options()
        if self._options.anonymous:
            credentials = None
        elif credentials is None:
            credentials = environment_credentials(os.environ)
        if prefix:
            _check(prefix)
        self._bucket = bucket
        self._root = f"{prefix}/" if prefix else ""
        self._meter = meter or Meter()
        # Machines that fail together must not come back together: no common seed.
        source = random_source or random.SystemRandom()
        self._random = source
        self._lease = Lease()
        self._client = S3Client(
            bucket, self._options, credentials, self._meter, source, self._lease.adopt
        )

    @property
    def meter(self) -> Meter:
        return self._meter

    @property
    def url(self) -> str:
        """Bucket and prefix."""
        return f"s3://{self._bucket}/{self._root}"

    def get(self, key: str) -> Buffer:
        return self._lease.run(self._client.get(self._full(key))).data

    def get_range(self, key: str, wanted: ByteRange, *, etag: str | None = None) -> Buffer:
        """As the protocol says; with ``etag`` an object of another one is ``ObjectChanged``."""
        full = self._full(key)
        if not wanted.length:
            self._lease.check()
            return b""
        return self._lease.run(self._client.read(full, wanted, etag))

    def get_ranges(
        self, key: str, wanted: Sequence[ByteRange], *, etag: str | None = None
    ) -> list[Buffer]:
        """Fetch ranges in parallel, near ones together. An empty range needs no request."""
        full = self._full(key)
        fetches = merge_ranges(wanted, self._options.gap)
        if not fetches:
            self._lease.check()
            return [b""] * len(wanted)

        def read(number: int) -> Awaitable[memoryview]:
            return self._client.read(full, fetches[number].span, etag)

        spans = self._lease.run(all_of(len(fetches), read, self._options.parallel_reads))
        found: list[Buffer] = [b""] * len(wanted)
        for one, data in zip(fetches, spans, strict=True):
            for number in one.wanted:
                start = wanted[number].offset - one.span.offset
                found[number] = data[start : start + wanted[number].length]
        return found

    def read_many(
        self,
        requests: Sequence[ReadRequest],
        *,
        deadline: float | None = None,
        ahead: int = AHEAD,
    ) -> Iterator[Buffer]:
        """Yield the bytes of ranges of any objects, in order; they are fetched in parallel.

        Each range is one request, and an empty one is none. Nothing is sent before the first is
        taken, and what is under way is cancelled when the iterator is closed or forgotten.

        Parameters
        ----------
        deadline
            Until this moment of ``time.monotonic()`` an object that is missing is waited for.
        ahead
            Bytes that are fetched before they are taken; one request always is.
        """
        keys = [
            (self._full(one.key), self._full(one.alternate) if one.alternate else None)
            for one in requests
        ]

        async def read(number: int) -> Buffer:
            (key, alternate), one = keys[number], requests[number]
            if not one.wanted.length:
                return b""
            return await self._read(key, one.wanted, one.etag or None, alternate, deadline)

        sizes = [one.wanted.length for one in requests]
        return in_order(self._lease, sizes, read, self._options.parallel_reads, ahead)

    def get_start(self, key: str, most: int) -> Buffer:
        if most < 1:
            raise ValueError("a start has at least one byte")
        return self._lease.run(self._client.start(self._full(key), most))

    def put(self, key: str, parts: Sequence[Buffer]) -> None:
        self._put(key, parts, create=False)

    def put_if_absent(self, key: str, parts: Sequence[Buffer]) -> None:
        self._put(key, parts, create=True)

    def _put(self, key: str, parts: Sequence[Buffer], *, create: bool) -> None:
        # Goes on when the query is over: an object that is cut off may appear later all the same,
        # when nobody looks for it any more to delete it.
        self._lease.run(self._client.put(self._full(key), parts, create=create), stops=False)

    def copy_all(self, pairs: Sequence[tuple[str, str]]) -> None:
        """Copy objects within the bucket, first keys to second ones, without fetching them.

        After an error, or an interrupt, no copy appears any more.
        """
        full = [(self._full(source), self._full(target)) for source, target in pairs]

        def copy(number: int) -> Awaitable[None]:
            return self._client.copy(*full[number])

        pending = self._lease.start(all_ended(len(full), copy, self._options.parallel_reads))
        try:
            pending.result(stops=False)
        except BaseException:
            pending.settle()
            raise

    def head(self, key: str) -> ObjectInfo:
        full = self._full(key)
        try:
            info = self._lease.run(self._client.head(full))
        except (ObjectMissing, StoreUnavailable):
            raise
        except StoreError:
            self._lease.run(self._look_for_the_reason(full))
            raise
        return ObjectInfo(key, info.size, info.etag)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        folder, _, _ = f"{self._root}{prefix}".rpartition("/")
        wanted = f"{self._root}{prefix}"
        if folder:
            _check(folder)
        next_page = self._client.pages(folder)
        while page := self._lease.run(next_page()):
            for info in page:
                if info.key.startswith(wanted) and len(info.key) > len(self._root):
                    yield ObjectInfo(info.key[len(self._root) :], info.size, info.etag)
                elif info.key > wanted:
                    return

    def list_folder(self, folder: str = "") -> tuple[tuple[str, ...], tuple[ObjectInfo, ...]]:
        """Return the keys of the folders in a folder, and the objects in it itself, in key order.

        Folders have no slash at their end. What is further below is not looked at.
        """
        full = self._full(folder) if folder else self._root.rstrip("/")
        folders, objects = self._lease.run(self._client.folder(full))
        start = len(self._root)
        return (
            tuple(sorted(key.rstrip("/")[start:] for key in folders)),
            tuple(
                ObjectInfo(info.key[start:], info.size, info.etag)
                for info in sorted(objects, key=lambda info: info.key)
                if info.key != full  # some tools mark a folder with an empty object
            ),
        )

    def delete(self, keys: Iterable[str]) -> None:
        rest = iter(keys)
        while batch := [self._full(key) for key in itertools.islice(rest, DELETE_LIMIT)]:
            self._lease.run(self._client.delete(batch))

    def close(self) -> None:
        """Cut off what is under way, and end the thread of the requests with the last store."""
        self._lease.close()
        self._client.close()

    def _full(self, key: str) -> str:
        return self._root + _check(key)

    async def _read(
        self,
        key: str,
        wanted: ByteRange,
        etag: str | None,
        alternate: str | None,
        deadline: float | None = None,
    ) -> Buffer:
        wait = _FIRST_POLL
        while True:
            try:
                return await self._client.read(key, wanted, etag, alternate=alternate)
            except ObjectMissing:
                if alternate is not None:
                    with contextlib.suppress(ObjectMissing):
                        return await self._client.read(alternate, wanted)
                if deadline is None or time.monotonic() + wait > deadline:
                    raise
            # Consumers that begin together must not ask together.
            await asyncio.sleep(self._random.uniform(wait / 2, wait))
            wait = min(_LAST_POLL, wait * 1.5)

    async def _look_for_the_reason(self, full: str) -> None:
        """Ask for a byte: the reply to a HEAD has no body, so it cannot say why it failed."""
        with contextlib.suppress(ObjectMissing, CorruptObject):
            await self._client.read(full, ByteRange(0, 1))


def _check(key: str) -> str:
    if any(character < " " or character == "\x7f" for character in check_key(key)):
        raise StoreError(f"{key!r} cannot be a key on S3: it has control characters")
    return key
