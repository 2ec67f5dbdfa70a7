"""Tables whose row groups hold disjoint ranges of a key can be joined range by range in place.

A task that takes the key range [a, b) reads the row groups whose footers overlap it, behind a
filter on the range: the filter makes it right, the footers make it cheap. Two tables cut at the
same bounds meet in the same tasks without an exchange.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from starling_py.operators.plan import Delivery
from starling_py.operators.quoting import identifier
from starling_py.planner.algebra import Node, RangeCut, Scan, StageRead, rewrite, walk
from starling_py.planner.expressions import Column, Expression
from starling_py.planner.fragments import Fragment, Spread
from starling_py.planner.tables import ColumnSource
from starling_py.planner.types import INTEGERS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starling_py.planner.footers import Extent, Extents, Footers
    from starling_py.planner.pruning import KeptRowGroup

__all__ = ["common_bounds", "extents", "ranged", "share_of_ranges"]

_MOST_READ = 1.5
"""How much more bytes than there are the tasks may read together."""
_OFF_FOR_FILE = 0.35
"""How much of a share a bound may be off to be where a file begins."""
_MOST_SKEW = 2.0
"""How much more than the average one task may read."""


def extents(fragment: Fragment, key: Expression, footers: Footers) -> Extents | None:
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
    every = footers.extents(scan.table, item.column.name)
    if every is None:
        return None
    return tuple(every[kept.index] for kept in footers.kept(scan))


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


def common_bounds(sides: Sequence[Extents], tasks: int) -> tuple[int, ...] | None:
    """Return bounds that cut all sides into tasks of about equal bytes, or ``None``.

    A bound is where a row group of the largest side begins, best the first one of a file: tasks
    that read whole files need no filter. ``None`` means that the tasks would read too much twice,
    or too unequal shares.
    """
    largest = max(sides, key=lambda side: sum(extent.bytes for extent in side))
    total = sum(extent.bytes for extent in largest)
    if tasks < 2 or not total:
        return None
    begins: list[int] = []
    of_files: set[int] = set()
    shares: list[float] = []
    before = 0
    for extent in sorted(largest, key=_by_low):
        if not begins or extent.low > begins[-1]:
            begins.append(extent.low)
            shares.append(before * tasks / total)
            if extent.begins_file:
                of_files.add(extent.low)
        before += extent.bytes
    bounds: list[int] = []
    for task in range(1, tasks):
        first = bisect_right(begins, bounds[-1]) if bounds else 1
        low = max(first, bisect_left(shares, task - _OFF_FOR_FILE))
        high = max(low, bisect_right(shares, task + _OFF_FOR_FILE))
        near = [at for at in range(low, high) if begins[at] in of_files]
        middle = bisect_left(shares, task)
        near = near or [at for at in (middle - 1, middle) if first <= at < len(begins)]
        if not near:
            return None
        bounds.append(begins[min(near, key=lambda at: abs(shares[at] - task))])
    return tuple(bounds) if acceptable(sides, tuple(bounds)) else None


def _by_low(extent: Extent) -> tuple[int, int]:
    return extent.low, extent.high


def acceptable(sides: Sequence[Extents], bounds: tuple[int, ...]) -> bool:
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


@dataclass(frozen=True, slots=True)
class Share:
    """The row groups of one task, and the SQL condition on their rows, or an empty one for all."""

    row_groups: tuple[KeptRowGroup, ...]
    condition: str


def share_of_ranges(scan: Scan, cut: RangeCut, kept: Sequence[KeptRowGroup]) -> tuple[Share, ...]:
    """Return each task's share of the kept row groups; each row passes exactly one condition."""
    item = next(item for item in scan.scanned if item.name == cut.column)
    ranges = scan.table.column_ranges(item.column.name)
    shares: list[list[KeptRowGroup]] = [[] for _ in range(len(cut.bounds) + 1)]
    shared = [False] * len(shares)
    for row_group in kept:
        known = ranges[row_group.index]
        tasks = set(range(len(shares)))
        if isinstance(known.minimum, int) and isinstance(known.maximum, int):
            tasks = set(_tasks(known.minimum, known.maximum, cut.bounds))
        if known.nulls != 0:
            # The first task takes the NULLs, which no range shows.
            tasks.add(0)
        for task in tasks:
            shares[task].append(row_group)
            shared[task] = shared[task] or len(tasks) > 1
    conditions = _conditions(cut)
    return tuple(
        Share(tuple(share), conditions[task] if shared[task] else "")
        for task, share in enumerate(shares)
    )


def _conditions(cut: RangeCut) -> tuple[str, ...]:
    name = identifier(cut.column)
    first, *_ = cut.bounds
    conditions = [f"({name} < {first} OR {name} IS NULL)"]
    conditions += [
        f"({name} >= {low} AND {name} < {high})"
        for low, high in zip(cut.bounds, cut.bounds[1:], strict=False)
    ]
    return (*conditions, f"{name} >= {cut.bounds[-1]}")
