"""What the planner reads out of footers, each thing once: facts of columns, row groups to read."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from starling_py.planner.pruning import KeptRowGroup, kept_row_groups
from starling_py.planner.types import estimated_width

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from starling_py.planner.algebra import Scan
    from starling_py.planner.tables import Table

__all__ = ["ColumnFacts", "FactsByTable", "Footers", "number"]

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


class FactsByTable:
    """Facts of columns, kept for as long as the catalog keeps the table."""

    def __init__(self) -> None:
        self._known: MutableMapping[Table, dict[str, ColumnFacts]] = WeakKeyDictionary()

    def column(self, table: Table, name: str, type_: str) -> ColumnFacts:
        """Return the facts of a column of the files."""
        known = self._known.setdefault(table, {})
        if name not in known:
            known[name] = _facts(table, name, type_)
        return known[name]


class Footers:
    """What one plan asks of footers."""

    def __init__(self, facts: FactsByTable | None = None) -> None:
        self._facts = facts or FactsByTable()
        self._kept: dict[int, tuple[Scan, tuple[KeptRowGroup, ...]]] = {}

    def column(self, table: Table, name: str, type_: str) -> ColumnFacts:
        """Return the facts of a column of the files."""
        return self._facts.column(table, name, type_)

    def kept(self, scan: Scan) -> tuple[KeptRowGroup, ...]:
        """Return the row groups that a scan must read."""
        known = self._kept.get(id(scan))
        if known is None:
            # The scan is kept too, so that its id cannot be taken by another one.
            known = self._kept[id(scan)] = (scan, kept_row_groups(scan))
        return known[1]


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
