"""Tables whose row groups hold disjoint ranges of a key can be joined range by range in place.

A task that takes the key range [a, b) reads the row groups whose footers overlap it, behind a
filter on the range: the filter makes it right, the footers make it cheap. Two tables cut at the
same bounds meet in the same tasks without an exchange.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from starling_py.operators.plan import Delivery
from starling_py.planner.algebra import Node, RangeCut, Scan, StageRead, rewrite, walk
from starling_py.planner.expressions import Column, Expression
from starling_py.planner.fragments import Fragment, Spread
from starling_py.planner.names import quoted
from starling_py.planner.tables import ColumnSource
from starling_py.planner.types import INTEGERS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starling_py.planner.footers import Footers
    from starling_py.planner.pruning import KeptRowGroup

__all__ = ["Extent", "common_bounds", "extents", "range_conditions", "ranged", "share_of_ranges"]

_MOST_READ = 1.5
"""How much more bytes than there are the tasks may read together."""
_MOST_SKEW = 2.0
"""How much more than the average one task may read."""


@dataclass(frozen=True, slots=True)
class Extent:
    """The key range of one row group, and its bytes."""

    low: int
    high: int
    bytes: int


def extents(fragment: Fragment, key: Expression, footers: Footers) -> tuple[Extent, ...] | None:
    """Return the key ranges of what a fragment's tasks share, or ``None`` where it has none.

    That is a column of the one scan that the tasks share, of an integer type, with its range
    known for every row group.
    """
    if fragment.spread is not Spread.SPLIT or not isinstance(key, Column):
        return None
    scan = _shared_scan(fragment.node)
    if scan is None or key.type not in INTEGERS:
        return None
    item = next((item for item in scan.scanned if item.name == key.name), None)
    if item is None or item.column.source is not ColumnSource.FILE:
        return None
    ranges = scan.table.column_ranges(item.column.name)
    found = []
    for kept in footers.kept(scan):
        known = ranges[kept.index]
        if not isinstance(known.minimum, int) or not isinstance(known.maximum, int):
            return None
        found.append(Extent(known.minimum, known.maximum, kept.row_group.bytes))
    return tuple(found)


def _shared_scan(node: Node) -> Scan | None:
    """Return the only leaf whose rows the tasks share, where that is a scan."""
    scan = None
    for part in walk(node):
        match part:
            case Scan(replicated=False):
                scan = part
            case StageRead(delivery=delivery) if delivery is not Delivery.EVERYTHING:
                return None
    return scan


def common_bounds(sides: Sequence[tuple[Extent, ...]], tasks: int) -> tuple[int, ...] | None:
    """Return bounds that cut all sides into tasks of about equal bytes, or ``None``.

    The bounds are those at which the largest side's row groups begin. ``None`` means that the
    tasks would read too much twice, or too unequal shares.
    """
    largest = max(sides, key=lambda side: sum(extent.bytes for extent in side))
    total = sum(extent.bytes for extent in largest)
    if tasks < 2 or not total:
        return None
    bounds: list[int] = []
    before = 0
    for extent in sorted(largest, key=lambda extent: (extent.low, extent.high)):
        wanted = total * (len(bounds) + 1) / tasks
        # The row group begins at or behind the next share's begin, to the nearest.
        if before + extent.bytes / 2 >= wanted and (not bounds or extent.low > bounds[-1]):
            bounds.append(extent.low)
        before += extent.bytes
        if len(bounds) == tasks - 1:
            break
    if len(bounds) < tasks - 1 or not acceptable(sides, tuple(bounds)):
        return None
    return tuple(bounds)


def acceptable(sides: Sequence[tuple[Extent, ...]], bounds: tuple[int, ...]) -> bool:
    """Return whether tasks cut at ``bounds`` read little twice, and about equal shares."""
    total = 0
    shares = [0] * (len(bounds) + 1)
    for side in sides:
        for extent in side:
            total += extent.bytes
            for task in _tasks(extent.low, extent.high, bounds):
                shares[task] += extent.bytes
    return sum(shares) <= total * _MOST_READ and max(shares) <= total / len(shares) * _MOST_SKEW


def _tasks(low: int, high: int, bounds: tuple[int, ...]) -> range:
    """Return the tasks whose ranges hold some of the values from ``low`` to ``high``."""
    return range(bisect_right(bounds, low), bisect_right(bounds, high) + 1)


def ranged(fragment: Fragment, key: Column, bounds: tuple[int, ...]) -> Fragment:
    """Return the fragment with its shared scan cut at bounds of a key."""
    scan = _shared_scan(fragment.node)

    def change(node: Node) -> Node:
        return replace(node, cut=RangeCut(key.name, bounds)) if node is scan else node

    return Fragment(
        rewrite(fragment.node, change),
        Spread.RANGED,
        len(bounds) + 1,
        (frozenset((key,)),),
        bounds,
    )


def share_of_ranges(
    scan: Scan, cut: RangeCut, kept: Sequence[KeptRowGroup]
) -> tuple[tuple[KeptRowGroup, ...], ...]:
    """Return for each task those of the kept row groups that may hold rows of its range."""
    item = next(item for item in scan.scanned if item.name == cut.column)
    ranges = scan.table.column_ranges(item.column.name)
    shares: list[list[KeptRowGroup]] = [[] for _ in range(len(cut.bounds) + 1)]
    for row_group in kept:
        known = ranges[row_group.index]
        tasks = set(range(len(shares)))
        if isinstance(known.minimum, int) and isinstance(known.maximum, int):
            tasks = set(_tasks(known.minimum, known.maximum, cut.bounds))
        if known.nulls != 0:
            # The first task takes the NULLs, which no range shows.
            tasks.add(0)
        for task in sorted(tasks):
            shares[task].append(row_group)
    return tuple(map(tuple, shares))


def range_conditions(cut: RangeCut) -> tuple[str, ...]:
    """Return for each task the SQL condition on its rows; each row passes exactly one of them."""
    name = quoted(cut.column)
    first, *_ = cut.bounds
    conditions = [f"({name} < {first} OR {name} IS NULL)"]
    conditions += [
        f"({name} >= {low} AND {name} < {high})"
        for low, high in zip(cut.bounds, cut.bounds[1:], strict=False)
    ]
    return (*conditions, f"{name} >= {cut.bounds[-1]}")
