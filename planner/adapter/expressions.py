"""Bound expressions of the serialized plan, made into the planner's own.

What is not known exactly is :class:`CannotDistribute`, never a guess: the statement then runs whole
on one worker.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from starling_py.operators.quoting import identifier
from starling_py.planner.adapter.decimals import decimal_product, decimal_sum, width_and_scale
from starling_py.planner.errors import CannotDistribute
from starling_py.planner.expressions import (
    Aggregate,
    Call,
    Case,
    Cast,
    Column,
    Expression,
    Lambda,
    Literal,
    OrderKey,
    Parameter,
)
from starling_py.planner.literals import constant
from starling_py.planner.states import FUNCTIONS
from starling_py.planner.types import type_name

__all__ = ["aggregate", "called_aggregate", "comparison", "expression", "order_keys"]

Serialized = Mapping[str, Any]

_COMPARISONS = {
    "COMPARE_EQUAL": "=",
    "COMPARE_NOTEQUAL": "<>",
    "COMPARE_LESSTHAN": "<",
    "COMPARE_GREATERTHAN": ">",
    "COMPARE_LESSTHANOREQUALTO": "<=",
    "COMPARE_GREATERTHANOREQUALTO": ">=",
    "COMPARE_DISTINCT_FROM": "IS DISTINCT FROM",
    "COMPARE_NOT_DISTINCT_FROM": "IS NOT DISTINCT FROM",
}

_INFIX = frozenset(
    ("+", "-", "*", "/", "//", "%", "**", "^", "&", "|", "<<", ">>", "||", "^@", "@>", "<@", "&&")
) | frozenset(("~~", "!~~", "~~*", "!~~*", "~~~"))

_PREFIX = frozenset(("-", "+", "~", "!", "@"))

_PLAIN_AGGREGATES = FUNCTIONS | frozenset(
    (
        "approx_top_k",
        "arg_max_nulls_last",
        "arg_min_nulls_last",
        "array_agg",
        "bit_and",
        "bit_or",
        "bit_xor",
        "bool_and",
        "bool_or",
        "count",
        "count_if",
        "count_star",
        "countif",
        "group_concat",
        "histogram",
        "histogram_exact",
        "last",
        "list",
        "listagg",
        "mad",
        "max",
        "median",
        "min",
        "mode",
        "product",
        "string_agg",
        "sum",
        "sum_no_overflow",
    )
)
"""Aggregates called by name and arguments alone: binding takes no parameter out of the call."""

_QUANTILES = frozenset(("quantile_cont", "quantile_disc"))


def comparison(name: str) -> str:
    """Return the SQL operator of a comparison kind.

    Raises
    ------
    CannotDistribute
        For a kind that is none.
    """
    if name not in _COMPARISONS:
        raise CannotDistribute(f"comparison {name}")
    return _COMPARISONS[name]


def expression(serialized: Serialized, row: Sequence[Expression]) -> Expression:
    """Return a scalar expression over the columns of ``row``, which it refers to by position.

    Inside a lambda, ``row`` are its parameters and what its body reads besides.
    """
    kind = serialized["expression_class"]
    match kind:
        case "BOUND_REF":
            made = row[serialized["index"]]
            if isinstance(made, Parameter):
                return replace(made, type=type_name(serialized["return_type"]))
            return made
        case "BOUND_CONSTANT":
            return constant(serialized["value"])
        case "BOUND_FUNCTION":
            return _function(serialized, row)
        case "BOUND_CONJUNCTION":
            word = {"CONJUNCTION_AND": "AND", "CONJUNCTION_OR": "OR"}[serialized["type"]]
            return Call(word, _several(serialized["children"], row), "BOOLEAN", "infix")
        case "BOUND_OPERATOR":
            return _operator(serialized, row)
        case "BOUND_CASE":
            return Case(
                tuple(
                    (expression(check["when_expr"], row), expression(check["then_expr"], row))
                    for check in serialized["case_checks"]
                ),
                expression(serialized["else_expr"], row),
                type_name(serialized["return_type"]),
            )
    raise CannotDistribute(f"expression {kind}")


def _several(serialized: Sequence[Serialized], row: Sequence[Expression]) -> tuple[Expression, ...]:
    return tuple(expression(child, row) for child in serialized)


def _function(serialized: Serialized, row: Sequence[Expression]) -> Expression:
    name = serialized["qname"]["path"][-1]
    arguments = _arguments(serialized, row)
    type_ = type_name(serialized["return_type"])
    if serialized["type"] in _COMPARISONS:
        return Call(_COMPARISONS[serialized["type"]], arguments, type_, "infix")
    if name == "__cast":
        return Cast(arguments[0], type_, bool(serialized["function_data"]["try_cast"]))
    if name == "__between":
        return _between(serialized["function_data"], arguments)
    if name.startswith("__"):
        raise CannotDistribute(f"function {name}")
    if len(arguments) == 2 and name in _INFIX:
        if name in ("+", "-") and width_and_scale(type_):
            return decimal_sum(name, arguments, type_)
        if name == "*" and width_and_scale(type_):
            return decimal_product(arguments, type_)
        return Call(name, arguments, type_, "infix")
    if len(arguments) == 1 and name in _PREFIX:
        return Call(name, arguments, type_, "prefix")
    if not name.replace("_", "").isalnum():
        raise CannotDistribute(f"function {name}")
    if name == "struct_pack":
        members = serialized["return_type"]["type_info"]["child_types"]
        named = tuple(
            Call(identifier(member["first"]) + " :=", (argument,), argument.type, "argument")
            for member, argument in zip(members, arguments, strict=True)
        )
        return Call(name, named, type_, "named")
    if name in ("struct_insert", "struct_update", "struct_concat", "union_value"):
        raise CannotDistribute(f"function {name}")
    return Call(identifier(name), tuple(map(_typed, arguments)), type_)


def _arguments(serialized: Serialized, row: Sequence[Expression]) -> tuple[Expression, ...]:
    """Return the arguments of a function; those behind a lambda are what its body reads."""
    children = serialized["children"]
    at = next((n for n, c in enumerate(children) if c["expression_class"] == "BOUND_LAMBDA"), None)
    if at is None:
        return _several(children, row)
    # The values of an initial state, or of the parameters themselves, stand in between.
    given = bool(serialized["function_data"].get("has_initial"))
    if serialized["qname"]["path"][-1] == "invoke":
        given = children[at]["parameter_count"]
    captured = at + 1 + given
    made = _lambda(children[at], row, _several(children[captured:], row))
    initial = _several(children[at + 1 : captured], row)
    return (*_several(children[:at], row), made, *initial)


def _lambda(
    serialized: Serialized, row: Sequence[Expression], captured: tuple[Expression, ...]
) -> Expression:
    """Return a lambda: its body counts its parameters from the last one, then what it captured."""
    names = serialized["parameter_names"]
    if len(names) != serialized["parameter_count"]:
        raise CannotDistribute("lambda without names")
    level = 1 + max((part.level for part in row if isinstance(part, Parameter)), default=0)
    parameters = tuple(Parameter(f"p{at}", "", level) for at in range(len(names)))
    return Lambda(parameters, expression(serialized["lambda_expr"], (*parameters[::-1], *captured)))


def _between(bounds: Serialized, arguments: tuple[Expression, ...]) -> Expression:
    """Return a BETWEEN; of a column as two comparisons, which can be proved one by one."""
    lower, upper = bounds["lower_inclusive"], bounds["upper_inclusive"]
    value, low, high = arguments
    if not isinstance(value, Column):
        if not (lower and upper):
            raise CannotDistribute("BETWEEN without its bounds")
        return Call("BETWEEN", arguments, "BOOLEAN", "between")
    above = Call(">=" if lower else ">", (value, low), "BOOLEAN", "infix")
    below = Call("<=" if upper else "<", (value, high), "BOOLEAN", "infix")
    return Call("AND", (above, below), "BOOLEAN", "infix")


def _typed(argument: Expression) -> Expression:
    """Return a string constant with its type: bare, it may choose another overload."""
    if isinstance(argument, Literal) and argument.type == "VARCHAR":
        return Literal(f"CAST({argument.sql} AS VARCHAR)", argument.type, argument.value)
    return argument


def _operator(serialized: Serialized, row: Sequence[Expression]) -> Expression:
    arguments = _several(serialized["children"], row)
    type_ = type_name(serialized["return_type"])
    match serialized["type"]:
        case "OPERATOR_NOT":
            return Call("NOT", arguments, type_, "prefix")
        case "OPERATOR_IS_NULL":
            return Call("IS NULL", arguments, type_, "postfix")
        case "OPERATOR_IS_NOT_NULL":
            return Call("IS NOT NULL", arguments, type_, "postfix")
        case "COMPARE_IN":
            return Call("IN", arguments, type_, "in")
        case "COMPARE_NOT_IN":
            return Call("NOT IN", arguments, type_, "in")
        case "OPERATOR_COALESCE":
            return Call("coalesce", arguments, type_)
        case "OPERATOR_TRY":
            return Call("TRY", arguments, type_)
    raise CannotDistribute(f"operator {serialized['type']}")


def order_keys(serialized: Sequence[Serialized], row: Sequence[Expression]) -> tuple[OrderKey, ...]:
    """Return the keys of an ORDER BY, without constants: written out, a number is a position."""
    keys = []
    for item in serialized:
        if item["type"] not in ("ASCENDING", "DESCENDING"):
            raise CannotDistribute(f"order {item['type']}")
        if item["null_order"] not in ("NULLS FIRST", "NULLS LAST"):
            raise CannotDistribute(f"order of NULLs {item['null_order']}")
        made = expression(item["expression"], row)
        if isinstance(made, Literal):
            continue
        descending, nulls_first = item["type"] == "DESCENDING", item["null_order"] == "NULLS FIRST"
        keys.append(OrderKey(made, descending, nulls_first))
    return tuple(keys)


def called_aggregate(
    serialized: Serialized, row: Sequence[Expression]
) -> tuple[str, tuple[Expression, ...]]:
    """Return the name of an aggregate function, and the arguments that describe it in full."""
    name = str(serialized["qname"]["path"][-1])
    if name not in _PLAIN_AGGREGATES and name not in _QUANTILES and name != "approx_quantile":
        raise CannotDistribute(f"aggregate {name}")
    arguments = _several(serialized["children"], row)
    if name in _QUANTILES:
        arguments = (arguments[0], _wanted_quantiles(serialized))
    return name, arguments if name == "string_agg" else tuple(map(_typed, arguments))


def aggregate(serialized: Serialized, row: Sequence[Expression]) -> Aggregate:
    """Return a call of an aggregate function."""
    kind = serialized["expression_class"]
    if kind != "BOUND_AGGREGATE":
        raise CannotDistribute(f"expression {kind} among aggregates")
    name, arguments = called_aggregate(serialized, row)
    if serialized["state_export"] != "NONE":
        raise CannotDistribute("exported aggregate state")
    condition = serialized["filter"]
    order = serialized["order_bys"]
    return Aggregate(
        name,
        arguments,
        type_name(serialized["return_type"]),
        serialized["aggregate_type"] == "DISTINCT",
        None if condition is None else expression(condition, row),
        () if not order else order_keys(order["orders"], row),
    )


def _wanted_quantiles(serialized: Serialized) -> Expression:
    """Return the parameter of a quantile as it was written: its argument is a DOUBLE by now."""
    data = serialized["function_data"]
    quantiles = [constant(value) for value in data["quantiles"]]
    if data["desc"]:
        # DuckDB writes a quantile from the other end as a negative number.
        if not all(value["value"] for value in data["quantiles"]):
            raise CannotDistribute("quantile 0 in descending order")
        quantiles = [Literal(f"(- {value.sql})", value.type) for value in quantiles]
    if serialized["children"][1]["value"]["type"]["id"] == "LIST":
        return Call("list_value", tuple(quantiles), f"{quantiles[0].type}[]")
    return quantiles[0]
