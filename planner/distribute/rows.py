"""DISTINCT ON and samples: which rows are kept."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from starling_py.planner.distribute.groups import keys_within
from starling_py.planner.fragments import Fragment, Spread
from starling_py.planner.types import is_hashable

if TYPE_CHECKING:
    from starling_py.planner.algebra import DistinctOn, Sample
    from starling_py.planner.distribute.context import Context

__all__ = ["place_distinct_on", "place_sample"]

_ROW_BY_ROW = frozenset(("bernoulli", "system"))
"""Methods that decide on each row, or a few of them, by themselves."""


def place_distinct_on(node: DistinctOn, context: Context) -> Fragment:
    """Return the fragment of a DISTINCT ON: each task keeps the first of its rows, then all do."""
    moves = context.moves
    below = context.place(node.input)
    made = below.over(replace(node, input=below.node))
    if not below.is_parallel or keys_within(below, node.keys):
        return replace(made, spread=Spread.ONE) if made.spread is Spread.EVERY else made
    keys = [key for key in node.keys if is_hashable(key.type)]
    many = context.estimator.estimate(node).rows > context.few_groups
    moved = moves.hashed(made, keys) if keys and many else moves.whole(made)
    return moved.over(replace(node, input=moved.node))


def place_sample(node: Sample, context: Context) -> Fragment:
    """Return the fragment of a sample: in place where rows are picked one by one.

    A seed picks the same rows of the same input only where one task has it all.
    """
    below = context.place(node.input, in_order=True)
    in_place = node.percent and node.method in _ROW_BY_ROW and node.seed is None
    if below.is_parallel and not in_place:
        below = replace(context.moves.whole(below), alone=f"a {node.method} sample of all rows")
    made = below.over(replace(node, input=below.node))
    return replace(made, spread=Spread.ONE) if made.spread is Spread.EVERY else made
