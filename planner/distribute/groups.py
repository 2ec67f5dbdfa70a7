"""Groups: in place, in two parts, or where the rows of each group come together."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from starling_py.planner.aggregates import in_two_parts
from starling_py.planner.algebra import Group, Named, Project
from starling_py.planner.clustering import common_bounds, extents, ranged
from starling_py.planner.distinct import distinct_steps
from starling_py.planner.fragments import Fragment, Spread
from starling_py.planner.types import is_hashable

if TYPE_CHECKING:
    from starling_py.planner.distinct import DistinctSteps
    from starling_py.planner.distribute.context import Context
    from starling_py.planner.expressions import Column

__all__ = ["keys_within", "place_group"]

_WORTH_GROUPING = 0.75
"""Rows are grouped before an exchange where at most this share of them should be left."""


def place_group(node: Group, context: Context, input_: Fragment | None = None) -> Fragment:
    """Return the fragment of a grouping, over ``input_`` where its input is placed already."""
    below = context.place(node.input) if input_ is None else input_
    return _grouped(node, below, context)


def _grouped(
    node: Group, below: Fragment, context: Context, *, always_early: bool = False
) -> Fragment:
    """Return the fragment of a grouping over one that is placed.

    With ``always_early``, each task groups its own rows first, whatever it gains.
    """
    moves, estimator = context.moves, context.estimator
    if not below.is_parallel or keys_within(below, node.keys):
        made = below.over(replace(node, input=below.node))
        return replace(made, spread=Spread.ONE) if made.spread is Spread.EVERY else made
    parts = [in_two_parts(call, context.names) for _, call in node.aggregates]
    before = estimator.estimate(node.input).rows
    after = estimator.estimate(node).rows
    many = bool(node.keys) and after > context.few_groups
    if after > context.few_groups:
        cut = _clustered(below, node.keys, context)
        if cut is not None:
            return cut.over(replace(node, input=cut.node))
    hashable = bool(node.keys) and all(is_hashable(key.type) for key in node.keys)
    steps = None if many else distinct_steps(node, context.names)
    if steps is not None and (hashable or not node.keys):
        return _in_steps(node, below, steps, context)
    together = any(p is None or (p.wide and many) for p in parts)
    if together or (node.keys and not always_early and after > before * _WORTH_GROUPING):
        apart = hashable and before > context.few_groups
        moved = moves.hashed(below, node.keys) if apart else moves.whole(below)
        return moved.over(replace(node, input=moved.node))
    known = [p for p in parts if p is not None]
    early = tuple(a for p in known for a in p.partial)
    partial = Group(below.node, node.keys, early, partial=True)
    producer = below.over(partial)
    apart = hashable and after > context.few_groups
    moved = moves.hashed(producer, node.keys) if apart else moves.whole(producer)
    merged = Group(moved.node, node.keys, tuple(a for p in known for a in p.merge))
    results = tuple(
        Named(name, p.result) for (name, _), p in zip(node.aggregates, known, strict=True)
    )
    if not results:
        return moved.over(merged)
    keys = tuple(Named(key.name, key) for key in node.keys)
    return moved.over(Project(merged, keys + results))


def _in_steps(node: Group, below: Fragment, steps: DistinctSteps, context: Context) -> Fragment:
    # Once for the estimates, over the plan; and once over what is placed.
    first = steps.first(steps.prepared(node.input))
    prepared = below.over(steps.prepared(below.node))
    alone = _grouped(first, prepared, context, always_early=steps.tag is not None)
    found = _grouped(steps.second(first), alone, context)
    return found.over(Project(found.node, steps.results))


def keys_within(fragment: Fragment, keys: tuple[Column, ...]) -> bool:
    """Return whether rows that agree on all of ``keys`` lie in one task."""
    if not fragment.is_keyed:
        return False
    return all(any(key in equal for key in keys) for equal in fragment.keys)


def _clustered(below: Fragment, keys: tuple[Column, ...], context: Context) -> Fragment | None:
    """Return the fragment cut by ranges of a key, if its files are clustered by one."""
    for key in keys:
        known = extents(below, key, context.footers)
        bounds = common_bounds([known], below.tasks) if known else None
        if bounds is not None:
            return ranged(below, key, bounds)
    return None
