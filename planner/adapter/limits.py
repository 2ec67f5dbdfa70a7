"""LIMIT and samples of the serialized plan."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from starling_py.planner.adapter.expressions import expression
from starling_py.planner.algebra import Filter, Limit, Node, Sample, Window
from starling_py.planner.errors import CannotDistribute
from starling_py.planner.expressions import Call, Cast, Column, Expression, Literal
from starling_py.planner.literals import constant
from starling_py.planner.windowing import WindowCall

if TYPE_CHECKING:
    from starling_py.planner.adapter.joins import Row
    from starling_py.planner.names import Names

__all__ = ["read_limit", "read_sample"]

Serialized = Mapping[str, Any]
_METHODS = {"System": "system", "Bernoulli": "bernoulli", "Reservoir": "reservoir"}


def read_limit(serialized: Serialized, node: Node, row: Row, names: Names) -> tuple[Node, Row]:
    """Return a LIMIT; with a computed count or offset, a filter on numbered rows.

    Raises
    ------
    CannotDistribute
        For a share of the rows that is computed.
    """
    limit, offset = serialized["limit_val"], serialized["offset_val"]
    kinds = (limit["type"], offset["type"])
    if "EXPRESSION_VALUE" in kinds:
        return _numbered(node, _value(limit, row), _value(offset, row), names), row
    if kinds[1] not in ("CONSTANT_VALUE", "UNSET"):
        raise CannotDistribute(f"OFFSET of kind {kinds[1]}")
    skipped = offset["constant_integer"] if kinds[1] == "CONSTANT_VALUE" else 0
    match kinds[0]:
        case "CONSTANT_VALUE":
            return Limit(node, limit["constant_integer"], skipped), row
        case "UNSET":
            return Limit(node, None, skipped), row
        case "CONSTANT_PERCENTAGE":
            return Limit(node, None, skipped, limit["constant_percentage"]), row
    raise CannotDistribute(f"LIMIT of kind {kinds[0]}")


def _value(serialized: Serialized, row: Row) -> Expression | None:
    match serialized["type"]:
        case "EXPRESSION_VALUE":
            return Cast(expression(serialized["expression"], row), "HUGEINT")
        case "CONSTANT_VALUE":
            return Literal(f"CAST({serialized['constant_integer']} AS HUGEINT)", "HUGEINT")
        case "UNSET":
            return None
    raise CannotDistribute(f"LIMIT of kind {serialized['type']}")


def _numbered(
    node: Node, count: Expression | None, offset: Expression | None, names: Names
) -> Node:
    """Return the rows whose numbers are within a limit that each row holds; NULL is no limit."""
    number = Column(names.fresh("row"), "BIGINT")
    window = Window(node, ((number.name, WindowCall("row_number", (), "BIGINT", (), ())),))
    zero = Literal("CAST(0 AS HUGEINT)", "HUGEINT")
    first = zero if offset is None else Call("coalesce", (offset, zero), "HUGEINT")
    conditions = [Call(">", (number, first), "BOOLEAN", "infix")]
    if count is not None:
        last = Call("+", (first, count), "HUGEINT", "infix")
        within = Call("<=", (number, last), "BOOLEAN", "infix")
        conditions.append(Call("coalesce", (within, Literal("true", "BOOLEAN")), "BOOLEAN"))
    return Filter(window, tuple(conditions))


def read_sample(serialized: Serialized, node: Node, row: Row) -> tuple[Node, Row]:
    """Return a SAMPLE.

    Raises
    ------
    CannotDistribute
        For a method or a size that is not known.
    """
    options = serialized["sample_options"]
    method = _METHODS.get(options["method"])
    size = options["sample_size"]
    if method is None or size["is_null"]:
        raise CannotDistribute(f"sample by {options['method']}")
    percent = bool(options["is_percentage"])
    value = constant(size).value
    amount = str(value) if isinstance(value, int) else repr(float(size["value"]))
    seed = options["seed"] if options["repeatable"] else None
    return Sample(node, method, amount, percent, seed), row
