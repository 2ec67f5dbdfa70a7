"""What a serialized plan reads of its tables, also where the rest of it is not known."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from starling_py.planner.adapter.filters import table_filter
from starling_py.planner.errors import CannotDistribute
from starling_py.planner.expressions import Column, Expression, conjuncts, is_volatile

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from starling_py.planner.tables import Table

__all__ = ["TableRead", "nodes", "table_reads"]

Serialized = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class TableRead:
    """The columns that a statement reads of a table, and what every row must pass, by name."""

    columns: frozenset[str]
    conditions: tuple[Expression, ...]


def table_reads(serialized: Serialized, tables: Mapping[str, Table]) -> dict[str, TableRead]:
    """Return what the scans of a plan read of ``tables``, each table by its name in the binder.

    The plan gives the same answer on tables that differ only in what it does not read, and so does
    the text that it was made from.

    Raises
    ------
    CannotDistribute
        For a scan that does not tell.
    """
    scans: dict[str, list[TableRead]] = defaultdict(list)
    # The binder's tables are found by any case of their names.
    known = {name.lower(): table for name, table in tables.items()}
    for node in nodes(serialized):
        data = node.get("function_data")
        if node.get("type") != "LOGICAL_GET" or node["qname"]["path"] != ["seq_scan"] or not data:
            continue
        name = data["table"].lower()
        if name not in known:
            raise CannotDistribute(f"table {data['table']}")
        scans[name].append(_read(node, known[name]))
    return {name: _together(scans[name.lower()]) for name in tables}


def _read(node: Serialized, table: Table) -> TableRead:
    types = {column.name: column.type for column in table.columns}
    names: Sequence[str] = node["names"]
    indexes = (index["index"] for index in node["column_indexes"])
    read = [names[index] if index < len(names) else None for index in indexes]
    columns = [None if name is None else Column(name, types[name]) for name in read]
    conditions: list[Expression] = []
    for item in node["table_filters"]["filters"]:
        column = columns[item["key"]]
        try:
            made = None if column is None else table_filter(item["value"], column)
        except CannotDistribute:
            continue
        if made is not None:
            conditions += (part for part in conjuncts(made) if not is_volatile(part))
    found = frozenset(name for name in read if name is not None)
    return TableRead(found, tuple(dict.fromkeys(conditions)))


def _together(scans: Sequence[TableRead]) -> TableRead:
    """Return what several scans of a table read; only a single one may drop rows."""
    columns = frozenset(name for scan in scans for name in scan.columns)
    return TableRead(columns, scans[0].conditions if len(scans) == 1 else ())


def nodes(tree: object) -> Iterator[Serialized]:
    """Yield every object of a JSON tree, without recursion: plans can be deep."""
    stack = [tree]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            yield item
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)
