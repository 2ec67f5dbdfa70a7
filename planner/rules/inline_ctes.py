"""A common table expression with one reader goes where it is read, one without goes away."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from starling_py.planner.algebra import (
    CteRead,
    Named,
    Node,
    Plan,
    Project,
    outputs,
    rewrite,
    walk,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starling_py.planner.footers import Footers

__all__ = ["inline_ctes"]


def inline_ctes(plan: Plan, _: Footers) -> Plan:
    """Return the plan with only those CTEs that have several readers.

    One that a user declares MATERIALIZED and reads once is inlined too: it still runs once.
    """
    readers = Counter(_reads(plan.root))
    # Later definitions read earlier ones; one that nobody reads is no reader either.
    for number, definition in reversed(plan.ctes):
        if readers[number]:
            readers.update(_reads(definition))
    kept: list[tuple[int, Node]] = []
    inlined: dict[int, Node] = {}

    def put_in(node: Node) -> Node:
        if isinstance(node, CteRead) and node.cte in inlined:
            return _renamed(inlined[node.cte], node)
        return node

    for number, definition in plan.ctes:
        made = rewrite(definition, put_in)
        if readers[number] == 1:
            inlined[number] = made
        elif readers[number] > 1:
            kept.append((number, made))
    return Plan(tuple(kept), rewrite(plan.root, put_in))


def _reads(root: Node) -> Iterator[int]:
    return (node.cte for node in walk(root) if isinstance(node, CteRead))


def _renamed(definition: Node, read: CteRead) -> Node:
    """Return the definition under the reader's names."""
    pairs = zip(read.columns, outputs(definition), strict=True)
    return Project(definition, tuple(Named(new.name, old) for new, old in pairs))
