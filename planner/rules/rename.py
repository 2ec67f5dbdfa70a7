"""A projection that only renames columns goes away: its reader uses the old names.

Without them joins stand next to each other, and equal values have one name.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from starling_py.planner.algebra import (
    Condition,
    CteRead,
    DistinctOn,
    Filter,
    Group,
    GroupingSets,
    Join,
    Limit,
    Named,
    Node,
    Plan,
    Project,
    Recursive,
    Sample,
    Scan,
    SetOperation,
    Sort,
    StageRead,
    TableCall,
    Unnest,
    Values,
    Window,
    outputs,
)
from starling_py.planner.expressions import (
    Column,
    Expression,
    OrderKey,
    substitute,
)

if TYPE_CHECKING:
    from starling_py.planner.footers import Footers

__all__ = ["drop_renames"]

Renaming = dict[str, Expression]


def drop_renames(plan: Plan, _: Footers) -> Plan:
    """Return the plan without projections that only rename, drop or pass columns.

    Those at the root and below a set operation stay: there the columns' order matters.
    """
    return Plan(
        tuple((number, _pinned(definition)) for number, definition in plan.ctes),
        _pinned(plan.root),
    )


def _pinned(node: Node) -> Node:
    """Return the node with its very columns, in order."""
    made, renaming = _drop(node)
    wanted = outputs(node)
    if not renaming and outputs(made) == wanted:
        return made
    return Project(made, tuple(Named(column.name, _new(column, renaming)) for column in wanted))


def _drop(node: Node) -> tuple[Node, Renaming]:
    """Return a node that may have more columns in another order, and what became of the names."""
    match node:
        case Scan() | Values() | CteRead() | StageRead() | TableCall():
            return node, {}
        case Project(input=input_, items=items):
            below, renaming = _drop(input_)
            changed = tuple(Named(i.name, _new(i.expression, renaming)) for i in items)
            if all(isinstance(item.expression, Column) for item in changed):
                return below, {i.name: i.expression for i in changed if not i.passes}
            return Project(below, changed), {}
        case Filter(input=input_, conditions=conditions):
            below, renaming = _drop(input_)
            return Filter(below, tuple(_new(c, renaming) for c in conditions)), renaming
        case Sort(input=input_, keys=keys):
            below, renaming = _drop(input_)
            return Sort(below, _keys(keys, renaming)), renaming
        case Limit(input=input_):
            below, renaming = _drop(input_)
            return replace(node, input=below), renaming
        case Recursive(anchor=anchor, step=step):
            return replace(node, anchor=_pinned(anchor), step=_pinned(step)), {}
        case GroupingSets(input=input_):
            below, renaming = _drop(input_)
            return replace(node.mapped(lambda e: _new(e, renaming)), input=below), {}
        case Window(input=input_) | Unnest(input=input_) | Sample(input=input_):
            below, renaming = _drop(input_)
            return replace(node.mapped(lambda e: _new(e, renaming)), input=below), renaming
        case DistinctOn(input=input_):
            below, renaming = _drop(input_)
            return replace(node.mapped(lambda e: _new(e, renaming)), input=below), renaming
        case Group(input=input_):
            return _group(node, *_drop(input_))
        case Join():
            return _join(node)
        case SetOperation(kind=kind, all=every, inputs=several, columns=columns):
            return SetOperation(kind, every, tuple(map(_pinned, several)), columns), {}


def _new(expression: Expression, renaming: Renaming) -> Expression:
    return substitute(expression, renaming) if renaming else expression


def _keys(keys: tuple[OrderKey, ...], renaming: Renaming) -> tuple[OrderKey, ...]:
    return tuple(
        OrderKey(_new(key.expression, renaming), key.descending, key.nulls_first) for key in keys
    )


def _group(node: Group, below: Node, renaming: Renaming) -> tuple[Node, Renaming]:
    above: Renaming = {}
    keys: list[Column] = []
    for key in node.keys:
        new = _new(key, renaming)
        if isinstance(new, Column):
            if new != key:
                above[key.name] = new
            if new not in keys:
                keys.append(new)
    calls = tuple(
        (name, call.mapped(lambda e: _new(e, renaming))) for name, call in node.aggregates
    )
    return Group(below, tuple(keys), calls), above


def _join(node: Join) -> tuple[Node, Renaming]:
    left, left_renaming = _drop(node.left)
    right, right_renaming = _drop(node.right)
    both = {**left_renaming, **right_renaming}
    conditions = tuple(
        Condition(_new(c.left, left_renaming), c.operator, _new(c.right, right_renaming))
        for c in node.conditions
    )
    residual = tuple(_new(part, both) for part in node.residual)
    kept = right_renaming.get(node.mark)
    mark = kept.name if isinstance(kept, Column) else node.mark
    new = replace(node, left=left, right=right, conditions=conditions, residual=residual, mark=mark)
    return new, both
