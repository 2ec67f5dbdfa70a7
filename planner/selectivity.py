"""How many rows pass a condition, by guess and by what is known of columns."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from starling_py.planner.expressions import Call, Cast, Column, Expression, Literal
from starling_py.planner.footers import ColumnFacts, number
from starling_py.planner.types import estimated_width

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["GUESS", "Relation", "behind", "facts_of", "filtered", "scaled", "unknown"]

GUESS = 0.3
_GUESS_EQUAL = 0.05
_GUESS_LIKE = 0.1
_GUESS_NULL = 0.05
_GUESS_STRING_RANGE = 0.2


@dataclass(frozen=True, slots=True)
class Relation:
    """Expected rows, and facts by column name."""

    rows: float
    columns: Mapping[str, ColumnFacts]

    @property
    def bytes(self) -> float:
        return self.rows * sum(facts.width for facts in self.columns.values())


def unknown(column: Column, rows: float) -> ColumnFacts:
    return ColumnFacts(max(rows, 1.0), None, None, True, rows, estimated_width(column.type))


@dataclass(frozen=True, slots=True)
class _KeyFacts:
    distinct: float
    distinct_origin: float
    origin: float


def facts_of(expression: Expression, relation: Relation) -> _KeyFacts:
    """Return what is known of a key expression; a cast column counts as the column."""
    column = behind(expression)
    facts = relation.columns.get(column.name) if column else None
    if facts is None:
        return _KeyFacts(relation.rows, relation.rows, relation.rows)
    whole = facts.origin
    if facts.low is not None and facts.high is not None:
        whole = min(whole, facts.high - facts.low + 1.0)
    return _KeyFacts(facts.distinct, max(facts.distinct, min(whole, facts.origin)), facts.origin)


def behind(expression: Expression) -> Column | None:
    while isinstance(expression, Cast):
        expression = expression.argument
    return expression if isinstance(expression, Column) else None


def scaled(relation: Relation, rows: float) -> Relation:
    """Return the relation with another number of rows, and no more distinct values than that."""
    most = max(rows, 1.0)
    return Relation(
        rows,
        {
            name: facts if facts.distinct <= most else replace(facts, distinct=most)
            for name, facts in relation.columns.items()
        },
    )


def filtered(relation: Relation, conditions: tuple[Expression, ...]) -> Relation:
    """Return the relation behind a filter; ranges on one column narrow it together."""
    share = 1.0
    columns = dict(relation.columns)
    for condition in conditions:
        share *= _narrow(condition, columns)
    return scaled(Relation(relation.rows, columns), relation.rows * share)


def _narrow(condition: Expression, columns: dict[str, ColumnFacts]) -> float:
    """Return a condition's selectivity, and note in ``columns`` what it leaves."""
    match condition:
        case Call(name="AND", arguments=parts):
            return math.prod(_narrow(part, columns) for part in parts)
        case Call(name="OR", arguments=parts):
            missed = math.prod(1.0 - _narrow(part, dict(columns)) for part in parts)
            return 1.0 - missed
        case Call(name="NOT", arguments=(part,)):
            return max(0.05, 1.0 - _narrow(part, dict(columns)))
        case Call(name="IS NULL"):
            return _GUESS_NULL
        case Call(name="IS NOT NULL"):
            return 1.0
        case Call(name="=", arguments=(side, Literal())):
            facts = _facts(side, columns)
            if facts is None:
                return _GUESS_EQUAL
            column = behind(side)
            if column is not None:
                columns[column.name] = replace(facts, distinct=1.0)
            return 1.0 / max(facts.distinct, 1.0)
        case Call(name="IN", arguments=(side, *values)):
            facts = _facts(side, columns)
            return min(1.0, len(values) * (_GUESS_EQUAL if facts is None else 1 / facts.distinct))
        case Call(name="<" | "<=" | ">" | ">=" as operator, arguments=(side, Literal() as value)):
            return _range(operator, side, value, columns)
        case Call(name="<>"):
            return 0.9
        case Call(name="~~" | "~~*" | '"contains"' | '"prefix"' | '"suffix"' | '"like_escape"'):
            return _GUESS_LIKE
        case Call(name="!~~" | "!~~*"):
            return 1.0 - _GUESS_LIKE
        case Literal(sql="true"):
            return 1.0
    return GUESS


def _facts(side: Expression, columns: Mapping[str, ColumnFacts]) -> ColumnFacts | None:
    column = behind(side)
    return columns.get(column.name) if column else None


def _range(
    operator: str, side: Expression, value: Literal, columns: dict[str, ColumnFacts]
) -> float:
    facts = _facts(side, columns)
    bound = number(value.value)
    if facts is None:
        return GUESS
    if bound is None or facts.low is None or facts.high is None:
        return _GUESS_STRING_RANGE if value.type == "VARCHAR" else GUESS
    span = facts.high - facts.low
    low, high = facts.low, facts.high
    if operator in ("<", "<="):
        high = min(high, bound)
    else:
        low = max(low, bound)
    share = max(0.0, high - low) / span if span > 0 else float(high >= low)
    share = min(1.0, max(share, 1.0 / max(facts.distinct, 1.0)))
    column = behind(side)
    if column is not None:
        left = max(1.0, facts.distinct * share)
        columns[column.name] = replace(facts, low=low, high=max(low, high), distinct=left)
    return share
