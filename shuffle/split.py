"""Cutting a table by the partition number that one of its columns holds."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["split_by_partition"]

_SLICE_ROWS = 1 << 20


def split_by_partition(table: pa.Table, column: str, count: int) -> list[pa.Table]:
    """Cut ``table`` into ``count`` tables by its column of partition numbers, which is dropped.

    Rows keep their order within a partition. Rows without a number (NULL) are dealt out to all
    partitions in turn.

    Raises
    ------
    ValueError
        If a number is not below ``count``.
    """
    numbers = table.column(column)
    rest = table.drop_columns([column])
    if count == 1:
        return [rest]
    pieces: list[list[pa.Table]] = [[] for _ in range(count)]
    dealt = 0
    for start in range(0, table.num_rows, _SLICE_ROWS):
        part = numbers.slice(start, _SLICE_ROWS).combine_chunks()
        if part.null_count:
            nulls = part.null_count
            part, dealt = _deal(part, count, dealt), dealt + nulls
        sizes = _sizes(part, count)
        taken = rest.slice(start, _SLICE_ROWS).take(pc.sort_indices(part))
        offset = 0
        for number, size in enumerate(sizes):
            if size:
                pieces[number].append(taken.slice(offset, size))
                offset += size
    return [pa.concat_tables(some) if some else rest.schema.empty_table() for some in pieces]


def _sizes(numbers: pa.Array, count: int) -> list[int]:
    sizes = [0] * count
    for found in pc.value_counts(numbers).to_pylist():
        if not 0 <= found["values"] < count:
            raise ValueError(f"partition number {found['values']} of {count}")
        sizes[found["values"]] = found["counts"]
    return sizes


def _deal(numbers: pa.Array, count: int, dealt: int) -> pa.Array:
    """Replace each NULL by the next number in turn, from ``dealt`` on."""
    turn = pc.add(pc.cumulative_sum(pc.cast(numbers.is_null(), pa.int64())), dealt)
    turn = pc.subtract(turn, pc.multiply(pc.divide(turn, count), count))
    return pc.coalesce(numbers, pc.cast(turn, numbers.type))
