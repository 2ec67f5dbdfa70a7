"""Joins: both sides are placed, and moved as the cheapest right way says."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from starling_py.planner.algebra import Condition, Join, JoinKind, Node
from starling_py.planner.clustering import ranged
from starling_py.planner.expressions import Column, Expression
from starling_py.planner.fragments import Fragment, Spread
from starling_py.planner.placement import Choice, JoinPlacement, Way

if TYPE_CHECKING:
    from starling_py.planner.distribute.context import Context

__all__ = ["place_join"]


def place_join(node: Join, context: Context) -> Fragment:
    """Return the fragment of a join."""
    moves, estimator = context.moves, context.estimator
    if node.kind is JoinKind.POSITIONAL:
        return _by_position(node, context)
    left = context.place(node.left)
    right = context.place(node.right)
    placement = JoinPlacement(
        node,
        left,
        right,
        estimator.estimate(node.left),
        estimator.estimate(node.right),
        estimator.estimate(_reducing(node, node.right, node.left)),
        context.footers,
        context.sizing,
    )
    chosen = placement.choose()
    match chosen.way:
        case Way.IN_PLACE:
            left, right = moves.read_once(left, right), moves.read_once(right, left)
        case Way.REPLICATE_RIGHT:
            right = moves.whole(right) if right.spread is not Spread.EVERY else right
        case Way.REPLICATE_LEFT:
            left = moves.whole(left) if left.spread is not Spread.EVERY else left
        case Way.GATHER:
            left, right = moves.gathered(left), moves.gathered(right)
        case Way.HASH:
            left, right = _hash_sides(context, left, right, placement, chosen)
        case Way.RANGE:
            left = _cut(left, chosen.left_keys, chosen.bounds)
            right = _cut(right, chosen.right_keys, chosen.bounds)
    joined = replace(node, left=left.node, right=right.node)
    made = placement.result(joined, left, right, chosen)
    if chosen.way is Way.GATHER and len(placement.ways()) == 1:
        return replace(made, alone=f"{node.kind} JOIN without equal keys")
    return made


def _by_position(node: Join, context: Context) -> Fragment:
    """Return the rows of both sides, in their order, side by side in one task."""
    sides = [context.place(side, in_order=True) for side in (node.left, node.right)]
    parallel = any(side.is_parallel for side in sides)
    left, right = map(context.moves.gathered, sides)
    reason = "POSITIONAL JOIN" if parallel else ""
    return Fragment(replace(node, left=left.node, right=right.node), Spread.ONE, 1, alone=reason)


def _hash_sides(
    context: Context, left: Fragment, right: Fragment, placement: JoinPlacement, chosen: Choice
) -> tuple[Fragment, Fragment]:
    moves = context.moves
    if chosen.left_keys:
        nulls = placement.preserves_left and chosen.left_nulls
        moved = moves.hashed(left, chosen.left_keys, spread_nulls=nulls)
        if chosen.reduces_right:
            # The same stage's rows, once by hash and once whole.
            whole = moves.whole_again(moved.node, left)
            right = right.over(_reducing(placement.join, right.node, whole.node))
        left = moved
    if chosen.right_keys:
        nulls = placement.preserves_right and chosen.right_nulls
        right = moves.hashed(right, chosen.right_keys, spread_nulls=nulls)
    return left, right


def _cut(fragment: Fragment, keys: tuple[Expression, ...], bounds: tuple[int, ...]) -> Fragment:
    for key in keys:
        if isinstance(key, Column):
            return ranged(fragment, key, bounds)
    return fragment


def _reducing(node: Join, right: Node, left: Node) -> Join:
    """Return the right side's rows that some left row equals in its keys."""
    conditions = tuple(Condition(c.right, c.operator, c.left) for c in node.conditions if c.equates)
    return Join(right, left, JoinKind.SEMI, conditions)
