"""What the planner reads out of footers, each thing once: facts of columns, row groups to read."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from starling_py.planner.pruning import KeptRowGroup, kept_row_groups, row_groups
from starling_py.planner.types import estimated_width

if TYPE_CHECKING:
    from collections.abc import MutableMapping, Sequence

    from starling_py.planner.algebra import Scan
    from starling_py.planner.tables import ColumnRange, Table

__all__ = ["ColumnFacts", "Extent", "Extents", "FactsByTable", "Footers", "number"]

_MOST_BITS = 20.0


@dataclass(frozen=True, slots=True)
class ColumnFacts:
    """What is thought of a column: distinct values, range, whether NULL may occur, bytes a value.

    ``origin`` is the number of rows of the table that the values come from.
    """

    distinct: float
    low: float | None
    high: float | None
    nullable: bool
    origin: float
    width: float


@dataclass(frozen=True, slots=True)
class Extent:
    """The range of an integer column in one row group, and the row group's bytes.

    ``begins_file`` tells whether the row group is the first of its file.
    """

    low: int
    high: int
    bytes: int
    begins_file: bool = False


Extents = tuple[Extent, ...]


class FactsByTable:
    """What footers say of tables, kept for as long as the catalog keeps the table."""

    def __init__(self) -> None:
        self._known: MutableMapping[Table, dict[str, ColumnFacts]] = WeakKeyDictionary()
        self._row_groups: MutableMapping[Table, tuple[KeptRowGroup, ...]] = WeakKeyDictionary()
        self._extents: MutableMapping[Table, dict[str, Extents | None]] = WeakKeyDictionary()

    def column(self, table: Table, name: str, type_: str) -> ColumnFacts:
        """Return the facts of a column of the files."""
        known = self._known.setdefault(table, {})
        if name not in known:
            known[name] = _facts(table, name, type_)
        return known[name]

    def row_groups(self, table: Table) -> tuple[KeptRowGroup, ...]:
        """Return all row groups of a table."""
        if table not in self._row_groups:
            self._row_groups[table] = row_groups(table)
        return self._row_groups[table]

    def extents(self, table: Table, name: str) -> Extents | None:
        """Return the extents of all row groups in an integer column, or ``None`` if unknown."""
        known = self._extents.setdefault(table, {})
        if name not in known:
            known[name] = _extents(table.column_ranges(name), self.row_groups(table))
        return known[name]


class Footers:
    """What one plan asks of footers."""

    def __init__(self, facts: FactsByTable | None = None) -> None:
        self._facts = facts or FactsByTable()
        self._kept: dict[int, tuple[Scan, tuple[KeptRowGroup, ...]]] = {}

    def column(self, table: Table, name: str, type_: str) -> ColumnFacts:
        """Return the facts of a column of the files."""
        return self._facts.column(table, name, type_)

    def extents(self, table: Table, name: str) -> Extents | None:
        """Return the extents of all row groups in an integer column, or ``None`` if unknown."""
        return self._facts.extents(table, name)

    def kept(self, scan: Scan) -> tuple[KeptRowGroup, ...]:
        """Return the row groups that a scan must read."""
        known = self._kept.get(id(scan))
        if known is None:
            # The scan is kept too, so that its id cannot be taken by another one.
            every = self._facts.row_groups(scan.table)
            known = self._kept[id(scan)] = (scan, kept_row_groups(scan, every))
        return known[1]


def _extents(ranges: Sequence[ColumnRange], every: Sequence[KeptRowGroup]) -> Extents | None:
    found = []
    for known, item in zip(ranges, every, strict=True):
        if not isinstance(known.minimum, int) or not isinstance(known.maximum, int):
            return None
        row_group = item.row_group
        begins = row_group.first_row == 0
        found.append(Extent(known.minimum, known.maximum, row_group.bytes, begins))
    return tuple(found)


def _facts(table: Table, name: str, type_: str) -> ColumnFacts:
    rows = float(sum(file.rows for file in table.files))
    ranges = table.column_ranges(name)
    bytes_per_row = table.column_bytes(name) / rows if rows else 0.0
    lows = [number(item.minimum) for item in ranges]
    highs = [number(item.maximum) for item in ranges]
    low = min((n for n in lows if n is not None), default=None)
    high = max((n for n in highs if n is not None), default=None)
    if None in lows or None in highs:
        low = high = None
    distinct = max(rows, 1.0)
    # A dictionary needs log2(distinct) bits a value, so few bits mean few values.
    bits = 8.0 * bytes_per_row
    if 0.0 < bits < _MOST_BITS:
        distinct = min(distinct, 2.0**bits + 1.0)
    if low is not None and high is not None:
        step = 0.01 if type_.startswith("DECIMAL") else 1.0
        distinct = min(distinct, (high - low) / step + 1.0)
    width = max(float(estimated_width(type_)), bytes_per_row)
    nullable = not all(item.nulls == 0 for item in ranges)
    return ColumnFacts(distinct, low, high, nullable, rows, width)


def number(value: object) -> float | None:
    """Return a comparable value as a number, or ``None``."""
    if isinstance(value, bool) or not isinstance(value, (int, float, Decimal)):
        return None
    return float(value)
