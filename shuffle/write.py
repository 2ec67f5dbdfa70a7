"""Committing a task's output: the first attempt wins, and all learn what the winner wrote."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from starling_py.shuffle.errors import ObjectExists
from starling_py.shuffle.format import Codec, Producer, encode_object
from starling_py.shuffle.index import ObjectIndex, PartitionEntry
from starling_py.shuffle.objects import ArrowStore, ObjectStore
from starling_py.shuffle.read import read_index

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["commit_partitions"]


def commit_partitions(
    store: ObjectStore,
    key: str,
    producer: Producer,
    partitions: Sequence[pa.Table],
    *,
    codec: Codec = "none",
) -> ObjectIndex:
    """Store the partitions under ``key`` unless it is taken, and return the index of what is there.

    The nonce of the returned index is ``producer``'s exactly if this call's object was stored:
    now, or by an earlier put of the same attempt whose answer was lost.

    A store that keeps Arrow data is handed the tables themselves (``codec`` does not matter);
    they must not share memory that will change.
    """
    try:
        if isinstance(store, ArrowStore):
            index = ObjectIndex(producer.nonce, _entries(partitions))
            store.put_partitions(key, index, partitions)
            return index
        encoded = encode_object(producer, partitions, codec=codec)
        store.put_if_absent(key, encoded.parts)
    except ObjectExists:
        return read_index(store, key)
    return encoded.index


def _entries(partitions: Sequence[pa.Table]) -> tuple[PartitionEntry, ...]:
    """Deal out the bytes of all buffers, each counted once, by rows.

    Partitions are slices of common buffers. To ask Arrow for the bytes of each slice takes longer
    than all the rest of handing the tables over.
    """
    rows = sum(table.num_rows for table in partitions)
    held = pa.concat_tables(partitions).get_total_buffer_size() if rows else 0
    entries = []
    before = 0
    for table in partitions:
        after = before + table.num_rows
        length = after * held // rows - before * held // rows if rows else 0
        entries.append(PartitionEntry(0, length, table.num_rows, 0))
        before = after
    return tuple(entries)
