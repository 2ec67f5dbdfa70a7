"""Aggregates in two parts: what producers compute, and how consumers merge it.

Parts are plain values where SQL can say how they merge, else exported states
(:mod:`starling_py.planner.states`). An aggregate that is not here, or not of arguments of these
types, needs its rows together. So do those with DISTINCT (but see
:mod:`starling_py.planner.distinct`) or ORDER BY, and those whose state holds every value.

``first``, ``last``, ``any_value`` and the ties of ``arg_min`` and ``arg_max`` go by the order of
rows. Consumers merge parts in the order of the producers' tasks, which is that of files and rows,
so the answer is that of one DuckDB thread; without ORDER BY nothing more is promised.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from starling_py.planner.expressions import Aggregate, Call, Cast, Column, Expression, Literal
from starling_py.planner.states import WIDE, exported_state
from starling_py.planner.types import INTEGERS

if TYPE_CHECKING:
    from starling_py.planner.names import Names

__all__ = ["NOT_REPEATED", "TwoParts", "in_two_parts"]

_MERGED_BY_THEMSELVES = frozenset(
    ("min", "max", "bool_and", "bool_or", "bit_and", "bit_or", "bit_xor", "any_value", "product")
)
_SUMMED = frozenset(("sum", "count_if", "countif"))
NOT_REPEATED = frozenset(("min", "max", "bool_and", "bool_or", "bit_and", "bit_or"))
"""Aggregates to which DISTINCT makes no difference."""


@dataclass(frozen=True, slots=True)
class TwoParts:
    """``partial`` under its names, ``merge`` of those under theirs, and the result from these.

    ``wide`` parts may be larger than the rows that they stand for.
    """

    partial: tuple[tuple[str, Aggregate], ...]
    merge: tuple[tuple[str, Aggregate], ...]
    result: Expression
    wide: bool = False


def in_two_parts(call: Aggregate, names: Names) -> TwoParts | None:
    """Return the parts of an aggregate, or ``None`` when its rows must be brought together."""
    if call.distinct and call.name in NOT_REPEATED:
        call = replace(call, distinct=False)
    if call.order or call.distinct:
        return None
    if call.merges is not None:
        return _merged_states(call, names)
    if call.exports is not None:
        return _exported(call, names)
    if call.name in _MERGED_BY_THEMSELVES and len(call.arguments) == 1:
        return _merged(call, call.name, names)
    if call.name in ("count", "count_star"):
        return _count(call, names)
    if call.name in _SUMMED and _summable(call.type):
        return _merged(call, "sum", names)
    if call.name in ("avg", "mean"):
        made = _average(call, names)
        if made is not None:
            return made
    return _by_state(call, names)


def _merged(call: Aggregate, merge: str, names: Names) -> TwoParts:
    part = Column(names.fresh(call.name), call.type)
    whole = Column(names.fresh(call.name), call.type)
    merged = Aggregate(merge, (part,), call.type)
    return TwoParts(((part.name, call),), ((whole.name, merged),), whole)


def _by_state(call: Aggregate, names: Names) -> TwoParts | None:
    state = exported_state(call.name, tuple(argument.type for argument in call.arguments))
    if state is None:
        return None
    part = Column(names.fresh(call.name), state.storage)
    whole = Column(names.fresh(call.name), call.type)
    partial = replace(call, type=state.storage, exports=state)
    merged = Aggregate(call.name, (part,), call.type, merges=state)
    wide = call.name in WIDE
    return TwoParts(((part.name, partial),), ((whole.name, merged),), whole, wide)


def _exported(call: Aggregate, names: Names) -> TwoParts:
    """Return the parts of a state, which are states."""
    part = Column(names.fresh(call.name), call.type)
    whole = Column(names.fresh(call.name), call.type)
    merged = Aggregate(call.name, (part,), call.type, exports=call.exports, merges=call.exports)
    return TwoParts(((part.name, call),), ((whole.name, merged),), whole, call.name in WIDE)


def _merged_states(call: Aggregate, names: Names) -> TwoParts | None:
    """Return the parts of what merges states: states of those that each task has."""
    state = call.merges
    if state is None:
        return None
    part = Column(names.fresh(call.name), state.storage)
    whole = Column(names.fresh(call.name), call.type)
    partial = replace(call, type=state.storage, exports=state)
    merged = replace(call, arguments=(part,), condition=None)
    return TwoParts(((part.name, partial),), ((whole.name, merged),), whole, call.name in WIDE)


def _summable(type_: str) -> bool:
    return type_ in ("HUGEINT", "DOUBLE", "BIGINT") or type_.startswith("DECIMAL(38,")


def _count(call: Aggregate, names: Names) -> TwoParts:
    part = Column(names.fresh("count"), call.type)
    # The sum of counts is a HUGEINT, and NULL where no part arrived.
    whole = Column(names.fresh("count"), "HUGEINT")
    merged = Aggregate("sum", (part,), "HUGEINT")
    none = Literal("CAST(0 AS HUGEINT)", "HUGEINT")
    result: Expression = Call("coalesce", (whole, none), "HUGEINT")
    if call.type != "HUGEINT":
        result = Cast(result, call.type)
    return TwoParts(((part.name, call),), ((whole.name, merged),), result)


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
