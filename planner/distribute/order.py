"""ORDER BY and LIMIT: each task sorts and cuts its rows first, then one does so with the rest.

A large answer without LIMIT is sorted by ranges of its keys.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from starling_py.planner.algebra import Limit, Node, Project, Sort
from starling_py.planner.expressions import is_volatile

if TYPE_CHECKING:
    from starling_py.planner.distribute.context import Context
    from starling_py.planner.fragments import Fragment

__all__ = ["place_limit", "place_sort"]


def place_sort(
    node: Sort, limit: Limit | None, context: Context, *, in_order: bool = False
) -> Fragment:
    """Return the fragment of an ORDER BY, with the LIMIT right above it if there is one.

    Where it is the order of the answer and that is large, each task sorts a range of the keys.
    """
    moves = context.moves
    below = context.place(node.input)
    size = context.estimator.estimate(node)
    if (
        in_order
        and limit is None
        and below.is_parallel
        and node.keys
        and context.sizing.sorts_in_parallel(size.rows, size.bytes)
        and not any(is_volatile(key.expression) for key in node.keys)
    ):
        ranged = moves.ranged(below, node.keys)
        return ranged.over(Sort(ranged.node, node.keys))
    if below.is_parallel:
        if limit is not None and limit.count is not None:
            below = below.over(Limit(Sort(below.node, node.keys), _most(limit.count, limit.offset)))
        below = moves.whole(below)
    below = moves.gathered(below)
    made: Node = Sort(below.node, node.keys)
    if limit is None:
        return below.over(made)
    return _cut(limit, below.over(made))


def place_limit(node: Limit, context: Context) -> Fragment:
    """Return the fragment of a LIMIT."""
    match node.input:
        case Sort() as sort:
            return place_sort(sort, node, context)
        case Project(input=Sort() as sort, items=items):
            sorted_ = place_sort(sort, node, context)
            return sorted_.over(Project(sorted_.node, items))
    moves = context.moves
    below = context.place(node.input, in_order=True)
    if below.is_parallel:
        if node.count is not None:
            below = below.over(Limit(below.node, _most(node.count, node.offset)))
        below = moves.whole(below)
    below = moves.gathered(below)
    return _cut(node, below)


def _most(count: int, offset: int) -> int:
    """Return how many of a task's rows may be within a limit; a LIMIT is a BIGINT."""
    return min(count + offset, 2**63 - 1)


def _cut(node: Limit, below: Fragment) -> Fragment:
    """Return the limit over rows that are in one task."""
    made = below.over(replace(node, input=below.node))
    return made if node.percent is None else replace(made, alone="a LIMIT in percent")
