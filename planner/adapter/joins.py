"""Joins of the serialized plan. A join's expressions refer to its sides' columns by position."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from starling_py.planner.adapter.expressions import comparison, expression
from starling_py.planner.algebra import Condition, Join, JoinKind, Node
from starling_py.planner.errors import CannotDistribute
from starling_py.planner.expressions import Column, Expression, conjuncts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from starling_py.planner.names import Names

__all__ = ["Row", "Side", "pick", "read_join"]

Row = tuple[Column, ...]
"""The columns that DuckDB sees at positions 0, 1 …"""


@dataclass(frozen=True, slots=True)
class Side:
    """One side of a join."""

    node: Node
    row: Row


def read_join(
    serialized: Mapping[str, Any], left: Side, right: Side, names: Names
) -> tuple[Node, Row]:
    """Return a COMPARISON_JOIN, ANY_JOIN or CROSS_PRODUCT over its sides.

    Raises
    ------
    CannotDistribute
        For a kind, a condition or a projection that is not known exactly.
    """
    if serialized["type"] == "LOGICAL_CROSS_PRODUCT":
        return Join(left.node, right.node, JoinKind.INNER, ()), left.row + right.row
    if serialized["type"] == "LOGICAL_POSITIONAL_JOIN":
        return Join(left.node, right.node, JoinKind.POSITIONAL, ()), left.row + right.row
    conditions: tuple[Condition, ...] = ()
    residual: tuple[Expression, ...]
    if serialized["type"] == "LOGICAL_ANY_JOIN":
        residual = tuple(conjuncts(expression(serialized["condition"], left.row + right.row)))
    else:
        if serialized["duplicate_eliminated_columns"] or serialized["delim_flipped"]:
            raise CannotDistribute("delimiter join")
        conditions, residual = _conditions(serialized["conditions"], left.row, right.row)
    name = serialized["join_type"]
    if name not in JoinKind.__members__:
        raise CannotDistribute(f"join of kind {name}")
    kind = JoinKind[name]
    kept = pick(left.row, serialized["left_projection_map"])
    values = pick(right.row, serialized["right_projection_map"])
    mark = ""
    if kind is JoinKind.MARK:
        compared = [c for c in conditions if not c.matches_nulls]
        if len(compared) > 1 and any(c.operator != "=" for c in compared):
            raise CannotDistribute("a comparison with ANY of several columns")
        if residual and compared:
            raise CannotDistribute("IN with another condition")
        mark = names.fresh("mark")
    elif kind is JoinKind.SINGLE:
        if residual or len(values) != 1:
            raise CannotDistribute("scalar subquery of several columns")
        mark = values[0].name
    asof = serialized["type"] == "LOGICAL_ASOF_JOIN"
    if asof and (residual or conditions[-1].equates):
        raise CannotDistribute("ASOF JOIN with another condition")
    if asof and kind not in (JoinKind.INNER, JoinKind.LEFT):
        # Where a part of it has no left rows, DuckDB 2.0.0 never ends.
        raise CannotDistribute(f"ASOF {kind} JOIN")
    node = Join(left.node, right.node, kind, conditions, residual, mark, asof)
    match kind:
        case JoinKind.SEMI | JoinKind.ANTI:
            return node, kept
        case JoinKind.MARK:
            return node, (*kept, Column(mark, "BOOLEAN"))
    return node, kept + values


def _conditions(
    serialized: Sequence[Mapping[str, Any]], left: Row, right: Row
) -> tuple[tuple[Condition, ...], tuple[Expression, ...]]:
    conditions: list[Condition] = []
    residual: list[Expression] = []
    for item in serialized:
        if item["comparison"] in ("INVALID", None) or item["right"] is None:
            residual += conjuncts(expression(item["left"], left + right))
            continue
        conditions.append(
            Condition(
                expression(item["left"], left),
                comparison(item["comparison"]),
                expression(item["right"], right),
            )
        )
    return tuple(conditions), tuple(residual)


def pick(row: Row, positions: Sequence[int]) -> Row:
    """Return the columns at some positions; DuckDB writes an empty list for all of them."""
    return tuple(row[position] for position in positions) if positions else row
