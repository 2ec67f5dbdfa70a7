"""A prefix of an S3 bucket as an object store."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import threading
from concurrent.futures import ThreadPoolExecutor
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
from starling_py.shuffle.ranges import Fetch, merge_ranges
from starling_py.shuffle.s3_client import DELETE_LIMIT, S3Client
from starling_py.shuffle.s3_credentials import environment_credentials
from starling_py.shuffle.s3_options import S3Options

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from starling_py.shuffle.retry import Uniform
    from starling_py.shuffle.s3_credentials import Credentials

__all__ = ["S3Store"]


class S3Store:
    """The objects below a prefix of a bucket.

    A put is one request, so an object is seen whole or not at all; put-if-absent is
    ``If-None-Match: *``. A conditional put whose answer was lost is repeated, and then finds its
    own object: it raises ``ObjectExists`` like one that came second, and whoever asked looks at
    what is there. Keys with control characters are refused.

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
        self._client = S3Client(bucket, self._options, credentials, self._meter, source)
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None
        self._closed = False

    @property
    def meter(self) -> Meter:
        return self._meter

    @property
    def url(self) -> str:
        """Bucket and prefix."""
        return f"s3://{self._bucket}/{self._root}"

    def get(self, key: str) -> Buffer:
        return self._client.get(self._full(key), None, None).data

    def get_range(self, key: str, wanted: ByteRange, *, etag: str | None = None) -> Buffer:
        """As the protocol says; with ``etag`` an object of another one is ``ObjectChanged``."""
        return self.get_ranges(key, [wanted], etag=etag)[0]

    def get_ranges(
        self, key: str, wanted: Sequence[ByteRange], *, etag: str | None = None
    ) -> list[Buffer]:
        """Fetch ranges in parallel, near ones together. An empty range needs no request."""
        full = self._full(key)
        fetches = merge_ranges(wanted, self._options.gap)

        def fetch(one: Fetch) -> memoryview:
            return memoryview(self._client.get(full, one.span, etag).data)

        found: list[Buffer] = [b""] * len(wanted)
        for one, data in zip(fetches, self._in_parallel(fetch, fetches), strict=True):
            for number in one.wanted:
                start = wanted[number].offset - one.span.offset
                found[number] = data[start : start + wanted[number].length]
        return found

    def put(self, key: str, parts: Sequence[Buffer]) -> None:
        self._client.put(self._full(key), parts, create=False)

    def put_if_absent(self, key: str, parts: Sequence[Buffer]) -> None:
        self._client.put(self._full(key), parts, create=True)

    def head(self, key: str) -> ObjectInfo:
        full = self._full(key)
        try:
            info = self._client.head(full)
        except (ObjectMissing, StoreUnavailable):
            raise
        except StoreError:
            self._look_for_the_reason(full)
            raise
        return ObjectInfo(key, info.size, info.etag)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        folder, _, _ = f"{self._root}{prefix}".rpartition("/")
        wanted = f"{self._root}{prefix}"
        if folder:
            _check(folder)
        for page in self._client.pages(folder):
            for info in page:
                if info.key.startswith(wanted) and len(info.key) > len(self._root):
                    yield ObjectInfo(info.key[len(self._root) :], info.size, info.etag)
                elif info.key > wanted:
                    return

    def delete(self, keys: Iterable[str]) -> None:
        rest = iter(keys)
        while batch := [self._full(key) for key in itertools.islice(rest, DELETE_LIMIT)]:
            self._client.delete(batch)

    def close(self) -> None:
        """End the reading threads: wait for requests in flight, at most for their timeout."""
        with self._lock:
            self._closed = True
            pool, self._pool = self._pool, None
        self._client.close()
        if pool is not None:
            pool.shutdown(cancel_futures=True)

    def _full(self, key: str) -> str:
        return self._root + _check(key)

    def _in_parallel(
        self, fetch: Callable[[Fetch], memoryview], fetches: Sequence[Fetch]
    ) -> Sequence[memoryview]:
        if len(fetches) <= 1:
            return [fetch(one) for one in fetches]
        pool = self._threads()
        futures = [pool.submit(fetch, one) for one in fetches]
        try:
            return [future.result() for future in futures]
        finally:
            # After an error nobody wants the others; those in flight end with their request.
            for future in futures:
                future.cancel()

    def _threads(self) -> ThreadPoolExecutor:
        with self._lock:
            if self._closed:
                raise StoreError("the store is closed")
            if self._pool is None:
                self._pool = ThreadPoolExecutor(
                    self._options.parallel_reads, thread_name_prefix="s3-read"
                )
            return self._pool

    def _look_for_the_reason(self, full: str) -> None:
        """Ask for a byte: the reply to a HEAD has no body, so it cannot say why it failed."""
        with contextlib.suppress(ObjectMissing, CorruptObject):
            self._client.get(full, ByteRange(0, 1), None)


def _check(key: str) -> str:
    if any(character < " " or character == "\x7f" for character in check_key(key)):
        raise StoreError(f"{key!r} cannot be a key on S3: it has control characters")
    return key
