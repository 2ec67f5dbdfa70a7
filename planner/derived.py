"""What is known of computed columns: how many values a function of others has at most."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from starling_py.planner.expressions import Call, Case, Cast, Column, Expression, Literal
from starling_py.planner.footers import number
from starling_py.planner.selectivity import unknown

if TYPE_CHECKING:
    from starling_py.planner.footers import ColumnFacts
    from starling_py.planner.selectivity import Relation

__all__ = ["derived_facts"]

_DAY = {"DATE": 1.0, "TIMESTAMP": 86_400e6, "TIMESTAMP WITH TIME ZONE": 86_400e6}
"""In the numbers that footers have for values of these types."""

_DAYS_IN = {"year": 365.25, "quarter": 91.3, "month": 30.4, "week": 7.0, "day": 1.0}

_MOST = {
    "quarter": 4.0,
    "month": 12.0,
    "week": 53.0,
    "weekofyear": 53.0,
    "day": 31.0,
    "dayofmonth": 31.0,
    "dayofweek": 7.0,
    "isodow": 7.0,
    "dayofyear": 366.0,
    "hour": 24.0,
    "minute": 60.0,
}


def derived_facts(expression: Expression, below: Relation) -> ColumnFacts:
    """Return what is thought of the values of an expression over the columns of a relation."""
    if isinstance(expression, Cast):
        cast = derived_facts(expression.argument, below)
        # JSON's null is a value, and becomes none where it is cast.
        may_fail = expression.lenient or expression.argument.type == "JSON"
        return replace(cast, nullable=True) if may_fail else cast
    facts = unknown(Column("", expression.type), below.rows)
    most: float | None = None
    match expression:
        case Column(name=name):
            return below.columns.get(name, facts)
        case Case(branches=((_, value),), otherwise=Literal(type='"NULL"')):
            return replace(derived_facts(value, below), nullable=True)
        case Literal():
            most = 1.0
        case Case(branches=branches, otherwise=otherwise):
            values = [value for _, value in branches] + [otherwise]
            if all(isinstance(value, Literal) for value in values):
                most = float(len(set(values)))
        case Call(name=name, arguments=arguments):
            most = 3.0 if expression.type == "BOOLEAN" else _of_call(name, arguments, below)
    return facts if most is None else replace(facts, distinct=max(1.0, min(most, facts.distinct)))


def _of_call(name: str, arguments: tuple[Expression, ...], below: Relation) -> float | None:
    name = name.strip('"')
    match name, arguments:
        case "%", (_, Literal(value=value)):
            divisor = number(value)
            return abs(divisor) * 2 if divisor else None
        case "year", (date,):
            return _periods("year", date, below)
        case (("date_part" | "datepart"), (Literal(value=str() as part), date)):
            return _periods(part, date, below) if part == "year" else _MOST.get(part)
        case (("date_trunc" | "datetrunc"), (Literal(value=str() as part), date)):
            return _periods(part, date, below)
        case _, (_,) if name in _MOST:
            return _MOST[name]
    return None


def _periods(unit: str, date: Expression, below: Relation) -> float | None:
    """Return how many years, months … the values of a column lie in."""
    facts = derived_facts(date, below)
    day = _DAY.get(date.type)
    if day is None or unit not in _DAYS_IN or facts.low is None or facts.high is None:
        return None
    return (facts.high - facts.low) / day / _DAYS_IN[unit] + 2.0
