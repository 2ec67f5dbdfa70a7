"""The types of PEP 249: constructors for parameters, and objects to compare type codes with."""

from __future__ import annotations

import datetime as dt
import re
from typing import NamedTuple

__all__ = [
    "BINARY",
    "DATETIME",
    "NUMBER",
    "ROWID",
    "STRING",
    "Binary",
    "ColumnDescription",
    "Date",
    "DateFromTicks",
    "Time",
    "TimeFromTicks",
    "Timestamp",
    "TimestampFromTicks",
    "TypeObject",
    "apilevel",
    "described",
    "paramstyle",
    "threadsafety",
]

apilevel = "2.0"
"""PEP 249."""
threadsafety = 2
"""Threads may share the module and connections."""
paramstyle = "qmark"
"""``?``; ``$1``, ``$name`` and ``:name`` too."""

Date = dt.date
Time = dt.time
Timestamp = dt.datetime
Binary = bytes


def DateFromTicks(ticks: float) -> dt.date:  # noqa: N802 - PEP 249 gives the name
    """Return the local date of a moment in seconds since the epoch."""
    return TimestampFromTicks(ticks).date()


def TimeFromTicks(ticks: float) -> dt.time:  # noqa: N802 - PEP 249 gives the name
    """Return the local time of a moment in seconds since the epoch."""
    return TimestampFromTicks(ticks).time()


def TimestampFromTicks(ticks: float) -> dt.datetime:  # noqa: N802 - PEP 249 gives the name
    """Return the local date and time of a moment in seconds since the epoch."""
    return dt.datetime.fromtimestamp(ticks)


class TypeObject:
    """A kind of column: equal to the type code of each column of that kind.

    Parameters
    ----------
    types
        DuckDB's types of this kind, without what they may have in brackets.
    """

    def __init__(self, name: str, *types: str) -> None:
        self.name = name
        self.types = frozenset(types)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, str):
            return _family(other) in self.types
        return self is other

    def __hash__(self) -> int:
        return hash(self.name)

    def __repr__(self) -> str:
        return self.name


STRING = TypeObject("STRING", "VARCHAR", "ENUM", "JSON", "UUID")
BINARY = TypeObject("BINARY", "BLOB", "BIT")
NUMBER = TypeObject(
    "NUMBER",
    "BOOLEAN",
    *(f"{sign}{size}INT" for sign in ("", "U") for size in ("TINY", "SMALL", "BIG", "HUGE")),
    "INTEGER",
    "UINTEGER",
    "BIGNUM",
    "FLOAT",
    "DOUBLE",
    "DECIMAL",
)
DATETIME = TypeObject(
    "DATETIME",
    "DATE",
    "TIME",
    "TIME_NS",
    "TIME WITH TIME ZONE",
    "TIMESTAMP",
    "TIMESTAMP_S",
    "TIMESTAMP_MS",
    "TIMESTAMP_NS",
    "TIMESTAMP WITH TIME ZONE",
    "INTERVAL",
)
ROWID = TypeObject("ROWID")
"""No column is of this kind: rows of Parquet files have no number of their own."""

_DECIMAL = re.compile(r"DECIMAL\((\d+),\s*(\d+)\)")
_NESTED = re.compile(r"\[\d*\]$")
_DIGITS = {
    "TINYINT": 3,
    "SMALLINT": 5,
    "INTEGER": 10,
    "BIGINT": 19,
    "HUGEINT": 39,
    "UTINYINT": 3,
    "USMALLINT": 5,
    "UINTEGER": 10,
    "UBIGINT": 20,
    "UHUGEINT": 39,
}


class ColumnDescription(NamedTuple):
    """A column of an answer, as PEP 249 describes it.

    ``type_code`` is DuckDB's name of the type, and equal to one of ``STRING``, ``BINARY``,
    ``NUMBER`` and ``DATETIME`` unless the type is nested. ``precision`` and ``scale`` are digits,
    of exact numbers only.
    """

    name: str
    type_code: str
    display_size: int | None
    internal_size: int | None
    precision: int | None
    scale: int | None
    null_ok: bool | None


def described(name: str, type_: str) -> ColumnDescription:
    """Return the description of a column. Any column of an answer may hold NULL."""
    precision, scale = None, None
    if found := _DECIMAL.fullmatch(type_):
        precision, scale = int(found[1]), int(found[2])
    elif type_ in _DIGITS:
        precision, scale = _DIGITS[type_], 0
    return ColumnDescription(name, type_, None, None, precision, scale, True)


def _family(type_: str) -> str:
    """Return a type without its brackets; a list is of no kind, whatever is in it."""
    return "" if _NESTED.search(type_) else type_.partition("(")[0]
