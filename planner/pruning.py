"""Row groups that cannot hold a row are not read: footer statistics against a scan's conditions.

A row group is left out only when the statistics prove it; anything unknown keeps it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

from starling_py.planner.expressions import Call, Column, Expression, Literal
from starling_py.planner.tables import ColumnRange, ColumnSource, DataFile, RowGroup
from starling_py.planner.types import INTEGERS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starling_py.planner.algebra import Scan

__all__ = ["KeptRowGroup", "kept_row_groups"]

_UNKNOWN = ColumnRange(None, None, None)


@dataclass(frozen=True, slots=True)
class KeptRowGroup:
    """A row group that must be read; ``index`` counts the row groups of all files."""

    index: int
    file: DataFile
    row_group: RowGroup


def kept_row_groups(scan: Scan) -> tuple[KeptRowGroup, ...]:
    """Return the row groups that may hold a row for which the scan's conditions hold."""
    table = scan.table
    names = {name for c in scan.conditions for name in _compared(c)}
    scanned = {item.name: item.column for item in scan.scanned if item.name in names}
    from_footers = {
        name: table.column_ranges(column.name)
        for name, column in scanned.items()
        if column.source is ColumnSource.FILE
    }
    hive = [c.name for c in table.columns if c.source is ColumnSource.HIVE]
    kept = []
    at = 0
    for file in table.files:
        constants = {
            name: _constant_range(file.hive[hive.index(column.name)], column.type)
            for name, column in scanned.items()
            if column.source is ColumnSource.HIVE
        }
        for row_group in file.row_groups:
            ranges = {name: known[at] for name, known in from_footers.items()} | constants
            if all(_possible(condition, ranges) for condition in scan.conditions):
                kept.append(KeptRowGroup(at, file, row_group))
            at += 1
    return tuple(kept)


def _compared(condition: Expression) -> set[str]:
    match condition:
        case Call(name="AND" | "OR", arguments=parts):
            return {name for part in parts for name in _compared(part)}
        case Call(arguments=(Column(name=name), *_)):
            return {name}
    return set()


def _constant_range(text: str | None, type_: str) -> ColumnRange:
    if text is None:
        return ColumnRange(None, None, 1)
    value: object | None = None
    try:
        if type_ in INTEGERS:
            value = int(text)
        elif type_ == "VARCHAR":
            value = text
        elif type_ == "DATE":
            value = (date.fromisoformat(text) - date(1970, 1, 1)).days
    except ValueError:
        value = None
    return ColumnRange(value, value, 0)


def _possible(condition: Expression, ranges: Mapping[str, ColumnRange]) -> bool:
    """Return whether a row of these ranges may pass."""
    match condition:
        case Call(name="AND", arguments=parts):
            return all(_possible(part, ranges) for part in parts)
        case Call(name="OR", arguments=parts):
            return any(_possible(part, ranges) for part in parts)
        case Call(name="IS NULL", arguments=(Column(name=name),)):
            return ranges.get(name, _UNKNOWN).nulls != 0
        case Call(name="IN", arguments=(Column() as column, *values)):
            return any(_may_equal(column, value, ranges) for value in values)
        case Call(name="=", arguments=(Column() as column, value)):
            return _may_equal(column, value, ranges)
        case Call(name=name, arguments=(Column() as column, Literal() as value)):
            return _may_compare(name, column, value, ranges)
    return True


def _may_equal(column: Column, value: Expression, ranges: Mapping[str, ColumnRange]) -> bool:
    return _may_compare("<=", column, value, ranges) and _may_compare(">=", column, value, ranges)


def _may_compare(
    operator: str, column: Column, value: Expression, ranges: Mapping[str, ColumnRange]
) -> bool:
    known = ranges.get(column.name, _UNKNOWN)
    if not isinstance(value, Literal) or value.value is None or value.type != column.type:
        return True
    low, high, bound = known.minimum, known.maximum, value.value
    if low is None or high is None or type(low) is not type(bound):
        return True
    match operator:
        case "<":
            return bool(low < bound)  # type: ignore[operator]  # both are of one comparable type
        case "<=":
            return bool(low <= bound)  # type: ignore[operator]  # both are of one comparable type
        case ">":
            return bool(high > bound)  # type: ignore[operator]  # both are of one comparable type
        case ">=":
            return bool(high >= bound)  # type: ignore[operator]  # both are of one comparable type
    return True
