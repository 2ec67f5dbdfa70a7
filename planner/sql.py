"""A stage's algebra as one DuckDB statement over its inputs.

Column names are unique in a plan, so nothing is qualified, and operators that fit into one SELECT
share it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from starling_py.operators.quoting import identifier
from starling_py.planner.algebra import (
    Condition,
    CteRead,
    DistinctOn,
    Filter,
    Group,
    GroupingSets,
    Join,
    JoinKind,
    Limit,
    Node,
    Project,
    Recursive,
    Sample,
    Scan,
    SetKind,
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
    aggregate_sql,
    order_sql,
    sql,
)
from starling_py.planner.windowing import window_sql

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["Statement", "statement"]

_LINES = re.compile(r"""(?:[^'"\n]++|'[^']*'|"[^"]*")+""")


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement, and the leaves that it reads as ``input_0``, ``input_1`` …"""

    text: str
    leaves: tuple[Scan | StageRead, ...]


def statement(node: Node) -> Statement:
    """Return the SELECT whose columns are ``outputs(node)``, in order."""
    writer = _Writer()
    text = writer.select(node, exactly=True)
    return Statement(text, tuple(writer.leaves))


@dataclass(frozen=True, slots=True)
class _Block:
    """The parts of one SELECT. ``items`` empty means all columns of ``source``."""

    source: str
    joined: bool = False
    where: tuple[str, ...] = ()
    items: tuple[str, ...] = ()
    distinct: bool = False
    distinct_on: str = ""
    group_by: tuple[str, ...] = ()
    order: str = ""
    limit: str = ""

    @property
    def is_relation(self) -> bool:
        """Whether the block is only its FROM clause."""
        return self == _Block(self.source, self.joined)

    @property
    def takes_items(self) -> bool:
        return not (self.items or self.order or self.limit)

    def text(self, items: Iterable[str] = ()) -> str:
        shown = ", ".join(self.items or items) or "*"
        distinct = "DISTINCT " if self.distinct else ""
        if self.distinct_on:
            distinct = f"DISTINCT ON ({self.distinct_on}) "
        parts = [f"SELECT {distinct}{shown}", f"FROM {self.source}"]
        if self.where:
            parts.append("WHERE " + " AND ".join(self.where))
        if self.group_by:
            parts.append("GROUP BY " + ", ".join(self.group_by))
        if self.order:
            parts.append("ORDER BY " + self.order)
        if self.limit:
            parts.append(self.limit)
        return "\n".join(parts)


def _as(text: str, name: str) -> str:
    name = identifier(name)
    return name if text == name else f"{text} AS {name}"


def _names(columns: Iterable[Column]) -> tuple[str, ...]:
    return tuple(identifier(column.name) for column in columns)


class _Writer:
    def __init__(self) -> None:
        self.leaves: list[Scan | StageRead] = []
        self._recursions: dict[int, tuple[Column, ...]] = {}

    def select(self, node: Node, *, exactly: bool) -> str:
        """Return a node as a SELECT; ``exactly`` lists its columns in their order."""
        block = self._block(node)
        return block.text(_names(outputs(node)) if exactly else ())

    def _relation(self, node: Node) -> str:
        """Return a node as something that may stand in FROM."""
        block = self._block(node)
        if block.is_relation and not block.joined:
            return block.source
        return "(" + _indented(block.text()) + ")"

    def _block(self, node: Node) -> _Block:
        match node:
            case Scan(conditions=conditions):
                return _Block(self._leaf(node), where=tuple(map(sql, conditions)))
            case StageRead():
                return _Block(self._leaf(node))
            case Values():
                return _Block(_values(node))
            case CteRead():
                return _Block(self._recursion(node))
            case TableCall(text=text, columns=columns):
                return _Block(f"{text} AS called({', '.join(_names(columns))})")
            case Recursive():
                return self._recursive(node)
            case Filter(input=input_, conditions=conditions):
                below = self._block(input_)
                if not below.takes_items or below.distinct:
                    below = self._nested(below)
                return replace(below, where=below.where + tuple(map(sql, conditions)))
            case Project(input=input_, items=items):
                below = self._block(input_)
                if not below.takes_items:
                    below = self._nested(below)
                return replace(below, items=tuple(_as(sql(i.expression), i.name) for i in items))
            case Group():
                return self._group(node)
            case GroupingSets():
                return self._grouping_sets(node)
            case Window(input=input_, calls=calls):
                made = (_as(window_sql(call), name) for name, call in calls)
                return self._with_items(input_, made)
            case Unnest(input=input_, lists=lists):
                values = (_as(f"unnest({sql(made)})", column.name) for column, made in lists)
                return self._with_items(input_, values)
            case Sample():
                return _Block(f"{self._relation(node.input)} TABLESAMPLE {_sample(node)}")
            case DistinctOn(input=input_, keys=keys, order=order):
                below = self._with_items(input_, ())
                return replace(below, distinct_on=", ".join(_names(keys)), order=order_sql(order))
            case Sort(input=input_, keys=keys):
                below = self._block(input_)
                if below.order or below.limit or below.items:
                    below = self._nested(below)
                return replace(below, order=order_sql(keys))
            case Limit(input=input_, count=count, offset=offset):
                below = self._block(input_)
                if below.limit:
                    below = self._nested(below)
                text = "" if count is None else f"LIMIT {count}"
                text = text if node.percent is None else f"LIMIT {node.percent!r} PERCENT"
                return replace(below, limit=f"{text} OFFSET {offset}".strip() if offset else text)
            case Join():
                return self._join(node)
            case SetOperation():
                return self._set_operation(node)

    def _leaf(self, node: Scan | StageRead) -> str:
        self.leaves.append(node)
        return f"input_{len(self.leaves) - 1}"

    def _nested(self, block: _Block) -> _Block:
        return _Block("(" + _indented(block.text()) + ")")

    def _group(self, node: Group) -> _Block:
        below = self._block(node.input)
        if not below.takes_items:
            below = self._nested(below)
        keys = _names(node.keys)
        if not node.aggregates:
            return replace(below, items=keys, distinct=True)
        calls = tuple(_as(aggregate_sql(call), name) for name, call in node.aggregates)
        return replace(below, items=keys + calls, group_by=keys)

    def _with_items(self, input_: Node, more: Iterable[str]) -> _Block:
        """Return all columns of a node and more items."""
        below = self._block(input_)
        if not below.takes_items:
            below = self._nested(below)
        return replace(below, items=(*_names(outputs(input_)), *more))

    def _grouping_sets(self, node: GroupingSets) -> _Block:
        below = self._block(node.input)
        if not below.takes_items:
            below = self._nested(below)
        names = [identifier(key.name) for _, key in node.keys]

        def listed(positions: tuple[int, ...]) -> str:
            return f"({', '.join(names[at] for at in positions)})"

        items = [_as(name, out) for name, (out, _) in zip(names, node.keys, strict=True)]
        items += [_as(aggregate_sql(call), name) for name, call in node.aggregates]
        items += [_as(f"grouping{listed(of)}", name) for name, of in node.groupings]
        sets = f"GROUPING SETS ({', '.join(map(listed, node.sets))})"
        return replace(below, items=tuple(items), group_by=(sets,))

    def _recursive(self, node: Recursive) -> _Block:
        self._recursions[node.cte] = node.columns
        name = f"recursion_{node.cte}"
        columns = ", ".join(_names(node.columns))
        anchor = _indented(self.select(node.anchor, exactly=True))
        step = _indented(self.select(node.step, exactly=True))
        union = f"UNION{' ALL' if node.all else ''}"
        body = _indented(f"({anchor})\n{union} ({step})")
        text = f"WITH RECURSIVE {name}({columns}) AS ({body})\nSELECT {columns} FROM {name}"
        return _Block(f"({_indented(text)})")

    def _recursion(self, node: CteRead) -> str:
        columns = self._recursions.get(node.cte)
        if columns is None:
            raise TypeError("a CTE that was not made into a stage")
        pairs = zip(_names(columns), _names(node.columns), strict=True)
        items = ", ".join(f"{old} AS {new}" for old, new in pairs)
        return f"(SELECT {items} FROM recursion_{node.cte})"

    def _join(self, node: Join) -> _Block:
        match node.kind:
            case JoinKind.MARK:
                return self._mark(node)
            case JoinKind.SINGLE:
                return self._single(node)
        left = self._block(node.left)
        source = left.source if left.is_relation else "(" + _indented(left.text()) + ")"
        right = self._relation(node.right)
        conditions = [*map(_condition, node.conditions), *map(sql, node.residual)]
        if node.kind is JoinKind.POSITIONAL:
            return _Block(f"{source}\nPOSITIONAL JOIN {right}", joined=True)
        if not conditions and node.kind is JoinKind.INNER:
            return _Block(f"{source}\nCROSS JOIN {right}", joined=True)
        word = "JOIN" if node.kind is JoinKind.INNER else f"{node.kind} JOIN"
        word = f"ASOF {word}" if node.asof else word
        on = " AND ".join(conditions) or "true"
        return _Block(f"{source}\n{word} {right} ON {on}", joined=True)

    def _mark(self, node: Join) -> _Block:
        """Return ``key IN (SELECT …)`` as a column: DuckDB makes its MARK join of it again."""
        left = self._relation(node.left)
        compared = [c for c in node.conditions if not c.matches_nulls]
        correlated = [_condition(c) for c in node.conditions if c.matches_nulls]
        correlated += map(sql, node.residual)
        right = self._relation(node.right)
        where = "\nWHERE " + " AND ".join(correlated) if correlated else ""
        if compared:
            keys = [", ".join(map(sql, side)) for side in _sides(compared)]
            inner = _indented(f"SELECT {keys[1]}\nFROM {right}{where}")
            several = len(compared) > 1
            operator = "IN" if compared[0].operator == "=" else f"{compared[0].operator} ANY"
            value = f"({f'({keys[0]})' if several else keys[0]} {operator} ({inner}))"
        else:
            inner = _indented(f"SELECT 1\nFROM {right}{where}")
            value = f"EXISTS ({inner})"
        return _Block(left, items=(*_names(outputs(node.left)), _as(value, node.mark)))

    def _single(self, node: Join) -> _Block:
        """Return a scalar subquery as a column: DuckDB keeps its error for a second row."""
        left = self._relation(node.left)
        right = self._nested(self._block(node.right)).source
        where = " AND ".join(map(_condition, node.conditions)) or "true"
        inner = _indented(f"SELECT {identifier(node.mark)}\nFROM {right}\nWHERE {where}")
        items = (*_names(outputs(node.left)), f"({inner}) AS {identifier(node.mark)}")
        return _Block(left, items=items)

    def _set_operation(self, node: SetOperation) -> _Block:
        word = f"{node.kind}{' ALL' if node.all else ''}"
        if node.kind is SetKind.UNION:
            word = "UNION ALL"
        members = ["(" + _indented(self.select(i, exactly=True)) + ")" for i in node.inputs]
        names = ", ".join(_names(node.columns))
        body = f"\n{word} ".join(members)
        return _Block(f"({_indented(body)}) AS several({names})")


def _sides(conditions: Sequence[Condition]) -> tuple[list[Expression], list[Expression]]:
    return [c.left for c in conditions], [c.right for c in conditions]


def _sample(node: Sample) -> str:
    seed = "" if node.seed is None else f" REPEATABLE ({node.seed})"
    return f"{node.method}({node.amount} {'PERCENT' if node.percent else 'ROWS'}){seed}"


def _condition(condition: Condition) -> str:
    return f"{sql(condition.left)} {condition.operator} {sql(condition.right)}"


def _values(node: Values) -> str:
    if not node.rows:
        empty = ", ".join(_as(f"CAST(NULL AS {c.type})", c.name) for c in node.columns)
        return f"(SELECT {empty} WHERE false)"
    if not node.columns:
        return "(SELECT 1 AS one)"
    rows = ", ".join("(" + ", ".join(map(_cell, row)) + ")" for row in node.rows)
    return f"(VALUES {rows}) AS given({', '.join(_names(node.columns))})"


def _cell(expression: Expression) -> str:
    # VALUES gives a column the type that fits all rows: each cell says its own.
    return f"CAST({sql(expression)} AS {expression.type})"


def _indented(text: str) -> str:
    # Line breaks inside quotes are part of a value or a name.
    return "\n  " + "\n  ".join(_LINES.findall(text)) if "\n" in text else text
