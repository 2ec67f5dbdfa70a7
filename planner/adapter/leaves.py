"""Leaves of the serialized plan: tables, constant rows, table functions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from starling_py.planner.adapter.expressions import expression
from starling_py.planner.adapter.filters import table_filter
from starling_py.planner.adapter.joins import Row, pick
from starling_py.planner.algebra import (
    Named,
    Node,
    Project,
    Scan,
    ScannedColumn,
    TableCall,
    Unnest,
    Values,
    outputs,
)
from starling_py.planner.errors import CannotDistribute
from starling_py.planner.expressions import Call, Column, Expression, Literal, conjuncts
from starling_py.planner.literals import constant
from starling_py.planner.tables import ColumnSource, Table, TableColumn
from starling_py.planner.types import type_name

if TYPE_CHECKING:
    from starling_py.planner.names import Names

__all__ = [
    "ROW_ID",
    "read_chunk",
    "read_dummy",
    "read_empty",
    "read_scan",
    "read_table_function",
    "read_unnest",
    "read_values",
]

Serialized = Mapping[str, Any]

_NONE = 2**64 - 1
"""DuckDB's value for an index that is not there; as a scanned column, the row id or no column."""

ROW_ID = TableColumn("rowid", "BIGINT", "rowid", ColumnSource.FILE)
"""Stands for a scan's row id. A scan for its row count alone asks for it too, so it is refused only
where something still reads it after columns have been pruned."""

_CALLED = frozenset(("range", "generate_series", "repeat", "unnest"))
"""Table functions of their arguments alone."""
_PER_ROW = frozenset(("unnest", "range", "generate_series"))
"""Table functions that LATERAL may call for each row: with a list, or what makes one."""


def read_scan(
    serialized: Serialized, tables: Mapping[str, Table], names: Names
) -> tuple[Node, Row]:
    """Return a GET of a table; the names of ``tables`` are in lower case.

    Raises
    ------
    CannotDistribute
        For what is not a plain scan.
    """
    data = serialized.get("function_data")
    if serialized["qname"]["path"] != ["seq_scan"] or not data:
        raise CannotDistribute(f"table function {serialized['qname']['path'][-1]}")
    if (serialized["extra_info"] or {}).get("sample_options"):
        raise CannotDistribute("a sample inside a scan")
    table = tables.get(data["table"].lower())
    if table is None:
        raise CannotDistribute(f"table {data['table']}")
    columns = {column.name: column for column in table.columns}
    scanned = []
    for index in serialized["column_indexes"]:
        if index["index_type"] != "FULL_READ" or index["child_indexes"]:
            raise CannotDistribute("partly read column")
        column = _scanned_column(serialized, index["index"], columns)
        scanned.append(ScannedColumn(names.fresh(column.name), column))
    row = tuple(Column(item.name, item.column.type) for item in scanned)
    conditions: list[Expression] = []
    for item in serialized["table_filters"]["filters"]:
        condition = table_filter(item["value"], row[item["key"]])
        if condition is not None:
            conditions += conjuncts(condition)
    node = Scan(table, tuple(scanned), tuple(dict.fromkeys(conditions)))
    return node, pick(row, serialized["projection_ids"])


def _scanned_column(
    serialized: Serialized, index: int, columns: Mapping[str, TableColumn]
) -> TableColumn:
    if index == _NONE:
        return ROW_ID
    if index >= len(serialized["names"]):
        raise CannotDistribute("virtual column")
    return columns[serialized["names"][index]]


def read_table_function(serialized: Serialized, names: Names) -> tuple[Node, Row]:
    """Return a GET of a table function of constants.

    Raises
    ------
    CannotDistribute
        For a function that is not known to depend on its arguments alone.
    """
    name = serialized["qname"]["path"][-1]
    if name not in _CALLED or serialized["named_parameters"]:
        raise CannotDistribute(f"table function {name}")
    _only_its_rows(serialized)
    arguments = ", ".join(constant(value).sql for value in serialized["parameters"])
    columns = tuple(
        Column(names.fresh(column), type_name(type_))
        for column, type_ in zip(serialized["names"], serialized["returned_types"], strict=True)
    )
    positions = [index["index"] for index in serialized["column_indexes"]]
    if any(position >= len(columns) for position in positions):
        raise CannotDistribute("virtual column")
    row = tuple(columns[position] for position in positions)
    return TableCall(f"{name}({arguments})", columns), pick(row, serialized["projection_ids"])


def _only_its_rows(serialized: Serialized) -> None:
    if serialized["table_filters"]["filters"]:
        raise CannotDistribute("filter inside a table function")
    if serialized["source_ordinality"] != "WITHOUT_ORDINALITY":
        raise CannotDistribute("WITH ORDINALITY")


def read_unnest(serialized: Serialized, node: Node, row: Row, names: Names) -> tuple[Node, Row]:
    """Return an UNNEST, or a GET of a table function that is called for each row of its input.

    Parameters
    ----------
    row
        For a GET, first the arguments of the function, then what it passes on.

    Raises
    ------
    CannotDistribute
        For what does not make one row of each value of a list.
    """
    lists: list[tuple[Column, Expression]] = []
    if serialized["type"] == "LOGICAL_UNNEST":
        for item in serialized["expressions"]:
            if item["expression_class"] != "BOUND_UNNEST":
                raise CannotDistribute(f"expression {item['expression_class']} in UNNEST")
            made = expression(item["child"], row)
            column = Column(names.fresh("unnest"), type_name(item["return_type"]))
            lists.append((column, _list(made)))
        return Unnest(node, tuple(lists)), row + tuple(column for column, _ in lists)
    name = serialized["qname"]["path"][-1]
    if name not in _PER_ROW or serialized["table_filters"]["filters"]:
        raise CannotDistribute(f"table function {name} for each row")
    passed = serialized["projected_input"]
    arguments: tuple[Expression, ...] = row[: len(row) - len(passed)]
    columns = tuple(
        Column(names.fresh(base), type_name(type_))
        for base, type_ in zip(serialized["names"], serialized["returned_types"], strict=True)
    )
    if name != "unnest":
        arguments = (Call(name, arguments, f"{columns[0].type}[]"),)
    if len(arguments) != 1:
        raise CannotDistribute("UNNEST of several lists for each row")
    lists.append((columns[0], _list(arguments[0])))
    if serialized["source_ordinality"] == "WITH_ORDINALITY" and serialized["ordinality_idx"] == 1:
        lists.append((columns[1], _places(arguments[0])))
    if len(lists) != len(columns):
        raise CannotDistribute(f"table function {name} of several columns")
    found = (columns[index["index"]] for index in serialized["column_indexes"])
    return Unnest(node, tuple(lists)), (*found, *(row[at] for at in passed))


def _places(values: Expression) -> Expression:
    """Return the list of 1, 2 … that is as long as another list."""
    one = Literal("CAST(1 AS BIGINT)", "BIGINT", 1)
    length = Call("len", (values,), "BIGINT")
    return Call("range", (one, Call("+", (length, one), "BIGINT", "infix")), "BIGINT[]")


def _list(made: Expression) -> Expression:
    if not made.type.endswith("[]"):
        raise CannotDistribute(f"UNNEST of {made.type}")
    return made


def read_dummy(names: Names) -> tuple[Node, Row]:
    """Return a DUMMY_SCAN: one row, whose one column nobody reads."""
    row = (Column(names.fresh("one"), "INTEGER"),)
    return Values(row, ((Literal("1", "INTEGER", 1),),)), row


def read_empty(serialized: Serialized, names: Names) -> tuple[Node, Row]:
    """Return an EMPTY_RESULT."""
    row = tuple(Column(names.fresh("v"), type_name(type_)) for type_ in serialized["return_types"])
    return Values(row, ()), row


def read_chunk(serialized: Serialized, names: Names) -> tuple[Node, Row]:
    """Return a CHUNK_GET: rows that the binder has computed, column by column."""
    types = serialized["collection"]["types"]
    row = tuple(Column(names.fresh("v"), type_name(type_)) for type_ in types)
    values = serialized["collection"]["values"]
    columns = [[constant(value) for value in column] for column in values]
    return Values(row, tuple(zip(*columns, strict=True))), row


def read_values(serialized: Serialized, node: Node, below: Row, names: Names) -> tuple[Node, Row]:
    """Return an EXPRESSION_GET: constant rows, or rows for each row of its input."""
    row = tuple(Column(names.fresh("v"), type_name(type_)) for type_ in serialized["expr_types"])
    rows = tuple(
        tuple(expression(item, below) for item in items) for items in serialized["expressions"]
    )
    if serialized["children"][0]["type"] == "LOGICAL_DUMMY_SCAN":
        return Values(row, rows), row
    lists = tuple(
        (column, Call("list_value", tuple(values), f"{column.type}[]"))
        for column, values in zip(row, zip(*rows, strict=True), strict=True)
    )
    made = Unnest(node, lists)
    return Project(made, tuple(Named(c.name, c) for c in outputs(made))), row
