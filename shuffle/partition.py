"""The one partitioning function, and the cutting of a table by the number that it yields."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from starling_py.shuffle.split import split_batches, split_by_partition

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

__all__ = [
    "BOUND_BYTES",
    "MAX_PARTITIONS",
    "PARTITION_FUNCTION",
    "RANK_FUNCTION",
    "partition_expression",
    "partition_type",
    "split_batches",
    "split_by_partition",
    "split_by_rank",
]

PARTITION_FUNCTION = "duckdb-hash-high-1"
"""Name of the function, as the header of a shuffle object carries it."""

RANK_FUNCTION = "rank-1"
"""Partitions of sorted rows, by the rank of a row."""

BOUND_BYTES = 64
"""So much of a sort key tells where a partition by rank begins."""

MAX_PARTITIONS = 1 << 20
"""The function keeps 24 bits of the hash: more partitions than this would fill unevenly."""


def split_by_rank(table: pa.Table, count: int) -> list[pa.Table]:
    """Cut sorted rows into ``count`` tables that follow one another, of equal numbers of rows."""
    rows = table.num_rows
    borders = [at * rows // count for at in range(count + 1)]
    return [table.slice(a, b - a) for a, b in pairwise(borders)]


def partition_type(count: int) -> str:
    """Return the DuckDB type of the partition numbers ``0 … count - 1``: the smallest that fits."""
    if not 1 <= count <= MAX_PARTITIONS:
        raise ValueError(f"{count} partitions: between 1 and {MAX_PARTITIONS} are possible")
    if count <= 1 << 8:
        return "UTINYINT"
    return "USMALLINT" if count <= 1 << 16 else "UINTEGER"


def partition_expression(keys: Sequence[str], count: int, *, spread_nulls: bool = False) -> str:
    """Return the SQL expression that computes a row's partition number from its keys.

    Equal keys get equal numbers. DuckDB's ``hash`` sees to it that -0.0 and 0.0, all NaNs, and
    equal INTERVALs are alike, inside nested values too. It depends on the type of a key (INT and
    BIGINT differ for negative values, DECIMAL by scale, DATE and TIMESTAMP, ENUM by ordinal) and
    knows no collation: both sides of an exchange must cast to one type and normalize collated
    keys before.

    The high bits of the hash number the partition, because DuckDB's own hash tables use the low
    ones: with those fixed within a partition, joins and groups degrade.

    Parameters
    ----------
    keys
        SQL expressions without side effects, at least one.
    count
        How many partitions.
    spread_nulls
        Yield NULL where any key is NULL (at its top level; a struct with a NULL field is a
        value). Otherwise NULL keys meet in one partition like any other value.

    Returns
    -------
    str
        An expression of the type ``partition_type(count)``.
    """
    kind = partition_type(count)
    if not keys:
        raise ValueError("a partitioning needs at least one key")
    if count == 1 and not spread_nulls:
        return f"0::{kind}"
    number = f"((hash({', '.join(f'({key})' for key in keys)}) >> 40) % {count})::{kind}"
    if not spread_nulls:
        return number
    missing = " OR ".join(f"({key}) IS NULL" for key in keys)
    return f"CASE WHEN {missing} THEN NULL ELSE {number} END"
