"""Reading of partitions: whole runs of them with one ranged request each."""

from __future__ import annotations

import contextlib
import itertools
import random
import time
from typing import TYPE_CHECKING, NamedTuple

import pyarrow as pa

from starling_py.shuffle.errors import CorruptObject, ObjectMissing
from starling_py.shuffle.format import (
    ObjectHeader,
    decode_header,
    decode_partition,
    decode_prefix,
)
from starling_py.shuffle.meter import RequestCounts
from starling_py.shuffle.objects import (
    ArrowStore,
    Buffer,
    ByteRange,
    ObjectStore,
    ParallelStore,
    ReadRequest,
    copy_key,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from starling_py.shuffle.index import ObjectIndex, PartitionEntry, PartitionRun

__all__ = [
    "iter_numbered",
    "iter_runs",
    "read_header",
    "read_index",
    "read_runs",
]

_HEADER_BYTES = 16 << 10
"""Enough for some hundred partitions of a table with some dozen columns."""
_FIRST_POLL, _LAST_POLL = 0.02, 1.0
_READS = 3
"""How often bytes are fetched that arrive damaged: a network flips bits, a disk keeps them."""


def read_header(store: ObjectStore, key: str) -> ObjectHeader:
    """Return the header of a shuffle object, with one request, or two if it is unusually long.

    One that arrives damaged is asked for again.
    """
    for _ in range(_READS - 1):
        with contextlib.suppress(CorruptObject):
            return _read_header(store, key)
        store.meter.add(RequestCounts(retries=1))
    return _read_header(store, key)


def _read_header(store: ObjectStore, key: str) -> ObjectHeader:
    start = store.get_start(key, _HEADER_BYTES)
    end = decode_prefix(key, start)
    if end > len(start):
        rest = store.get_range(key, ByteRange(len(start), end - len(start)))
        start = b"".join((start, rest))
    return decode_header(key, start)


def read_index(store: ObjectStore, key: str, deadline: float = 0.0) -> ObjectIndex:
    """Return the index of a shuffle object, as the commit of its winner returned it.

    Parameters
    ----------
    deadline
        Until this moment of ``time.monotonic()`` an object that is missing is asked for again:
        its producer may still be at work.
    """
    wait = _FIRST_POLL
    while True:
        try:
            if isinstance(store, ArrowStore):
                return store.get_index(key)
            return read_header(store, key).index
        except ObjectMissing:
            if time.monotonic() + wait > deadline:
                raise
        # Consumers that begin together must not ask together.
        time.sleep(random.uniform(wait / 2, wait))  # noqa: S311 - no secret
        wait = min(_LAST_POLL, wait * 1.5)


def iter_runs(
    store: ObjectStore,
    runs: Sequence[PartitionRun],
    *,
    reader: int = 0,
    deadline: float = 0.0,
) -> Iterator[pa.Table]:
    """Yield the partitions that are not empty, in the order of ``runs``.

    Parameters
    ----------
    reader
        The number of the consumer. Of objects that have a second copy, every other consumer reads
        that one first.
    deadline
        Until then a run without entries waits for its producer; see :func:`read_index`.

    Raises
    ------
    CorruptObject
        If bytes are not what their producer wrote, or another attempt's than the run says.
    ObjectMissing
        If an object is not there.
    """
    for _, table in iter_numbered(store, runs, reader=reader, deadline=deadline):
        yield table


def iter_numbered(
    store: ObjectStore,
    runs: Sequence[PartitionRun],
    *,
    reader: int = 0,
    deadline: float = 0.0,
) -> Iterator[tuple[int, pa.Table]]:
    """Yield as :func:`iter_runs` does, each table with the number of its partition."""
    # Asking whether an object keeps a protocol takes as long as reading a small partition.
    if isinstance(store, ArrowStore):
        for run in runs:
            if not run.entries:
                read_index(store, run.key, deadline)
            last = run.first + len(run.entries) if run.entries else run.last
            tables = store.get_partitions(run.key, run.first, last)
            yield from ((n, table) for n, table in enumerate(tables, run.first) if table.num_rows)
        return
    turns = enumerate(runs, reader)
    # Whoever must read headers first reads one run at a time, as far as the consumer goes.
    for told, some in itertools.groupby(turns, key=lambda turn: bool(turn[1].entries)):
        wanted = (_told(store, run, at, deadline) for at, run in some)
        for one, data in _fetched(store, wanted, together=told):
            yield from _tables(store, one, data)


def read_runs(
    store: ObjectStore,
    runs: Sequence[PartitionRun],
    schema: pa.Schema | None = None,
    *,
    reader: int = 0,
    deadline: float = 0.0,
) -> pa.Table:
    """Return the partitions of ``runs`` one after the other, without copying them together.

    ``schema`` is that of the table when there is no row at all; without it the first run's
    header tells it. ``reader`` and ``deadline`` are as for :func:`iter_runs`.
    """
    tables = list(iter_runs(store, runs, reader=reader, deadline=deadline))
    if tables:
        if not tables[0].num_columns:  # concat_tables would forget the number of rows
            batches = [batch for table in tables for batch in table.to_batches()]
            return pa.Table.from_batches(batches, schema=tables[0].schema)
        try:
            return pa.concat_tables(tables)
        except pa.ArrowInvalid as error:
            raise CorruptObject(f"the producers of one exchange do not agree: {error}") from error
    if schema is None:
        if not runs:
            raise ValueError("without runs the schema must be given")
        schema = _schema(store, runs[0].key)
    return schema.empty_table()


def _schema(store: ObjectStore, key: str) -> pa.Schema:
    if isinstance(store, ArrowStore):
        return store.get_partitions(key, 0, 1)[0].schema
    return read_header(store, key).schema


class _Wanted(NamedTuple):
    """A run, the entries of its partitions, and what to ask for, unless that is nothing."""

    run: PartitionRun
    entries: tuple[PartitionEntry, ...]
    request: ReadRequest | None


def _told(store: ObjectStore, run: PartitionRun, turn: int, deadline: float) -> _Wanted:
    entries = run.entries or _entries(store, run, deadline)
    length = sum(entry.length for entry in entries)
    if not length or run.data:
        return _Wanted(run, entries, None)
    keys = [run.key, copy_key(run.key) if run.copied else ""]
    if run.copied and turn % 2:
        keys.reverse()
    return _Wanted(
        run, entries, ReadRequest(keys[0], ByteRange(entries[0].offset, length), keys[1])
    )


def _fetched(
    store: ObjectStore, wanted: Iterable[_Wanted], *, together: bool
) -> Iterator[tuple[_Wanted, Buffer]]:
    if not together or not isinstance(store, ParallelStore):
        for one in wanted:
            yield one, _fetch_one(store, one.request) if one.request else one.run.data
        return
    every = list(wanted)
    answers = iter(store.read_many([one.request for one in every if one.request]))
    for one in every:
        yield one, next(answers) if one.request else one.run.data


def _fetch_one(store: ObjectStore, request: ReadRequest) -> Buffer:
    if request.alternate:
        with contextlib.suppress(ObjectMissing):
            return store.get_range(request.key, request.wanted)
        return store.get_range(request.alternate, request.wanted)
    return store.get_range(request.key, request.wanted)


def _tables(store: ObjectStore, one: _Wanted, data: Buffer) -> Iterator[tuple[int, pa.Table]]:
    """Decode a run's partitions; what arrived damaged is fetched again, each time another copy."""
    for attempt in itertools.count(1):
        try:
            tables = _decode(one, data)
            break
        except CorruptObject:
            if one.request is None or attempt == _READS:
                raise
        request = one.request
        if request.alternate and attempt % 2:
            request = ReadRequest(request.alternate, request.wanted, request.key)
        store.meter.add(RequestCounts(retries=1))
        data = _fetch_one(store, request)
    yield from tables


def _decode(one: _Wanted, data: Buffer) -> list[tuple[int, pa.Table]]:
    run, entries = one.run, one.entries
    start = entries[0].offset if entries else 0
    view = memoryview(data)
    tables = []
    for number, entry in enumerate(entries, run.first):
        position = entry.offset - start
        part = view[position : position + entry.length]
        table = decode_partition(run.key, number, entry, part)
        if table is not None:
            tables.append((number, table))
    return tables


def _entries(store: ObjectStore, run: PartitionRun, deadline: float) -> tuple[PartitionEntry, ...]:
    index = read_index(store, run.key, deadline)
    if run.nonce and index.nonce != run.nonce:
        raise CorruptObject(f"{run.key} was written by attempt {index.nonce}, not by {run.nonce}")
    if not 0 <= run.first <= run.last <= len(index.partitions):
        raise CorruptObject(
            f"{run.key} has {len(index.partitions)} partitions, not {run.first} to {run.last - 1}"
        )
    return index.partitions[run.first : run.last]
