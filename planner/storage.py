"""What Parquet files can carry: for each type the one that a file has in its place.

Tried with DuckDB 2.0 on the extremes of every type: HUGEINT becomes DOUBLE, INTERVAL loses its
microseconds (and negative ones fail), TIMETZ its zone; ENUM, BIT, BIGNUM, TIMESTAMP_S, TIMESTAMP_MS
and arrays keep their values and lose their type.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from starling_py.operators.task import SinkColumn
from starling_py.planner.errors import Unsupported

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from starling_py.operators.plan import ResultColumn

__all__ = ["parquet_columns", "plain_columns"]

_TOKEN = re.compile(
    r""""(?:[^"]|"")*"|'(?:[^']|'')*'|DECIMAL\(\d+,\s*\d+\)"""
    r"""|TIME(?:STAMP)? WITH TIME ZONE|\[\d*\]|\w+|[(),]|\s+"""
)
_KEPT = frozenset(
    (
        *("BOOLEAN", "TINYINT", "SMALLINT", "INTEGER", "BIGINT"),
        *("UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "FLOAT", "DOUBLE"),
        *("VARCHAR", "BLOB", "UUID", "JSON", "DATE", "TIME", "TIME_NS"),
        *("TIMESTAMP", "TIMESTAMP_NS", "TIMESTAMP WITH TIME ZONE", '"NULL"'),
    )
)
_KEPT_AS_ANOTHER = frozenset(("BIT", "BIGNUM", "TIMESTAMP_S", "TIMESTAMP_MS"))
"""DuckDB writes these as a type that holds the same values, and reads that one."""
_WIDE = frozenset(("HUGEINT", "UHUGEINT"))
_TEXT = frozenset(("INTERVAL", "TIME WITH TIME ZONE"))
_NESTED = frozenset(("STRUCT", "MAP", "UNION", "ENUM"))


def plain_columns(columns: Sequence[ResultColumn]) -> tuple[SinkColumn, ...]:
    """Return the columns of files that carry text: CSV and JSON."""
    return tuple(SinkColumn(column.name, column.type, column.type) for column in columns)


def parquet_columns(
    columns: Sequence[ResultColumn], *, restored: bool = False
) -> tuple[SinkColumn, ...]:
    """Return the columns of Parquet files that hold exactly these values.

    HUGEINT is a DECIMAL(38,0) in them; a value of 39 digits fails when it is written.

    Parameters
    ----------
    restored
        Whether whoever reads the files is told the types: then INTERVAL and TIMETZ are texts.

    Raises
    ------
    Unsupported
        For a type that Parquet cannot carry.
    """
    return tuple(
        SinkColumn(column.name, column.type, _stored(column, restored)) for column in columns
    )


def _stored(column: ResultColumn, restored: bool) -> str:
    return "".join(_parts(column, restored))


def _parts(column: ResultColumn, restored: bool) -> Iterator[str]:
    """Yield the text of the stored type, piece by piece."""
    around: list[str] = []
    names_next = False
    at = 0
    while at < len(column.type):
        found = _TOKEN.match(column.type, at)
        if found is None:
            raise _refused(column, column.type)
        word = found[0]
        at = found.end()
        if word.isspace():
            yield word
        elif word == "(":
            names_next = around[-1:] in (["STRUCT"], ["UNION"])
            yield word
        elif word == ")":
            around.pop()
            yield word
        elif word == ",":
            names_next = around[-1:] in (["STRUCT"], ["UNION"])
            yield word
        elif names_next or around[-1:] == ["ENUM"]:
            names_next = False
            yield word
        elif word in _NESTED:
            if word == "UNION":
                raise _refused(column, word)
            around.append(word)
            yield word
        else:
            yield _leaf(column, word, restored)


def _leaf(column: ResultColumn, word: str, restored: bool) -> str:
    if word in _KEPT or word in _KEPT_AS_ANOTHER or word.startswith(("[", "DECIMAL(")):
        return word
    if word in _WIDE:
        return "DECIMAL(38,0)"
    if word in _TEXT and restored:
        return "VARCHAR"
    raise _refused(column, word)


def _refused(column: ResultColumn, word: str) -> Unsupported:
    hint = "CAST it AS VARCHAR."
    if word == "UNION":
        hint = "Take its members apart, or CAST it AS VARCHAR."
    return Unsupported(
        f'Parquet files cannot carry {word} exactly: column "{column.name}" is {column.type}',
        hint=hint,
    )
