"""Which inputs of a stage may be split where one key holds most rows.

Tasks that split a partition each take some rows of one input and the whole partition of all
others. So every operator between that input and the stage's output must take its rows in any
division: a join must allow the other side to be replicated, a grouping must be one whose parts
meet in another stage.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from starling_py.operators.plan import Delivery
from starling_py.planner.algebra import (
    Filter,
    Group,
    Join,
    Limit,
    Project,
    Scan,
    Sort,
    StageRead,
    Values,
    walk,
)
from starling_py.planner.expressions import is_volatile
from starling_py.planner.placement import MAY_REPLICATE_LEFT, MAY_REPLICATE_RIGHT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starling_py.planner.algebra import Node

__all__ = ["splittable_reads"]

_ORDERLESS = frozenset(("avg", "count", "count_star", "max", "min", "sum", "sum_no_overflow"))
"""Aggregates that give the same in whatever order their rows come."""


def splittable_reads(node: Node) -> Iterator[StageRead]:
    """Yield the reads by partitions below a stage's node whose rows may be split."""
    match node:
        case StageRead(delivery=Delivery.PARTITIONED):
            yield node
        case Filter(input=input_) | Project(input=input_) | Group(input=input_, partial=True):
            yield from splittable_reads(input_)
        case Sort(input=input_) | Limit(input=input_):
            # In a stage of several tasks each sorts and cuts what another task sorts again.
            yield from splittable_reads(input_)
        case Join(left=left, right=right, kind=kind):
            if kind in MAY_REPLICATE_RIGHT and not _varies(right):
                yield from splittable_reads(left)
            if kind in MAY_REPLICATE_LEFT and not node.asof and not _varies(left):
                yield from splittable_reads(right)


def _varies(node: Node) -> bool:
    """Return whether two tasks that compute a node from the same rows may differ."""
    for part in walk(node):
        match part:
            case StageRead() | Scan() | Join():
                continue
            case Group(aggregates=calls) if all(c.name in _ORDERLESS for _, c in calls):
                continue
            case Filter(conditions=expressions):
                pass
            case Project(items=items):
                expressions = tuple(item.expression for item in items)
            case Values(rows=rows):
                expressions = tuple(cell for row in rows for cell in row)
            case _:
                # Ties, samples and aggregates that depend on order: not worth telling apart.
                return True
        if any(map(is_volatile, expressions)):
            return True
    return False
