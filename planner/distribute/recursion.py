"""Recursive CTEs: one task repeats the step; what it reads besides is computed before by others."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from starling_py.planner.algebra import CteRead, Node, Recursive, Values, inputs, walk, with_inputs
from starling_py.planner.fragments import Fragment, Spread

if TYPE_CHECKING:
    from starling_py.planner.distribute.context import Context

__all__ = ["place_recursive"]


def place_recursive(node: Recursive, context: Context) -> Fragment:
    """Return the fragment of a recursive CTE."""
    anchor = context.moves.gathered(context.place(node.anchor))
    step = _composed(node.step, frozenset((node.cte,)), context)
    made = replace(node, anchor=anchor.node, step=step)
    return Fragment(made, Spread.ONE, 1, alone="a recursive CTE")


def _composed(node: Node, recursions: frozenset[int], context: Context) -> Node:
    """Return the node for the task that repeats it, over reads of what does not change."""
    if isinstance(node, Recursive):
        recursions |= {node.cte}
    if any(isinstance(part, CteRead) and part.cte in recursions for part in walk(node)):
        return with_inputs(
            node, tuple(_composed(child, recursions, context) for child in inputs(node))
        )
    fragment = context.place(node)
    if isinstance(fragment.node, Values):
        return fragment.node
    # Read once: a scan in the statement would be repeated with it.
    return context.moves.whole(fragment).node
