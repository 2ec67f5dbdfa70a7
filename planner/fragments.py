"""Pieces of a plan that run without an exchange inside, and how their rows lie on tasks."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from starling_py.planner.algebra import (
    Filter,
    Join,
    JoinKind,
    Node,
    Project,
    Scan,
    TableCall,
    Unnest,
    Values,
    walk,
)
from starling_py.planner.expressions import Column, Expression, is_volatile

if TYPE_CHECKING:
    from starling_py.operators.task import Partitioning

__all__ = ["Draft", "Fragment", "Spread", "has_volatile_condition", "is_replicable"]


class Spread(StrEnum):
    """How a fragment's rows lie on the tasks that run it."""

    ONE = "one"
    """In one task."""
    EVERY = "every"
    """Whole in every task that takes the fragment in."""
    SPLIT = "split"
    """Each row in one of several tasks, no matter which."""
    HASHED = "hashed"
    """Each row in the task that the hash of its keys names."""
    RANGED = "ranged"
    """Each row in the task whose range its one key is in."""


@dataclass(frozen=True, slots=True)
class Fragment:
    """A piece of algebra over scans and reads of earlier stages, and the spread of its rows.

    For HASHED and RANGED, ``keys`` holds per key the expressions that all have that key's value;
    ``bounds`` are where the ranges of RANGED begin, but for the first. ``alone`` is why an operator
    of it must have all rows in one task, where one must.
    """

    node: Node
    spread: Spread
    tasks: int
    keys: tuple[frozenset[Expression], ...] = ()
    bounds: tuple[int, ...] = ()
    alone: str = ""

    def over(self, node: Node) -> Fragment:
        """Return the fragment with an operator on top that moves no rows."""
        return replace(self, node=node)

    @property
    def is_parallel(self) -> bool:
        return self.spread in (Spread.SPLIT, Spread.HASHED, Spread.RANGED)

    @property
    def is_keyed(self) -> bool:
        return self.spread in (Spread.HASHED, Spread.RANGED)


@dataclass(slots=True)
class Draft:
    """A stage in the making: more consumers may still ask for outputs of their own."""

    number: int
    fragment: Fragment
    columns: tuple[Column, ...]
    outputs: list[Partitioning] = field(default_factory=list)

    def output(self, partitioning: Partitioning) -> int:
        """Return the number of the output with this partitioning, made if there is none yet."""
        if partitioning not in self.outputs:
            self.outputs.append(partitioning)
        return self.outputs.index(partitioning)


def has_volatile_condition(join: Join) -> bool:
    """Return whether a join may find other matches when it runs again."""
    sides = (side for c in join.conditions for side in (c.left, c.right))
    return any(map(is_volatile, (*sides, *join.residual)))


def is_replicable(node: Node) -> bool:
    """Return whether every task may compute the node for itself and get the same rows."""
    for part in walk(node):
        match part:
            case Scan(replicated=True):
                pass
            case Values(rows=rows):
                if any(is_volatile(cell) for row in rows for cell in row):
                    return False
            case Filter(conditions=conditions):
                if any(map(is_volatile, conditions)):
                    return False
            case Project(items=items):
                if any(is_volatile(item.expression) for item in items):
                    return False
            case Unnest():
                if any(map(is_volatile, part.expressions())):
                    return False
            case TableCall():
                pass
            case Join(kind=kind):
                if has_volatile_condition(part):
                    return False
                if kind in (JoinKind.MARK, JoinKind.SINGLE, JoinKind.POSITIONAL):
                    return False
            case _:
                return False
    return True
