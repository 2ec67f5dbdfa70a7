"""Filters that DuckDB has pushed into a table scan, made back into conditions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starling_py.operators.quoting import literal
from starling_py.planner.adapter.expressions import comparison, expression
from starling_py.planner.errors import CannotDistribute
from starling_py.planner.expressions import Call, Column, Expression, Literal
from starling_py.planner.literals import constant

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["table_filter"]


def table_filter(serialized: Mapping[str, Any], column: Expression) -> Expression | None:
    """Return the condition on ``column``, or ``None`` for a filter that is only advice."""
    kind = serialized["filter_type"].removeprefix("LEGACY_")
    match kind:
        case "OPTIONAL_FILTER" | "DYNAMIC_FILTER" | "BLOOM_FILTER":
            return None
        case "EXPRESSION_FILTER":
            if not isinstance(column, Column):
                raise CannotDistribute("expression filter below a struct")
            return expression(serialized["expr"], (column,))
        case "CONSTANT_COMPARISON":
            operator = comparison(serialized["comparison_type"])
            value = constant(serialized["constant"])
            return Call(operator, (column, value), "BOOLEAN", "infix")
        case "IS_NULL":
            return Call("IS NULL", (column,), "BOOLEAN", "postfix")
        case "IS_NOT_NULL":
            return Call("IS NOT NULL", (column,), "BOOLEAN", "postfix")
        case "IN_FILTER":
            values = tuple(constant(value) for value in serialized["values"])
            return Call("IN", (column, *values), "BOOLEAN", "in")
        case "CONJUNCTION_AND" | "CONJUNCTION_OR":
            return _conjunction(kind, serialized, column)
        case "STRUCT_EXTRACT":
            return _struct_extract(serialized, column)
    raise CannotDistribute(f"filter {kind}")


def _conjunction(kind: str, serialized: Mapping[str, Any], column: Expression) -> Expression | None:
    made = [table_filter(child, column) for child in serialized["child_filters"]]
    parts = tuple(part for part in made if part is not None)
    if kind == "CONJUNCTION_OR" and len(parts) < len(made):
        return None
    if not parts:
        return None
    if len(parts) == 1:
        return parts[0]
    return Call(kind.removeprefix("CONJUNCTION_"), parts, "BOOLEAN", "infix")


def _struct_extract(serialized: Mapping[str, Any], column: Expression) -> Expression | None:
    # The type of the member is not written down; conditions on it do not need it.
    member = Call(
        "struct_extract",
        (column, Literal(literal(serialized["child_name"]), "VARCHAR")),
        "",
    )
    return table_filter(serialized["child_filter"], member)
