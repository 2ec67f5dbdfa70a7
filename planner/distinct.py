"""DISTINCT aggregates of few groups: first repetitions go, in tasks that share them, then groups.

``SELECT g, count(DISTINCT x), sum(y) FROM t GROUP BY g`` becomes::

    prepared   each row twice: (g, tag 0, NULL, y) for the sum, and (g, tag 1, x, NULL)
    first      by g, tag, x: the partial sum of the rows of tag 0
    second     by g: count(x), which is NULL but for tag 1, and the sum of partial sums

Both groupings may be cut in parts like any other. With one DISTINCT argument and no plain aggregate
there are no tags.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from starling_py.planner.aggregates import NOT_REPEATED, in_two_parts
from starling_py.planner.algebra import Group, Join, JoinKind, Named, Node, Project, Values, outputs
from starling_py.planner.expressions import (
    Aggregate,
    Call,
    Case,
    Column,
    Expression,
    Literal,
    references,
)
from starling_py.planner.types import is_hashable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starling_py.planner.aggregates import TwoParts
    from starling_py.planner.names import Names

__all__ = ["DistinctSteps", "distinct_steps"]

_NULL = Literal("NULL", '"NULL"')

_MINDS_NULL = frozenset(("first", "last", "arbitrary", "list", "array_agg"))
"""Aggregates of one argument for which a NULL is a value."""


@dataclass(frozen=True, slots=True)
class DistinctSteps:
    """The two groupings that a grouping with DISTINCT aggregates is made of."""

    keys: tuple[Column, ...]
    tag: Column | None
    tags: int
    values: tuple[Named, ...]
    early: tuple[tuple[str, Aggregate], ...]
    late: tuple[tuple[str, Aggregate], ...]
    results: tuple[Named, ...]

    def prepared(self, rows: Node) -> Node:
        """Return rows with their tags, keys, values and what early aggregates read."""
        wanted = {name for _, call in self.early for name in _names(call)}
        kept = {key.name: key for key in self.keys}
        kept |= {column.name: column for column in outputs(rows) if column.name in wanted}
        if self.tag is not None:
            numbers = tuple((_number(at),) for at in range(self.tags))
            rows = Join(rows, Values((self.tag,), numbers), JoinKind.INNER, ())
            kept[self.tag.name] = self.tag
        return Project(rows, (*(Named(c.name, c) for c in kept.values()), *self.values))

    def first(self, prepared: Node) -> Group:
        """Return the grouping that takes repetitions away."""
        tags = () if self.tag is None else (self.tag,)
        return Group(
            prepared, (*self.keys, *tags, *(value.column for value in self.values)), self.early
        )

    def second(self, first: Node) -> Group:
        """Return the grouping by the keys, over the rows of the first one."""
        return Group(first, self.keys, self.late)


def distinct_steps(node: Group, names: Names) -> DistinctSteps | None:
    """Return the steps of a grouping, or ``None`` where it has no DISTINCT or cannot have steps."""
    plain: list[tuple[str, TwoParts]] = []
    distinct: list[tuple[str, Aggregate, Expression]] = []
    for name, call in node.aggregates:
        if not call.distinct or call.name in NOT_REPEATED:
            parts = in_two_parts(call, names)
            if parts is None:
                return None
            plain.append((name, parts))
        elif not _takes_steps(call, names):
            return None
        else:
            (value,) = call.arguments
            if call.condition is not None:
                value = Case(((call.condition, value),), _NULL, value.type)
            distinct.append((name, call, value))
    if not distinct:
        return None
    values = tuple(dict.fromkeys(value for _, _, value in distinct))
    tag = Column(names.fresh("tag"), "INTEGER") if plain or len(values) > 1 else None
    named = [
        Named(names.fresh("x"), _tagged(value, tag, at) if tag else value)
        for at, value in enumerate(values, start=1)
    ]
    early = [
        (name, _where(call, _is(tag, 0)) if tag else call)
        for _, parts in plain
        for name, call in parts.partial
    ]
    late = [merged for _, parts in plain for merged in parts.merge]
    found: dict[str, Expression] = {name: parts.result for name, parts in plain}
    for name, call, value in distinct:
        column = named[values.index(value)].column
        late.append((name, Aggregate(call.name, (column,), call.type)))
        found[name] = Column(name, call.type)
    results = (
        *(Named(key.name, key) for key in node.keys),
        *(Named(name, found[name]) for name, _ in node.aggregates),
    )
    return DistinctSteps(
        node.keys, tag, len(values) + 1, tuple(named), tuple(early), tuple(late), results
    )


def _takes_steps(call: Aggregate, names: Names) -> bool:
    if call.order or len(call.arguments) != 1 or call.name in _MINDS_NULL:
        return False
    alone = replace(call, distinct=False, condition=None)
    return is_hashable(call.arguments[0].type) and in_two_parts(alone, names) is not None


def _tagged(value: Expression, tag: Column, at: int) -> Expression:
    return Case(((_is(tag, at), value),), _NULL, value.type)


def _is(tag: Column, at: int) -> Expression:
    return Call("=", (tag, _number(at)), "BOOLEAN", "infix")


def _number(at: int) -> Literal:
    return Literal(str(at), "INTEGER", at)


def _where(call: Aggregate, condition: Expression) -> Aggregate:
    if call.condition is not None:
        condition = Call("AND", (condition, call.condition), "BOOLEAN", "infix")
    return replace(call, condition=condition)


def _names(call: Aggregate) -> Sequence[str]:
    parts = call.arguments if call.condition is None else (*call.arguments, call.condition)
    return [name for part in parts for name in references(part)]
