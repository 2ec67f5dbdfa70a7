"""Cutting rows by the partition number that one of their columns holds.

The work is memory traffic: each group of rows is gathered once in the order of its partition
numbers, and the partitions are slices of that, which costs nothing. Groups of some hundred
thousand rows are gathered faster than a whole table, whose order jumps over more memory than the
caches hold.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Literal

import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["split_batches", "split_by_partition"]

_GROUP_ROWS = 1 << 17
_PIECE_ROWS = 1 << 10  # below this a consumer notices how many pieces there are
_MOST_GROUP_ROWS = 1 << 20
_FORMATS: dict[int, Literal["B", "H", "I", "Q"]] = {8: "B", 16: "H", 32: "I", 64: "Q"}
_GROUP_BYTES = 1 << 28  # keeps the 32-bit offsets of joined strings and lists far from overflow


def split_by_partition(table: pa.Table, column: str, count: int) -> list[pa.Table]:
    """Cut ``table`` into ``count`` tables by its column of partition numbers, which is dropped.

    Rows keep their order within a partition. Rows without a number (NULL) are dealt out to all
    partitions in turn, and keep their place too.

    Raises
    ------
    ValueError
        If a number is not below ``count``.
    """
    return split_batches(table.to_batches(), table.schema, column, count)


def split_batches(
    batches: Iterable[pa.RecordBatch], schema: pa.Schema, column: str, count: int
) -> list[pa.Table]:
    """Do as ``split_by_partition`` does, with batches that may arrive one by one.

    Each batch can be freed as soon as the next is taken, so a stream (a
    ``pyarrow.RecordBatchReader``) needs about half of the memory that a table needs. Batches of
    about 128 Ki rows are best: smaller ones are copied together, larger ones cut.
    """
    position = schema.get_field_index(column)
    if position < 0:
        raise ValueError(f"there is no column {column!r}, or more than one")
    kept = schema.remove(position)
    rows = min(max(_GROUP_ROWS, count * _PIECE_ROWS), _MOST_GROUP_ROWS)
    pieces: list[list[pa.RecordBatch]] = [[] for _ in range(count)]
    dealt = 0
    for batch in _groups(batches, rows):
        numbers = batch.column(position)
        rest = batch.remove_column(position)
        nulls = numbers.null_count
        if nulls:
            numbers = _deal(numbers, count, dealt)
            dealt += nulls
        for number, piece in _cut(rest, kept, numbers, count):
            pieces[number].append(piece)
    return [pa.Table.from_batches(some, schema=kept) for some in pieces]


def _groups(batches: Iterable[pa.RecordBatch], rows: int) -> Iterator[pa.RecordBatch]:
    """Join small batches and slice large ones, to about ``rows`` rows each."""
    small: list[pa.RecordBatch] = []
    waiting = size = 0
    for batch in batches:
        if 2 * batch.num_rows < rows:
            small.append(batch)
            waiting += batch.num_rows
            size += batch.nbytes
            if waiting >= rows or size >= _GROUP_BYTES:
                yield from _joined(small)
                small, waiting, size = [], 0, 0
            continue
        yield from _joined(small)
        small, waiting, size = [], 0, 0
        for start in range(0, batch.num_rows, rows):
            yield batch.slice(start, rows)
    yield from _joined(small)


def _joined(batches: list[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    batches = [batch for batch in batches if batch.num_rows]
    if len(batches) > 1 and sum(batch.nbytes for batch in batches) < 4 * _GROUP_BYTES:
        yield from pa.Table.from_batches(batches).combine_chunks().to_batches()
    else:
        yield from batches


def _cut(
    batch: pa.RecordBatch, schema: pa.Schema, numbers: pa.Array, count: int
) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Yield the partitions that have rows in this batch, with their numbers."""
    # Stable; half the bytes of the 64-bit positions that it returns make the gathers faster.
    order = pc.sort_indices(numbers).cast(pa.uint32(), safe=False)
    ordered = _take(numbers, order)
    lowest, highest = ordered[0].as_py(), ordered[-1].as_py()
    if lowest < 0 or highest >= count:
        raise ValueError(f"partition numbers from {lowest} to {highest}, with {count} partitions")
    gathered = batch  # without columns it is nothing but a number of rows
    if batch.num_columns:
        gathered = pa.RecordBatch.from_arrays(
            [_take(values, order) for values in batch.columns], schema=schema
        )
    view = memoryview(ordered.buffers()[1]).cast(_FORMATS[ordered.type.bit_width])
    start = 0
    while start < len(ordered):
        number = view[start]
        end = bisect_left(view, number + 1, lo=start, hi=len(ordered))
        yield number, gathered.slice(start, end - start)
        start = end


def _deal(numbers: pa.Array, count: int, dealt: int) -> pa.Array:
    """Replace each NULL by the next number in turn, from ``dealt`` on."""
    turn = pc.add(pc.cumulative_sum(pc.cast(numbers.is_null(), pa.int64())), dealt)
    turn = pc.subtract(turn, pc.multiply(pc.divide(turn, count), count))
    return pc.coalesce(numbers, pc.cast(turn, numbers.type))


def _take(values: pa.Array, order: pa.Array) -> pa.Array:
    """Return ``values`` in this order. Arrow itself cannot take from views into strings."""
    kind = values.type
    if not _has_views(kind):
        taken = _take_equally_long(values, order) if _is_text(kind) else None
        return pc.take(values, order, boundscheck=False) if taken is None else taken
    if isinstance(kind, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(kind, _take(values.storage, order))
    if _is_view(kind):
        # A view is 16 bytes that point into data buffers; those can stay as they are.
        validity, views, *data = values.buffers()
        bare = pa.Array.from_buffers(
            pa.binary(16), len(values), [validity, views], values.null_count, values.offset
        )
        taken = pc.take(bare, order, boundscheck=False)
        return pa.Array.from_buffers(
            kind, len(taken), [*taken.buffers(), *data], taken.null_count, taken.offset
        )
    return pc.take(values.cast(_without_views(kind)), order, boundscheck=False).cast(kind)


def _take_equally_long(values: pa.Array, order: pa.Array) -> pa.Array | None:
    """Take strings or bytes that all have one length, as codes, digests and flags have.

    Without a length to look up for each they are gathered several times as fast. Returns None
    where lengths differ.
    """
    count = len(values)
    if not count or values.null_count:
        return None
    wide = pa.types.is_large_string(values.type) or pa.types.is_large_binary(values.type)
    _, places, data = values.buffers()
    offsets = memoryview(places).cast("q" if wide else "i")[values.offset :]
    first = offsets[0]
    length = offsets[1] - first
    if not length or any(
        offsets[at] != first + at * length for at in (count // 3, count // 2, count)
    ):
        return None
    lengths = pc.min_max(pc.binary_length(values))
    if lengths["min"].as_py() != lengths["max"].as_py():
        return None
    bare = pa.Array.from_buffers(
        pa.binary(length), count, [None, data.slice(first, count * length)], 0
    )
    regular = pa.Array.from_buffers(
        pa.int64() if wide else pa.int32(), count + 1, [None, places], 0, values.offset
    )
    regular = pc.subtract(regular, pa.scalar(first, regular.type))
    taken = pc.take(bare, order, boundscheck=False)
    return pa.Array.from_buffers(
        values.type, count, [None, regular.buffers()[1], taken.buffers()[1]], 0
    )


def _is_text(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_string(kind)
        or pa.types.is_binary(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_large_binary(kind)
    )


def _is_view(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string_view(kind) or pa.types.is_binary_view(kind))


def _has_views(kind: pa.DataType) -> bool:
    if isinstance(kind, pa.BaseExtensionType):
        return _has_views(kind.storage_type)
    if pa.types.is_dictionary(kind):
        return False  # only the indices move
    return _is_view(kind) or any(_has_views(kind.field(i).type) for i in range(kind.num_fields))


def _without_views(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_string_view(kind):
        return pa.large_string()
    if pa.types.is_binary_view(kind):
        return pa.large_binary()
    fields = [kind.field(i) for i in range(kind.num_fields)]
    fields = [field.with_type(_without_views(field.type)) for field in fields]
    if pa.types.is_struct(kind):
        return pa.struct(fields)
    if pa.types.is_map(kind):
        entry = fields[0].type
        return pa.map_(entry.field(0), entry.field(1), kind.keys_sorted)
    if pa.types.is_large_list(kind):
        return pa.large_list(fields[0])
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(fields[0], kind.list_size)
    if pa.types.is_list(kind):
        return pa.list_(fields[0])
    return kind
