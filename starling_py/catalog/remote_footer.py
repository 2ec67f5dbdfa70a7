"""Footers of files on S3: from the disk if they are there, else the ends of the files."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from starling_py.catalog.errors import UnreadableFile
from starling_py.catalog.footer import MAGIC, Footer, parse_footer, unreadable
from starling_py.operators.errors import FileChanged
from starling_py.shuffle.errors import ObjectMissing
from starling_py.shuffle.locations import split_url
from starling_py.shuffle.objects import ByteRange, ReadRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from starling_py.catalog.disk_cache import DiskCache
    from starling_py.catalog.listing import Listed
    from starling_py.shuffle.buckets import Buckets

__all__ = ["RemoteFooters"]

_TAIL = 64 << 10
"""Fetched in the hope that the footer is in it."""
_END = 8
"""The length of the footer, and the magic."""
_FOOTERS_AT_ONCE = 1000


class RemoteFooters:
    """Reads the footers of files on S3, and keeps them on disk.

    Each costs one request, or two where it is longer than 64 KiB, or none where the disk has it.
    The key on disk has the ETag of the file in it, so a footer there is never out of date.
    """

    def __init__(self, buckets: Callable[[], Buckets] | None, disk: DiskCache) -> None:
        self._buckets = buckets
        self._disk = disk

    def get(self, files: Sequence[Listed]) -> dict[str, Footer]:
        """Return the footers of files by their paths.

        Raises
        ------
        UnreadableFile
            If a file has none that can be read.
        ObjectChanged, FileChanged
            If a file was replaced or removed after it was listed.
        """
        if self._buckets is None:
            raise RuntimeError("files on S3 are not listed without a way to S3")
        buckets = self._buckets()
        found: dict[str, Footer] = {}
        for start in range(0, len(files), _FOOTERS_AT_ONCE):
            found.update(self._some(files[start : start + _FOOTERS_AT_ONCE], buckets))
        return found

    def _some(self, files: Sequence[Listed], buckets: Buckets) -> dict[str, Footer]:
        keys = {file.path: _key(file, buckets) for file in files if file.etag}
        known = self._disk.get(list(keys.values()))
        found: dict[str, Footer] = {}
        for file in files:
            data = known.get(keys.get(file.path, b""))
            if data is not None:
                try:
                    found[file.path] = parse_footer(file, data)
                except UnreadableFile:
                    continue  # another version of pyarrow may have put it there
        fetched: dict[bytes, bytes] = {}
        try:
            for file, footer in _fetch([f for f in files if f.path not in found], buckets):
                found[file.path] = footer
                if file.path in keys:
                    fetched[keys[file.path]] = footer.data
        finally:
            # What came before an error need not come again.
            self._disk.put(fetched)
        return found


def _key(file: Listed, buckets: Buckets) -> bytes:
    bucket, key = split_url(file.path)
    parts = (buckets.options.bucket_url(bucket), bucket, key, file.etag, str(file.size))
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=32).digest()


def _fetch(files: Sequence[Listed], buckets: Buckets) -> Iterator[tuple[Listed, Footer]]:
    long: list[tuple[Listed, int]] = []
    for file, end in _ends([(file, min(file.size, _TAIL)) for file in files], buckets):
        length = _footer_length(file, end, buckets)
        if length > len(end):
            long.append((file, length))
        else:
            yield file, parse_footer(file, end[-length:])
    for file, end in _ends(long, buckets):
        yield file, parse_footer(file, end)


def _ends(wanted: Sequence[tuple[Listed, int]], buckets: Buckets) -> Iterator[tuple[Listed, bytes]]:
    """Yield the last bytes of files; many requests are under way at the same time."""
    by_bucket: dict[str, list[tuple[Listed, ReadRequest]]] = {}
    for file, length in wanted:
        bucket, key = split_url(file.path)
        part = ByteRange(file.size - length, length)
        by_bucket.setdefault(bucket, []).append((file, ReadRequest(key, part, etag=file.etag)))
    for bucket, reads in by_bucket.items():
        ends = buckets.store(bucket).read_many([request for _, request in reads])
        try:
            for (file, _), data in zip(reads, ends, strict=True):
                yield file, bytes(data)
        except ObjectMissing as error:
            raise FileChanged(f"a file vanished after it was listed: {error.message}") from error


def _footer_length(file: Listed, end: bytes, buckets: Buckets) -> int:
    """Return the length of the footer that the last bytes of a file tell of."""
    magic = end[-len(MAGIC) :]
    if magic == MAGIC and len(end) >= _END:
        length = int.from_bytes(end[-_END : -len(MAGIC)], "little") + _END
        if length + len(MAGIC) <= file.size:
            return length
    head = end[: len(MAGIC)]
    if len(end) < file.size:
        bucket, key = split_url(file.path)
        part = ByteRange(0, len(MAGIC))
        head = bytes(buckets.store(bucket).get_range(key, part, etag=file.etag or None))
    raise unreadable(file, "it is said to be longer than the file", head, magic)
