"""Files on S3 as files of this machine: sparse, with the bytes that a task reads and no others.

DuckDB reads a stand-in as it reads any local file. Where bytes were not fetched it finds zeros, and
fails: every page and every filter of a Parquet file begins with a header that cannot be zeros.
"""

from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import duckdb
from msgspec import structs

from starling_py.operators.errors import OutOfMemory
from starling_py.operators.fetch import Read, fetch, fetch_footers
from starling_py.operators.footers import column_leaves
from starling_py.operators.quoting import decode_path, encode_path
from starling_py.operators.task import FileRange, ScanInput, ScanSource
from starling_py.shuffle.errors import CorruptObject, StoreError
from starling_py.shuffle.locations import is_remote

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from starling_py.operators.footers import Footer
    from starling_py.operators.instance import Instance
    from starling_py.operators.task import TaskInput, TaskSpec
    from starling_py.shuffle.buckets import Buckets

__all__ = ["stand_ins"]


@dataclass(slots=True)
class _Wanted:
    """What the scans of a task read of one file."""

    file: FileRange
    fields: set[str] = field(default_factory=set)
    rows: list[tuple[int, int]] = field(default_factory=list)


@contextmanager
def stand_ins(
    spec: TaskSpec,
    instance: Instance,
    buckets: Callable[[], Buckets] | None,
    check: Callable[[], None],
) -> Iterator[TaskSpec]:
    """Yield the task with stand-ins for its files on S3; afterwards nothing of them is left.

    Parameters
    ----------
    instance
        Will run the task, and has been prepared for it.
    buckets
        Opens where the files are; called only if there are any.
    check
        Called between requests; raises to stop.

    Raises
    ------
    ObjectChanged
        If a file is not the one that was planned for.
    BadParquet
        If a file's footer cannot be read.
    OutOfMemory
        If the instance has no room for what the task fetches.
    """
    wanted = _wanted(spec.inputs)
    if not wanted:
        yield spec
        return
    if buckets is None:
        raise StoreError(f"this worker cannot read {next(iter(wanted))}: it was told no way to S3")
    with ExitStack() as stack:
        urls = _make(wanted, instance, buckets(), check, stack)
        paths = {url: encode_path(path) for path, url in urls.items()}
        inputs = tuple(_moved(one, paths) for one in spec.inputs)
        with _told_by_url(urls):
            yield structs.replace(spec, inputs=inputs)


def _wanted(inputs: Sequence[TaskInput]) -> dict[str, _Wanted]:
    """Return what is read of each file on S3, by its URL."""
    found: dict[str, _Wanted] = {}
    for scan in inputs:
        if not isinstance(scan, ScanInput):
            continue
        fields = [column.field for column in scan.columns if column.source is ScanSource.FIELD]
        for file in scan.files:
            url = decode_path(file.path)
            if file.last_row > file.first_row and is_remote(url):
                one = found.setdefault(url, _Wanted(file))
                one.fields.update(fields)
                one.rows.append((file.first_row, file.last_row))
    return found


def _make(
    wanted: dict[str, _Wanted],
    instance: Instance,
    buckets: Buckets,
    check: Callable[[], None],
    stack: ExitStack,
) -> dict[str, str]:
    """Make the stand-ins, which end with ``stack``; return the URL of each by its path."""
    files = [one.file for one in wanted.values()]
    footers = fetch_footers(files, instance.footers, buckets, check)
    urls: dict[str, str] = {}
    made: list[_StandIn] = []
    reads: list[Read] = []
    for number, (url, footer) in enumerate(zip(wanted, footers, strict=True)):
        check()
        one = wanted[url]
        path = instance.files / f"{number}.parquet"
        urls[str(path)] = url
        standin = _StandIn(path, one.file.size, footer)
        stack.callback(standin.close)
        made.append(standin)
        if footer.columns is None:
            with _told_by_url(urls):
                footer.columns = column_leaves(instance.connection, path)
        ranges = footer.ranges(one.fields, one.rows)
        if ranges and ranges[-1].offset + ranges[-1].length > one.file.size:
            raise CorruptObject(f"{url} ends before the columns that its footer tells of")
        reads.append(Read(one.file, tuple(ranges)))
    _check_room(reads, instance.room)
    for at, offset, data in fetch(reads, buckets, check):
        made[at].write(data, offset)
    for standin in made:
        standin.settle()
    instance.lend_memory(sum(standin.bytes for standin in made))
    return urls


def _check_room(reads: Sequence[Read], room: int | None) -> None:
    wanted = sum(found.length for read in reads for found in read.ranges)
    if room is not None and wanted > room:
        raise OutOfMemory(
            f"the task would fetch {wanted / 1e6:,.1f} MB of its tables, "
            f"and its worker has room for {room / 1e6:,.1f} MB",
            hint="give workers more memory, or the tables smaller row groups",
        )


class _StandIn:
    """A sparse file in memory, or where there is none, in the folder of its path."""

    def __init__(self, path: Path, size: int, footer: Footer) -> None:
        self._path = path
        self._number = footer.number
        self.bytes = 0
        self._descriptor = _open_sparse(path)
        try:
            os.ftruncate(self._descriptor, size)
            self.write(memoryview(footer.data), size - len(footer.data))
            self.settle()
        except BaseException:  # whatever it is: nobody else knows the descriptor yet
            self.close()
            raise

    def write(self, data: memoryview, offset: int) -> None:
        self.bytes += len(data)
        while data:
            written = os.pwrite(self._descriptor, data, offset)
            data, offset = data[written:], offset + written

    def settle(self) -> None:
        """Set the time by which DuckDB tells whether it knows the footer under this path."""
        os.utime(self._descriptor, (self._number, self._number))

    def close(self) -> None:
        os.close(self._descriptor)
        self._path.unlink(missing_ok=True)


def _open_sparse(path: Path) -> int:
    path.unlink(missing_ok=True)
    try:
        descriptor = os.memfd_create(path.name)
    except (AttributeError, OSError):
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        path.symlink_to(f"/proc/self/fd/{descriptor}")
    except BaseException:  # as above
        os.close(descriptor)
        raise
    return descriptor


def _moved(one: TaskInput, paths: dict[str, str]) -> TaskInput:
    """Return an input whose files on S3 are their stand-ins."""
    if not isinstance(one, ScanInput):
        return one
    files = tuple(
        structs.replace(file, path=paths.get(decode_path(file.path), file.path))
        for file in one.files
    )
    return structs.replace(one, files=files)


@contextmanager
def _told_by_url(urls: dict[str, str]) -> Iterator[None]:
    """Let DuckDB's errors name files by their URLs."""
    try:
        yield
    except duckdb.Error as error:
        text = str(error)
        for path, url in urls.items():
            text = text.replace(path, url)
        if text == str(error):
            raise
        raise type(error)(text) from error
