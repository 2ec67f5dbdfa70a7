"""Footer statistics as values that compare like SQL's: see ``ColumnRange`` for the forms."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import TYPE_CHECKING

from starling_py.planner.tables import ColumnRange

if TYPE_CHECKING:
    from collections.abc import Callable

    import pyarrow.parquet as pq

__all__ = ["UNKNOWN", "column_range", "comparison"]

UNKNOWN = ColumnRange(None, None, None)

_UNSIGNED = {"UTINYINT": 8, "USMALLINT": 16, "UINTEGER": 32, "UBIGINT": 64}
_SIGNED = frozenset(("TINYINT", "SMALLINT", "INTEGER", "BIGINT"))
_MICROSECONDS = {"milliseconds": 1000, "microseconds": 1}
_TIMESTAMPS = frozenset(("TIMESTAMP", "TIMESTAMP WITH TIME ZONE"))
_INT64 = range(-(2**63), 2**63)

# Writers cut long strings (parquet-rs at 64 bytes, DuckDB at 256): shorter ones are whole.
_WHOLE_STRING = 60

# Writers that order unsigned numbers and strings as SQL does. Elsewhere the footer may hold the
# old ``min`` and ``max``, compared as signed bytes.
_ORDERED_WRITER = re.compile(
    r"parquet-cpp|parquet-rs |DuckDB|Polars|parquet-mr version (1\.[1-9][0-9]|[2-9])"
)


def comparison(
    metadata: pq.FileMetaData, leaf: int, type_: str
) -> Callable[[object], object | None] | None:
    """Return what makes a raw statistic comparable, or ``None`` where nothing does.

    Parameters
    ----------
    metadata
        The footer of the file.
    leaf
        The column's number among the leaves of the file's schema.
    type_
        DuckDB's type of the column.
    """
    column = metadata.schema.column(leaf)
    physical: str = column.physical_type
    if physical == "INT96":
        return None
    whole_number = physical in ("INT32", "INT64")
    if whole_number and (type_ in _SIGNED or type_ == "DATE"):
        return _same
    if whole_number and type_ in _TIMESTAMPS:
        unit = json.loads(column.logical_type.to_json()).get("timeUnit")
        return _timestamp(_MICROSECONDS[unit]) if unit in _MICROSECONDS else None
    if type_.startswith("DECIMAL("):
        return _decimal(column.scale)
    if not _ORDERED_WRITER.match(metadata.created_by or ""):
        return None
    if whole_number and type_ in _UNSIGNED:
        return _unsigned(_UNSIGNED[type_])
    if physical == "BYTE_ARRAY" and type_ == "VARCHAR":
        return _string
    return None


def column_range(
    chunk: pq.ColumnChunkMetaData, form: Callable[[object], object | None] | None
) -> ColumnRange:
    """Return the statistics of a column in one row group."""
    statistics = chunk.statistics
    if statistics is None:
        return UNKNOWN
    nulls = statistics.null_count if statistics.has_null_count else None
    if form is None or not statistics.has_min_max:
        return ColumnRange(None, None, nulls)
    return ColumnRange(form(statistics.min_raw), form(statistics.max_raw), nulls)


def _same(raw: object) -> object | None:
    return raw if isinstance(raw, int) else None


def _timestamp(factor: int) -> Callable[[object], object | None]:
    def form(raw: object) -> object | None:
        if not isinstance(raw, int):
            return None
        value = raw * factor
        return value if value in _INT64 else None

    return form


def _unsigned(bits: int) -> Callable[[object], object | None]:
    def form(raw: object) -> object | None:
        return raw % (1 << bits) if isinstance(raw, int) else None

    return form


def _decimal(scale: int) -> Callable[[object], object | None]:
    def form(raw: object) -> object | None:
        if isinstance(raw, bytes):
            raw = int.from_bytes(raw, "big", signed=True)
        # From digits: arithmetic would round to the current context's precision.
        return Decimal(f"{raw}E-{scale}") if isinstance(raw, int) else None

    return form


def _string(raw: object) -> object | None:
    if not isinstance(raw, bytes) or len(raw) >= _WHOLE_STRING:
        return None
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return None
