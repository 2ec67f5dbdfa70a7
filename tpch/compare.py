"""Are two answers to one query the same? The rules, and the first difference in words.

Names and types must be equal. Rows are compared with the columns of ORDER BY in sequence; rows
that tie on them, and all rows of a query without ORDER BY, are compared as multisets. Integers,
decimals, text and dates are compared exactly, floats to a relative 1e-9; NaN equals NaN and NULL
equals NULL. Where a LIMIT cuts through rows that tie, any of the tied rows may be in the answer.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import pyarrow as pa

__all__ = ["RELATIVE_TOLERANCE", "Answer", "Row", "answer", "difference"]

RELATIVE_TOLERANCE = 1e-9

# Above this many rows that are equal but for their floats, sorting alone pairs them.
MATCHED_ONE_BY_ONE = 2_000

Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """A query's answer: column names, DuckDB types as DESCRIBE spells them, rows in order."""

    names: tuple[str, ...]
    types: tuple[str, ...]
    rows: tuple[Row, ...]


def answer(table: pa.Table, columns: Iterable[tuple[str, str]]) -> Answer:
    """Return an Arrow table as an answer whose columns have these names and DuckDB types.

    Raises
    ------
    ValueError
        The table has not as many columns as are named.
    """
    described = tuple(columns)
    if table.num_columns != len(described):
        raise ValueError(f"{table.num_columns} columns in Arrow, {len(described)} described")
    values = [_values(table.column(position), kind) for position, (_, kind) in enumerate(described)]
    rows = tuple(zip(*values, strict=True)) if values else ((),) * table.num_rows
    return Answer(tuple(name for name, _ in described), tuple(kind for _, kind in described), rows)


def difference(
    expected: Answer,
    actual: Answer,
    *,
    order: Sequence[int] = (),
    limit: int | None = None,
    unlimited: Callable[[], Answer] | None = None,
) -> str | None:
    """Return the first difference in words, or ``None`` when the answers are the same.

    Parameters
    ----------
    order
        Positions of the columns that the query orders by.
    limit
        The query's LIMIT.
    unlimited
        Gives the expected answer without the LIMIT; asked only when the rows that tie at the
        LIMIT differ.
    """
    return _columns(expected, actual) or _rows(expected, actual, order, limit, unlimited)


def _columns(expected: Answer, actual: Answer) -> str | None:
    if len(actual.names) != len(expected.names):
        return f"{len(actual.names)} columns, expected {len(expected.names)}"
    pairs = zip(expected.names, actual.names, expected.types, actual.types, strict=True)
    for position, (name, other_name, kind, other_kind) in enumerate(pairs, start=1):
        if other_name != name:
            return f"column {position} is named {other_name!r}, expected {name!r}"
        if other_kind != kind:
            return f"column {name!r} is {other_kind}, expected {kind}"
    return None


def _rows(
    expected: Answer,
    actual: Answer,
    order: Sequence[int],
    limit: int | None,
    unlimited: Callable[[], Answer] | None,
) -> str | None:
    if len(actual.rows) != len(expected.rows):
        count = f"{len(actual.rows)} rows, expected {len(expected.rows)}"
        return f"{count}: {_unmatched(expected.rows, actual.rows)}"

    def keys(row: Row) -> Row:
        return tuple(row[position] for position in order)

    for number, (row, other) in enumerate(zip(expected.rows, actual.rows, strict=True), start=1):
        for position in order:
            if not _same(row[position], other[position]):
                what = _unmatched(expected.rows, actual.rows) or "rows are out of order"
                name, value = expected.names[position], other[position]
                return f"{what}; row {number} has {name} {value!r}, expected {row[position]!r}"

    start = 0
    while start < len(expected.rows):
        stop = start + 1
        while stop < len(expected.rows) and _same(
            keys(expected.rows[stop]), keys(expected.rows[start])
        ):
            stop += 1
        found = _unmatched(expected.rows[start:stop], actual.rows[start:stop])
        if found and stop == limit and unlimited is not None:
            tied = [row for row in unlimited().rows if _same(keys(row), keys(expected.rows[start]))]
            found = _unmatched(tied, actual.rows[start:stop], subset=True)
        if found:
            return found
        start = stop
    return None


def _unmatched(expected: Sequence[Row], actual: Sequence[Row], *, subset: bool = False) -> str:
    """Name a row of one multiset without a partner in the other; empty when there is none.

    With ``subset`` only the rows of ``actual`` need partners.
    """
    left: defaultdict[Row, list[Row]] = defaultdict(list)
    right: defaultdict[Row, list[Row]] = defaultdict(list)
    for groups, rows in ((left, expected), (right, actual)):
        for row in rows:
            groups[_exact_part(row)].append(row)
    missing: Row | None = None
    surplus: Row | None = None
    for exact in left.keys() | right.keys():
        lost, extra = _pair(left[exact], right[exact])
        missing = missing or next(iter(lost), None)
        surplus = surplus or next(iter(extra), None)
    words = []
    if missing is not None and not subset:
        words.append(f"missing row {_shown(missing)}")
    if surplus is not None:
        words.append(f"unexpected row {_shown(surplus)}")
    return ", ".join(words)


def _pair(expected: list[Row], actual: list[Row]) -> tuple[list[Row], list[Row]]:
    """Return what is left of two lists of rows when each is paired with one that equals it."""
    expected, actual = sorted(expected, key=_sort_key), sorted(actual, key=_sort_key)
    if len(expected) == len(actual):
        pairs = zip(expected, actual, strict=True)
        unlike = [(row, other) for row, other in pairs if not _same(row, other)]
        if not unlike or len(unlike) > MATCHED_ONE_BY_ONE:
            return [row for row, _ in unlike], [other for _, other in unlike]
    lost: list[Row] = []
    for row in expected:
        for position, other in enumerate(actual):
            if _same(row, other):
                del actual[position]
                break
        else:
            lost.append(row)
    return lost, actual


def _same(one: Any, other: Any) -> bool:
    if type(one) is not type(other):
        return False
    if isinstance(one, float):
        return (math.isnan(one) and math.isnan(other)) or math.isclose(
            one, other, rel_tol=RELATIVE_TOLERANCE, abs_tol=0.0
        )
    if isinstance(one, (tuple, list)):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    return bool(one == other)


def _exact_part(row: Row) -> Row:
    """Return the values that two equal rows have in common to the last bit."""
    return tuple(None if isinstance(value, (float, list, dict)) else value for value in row)


def _sort_key(row: Row) -> tuple[Any, ...]:
    """Order rows whose exact parts are equal."""
    return tuple(
        (math.isnan(value), 0.0 if math.isnan(value) else value)
        if isinstance(value, float)
        else repr(value)
        for value in row
        if isinstance(value, (float, list, dict))
    )


def _values(column: pa.ChunkedArray, kind: str) -> list[Any]:
    values: list[Any] = column.to_pylist()
    if kind not in ("HUGEINT", "UHUGEINT"):
        return values
    # 128-bit integers have no Arrow type: they come as decimals or as sixteen bytes.
    return [_integer(value, signed=kind == "HUGEINT") for value in values]


def _integer(value: Any, *, signed: bool) -> Any:
    if isinstance(value, bytes):
        return int.from_bytes(value, "little", signed=signed)
    if isinstance(value, Decimal) and value == value.to_integral_value():
        return int(value)
    return value


def _shown(row: Row) -> str:
    text = ", ".join("NULL" if value is None else str(value) for value in row)
    return f"({text})" if len(text) <= 160 else f"({text[:157]}...)"
