"""Operators of the serialized plan, made into the planner's algebra.

DuckDB refers to columns by position in the output of an operator's inputs; here each gets a name
that is unique in the plan. ``_read`` returns, next to the node, the columns that DuckDB sees at
positions 0, 1 …: they may repeat or leave out columns of the node.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from starling_py.planner.adapter.expressions import (
    aggregate,
    expression,
    order_keys,
)
from starling_py.planner.adapter.filters import table_filter
from starling_py.planner.adapter.joins import Row, Side, pick, read_join
from starling_py.planner.adapter.windows import read_window
from starling_py.planner.algebra import (
    CteRead,
    Group,
    Limit,
    Named,
    Node,
    Plan,
    Project,
    Scan,
    ScannedColumn,
    SetKind,
    SetOperation,
    Sort,
    Values,
    outputs,
    with_conditions,
)
from starling_py.planner.errors import CannotDistribute
from starling_py.planner.expressions import Column, Expression, conjuncts
from starling_py.planner.tables import ColumnSource, Table, TableColumn
from starling_py.planner.types import type_name

if TYPE_CHECKING:
    from starling_py.planner.names import Names

__all__ = ["ROW_ID", "adapt"]

Serialized = Mapping[str, Any]

_NONE = 2**64 - 1
"""DuckDB's value for an index that is not there; as a scanned column, the row id or no column."""

ROW_ID = TableColumn("rowid", "BIGINT", "rowid", ColumnSource.FILE)
"""Stands for a scan's row id. A scan for its row count alone asks for it too, so it is refused only
where something still reads it after columns have been pruned."""


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
        self._tables = tables
        self._names = names
        self.ctes: list[tuple[int, Node]] = []

    def read(self, serialized: Serialized) -> tuple[Node, Row]:
        kind = serialized["type"].removeprefix("LOGICAL_")
        readers: dict[str, Callable[[Serialized], tuple[Node, Row]]] = {
            "GET": self._get,
            "DUMMY_SCAN": self._dummy,
            "EMPTY_RESULT": self._empty,
            "EXPRESSION_GET": self._values,
            "CTE_REF": self._cte_read,
            "MATERIALIZED_CTE": self._cte,
            "FILTER": self._filter,
            "PROJECTION": self._project,
            "COMPARISON_JOIN": self._join,
            "ANY_JOIN": self._join,
            "CROSS_PRODUCT": self._join,
            "AGGREGATE_AND_GROUP_BY": self._group,
            "DISTINCT": self._distinct,
            "WINDOW": self._window,
            "ORDER_BY": self._sort,
            "LIMIT": self._limit,
            "UNION": self._set_operation,
            "EXCEPT": self._set_operation,
            "INTERSECT": self._set_operation,
        }
        if kind not in readers:
            raise CannotDistribute(f"operator {kind}")
        return readers[kind](serialized)

    def _only(self, serialized: Serialized) -> tuple[Node, Row]:
        (child,) = serialized["children"]
        return self.read(child)

    # Leaves

    def _get(self, serialized: Serialized) -> tuple[Node, Row]:
        data = serialized.get("function_data")
        if serialized["qname"]["path"] != ["seq_scan"] or not data:
            raise CannotDistribute(f"table function {serialized['qname']['path'][-1]}")
        if (serialized["extra_info"] or {}).get("sample_options"):
            raise CannotDistribute("USING SAMPLE")
        table = self._tables.get(data["table"])
        if table is None:
            raise CannotDistribute(f"table {data['table']}")
        columns = {column.name: column for column in table.columns}
        scanned = []
        for index in serialized["column_indexes"]:
            if index["index_type"] != "FULL_READ" or index["child_indexes"]:
                raise CannotDistribute("partly read column")
            column = self._scanned_column(serialized, index["index"], columns)
            scanned.append(ScannedColumn(self._names.fresh(column.name), column))
        row = tuple(Column(item.name, item.column.type) for item in scanned)
        conditions: list[Expression] = []
        for item in serialized["table_filters"]["filters"]:
            condition = table_filter(item["value"], row[item["key"]])
            if condition is not None:
                conditions += conjuncts(condition)
        node = Scan(table, tuple(scanned), tuple(dict.fromkeys(conditions)))
        return node, pick(row, serialized["projection_ids"])

    def _scanned_column(
        self, serialized: Serialized, index: int, columns: Mapping[str, TableColumn]
    ) -> TableColumn:
        if index == _NONE:
            return ROW_ID
        if index >= len(serialized["names"]):
            raise CannotDistribute("virtual column")
        return columns[serialized["names"][index]]

    def _dummy(self, _: Serialized) -> tuple[Node, Row]:
        return Values((), ((),)), ()

    def _empty(self, serialized: Serialized) -> tuple[Node, Row]:
        row = tuple(
            Column(self._names.fresh("v"), type_name(type_)) for type_ in serialized["return_types"]
        )
        return Values(row, ()), row

    def _values(self, serialized: Serialized) -> tuple[Node, Row]:
        child, _ = self._only(serialized)
        if not isinstance(child, Values) or child.columns:
            raise CannotDistribute("VALUES over a table")
        row = tuple(
            Column(self._names.fresh("v"), type_name(type_)) for type_ in serialized["expr_types"]
        )
        rows = tuple(
            tuple(expression(item, ()) for item in items) for items in serialized["expressions"]
        )
        return Values(row, rows), row

    # Common table expressions

    def _cte(self, serialized: Serialized) -> tuple[Node, Row]:
        definition, body = serialized["children"]
        node, row = self.read(definition)
        self.ctes.append((serialized["table_index"], _exactly(node, row, self._names)))
        return self.read(body)

    def _cte_read(self, serialized: Serialized) -> tuple[Node, Row]:
        if serialized["is_recurring"]:
            raise CannotDistribute("USING KEY")
        number = serialized["cte_index"]
        if number not in (known for known, _ in self.ctes):
            raise CannotDistribute("recursive CTE")
        row = tuple(
            Column(self._names.fresh(name), type_name(type_))
            for name, type_ in zip(
                serialized["bound_columns"], serialized["chunk_types"], strict=True
            )
        )
        return CteRead(number, row), row

    # Operators on one input

    def _filter(self, serialized: Serialized) -> tuple[Node, Row]:
        node, row = self._only(serialized)
        conditions = tuple(
            part for item in serialized["expressions"] for part in conjuncts(expression(item, row))
        )
        kept = pick(row, serialized["projection_map"])
        return with_conditions(node, tuple(dict.fromkeys(conditions))), kept

    def _project(self, serialized: Serialized) -> tuple[Node, Row]:
        node, row = self._only(serialized)
        items: list[Named] = []
        result: list[Column] = []
        for item in serialized["expressions"]:
            made = expression(item, row)
            if isinstance(made, Column):
                if made.name not in (known.name for known in items):
                    items.append(Named(made.name, made))
                result.append(made)
                continue
            items.append(Named(self._names.fresh(item["alias"] or "v"), made))
            result.append(items[-1].column)
        return Project(node, tuple(items)), tuple(result)

    def _group(self, serialized: Serialized) -> tuple[Node, Row]:
        node, row = self._only(serialized)
        if len(serialized["grouping_sets"]) > 1 or serialized["grouping_functions"]:
            raise CannotDistribute("GROUPING SETS")
        if serialized["grouping_sets"] and len(serialized["grouping_sets"][0]) != len(
            serialized["groups"]
        ):
            raise CannotDistribute("GROUPING SETS")
        keys: list[Column] = []
        computed: list[Named] = []
        for item in serialized["groups"]:
            made = expression(item, row)
            if not isinstance(made, Column):
                computed.append(Named(self._names.fresh(item["alias"] or "g"), made))
                made = computed[-1].column
            keys.append(made)
        if computed:
            passed = tuple(Named(column.name, column) for column in outputs(node))
            node = Project(node, passed + tuple(computed))
        calls = tuple(
            (
                self._names.fresh(item["qname"]["path"][-1] if "qname" in item else "v"),
                aggregate(item, row),
            )
            for item in serialized["expressions"]
        )
        group = Group(node, tuple(dict.fromkeys(keys)), calls)
        return group, tuple(keys) + tuple(Column(name, call.type) for name, call in calls)

    def _distinct(self, serialized: Serialized) -> tuple[Node, Row]:
        node, row = self._only(serialized)
        if serialized["distinct_type"] != "DISTINCT":
            raise CannotDistribute("DISTINCT ON")
        targets = [expression(item, row) for item in serialized["distinct_targets"]]
        if set(targets) != set(row):
            raise CannotDistribute("DISTINCT over other columns than those selected")
        return Group(node, tuple(dict.fromkeys(row)), ()), row

    def _window(self, serialized: Serialized) -> tuple[Node, Row]:
        return read_window(serialized, *self._only(serialized), self._names)

    def _sort(self, serialized: Serialized) -> tuple[Node, Row]:
        node, row = self._only(serialized)
        keys = order_keys(serialized["orders"], row)
        return Sort(node, keys), pick(row, serialized["projections"])

    def _limit(self, serialized: Serialized) -> tuple[Node, Row]:
        node, row = self._only(serialized)
        counts = []
        for key in ("limit_val", "offset_val"):
            value = serialized[key]
            match value["type"]:
                case "CONSTANT_VALUE":
                    counts.append(value["constant_integer"])
                case "UNSET":
                    counts.append(None)
                case other:
                    raise CannotDistribute(f"LIMIT of kind {other}")
        count, offset = counts
        return Limit(node, count, offset or 0), row

    # Operators on several inputs

    def _join(self, serialized: Serialized) -> tuple[Node, Row]:
        left, right = serialized["children"]
        return read_join(serialized, Side(*self.read(left)), Side(*self.read(right)), self._names)

    def _set_operation(self, serialized: Serialized) -> tuple[Node, Row]:
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
