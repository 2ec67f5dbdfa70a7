"""Row groups that cannot hold a row are not read: footer statistics against a scan's conditions.

A row group is left out only when the statistics prove it; anything unknown keeps it. Conditions
are worked through one by one over all row groups, of which a large table has many.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from itertools import compress
from operator import ge, gt, le, lt, ne
from typing import TYPE_CHECKING, Any

from starling_py.planner.expressions import Call, Column, Expression, Literal
from starling_py.planner.tables import ColumnRange, ColumnSource
from starling_py.planner.types import INTEGERS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from starling_py.planner.algebra import Scan
    from starling_py.planner.tables import DataFile, RowGroup, Table, TableColumn

__all__ = ["KeptRowGroup", "kept_row_groups", "row_groups"]

Mask = list[bool]
"""For each row group, whether it may hold a row that passes."""

_BY_MINIMUM: dict[str, Callable[[Any, Any], bool]] = {"<": lt, "<=": le}
_BY_MAXIMUM: dict[str, Callable[[Any, Any], bool]] = {">": gt, ">=": ge}


@dataclass(frozen=True, slots=True)
class KeptRowGroup:
    """A row group that must be read; ``index`` counts the row groups of all files."""

    index: int
    file: DataFile
    row_group: RowGroup


def row_groups(table: Table) -> tuple[KeptRowGroup, ...]:
    """Return all row groups of a table, in order."""
    pairs = ((file, row_group) for file in table.files for row_group in file.row_groups)
    return tuple(KeptRowGroup(at, *pair) for at, pair in enumerate(pairs))


def kept_row_groups(scan: Scan, every: Sequence[KeptRowGroup]) -> tuple[KeptRowGroup, ...]:
    """Return those of a table's row groups that may hold a row for which the conditions hold."""
    prover = _Prover(scan, every)
    masks = [mask for c in scan.conditions if (mask := prover.mask(c)) is not None]
    if not masks:
        return tuple(every)
    return tuple(compress(every, map(all, zip(*masks, strict=True))))


class _Prover:
    def __init__(self, scan: Scan, every: Sequence[KeptRowGroup]) -> None:
        self._table = scan.table
        self._every = every
        # A row group with as many NULLs holds nothing else.
        self._rows = [item.row_group.rows for item in every]
        self._columns = {item.name: item.column for item in scan.scanned}
        self._hive = [c.name for c in scan.table.columns if c.source is ColumnSource.HIVE]

    def mask(self, condition: Expression) -> Mask | None:
        """Return the mask of a condition, or ``None`` where it proves nothing."""
        match condition:
            case Call(name="AND", arguments=parts):
                known = [mask for part in parts if (mask := self.mask(part)) is not None]
                return _together(all, known) if known else None
            case Call(name="OR", arguments=parts):
                masks = [self.mask(part) for part in parts]
                known = [mask for mask in masks if mask is not None]
                return _together(any, known) if len(known) == len(masks) else None
            case Call(name="IS NULL", arguments=(Column() as column,)):
                ranges = self._ranges(column)
                return None if ranges is None else [r.nulls != 0 for r in ranges]
            case Call(name="IS NOT NULL", arguments=(Column() as column,)):
                ranges = self._ranges(column)
                return (
                    None if ranges is None else list(map(ne, self._rows, (r.nulls for r in ranges)))
                )
            case Call(name="IN", arguments=(Column() as column, *values)):
                return self._equal(column, values)
            case Call(name="=", arguments=(Column() as column, value)):
                return self._equal(column, (value,))
            case Call(name=name, arguments=(Column() as column, Literal() as value)):
                return self._compared(name, column, value)
        return None

    def _equal(self, column: Column, values: Iterable[Expression]) -> Mask | None:
        masks = []
        for value in values:
            if not isinstance(value, Literal):
                return None
            low, high = self._compared("<=", column, value), self._compared(">=", column, value)
            if low is None or high is None:
                return None
            masks.append(_together(all, [low, high]))
        return _together(any, masks) if masks else None

    def _compared(self, operator: str, column: Column, value: Literal) -> Mask | None:
        bound = value.value
        ranges = self._ranges(column)
        if ranges is None or bound is None or value.type != column.type:
            return None
        kind = type(bound)
        if (holds := _BY_MINIMUM.get(operator)) is not None:
            return [
                holds(r.minimum, bound) if type(r.minimum) is kind else r.nulls != rows
                for r, rows in zip(ranges, self._rows, strict=True)
            ]
        if (holds := _BY_MAXIMUM.get(operator)) is not None:
            return [
                holds(r.maximum, bound) if type(r.maximum) is kind else r.nulls != rows
                for r, rows in zip(ranges, self._rows, strict=True)
            ]
        return None

    def _ranges(self, column: Column) -> Sequence[ColumnRange] | None:
        scanned = self._columns.get(column.name)
        if scanned is None or scanned.source is ColumnSource.ROW_NUMBER:
            return None
        if scanned.source is ColumnSource.FILE:
            return self._table.column_ranges(scanned.name)
        return self._of_folders(scanned)

    def _of_folders(self, column: TableColumn) -> list[ColumnRange]:
        at = self._hive.index(column.name)
        known: dict[str, ColumnRange] = {}
        ranges = []
        for item, rows in zip(self._every, self._rows, strict=True):
            text = item.file.hive[at]
            if text is None:
                ranges.append(ColumnRange(None, None, rows))
                continue
            if text not in known:
                known[text] = _constant_range(text, column.type)
            ranges.append(known[text])
        return ranges


def _together(how: Callable[[Iterable[bool]], bool], masks: Sequence[Mask]) -> Mask:
    if len(masks) == 1:
        return masks[0]
    return [how(bits) for bits in zip(*masks, strict=True)]


def _constant_range(text: str, type_: str) -> ColumnRange:
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
