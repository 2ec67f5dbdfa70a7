"""Aggregates in two parts: what producers compute, and how consumers merge it.

Only aggregates whose parts are plain values are here. The others shuffle their rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from starling_py.planner.expressions import Aggregate, Call, Cast, Column, Expression
from starling_py.planner.types import INTEGERS, is_nested

if TYPE_CHECKING:
    from starling_py.planner.names import Names

__all__ = ["TwoParts", "in_two_parts"]

_MERGED_BY_THEMSELVES = frozenset(
    ("min", "max", "bool_and", "bool_or", "bit_and", "bit_or", "bit_xor", "any_value")
)


@dataclass(frozen=True, slots=True)
class TwoParts:
    """``partial`` under its names, ``merge`` of those under theirs, and the result from these."""

    partial: tuple[tuple[str, Aggregate], ...]
    merge: tuple[tuple[str, Aggregate], ...]
    result: Expression


def in_two_parts(call: Aggregate, names: Names) -> TwoParts | None:
    """Return the parts of an aggregate, or ``None`` when its rows must be brought together."""
    if call.order or (call.distinct and call.name not in ("min", "max")):
        return None
    if call.name in _MERGED_BY_THEMSELVES and len(call.arguments) == 1:
        return None if is_nested(call.type) else _merged(call, call.name, names)
    if call.name in ("count", "count_star"):
        return _count(call, names)
    if call.name == "sum" and _summable(call.type):
        return _merged(call, "sum", names)
    if call.name in ("avg", "mean"):
        return _average(call, names)
    return None


def _merged(call: Aggregate, merge: str, names: Names) -> TwoParts:
    part = Column(names.fresh(call.name), call.type)
    whole = Column(names.fresh(call.name), call.type)
    merged = Aggregate(merge, (part,), call.type)
    return TwoParts(((part.name, call),), ((whole.name, merged),), whole)


def _summable(type_: str) -> bool:
    return type_ in ("HUGEINT", "DOUBLE", "BIGINT") or type_.startswith("DECIMAL(38,")


def _count(call: Aggregate, names: Names) -> TwoParts:
    part = Column(names.fresh("count"), "BIGINT")
    # The sum of counts is a HUGEINT, and NULL where no part arrived.
    whole = Column(names.fresh("count"), "HUGEINT")
    merged = Aggregate("sum", (part,), "HUGEINT")
    return TwoParts(((part.name, call),), ((whole.name, merged),), Cast(whole, "BIGINT"))


def _average(call: Aggregate, names: Names) -> TwoParts | None:
    (argument,) = call.arguments if len(call.arguments) == 1 else (None,)
    if argument is None or call.type != "DOUBLE":
        return None
    total_type = _sum_type(argument.type)
    if total_type is None:
        return None
    total = Column(names.fresh("sum"), total_type)
    count = Column(names.fresh("count"), "BIGINT")
    totals = Column(names.fresh("sum"), total_type)
    counts = Column(names.fresh("count"), "HUGEINT")
    return TwoParts(
        (
            (total.name, Aggregate("sum", (argument,), total_type, condition=call.condition)),
            (count.name, Aggregate("count", (argument,), "BIGINT", condition=call.condition)),
        ),
        (
            (totals.name, Aggregate("sum", (total,), total_type)),
            (counts.name, Aggregate("sum", (count,), "HUGEINT")),
        ),
        # No values give NULL / 0, which is NULL.
        Call("/", (Cast(totals, "DOUBLE"), Cast(counts, "DOUBLE")), "DOUBLE", "infix"),
    )


def _sum_type(type_: str) -> str | None:
    """Return the type of the sum of numbers that cannot overflow where their average does not."""
    if type_ in INTEGERS:
        return "HUGEINT"
    if type_ in ("DOUBLE", "FLOAT"):
        return "DOUBLE"
    if type_.startswith("DECIMAL("):
        width, scale = type_[8:-1].split(",")
        return f"DECIMAL(38,{scale})" if int(width) <= 18 else None
    return None
