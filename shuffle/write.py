"""Committing a task's output: the first attempt wins, and all learn what the winner wrote."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from starling_py.shuffle.errors import ObjectExists, StoreError
from starling_py.shuffle.format import Producer, encode_object
from starling_py.shuffle.index import Codec, ObjectIndex, PartitionEntry
from starling_py.shuffle.objects import ArrowStore, ObjectStore, copy_key
from starling_py.shuffle.partition import PARTITION_FUNCTION
from starling_py.shuffle.read import read_index

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starling_py.shuffle.format import EncodedObject

__all__ = ["Committed", "commit_output", "commit_partitions"]


@dataclass(frozen=True, slots=True)
class Committed:
    """The index of an output and, where there is no object of it, its bytes."""

    index: ObjectIndex
    inline: bytes = b""


def commit_output(
    store: ObjectStore,
    key: str,
    producer: Producer,
    partitions: Sequence[pa.Table],
    *,
    codec: Codec = "none",
    function: str = PARTITION_FUNCTION,
    inline_limit: int = 0,
    doublewrite: bool = False,
) -> Committed:
    """Commit partitions as :func:`commit_partitions` does, or return them if they are small.

    Parameters
    ----------
    function
        The partitioning function.
    inline_limit
        An object of at most so many bytes is not stored: whoever accepts the report of this
        attempt hands it on.
    doublewrite
        Store a second copy under ``copy_key``, for readers to whom the first one is slow.
    """
    if isinstance(store, ArrowStore):
        return Committed(commit_partitions(store, key, producer, partitions))
    encoded = encode_object(producer, partitions, codec=codec, function=function)
    if encoded.size <= inline_limit:
        return Committed(encoded.index, b"".join(encoded.parts))
    index = _put(store, key, encoded)
    if doublewrite and index.nonce == producer.nonce:
        _put_copy(store, key, encoded)
    return Committed(index)


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
    if not isinstance(store, ArrowStore):
        return _put(store, key, encode_object(producer, partitions, codec=codec))
    index = ObjectIndex(producer.nonce, _entries(partitions))
    try:
        store.put_partitions(key, index, partitions)
    except ObjectExists:
        return read_index(store, key)
    return index


def _put(store: ObjectStore, key: str, encoded: EncodedObject) -> ObjectIndex:
    try:
        store.put_if_absent(key, encoded.parts)
    except ObjectExists:
        return read_index(store, key)
    return encoded.index


def _put_copy(store: ObjectStore, key: str, encoded: EncodedObject) -> None:
    try:
        # Not replacing anything, a put that was given up for a quicker one can do no harm.
        store.put_if_absent(copy_key(key), encoded.parts)
    except ObjectExists:
        return
    except StoreError as error:
        # Readers that miss the copy take the object itself. A traceback would name the bucket.
        logging.getLogger(__name__).warning("%s has no copy (%s)", key, error.code)


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
