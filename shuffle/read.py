"""Reading of partitions: whole runs of them with one ranged request each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from starling_py.shuffle.errors import CorruptObject
from starling_py.shuffle.format import (
    PREFIX_BYTES,
    ObjectHeader,
    decode_header,
    decode_partition,
    decode_prefix,
)
from starling_py.shuffle.objects import ArrowStore, ByteRange, ObjectStore

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from starling_py.shuffle.index import ObjectIndex, PartitionEntry, PartitionRun

__all__ = ["delete_prefix", "iter_runs", "read_header", "read_index", "read_runs"]


def read_header(store: ObjectStore, key: str) -> ObjectHeader:
    """Return the header of a shuffle object, with two ranged requests."""
    prefix = store.get_range(key, ByteRange(0, PREFIX_BYTES))
    rest = decode_prefix(key, prefix) - PREFIX_BYTES
    return decode_header(
        key, b"".join((prefix, store.get_range(key, ByteRange(PREFIX_BYTES, rest))))
    )


def read_index(store: ObjectStore, key: str) -> ObjectIndex:
    """Return the index of a shuffle object, as the commit of its winner returned it."""
    if isinstance(store, ArrowStore):
        return store.get_index(key)
    return read_header(store, key).index


def iter_runs(store: ObjectStore, runs: Sequence[PartitionRun]) -> Iterator[pa.Table]:
    """Yield the partitions that are not empty, in the order of ``runs``.

    One run at a time is read, so a consumer that streams needs memory for the largest run.

    Raises
    ------
    CorruptObject
        If bytes are not what their producer wrote, or another attempt's than the run says.
    ObjectMissing
        If an object is not there.
    """
    # Asking whether an object keeps a protocol takes as long as reading a small partition.
    in_arrow = store if isinstance(store, ArrowStore) else None
    for run in runs:
        if in_arrow is not None:
            last = run.first + len(run.entries) if run.entries else run.last
            tables = in_arrow.get_partitions(run.key, run.first, last)
            yield from (table for table in tables if table.num_rows)
        else:
            yield from _read_run(store, run)


def read_runs(
    store: ObjectStore, runs: Sequence[PartitionRun], schema: pa.Schema | None = None
) -> pa.Table:
    """Return the partitions of ``runs`` one after the other, without copying them together.

    ``schema`` is that of the table when there is no row at all; without it the first run's
    header tells it.
    """
    tables = list(iter_runs(store, runs))
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


def delete_prefix(store: ObjectStore, prefix: str) -> int:
    """Delete every object whose key starts with ``prefix``; return how many there were."""
    keys = [info.key for info in store.list(prefix)]
    store.delete(keys)
    return len(keys)


def _schema(store: ObjectStore, key: str) -> pa.Schema:
    if isinstance(store, ArrowStore):
        return store.get_partitions(key, 0, 1)[0].schema
    return read_header(store, key).schema


def _read_run(store: ObjectStore, run: PartitionRun) -> Iterator[pa.Table]:
    entries = run.entries or _entries(store, run)
    start = entries[0].offset if entries else 0
    length = sum(entry.length for entry in entries)
    if not length:
        return
    data = memoryview(store.get_range(run.key, ByteRange(start, length)))
    for number, entry in enumerate(entries, run.first):
        position = entry.offset - start
        table = decode_partition(run.key, number, entry, data[position : position + entry.length])
        if table is not None:
            yield table


def _entries(store: ObjectStore, run: PartitionRun) -> tuple[PartitionEntry, ...]:
    index = read_index(store, run.key)
    if run.nonce and index.nonce != run.nonce:
        raise CorruptObject(f"{run.key} was written by attempt {index.nonce}, not by {run.nonce}")
    if not 0 <= run.first <= run.last <= len(index.partitions):
        raise CorruptObject(
            f"{run.key} has {len(index.partitions)} partitions, not {run.first} to {run.last - 1}"
        )
    return index.partitions[run.first : run.last]
