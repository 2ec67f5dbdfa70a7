"""Cardinalities out of Parquet footers: rows, distinct values, ranges and whether NULLs occur.

Everything here is an estimate, except that a column said to be free of NULLs is: its footers say
so for every row group. The guesses (selectivities without statistics) are in one place, below.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from starling_py.planner.algebra import (
    CteRead,
    Filter,
    Group,
    Join,
    JoinKind,
    Limit,
    Node,
    Project,
    Scan,
    SetKind,
    SetOperation,
    Sort,
    StageRead,
    Values,
    Window,
    outputs,
)
from starling_py.planner.expressions import Call, Case, Cast, Column, Expression, Literal
from starling_py.planner.footers import ColumnFacts, Footers, number
from starling_py.planner.tables import ColumnSource
from starling_py.planner.types import estimated_width

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["Estimator", "Relation"]

_GUESS = 0.3
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


def _unknown(column: Column, rows: float) -> ColumnFacts:
    return ColumnFacts(max(rows, 1.0), None, None, True, rows, estimated_width(column.type))


class Estimator:
    """Estimates nodes, each once.

    Parameters
    ----------
    ctes
        Definitions by number.
    stage_reads
        What is known of the rows that a stage reads, and their columns in the producer's names.
    """

    def __init__(
        self,
        footers: Footers,
        ctes: Mapping[int, Node] | None = None,
        stage_reads: Callable[[StageRead], tuple[Relation, tuple[Column, ...]]] | None = None,
    ) -> None:
        self._footers = footers
        self._ctes = dict(ctes or {})
        self._stage_reads = stage_reads
        self._known: dict[int, tuple[Node, Relation]] = {}

    def estimate(self, node: Node) -> Relation:
        """Return what a node is expected to give."""
        known = self._known.get(id(node))
        if known is not None:
            return known[1]
        made = self._estimate(node)
        # The node is kept too, so that its id cannot be taken by another one.
        self._known[id(node)] = (node, made)
        return made

    def _estimate(self, node: Node) -> Relation:
        match node:
            case Scan():
                return self._scan(node)
            case StageRead(columns=columns):
                if self._stage_reads is None:
                    raise TypeError("a read of a stage before there are stages")
                return _renamed(*self._stage_reads(node), columns)
            case Values(columns=columns, rows=rows):
                count = float(len(rows))
                return Relation(count, {c.name: _unknown(c, count) for c in columns})
            case CteRead(cte=cte, columns=columns):
                definition = self._ctes[cte]
                return _renamed(self.estimate(definition), outputs(definition), columns)
            case Filter(input=input_, conditions=conditions):
                return filtered(self.estimate(input_), conditions)
            case Project(input=input_, items=items):
                below = self.estimate(input_)
                facts = {}
                for item in items:
                    column = _behind(_chosen(item.expression))
                    known = below.columns.get(column.name) if column else None
                    facts[item.name] = known or _unknown(item.column, below.rows)
                return Relation(below.rows, facts)
            case Join():
                return self.join(node, self.estimate(node.left), self.estimate(node.right))
            case Group():
                return self._group(node)
            case Window(input=input_, calls=calls):
                below = self.estimate(input_)
                made = {n: _unknown(Column(n, call.type), below.rows) for n, call in calls}
                return Relation(below.rows, {**below.columns, **made})
            case Sort(input=input_):
                return self.estimate(input_)
            case Limit(input=input_, count=count):
                below = self.estimate(input_)
                return below if count is None else scaled(below, min(below.rows, float(count)))
            case SetOperation():
                return self._set_operation(node)

    def _scan(self, node: Scan) -> Relation:
        table = node.table
        rows = float(sum(file.rows for file in table.files))
        facts = {}
        for item in node.scanned:
            column = Column(item.name, item.column.type)
            if item.column.source is not ColumnSource.FILE or item.column.field == "rowid":
                values = {file.hive for file in table.files}
                distinct = max(1.0, float(len(values)))
                facts[item.name] = replace(_unknown(column, rows), distinct=distinct)
                continue
            facts[item.name] = self._footers.column(node.table, item.column.name, column.type)
        return filtered(Relation(rows, facts), node.conditions)

    def join(self, node: Join, left: Relation, right: Relation) -> Relation:
        """Return what a join of two estimated sides is expected to give."""
        selectivity = 1.0
        equal = [c for c in node.conditions if c.equates]
        if equal:
            domains = []
            for condition in equal:
                a = facts_of(condition.left, left)
                b = facts_of(condition.right, right)
                domains.append(min(a.distinct_origin, b.distinct_origin))
            sides = [
                [facts_of(c.left, left).origin for c in equal],
                [facts_of(c.right, right).origin for c in equal],
            ]
            domain = min(math.prod(domains), min(max(side) for side in sides))
            selectivity /= max(domain, 1.0)
        selectivity *= _GUESS ** (len(node.conditions) - len(equal) + len(node.residual))
        matched = left.rows * right.rows * selectivity
        return self._joined(node, left, right, matched)

    def _joined(self, node: Join, left: Relation, right: Relation, matched: float) -> Relation:
        match node.kind:
            case JoinKind.SEMI | JoinKind.ANTI:
                share = min(1.0, self._share_of_left(node, left, right))
                share *= _GUESS ** (0.3 * len(node.residual))
                if node.kind is JoinKind.ANTI:
                    share = max(1.0 - share, 0.1)
                return scaled(left, left.rows * share)
            case JoinKind.MARK:
                column = Column(node.mark, "BOOLEAN")
                return Relation(left.rows, {**left.columns, node.mark: _unknown(column, 3.0)})
            case JoinKind.INNER:
                rows = matched
            case JoinKind.LEFT:
                rows = max(left.rows, matched)
            case JoinKind.RIGHT:
                rows = max(right.rows, matched)
            case JoinKind.FULL:
                rows = max(left.rows + right.rows * 0.5, matched)
            case JoinKind.SINGLE:
                rows = left.rows
        a = scaled(left, rows).columns
        b = scaled(right, rows).columns
        if node.kind in (JoinKind.LEFT, JoinKind.FULL, JoinKind.SINGLE):
            b = {name: replace(facts, nullable=True) for name, facts in b.items()}
        if node.kind in (JoinKind.RIGHT, JoinKind.FULL):
            a = {name: replace(facts, nullable=True) for name, facts in a.items()}
        return Relation(rows, {**a, **b})

    def _share_of_left(self, node: Join, left: Relation, right: Relation) -> float:
        """Return which part of the left rows finds a match: distinct keys right by left."""
        equal = [c for c in node.conditions if c.equates]
        if not equal:
            return _GUESS
        domain = min(
            math.prod(facts_of(c.left, left).distinct_origin for c in equal),
            max(facts_of(c.left, left).origin for c in equal),
        )
        keys = min(math.prod(facts_of(c.right, right).distinct for c in equal), right.rows)
        return keys / max(domain, 1.0)

    def _group(self, node: Group) -> Relation:
        below = self.estimate(node.input)
        if not node.keys:
            rows = 1.0
        else:
            rows = 1.0
            for key in node.keys:
                rows *= below.columns[key.name].distinct
            # Keys are seldom independent: take a root of what goes beyond the rows.
            rows = max(1.0, min(rows, below.rows * 0.9 if len(node.keys) > 1 else below.rows))
        facts = {key.name: below.columns[key.name] for key in node.keys}
        for name, call in node.aggregates:
            facts[name] = _unknown(Column(name, call.type), rows)
        return scaled(Relation(below.rows, facts), rows)

    def _set_operation(self, node: SetOperation) -> Relation:
        relations = [self.estimate(child) for child in node.inputs]
        rows = [relation.rows for relation in relations]
        total = sum(rows) if node.kind is SetKind.UNION else rows[0]
        return Relation(total, {c.name: _unknown(c, total) for c in node.columns})


@dataclass(frozen=True, slots=True)
class _KeyFacts:
    distinct: float
    distinct_origin: float
    origin: float


def facts_of(expression: Expression, relation: Relation) -> _KeyFacts:
    """Return what is known of a key expression; a cast column counts as the column."""
    column = _behind(expression)
    facts = relation.columns.get(column.name) if column else None
    if facts is None:
        return _KeyFacts(relation.rows, relation.rows, relation.rows)
    whole = facts.origin
    if facts.low is not None and facts.high is not None:
        whole = min(whole, facts.high - facts.low + 1.0)
    return _KeyFacts(facts.distinct, max(facts.distinct, min(whole, facts.origin)), facts.origin)


def _chosen(expression: Expression) -> Expression:
    """Return the value of CASE WHEN … THEN value END, which has no others but NULL."""
    match expression:
        case Case(branches=((_, value),), otherwise=Literal(type='"NULL"')):
            return value
    return expression


def _behind(expression: Expression) -> Column | None:
    while isinstance(expression, Cast):
        expression = expression.argument
    return expression if isinstance(expression, Column) else None


def _renamed(relation: Relation, old: tuple[Column, ...], new: tuple[Column, ...]) -> Relation:
    names = {a.name: b.name for a, b in zip(old, new, strict=True)}
    return Relation(relation.rows, {names[a.name]: relation.columns[a.name] for a in old})


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
            column = _behind(side)
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
    return _GUESS


def _facts(side: Expression, columns: Mapping[str, ColumnFacts]) -> ColumnFacts | None:
    column = _behind(side)
    return columns.get(column.name) if column else None


def _range(
    operator: str, side: Expression, value: Literal, columns: dict[str, ColumnFacts]
) -> float:
    facts = _facts(side, columns)
    bound = number(value.value)
    if facts is None:
        return _GUESS
    if bound is None or facts.low is None or facts.high is None:
        return _GUESS_STRING_RANGE if value.type == "VARCHAR" else _GUESS
    span = facts.high - facts.low
    low, high = facts.low, facts.high
    if operator in ("<", "<="):
        high = min(high, bound)
    else:
        low = max(low, bound)
    share = max(0.0, high - low) / span if span > 0 else float(high >= low)
    share = min(1.0, max(share, 1.0 / max(facts.distinct, 1.0)))
    column = _behind(side)
    if column is not None:
        left = max(1.0, facts.distinct * share)
        columns[column.name] = replace(facts, low=low, high=max(low, high), distinct=left)
    return share
