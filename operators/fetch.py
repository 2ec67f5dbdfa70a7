"""Reading of many ranges of many files on S3, in parallel."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from starling_py.operators.errors import BadParquet
from starling_py.operators.footers import TAIL_LENGTH, footer_length
from starling_py.operators.quoting import decode_path
from starling_py.shuffle.objects import Buffer, ByteRange, ReadRequest
from starling_py.shuffle.ranges import merge_ranges

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from starling_py.operators.footers import Footer, Footers
    from starling_py.operators.task import FileRange
    from starling_py.shuffle.buckets import Buckets
    from starling_py.shuffle.s3 import S3Store

__all__ = ["Read", "fetch", "fetch_footers"]

_LONGEST = 8 << 20
"""Bytes of one request. A connection gives about 90 MB a second, and a worker has many."""
_GUESS = 64 << 10
"""Read of a file whose footer's length nobody knows."""


class Read(NamedTuple):
    """Ranges of a file, in order, none touching another."""

    file: FileRange
    ranges: tuple[ByteRange, ...]


class _Part(NamedTuple):
    """One request for bytes of a file: the number of its read, and the request."""

    read: int
    request: ReadRequest


def fetch(
    reads: Sequence[Read], buckets: Buckets, check: Callable[[], None]
) -> Iterator[tuple[int, int, memoryview]]:
    """Yield all bytes of all ranges, in pieces: number of the read, offset, bytes.

    Ranges near each other come with one request, long ones with several.

    Parameters
    ----------
    check
        Called before the requests and after each; raises to stop.
    """
    stores: dict[str, tuple[S3Store, list[_Part]]] = {}
    for number, read in enumerate(reads):
        store, key = buckets.locate(decode_path(read.file.path))
        _, parts = stores.setdefault(store.url, (store, []))
        for span in _spans(read.ranges, buckets.options.gap):
            parts.append(_Part(number, ReadRequest(key, span, etag=read.file.etag)))
    for store, parts in stores.values():
        check()
        answers = store.read_many([part.request for part in parts])
        for part, data in zip(parts, answers, strict=True):
            check()
            span = part.request.wanted
            view = memoryview(data)
            for offset, length in _shared(span, reads[part.read].ranges):
                start = offset - span.offset
                yield part.read, offset, view[start : start + length]


def fetch_footers(
    files: Sequence[FileRange], known: Footers, buckets: Buckets, check: Callable[[], None]
) -> list[Footer]:
    """Return the footers of files, reading together those that are not known.

    Raises
    ------
    BadParquet
        If one cannot be read.
    """
    found = {file.path: known.get(decode_path(file.path), file.etag) for file in files}
    missing = [file for file in files if found[file.path] is None]
    sizes = [min(max(file.footer or _GUESS, TAIL_LENGTH), file.size) for file in missing]
    ends = _ends(list(zip(missing, sizes, strict=True)), buckets, check)
    lengths = [
        footer_length(decode_path(file.path), end) for file, end in zip(missing, ends, strict=True)
    ]
    longer = [
        (file, length)
        for file, end, length in zip(missing, ends, lengths, strict=True)
        if length > len(end)
    ]
    for file, length in longer:
        if length > file.size:
            raise BadParquet(f"{decode_path(file.path)} has a footer that is longer than the file")
    again = dict(zip((file.path for file, _ in longer), _ends(longer, buckets, check), strict=True))
    for file, end, length in zip(missing, ends, lengths, strict=True):
        data = again.get(file.path, end[-length:])
        found[file.path] = known.add(decode_path(file.path), file.etag, data)
    return [footer for footer in found.values() if footer is not None]


def _ends(
    wanted: Sequence[tuple[FileRange, int]], buckets: Buckets, check: Callable[[], None]
) -> list[Buffer]:
    """Return the last bytes of files, as many as wanted of each."""
    reads = [Read(file, (ByteRange(file.size - size, size),)) for file, size in wanted]
    pieces: list[list[memoryview]] = [[] for _ in reads]
    for number, _, data in fetch(reads, buckets, check):
        pieces[number].append(data)
    # Copied, so that a footer does not keep what came with it.
    return [b"".join(each) for each in pieces]


def _spans(ranges: Sequence[ByteRange], gap: int) -> Iterator[ByteRange]:
    for one in merge_ranges(ranges, gap):
        count = -(-one.span.length // _LONGEST)
        for number in range(count):
            start = one.span.length * number // count
            end = one.span.length * (number + 1) // count
            yield ByteRange(one.span.offset + start, end - start)


def _shared(span: ByteRange, ranges: Sequence[ByteRange]) -> Iterator[tuple[int, int]]:
    """Yield offset and length of what a span has of each range."""
    for part in ranges:
        start = max(part.offset, span.offset)
        end = min(part.offset + part.length, span.offset + span.length)
        if start < end:
            yield start, end - start
