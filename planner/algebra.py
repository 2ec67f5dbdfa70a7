"""The relational algebra between DuckDB's bound plan and the stages, and what is asked of it.

The operators themselves are in :mod:`starling_py.planner.nodes`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from starling_py.planner.expressions import Column, Expression, is_volatile
from starling_py.planner.nodes import (
    CteRead,
    DistinctOn,
    Filter,
    Group,
    GroupingSets,
    Join,
    Limit,
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
)
from starling_py.planner.parts import Condition, JoinKind, Named, RangeCut, ScannedColumn, SetKind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = [
    "Condition",
    "CteRead",
    "DistinctOn",
    "Filter",
    "Group",
    "GroupingSets",
    "Join",
    "JoinKind",
    "Limit",
    "Named",
    "Node",
    "Plan",
    "Project",
    "RangeCut",
    "Recursive",
    "Sample",
    "Scan",
    "ScannedColumn",
    "SetKind",
    "SetOperation",
    "Sort",
    "StageRead",
    "TableCall",
    "Unnest",
    "Values",
    "Window",
    "inputs",
    "outputs",
    "rewrite",
    "walk",
    "with_columns",
    "with_conditions",
    "with_inputs",
]


def outputs(node: Node) -> tuple[Column, ...]:
    """Return the columns of a node's output, in order."""
    match node:
        case Scan(scanned=scanned):
            return tuple(Column(item.name, item.column.type) for item in scanned)
        case (
            Values(columns=columns)
            | CteRead(columns=columns)
            | StageRead(columns=columns)
            | SetOperation(columns=columns)
            | TableCall(columns=columns)
            | Recursive(columns=columns)
        ):
            return columns
        case Project(items=items):
            return tuple(item.column for item in items)
        case Group(keys=keys, aggregates=aggregates):
            return keys + tuple(Column(name, call.type) for name, call in aggregates)
        case Join(left=left, right=right, kind=kind, mark=mark):
            if kind in (JoinKind.SEMI, JoinKind.ANTI):
                return outputs(left)
            if kind is JoinKind.MARK:
                return (*outputs(left), Column(mark, "BOOLEAN"))
            if kind is JoinKind.SINGLE:
                return outputs(left) + tuple(c for c in outputs(right) if c.name == mark)
            return outputs(left) + outputs(right)
        case Window(input=input_, calls=calls):
            return outputs(input_) + tuple(Column(name, call.type) for name, call in calls)
        case Unnest(input=input_, lists=lists):
            return outputs(input_) + tuple(column for column, _ in lists)
        case GroupingSets(aggregates=aggregates, groupings=groupings):
            made = tuple(Column(name, call.type) for name, call in aggregates)
            return node.key_columns + made + tuple(Column(name, "BIGINT") for name, _ in groupings)
        case (
            Filter(input=input_)
            | Sort(input=input_)
            | Limit(input=input_)
            | Sample(input=input_)
            | DistinctOn(input=input_)
        ):
            return outputs(input_)


def inputs(node: Node) -> tuple[Node, ...]:
    """Return the nodes that a node reads, in order."""
    match node:
        case Join(left=left, right=right):
            return (left, right)
        case SetOperation(inputs=several):
            return several
        case Recursive(anchor=anchor, step=step):
            return (anchor, step)
        case Scan() | Values() | CteRead() | StageRead() | TableCall():
            return ()
        case _:
            return (node.input,)


def with_inputs(node: Node, new: tuple[Node, ...]) -> Node:
    """Return the node over other inputs."""
    match node:
        case Join():
            left, right = new
            return replace(node, left=left, right=right)
        case SetOperation():
            return replace(node, inputs=new)
        case Recursive():
            anchor, step = new
            return replace(node, anchor=anchor, step=step)
        case Scan() | Values() | CteRead() | StageRead() | TableCall():
            return node
        case _:
            return replace(node, input=new[0])


def with_columns(node: Node, columns: tuple[Column, ...]) -> Node:
    """Return the node with exactly these of its columns, in this order."""
    if outputs(node) == columns:
        return node
    return Project(node, tuple(Named(column.name, column) for column in columns))


def with_conditions(node: Node, conditions: tuple[Expression, ...]) -> Node:
    """Return the node behind a filter, which a scan takes in itself: its footers may prove it.

    Conditions that differ from one evaluation to the next stay outside: a scan may be repeated.
    """
    if not conditions:
        return node
    if isinstance(node, Scan) and not any(map(is_volatile, conditions)):
        return replace(node, conditions=node.conditions + conditions)
    return Filter(node, conditions)


def walk(node: Node) -> Iterator[Node]:
    """Yield a node and everything below it, parents first."""
    yield node
    for child in inputs(node):
        yield from walk(child)


def rewrite(node: Node, change: Callable[[Node], Node]) -> Node:
    """Return the tree with ``change`` applied to every node, inputs first."""
    old = inputs(node)
    new = tuple(rewrite(child, change) for child in old)
    if any(a is not b for a, b in zip(old, new, strict=True)):
        node = with_inputs(node, new)
    return change(node)
