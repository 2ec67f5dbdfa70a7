"""Set operations: members side by side, or partitioned by all columns."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from starling_py.operators.plan import Delivery
from starling_py.planner.algebra import SetKind, SetOperation, StageRead, outputs
from starling_py.planner.fragments import Fragment, Spread
from starling_py.planner.types import is_hashable

if TYPE_CHECKING:
    from starling_py.planner.distribute.context import Context

__all__ = ["place_set_operation", "united"]


def place_set_operation(node: SetOperation, context: Context, *, in_order: bool) -> Fragment:
    """Return the fragment of a set operation; ``in_order`` is as in :class:`Place`."""
    moves = context.moves
    members = [context.place(child, in_order=in_order) for child in node.inputs]
    if not any(member.is_parallel for member in members):
        gathered = [moves.gathered(member) for member in members]
        together = replace(node, inputs=tuple(member.node for member in gathered))
        return Fragment(together, Spread.ONE, 1)
    if node.kind is SetKind.UNION:
        return united(node, members, context, in_order=in_order)
    if not all(is_hashable(column.type) for column in node.columns):
        moved = [moves.whole(member) for member in members]
    else:
        moved = [moves.hashed(member, outputs(member.node)) for member in members]
    together = replace(node, inputs=tuple(member.node for member in moved))
    first = moved[0]
    if first.spread is not Spread.HASHED:
        return Fragment(together, Spread.ONE, 1)
    keys = tuple(frozenset((column,)) for column in node.columns)
    return Fragment(together, Spread.HASHED, first.tasks, keys)


def united(
    node: SetOperation, members: list[Fragment], context: Context, *, in_order: bool
) -> Fragment:
    """Return UNION ALL: each member a stage, read piece by piece, or whole to keep order."""
    moves = context.moves
    delivery = Delivery.EVERYTHING if in_order else Delivery.ALIGNED
    reads = [moves.read(moves.close(m), delivery, outputs(m.node)) for m in members]
    together = replace(node, inputs=tuple(read.node for read in reads))
    if in_order:
        return Fragment(together, Spread.ONE, 1)
    # A member of one task is read by the first task; the others get none of it.
    aligned = [replace(r.node, delivery=delivery) for r in reads if isinstance(r.node, StageRead)]
    together = replace(node, inputs=tuple(aligned))
    return Fragment(together, Spread.SPLIT, max(read.tasks for read in reads))
