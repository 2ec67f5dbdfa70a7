"""Window functions of the serialized plan."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from starling_py.planner.adapter.expressions import called_aggregate, expression, order_keys
from starling_py.planner.adapter.groups import Computed
from starling_py.planner.algebra import Node, Window
from starling_py.planner.errors import CannotDistribute
from starling_py.planner.expressions import Call, Cast, Column, Expression
from starling_py.planner.types import type_name
from starling_py.planner.windowing import Bound, Frame, WindowCall

if TYPE_CHECKING:
    from starling_py.planner.adapter.joins import Row
    from starling_py.planner.names import Names

__all__ = ["WINDOW_FUNCTIONS", "read_window"]

Serialized = Mapping[str, Any]

WINDOW_FUNCTIONS = {
    "WINDOW_RANK": "rank",
    "WINDOW_RANK_DENSE": "dense_rank",
    "WINDOW_NTILE": "ntile",
    "WINDOW_PERCENT_RANK": "percent_rank",
    "WINDOW_CUME_DIST": "cume_dist",
    "WINDOW_ROW_NUMBER": "row_number",
    "WINDOW_FIRST_VALUE": "first_value",
    "WINDOW_LAST_VALUE": "last_value",
    "WINDOW_LEAD": "lead",
    "WINDOW_LAG": "lag",
    "WINDOW_NTH_VALUE": "nth_value",
    "WINDOW_FILL": "fill",
}

_BOUNDS = {
    "UNBOUNDED_PRECEDING": "UNBOUNDED PRECEDING",
    "UNBOUNDED_FOLLOWING": "UNBOUNDED FOLLOWING",
    "CURRENT_ROW": "CURRENT ROW",
    "EXPR_PRECEDING": "PRECEDING",
    "EXPR_FOLLOWING": "FOLLOWING",
}
_UNITS = ("ROWS", "RANGE", "GROUPS")
_EXCLUDED = {"NO_OTHER": "", "CURRENT_ROW": "CURRENT ROW", "GROUP": "GROUP", "TIES": "TIES"}


def read_window(serialized: Serialized, node: Node, row: Row, names: Names) -> tuple[Node, Row]:
    """Return a WINDOW over its input; partition keys that are computed become columns below it.

    Raises
    ------
    CannotDistribute
        For a function or frame that is not known exactly.
    """
    computed = Computed(names)
    calls = []
    for item in serialized["expressions"]:
        if item["expression_class"] != "BOUND_WINDOW":
            raise CannotDistribute(f"expression {item['expression_class']} among window functions")
        keys = [
            computed.column(expression(key, row), key["alias"] or "p") for key in item["partitions"]
        ]
        call = _call(item, row, tuple(dict.fromkeys(keys)))
        calls.append((names.fresh(call.name), call))
    node = Window(computed.below(node), tuple(calls))
    return node, row + tuple(Column(name, call.type) for name, call in calls)


def _call(serialized: Serialized, row: Row, partitions: tuple[Column, ...]) -> WindowCall:
    kind = serialized["type"]
    if kind == "WINDOW_AGGREGATE":
        name, arguments = called_aggregate(serialized, row)
    elif kind in WINDOW_FUNCTIONS:
        name = WINDOW_FUNCTIONS[kind]
        arguments = tuple(expression(child, row) for child in serialized["children"])
    else:
        raise CannotDistribute(f"window function {kind}")
    condition = serialized["filters"]
    order = order_keys(serialized["orders"], row)
    return WindowCall(
        name,
        arguments,
        type_name(serialized["return_type"]),
        partitions,
        order,
        _frame(serialized, row),
        bool(serialized["distinct"]),
        bool(serialized["ignore_nulls"]),
        None if condition is None else expression(condition, row),
        order_keys(serialized["arg_orders"], row),
    )


def _frame(serialized: Serialized, row: Row) -> Frame | None:
    """Return the frame, or ``None`` for the default, from the first row to the last equal one."""
    ends = (serialized["start"], serialized["end"])
    exclude = serialized["exclude_clause"]
    if exclude not in _EXCLUDED:
        raise CannotDistribute(f"EXCLUDE {exclude}")
    if ends == ("UNBOUNDED_PRECEDING", "CURRENT_ROW_RANGE") and exclude == "NO_OTHER":
        return None
    units = {unit for end in ends for unit in _UNITS if end.endswith(f"_{unit}")}
    if len(units) > 1:
        raise CannotDistribute("frame in two units")
    unit = units.pop() if units else "ROWS"
    bounds = []
    for end, offset in zip(ends, (serialized["start_expr"], serialized["end_expr"]), strict=True):
        kind = end.removesuffix(f"_{unit}")
        if kind not in _BOUNDS:
            raise CannotDistribute(f"frame boundary {end}")
        made = None
        if kind.startswith("EXPR_"):
            made = expression(offset, row)
            made = _offset(made) if unit == "RANGE" else made
        bounds.append(Bound(_BOUNDS[kind], made))
    return Frame(unit, bounds[0], bounds[1], _EXCLUDED[exclude])


def _offset(boundary: Expression) -> Expression:
    """Return what the binder has added to the order key, or subtracted from it."""
    while isinstance(boundary, Cast):
        boundary = boundary.argument
    if isinstance(boundary, Call) and boundary.name in ("+", "-") and len(boundary.arguments) == 2:
        return boundary.arguments[1]
    raise CannotDistribute("RANGE with a computed boundary")
