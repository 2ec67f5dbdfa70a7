"""Operators of the serialized plan, made into the planner's algebra.

DuckDB refers to columns by position in the output of an operator's inputs; here each gets a name
that is unique in the plan. ``_read`` returns, next to the node, the columns that DuckDB sees at
positions 0, 1 …: they may repeat or leave out columns of the node.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from starling_py.planner.adapter import leaves
from starling_py.planner.adapter.expressions import expression, order_keys
from starling_py.planner.adapter.groups import read_distinct, read_group
from starling_py.planner.adapter.joins import Row, Side, pick, read_join
from starling_py.planner.adapter.limits import read_limit, read_sample
from starling_py.planner.adapter.varying import check_step, varies
from starling_py.planner.adapter.windows import read_window
from starling_py.planner.algebra import (
    CteRead,
    Group,
    Join,
    JoinKind,
    Named,
    Node,
    Plan,
    Project,
    Recursive,
    SetKind,
    SetOperation,
    Sort,
    outputs,
    walk,
    with_conditions,
)
from starling_py.planner.errors import CannotDistribute
from starling_py.planner.expressions import Column, conjuncts
from starling_py.planner.types import type_name

if TYPE_CHECKING:
    from starling_py.planner.names import Names
    from starling_py.planner.tables import Table

__all__ = ["OPERATORS", "adapt"]

Serialized = Mapping[str, Any]


def adapt(serialized: Serialized, tables: Mapping[str, Table], names: Names) -> Plan:
    """Return the algebra of a serialized plan.

    Parameters
    ----------
    serialized
        One entry of ``plans``.
    tables
        Tables by the name that they have in the binder.
    names
        Gives out column names.

    Returns
    -------
    Plan
        The root's columns are the statement's, in order.

    Raises
    ------
    CannotDistribute
        For an operator, expression or type that is not known exactly.
    """
    reader = _Reader(tables, names)
    node, row = reader.read(serialized)
    return Plan(tuple(reader.ctes), _exactly(node, row, names))


def _exactly(node: Node, row: Row, names: Names) -> Node:
    """Return a node whose columns are ``row``, each under a name of its own."""
    if outputs(node) == row:
        return node
    seen: set[str] = set()
    items = []
    for column in row:
        name = column.name if column.name not in seen else names.fresh(column.name)
        seen.add(name)
        items.append(Named(name, column))
    return Project(node, tuple(items))


class _Reader:
    def __init__(self, tables: Mapping[str, Table], names: Names) -> None:
        self._tables = {name.lower(): table for name, table in tables.items()}
        self._names = names
        self._recursions: set[int] = set()
        self._varying: set[int] = set()
        self.ctes: list[tuple[int, Node]] = []

    def read(self, serialized: Serialized) -> tuple[Node, Row]:
        kind = serialized["type"].removeprefix("LOGICAL_")
        if kind not in OPERATORS:
            raise CannotDistribute(f"operator {kind}")
        return OPERATORS[kind](self, serialized)

    def _only(self, serialized: Serialized) -> tuple[Node, Row]:
        (child,) = serialized["children"]
        return self.read(child)

    # Leaves

    def get(self, serialized: Serialized) -> tuple[Node, Row]:
        if serialized["children"]:
            # A table function in LATERAL: its input is a projection of arguments.
            (child,) = serialized["children"]
            below, row = self.read(_with_positions(child))
            return leaves.read_unnest(serialized, below, row, self._names)
        if serialized["qname"]["path"][-1] != "seq_scan":
            return leaves.read_table_function(serialized, self._names)
        return leaves.read_scan(serialized, self._tables, self._names)

    def dummy(self, _: Serialized) -> tuple[Node, Row]:
        return leaves.read_dummy(self._names)

    def empty(self, serialized: Serialized) -> tuple[Node, Row]:
        return leaves.read_empty(serialized, self._names)

    def chunk(self, serialized: Serialized) -> tuple[Node, Row]:
        return leaves.read_chunk(serialized, self._names)

    def values(self, serialized: Serialized) -> tuple[Node, Row]:
        return leaves.read_values(serialized, *self._only(serialized), self._names)

    # Common table expressions

    def cte(self, serialized: Serialized) -> tuple[Node, Row]:
        definition, body = serialized["children"]
        if varies(definition, self._varying):
            self._varying.add(serialized["table_index"])
        node, row = self.read(definition)
        if any(isinstance(part, CteRead) and part.cte in self._recursions for part in walk(node)):
            raise CannotDistribute("a CTE of a recursion's rows")
        self.ctes.append((serialized["table_index"], _exactly(node, row, self._names)))
        return self.read(body)

    def cte_read(self, serialized: Serialized) -> tuple[Node, Row]:
        if serialized["is_recurring"]:
            raise CannotDistribute("USING KEY")
        number = serialized["cte_index"]
        if number not in self._recursions and number not in (known for known, _ in self.ctes):
            raise CannotDistribute("a CTE that is not there")
        row = tuple(
            Column(self._names.fresh(name), type_name(type_))
            for name, type_ in zip(
                serialized["bound_columns"], serialized["chunk_types"], strict=True
            )
        )
        return CteRead(number, row), row

    def recursive(self, serialized: Serialized) -> tuple[Node, Row]:
        if serialized.get("key_targets") or serialized.get("payload_aggregates"):
            raise CannotDistribute("USING KEY")
        first, repeated = serialized["children"]
        anchor, anchor_row = self.read(first)
        number = serialized["table_index"]
        check_step(repeated, number, self._varying)
        self._recursions.add(number)
        step, step_row = self.read(repeated)
        self._recursions.discard(number)
        if [c.type for c in anchor_row] != [c.type for c in step_row]:
            raise CannotDistribute("recursive CTE over different types")
        if any(
            isinstance(part, Join) and part.kind in (JoinKind.MARK, JoinKind.SINGLE)
            for part in walk(step)
        ):
            raise CannotDistribute("a subquery as a value inside a recursive CTE")
        row = tuple(
            Column(self._names.fresh(c.name.rpartition("_")[0]), c.type) for c in anchor_row
        )
        made = Recursive(
            number,
            _exactly(anchor, anchor_row, self._names),
            _exactly(step, step_row, self._names),
            bool(serialized["union_all"]),
            row,
        )
        return made, row

    # Operators on one input

    def filter(self, serialized: Serialized) -> tuple[Node, Row]:
        node, row = self._only(serialized)
        conditions = tuple(
            part for item in serialized["expressions"] for part in conjuncts(expression(item, row))
        )
        kept = pick(row, serialized["projection_map"])
        return with_conditions(node, tuple(dict.fromkeys(conditions))), kept

    def project(self, serialized: Serialized) -> tuple[Node, Row]:
        node, row = self._only(serialized)
        items: list[Named] = []
        passed: set[str] = set()
        result: list[Column] = []
        for item in serialized["expressions"]:
            made = expression(item, row)
            if isinstance(made, Column):
                if made.name not in passed:
                    passed.add(made.name)
                    items.append(Named(made.name, made))
                result.append(made)
                continue
            items.append(Named(self._names.fresh(item["alias"] or "v"), made))
            result.append(items[-1].column)
        return Project(node, tuple(items)), tuple(result)

    def group(self, serialized: Serialized) -> tuple[Node, Row]:
        return read_group(serialized, *self._only(serialized), self._names)

    def distinct(self, serialized: Serialized) -> tuple[Node, Row]:
        return read_distinct(serialized, *self._only(serialized), self._names)

    def window(self, serialized: Serialized) -> tuple[Node, Row]:
        return read_window(serialized, *self._only(serialized), self._names)

    def unnest(self, serialized: Serialized) -> tuple[Node, Row]:
        return leaves.read_unnest(serialized, *self._only(serialized), self._names)

    def sample(self, serialized: Serialized) -> tuple[Node, Row]:
        return read_sample(serialized, *self._only(serialized))

    def sort(self, serialized: Serialized) -> tuple[Node, Row]:
        node, row = self._only(serialized)
        keys = order_keys(serialized["orders"], row)
        return Sort(node, keys), pick(row, serialized["projections"])

    def limit(self, serialized: Serialized) -> tuple[Node, Row]:
        return read_limit(serialized, *self._only(serialized), self._names)

    # Operators on several inputs

    def join(self, serialized: Serialized) -> tuple[Node, Row]:
        left, right = serialized["children"]
        return read_join(serialized, Side(*self.read(left)), Side(*self.read(right)), self._names)

    def set_operation(self, serialized: Serialized) -> tuple[Node, Row]:
        kind = SetKind[serialized["type"].removeprefix("LOGICAL_")]
        members, rows = [], []
        for child in serialized["children"]:
            node, row = self.read(child)
            members.append(_exactly(node, row, self._names))
            rows.append(row)
        types = {tuple(column.type for column in row) for row in rows}
        if len(types) != 1:
            raise CannotDistribute("set operation over different types")
        row = tuple(Column(self._names.fresh(c.name), c.type) for c in rows[0])
        every = bool(serialized["setop_all"])
        node = SetOperation(kind, every or kind is SetKind.UNION, tuple(members), row)
        if kind is SetKind.UNION and not every:
            return Group(node, row, ()), row
        return node, row


OPERATORS: Mapping[str, Callable[[_Reader, Serialized], tuple[Node, Row]]] = {
    "GET": _Reader.get,
    "DUMMY_SCAN": _Reader.dummy,
    "EMPTY_RESULT": _Reader.empty,
    "CHUNK_GET": _Reader.chunk,
    "EXPRESSION_GET": _Reader.values,
    "CTE_REF": _Reader.cte_read,
    "MATERIALIZED_CTE": _Reader.cte,
    "RECURSIVE_CTE": _Reader.recursive,
    "FILTER": _Reader.filter,
    "PROJECTION": _Reader.project,
    "COMPARISON_JOIN": _Reader.join,
    "ANY_JOIN": _Reader.join,
    "CROSS_PRODUCT": _Reader.join,
    "ASOF_JOIN": _Reader.join,
    "POSITIONAL_JOIN": _Reader.join,
    "AGGREGATE_AND_GROUP_BY": _Reader.group,
    "DISTINCT": _Reader.distinct,
    "WINDOW": _Reader.window,
    "UNNEST": _Reader.unnest,
    "SAMPLE": _Reader.sample,
    "ORDER_BY": _Reader.sort,
    "LIMIT": _Reader.limit,
    "UNION": _Reader.set_operation,
    "EXCEPT": _Reader.set_operation,
    "INTERSECT": _Reader.set_operation,
}


def _with_positions(projection: Serialized) -> Serialized:
    """Return a projection whose columns, named by table and number, are named by position.

    Above a table function's input DuckDB leaves them as its binder named them.
    """
    (child,) = projection["children"]

    def resolved(part: Any) -> Any:
        match part:
            case {"expression_class": "BOUND_COLUMN_REF", "binding": binding}:
                if binding["table_index"] != child.get("table_index") or part["depth"]:
                    raise CannotDistribute("expression BOUND_COLUMN_REF")
                return {**part, "expression_class": "BOUND_REF", "index": binding["column_index"]}
            case dict():
                return {key: resolved(value) for key, value in part.items()}
            case list():
                return [resolved(value) for value in part]
        return part

    if projection["type"] != "LOGICAL_PROJECTION":
        raise CannotDistribute("table function over another operator than a projection")
    return {**projection, "expressions": resolved(projection["expressions"])}
