"""Cardinalities out of Parquet footers: rows, distinct values, ranges and whether NULLs occur.

Everything here is an estimate, except that a column said to be free of NULLs is: its footers say
so for every row group. The guesses (selectivities without
statistics) are in :mod:`starling_py.planner.selectivity`.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from starling_py.planner.algebra import (
    CteRead,
    DistinctOn,
    Filter,
    Group,
    GroupingSets,
    Join,
    JoinKind,
    Limit,
    Node,
    Project,
    Recursive,
    Sample,
    Scan,
    SetKind,
    SetOperation,
    Sort,
    StageRead,
    TableCall,
    Unnest,
    Values,
    Window,
    outputs,
)
from starling_py.planner.derived import derived_facts
from starling_py.planner.expressions import Column
from starling_py.planner.selectivity import (
    GUESS,
    Relation,
    facts_of,
    filtered,
    scaled,
    unknown,
)
from starling_py.planner.tables import ColumnSource

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from starling_py.planner.footers import ColumnFacts, Footers

__all__ = ["Estimator", "Relation"]

_GUESS_VALUES = 4.0
_GUESS_STEPS = 10.0
_GUESS_ROWS = 1000.0

_PADS_RIGHT = (JoinKind.LEFT, JoinKind.FULL, JoinKind.SINGLE, JoinKind.POSITIONAL)
_PADS_LEFT = (JoinKind.RIGHT, JoinKind.FULL, JoinKind.POSITIONAL)
"""Joins that give rows with NULL for all columns of a side."""


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
                return Relation(count, {c.name: unknown(c, count) for c in columns})
            case CteRead(cte=cte, columns=columns) if cte not in self._ctes:
                # The rows of the last step of a recursion.
                return _guessed(columns)
            case CteRead(cte=cte, columns=columns):
                definition = self._ctes[cte]
                return _renamed(self.estimate(definition), outputs(definition), columns)
            case Filter(input=input_, conditions=conditions):
                return filtered(self.estimate(input_), conditions)
            case Project(input=input_, items=items):
                below = self.estimate(input_)
                facts = {item.name: derived_facts(item.expression, below) for item in items}
                return Relation(below.rows, facts)
            case Join():
                return self.join(node, self.estimate(node.left), self.estimate(node.right))
            case Group():
                return self._group(node)
            case Window(input=input_):
                return self._with_more(node, self.estimate(input_), 1.0)
            case Unnest(input=input_):
                return self._with_more(node, self.estimate(input_), _GUESS_VALUES)
            case Sample(input=input_, amount=amount, percent=percent):
                below = self.estimate(input_)
                size = float(amount)
                return scaled(below, below.rows * size / 100 if percent else min(below.rows, size))
            case DistinctOn(input=input_, keys=keys):
                below = self.estimate(input_)
                return scaled(below, _groups([key.name for key in keys], below))
            case GroupingSets(input=input_, keys=keys, sets=sets):
                below = self.estimate(input_)
                groups = sum(_groups([keys[at][1].name for at in one], below) for one in sets)
                by = {name: below.columns[key.name] for name, key in keys}
                # Where a set leaves a key out, its groups have NULL for it.
                absent = {keys[at][0] for at in range(len(keys)) if not all(at in s for s in sets)}
                by = _nullable(by, absent)
                return self._with_more(node, scaled(Relation(below.rows, by), groups), 1.0)
            case TableCall(columns=columns):
                return _guessed(columns)
            case Recursive(anchor=anchor, columns=columns):
                most = self.estimate(anchor).rows * _GUESS_STEPS
                return Relation(most, {c.name: unknown(c, most) for c in columns})
            case Sort(input=input_):
                return self.estimate(input_)
            case Limit(input=input_, count=count):
                below = self.estimate(input_)
                if node.percent is not None:
                    return scaled(below, below.rows * node.percent / 100)
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
                facts[item.name] = replace(unknown(column, rows), distinct=distinct)
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
        selectivity *= GUESS ** (len(node.conditions) - len(equal) + len(node.residual))
        matched = left.rows * right.rows * selectivity
        return self._joined(node, left, right, matched)

    def _joined(self, node: Join, left: Relation, right: Relation, matched: float) -> Relation:
        match node.kind:
            case JoinKind.SEMI | JoinKind.ANTI:
                share = min(1.0, self._share_of_left(node, left, right))
                share *= GUESS ** (0.3 * len(node.residual))
                if node.kind is JoinKind.ANTI:
                    share = max(1.0 - share, 0.1)
                return scaled(left, left.rows * share)
            case JoinKind.MARK:
                column = Column(node.mark, "BOOLEAN")
                return Relation(left.rows, {**left.columns, node.mark: unknown(column, 3.0)})
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
            case JoinKind.POSITIONAL:
                rows = max(left.rows, right.rows)
        a = scaled(left, rows).columns
        b = scaled(right, rows).columns
        if node.kind in _PADS_RIGHT:
            b = _nullable(b, b)
        if node.kind in _PADS_LEFT:
            a = _nullable(a, a)
        return Relation(rows, {**a, **b})

    def _share_of_left(self, node: Join, left: Relation, right: Relation) -> float:
        """Return which part of the left rows finds a match: distinct keys right by left."""
        equal = [c for c in node.conditions if c.equates]
        if not equal:
            return GUESS
        domain = min(
            math.prod(facts_of(c.left, left).distinct_origin for c in equal),
            max(facts_of(c.left, left).origin for c in equal),
        )
        keys = min(math.prod(facts_of(c.right, right).distinct for c in equal), right.rows)
        return keys / max(domain, 1.0)

    def _group(self, node: Group) -> Relation:
        below = self.estimate(node.input)
        rows = _groups([key.name for key in node.keys], below)
        facts = {key.name: below.columns[key.name] for key in node.keys}
        for name, call in node.aggregates:
            facts[name] = unknown(Column(name, call.type), rows)
        return scaled(Relation(below.rows, facts), rows)

    def _with_more(self, node: Node, below: Relation, times: float) -> Relation:
        """Return the facts of ``below`` and, for the other columns of a node, that there are some.

        ``times`` is by how much it has more rows.
        """
        rows = below.rows * times
        facts = {
            column.name: below.columns.get(column.name) or unknown(column, rows)
            for column in outputs(node)
        }
        return Relation(rows, facts)

    def _set_operation(self, node: SetOperation) -> Relation:
        relations = [self.estimate(child) for child in node.inputs]
        rows = [relation.rows for relation in relations]
        total = sum(rows) if node.kind is SetKind.UNION else rows[0]
        return Relation(total, {c.name: unknown(c, total) for c in node.columns})


def _groups(keys: Sequence[str], below: Relation) -> float:
    """Return the expected number of groups by some columns."""
    if not keys:
        return 1.0
    rows = math.prod(below.columns[key].distinct for key in keys)
    # Keys are seldom independent: take a root of what goes beyond the rows.
    return max(1.0, min(rows, below.rows * 0.9 if len(keys) > 1 else below.rows))


def _nullable(columns: Mapping[str, ColumnFacts], names: Collection[str]) -> dict[str, ColumnFacts]:
    """Return the columns, of which those named may be NULL."""
    return {
        name: replace(facts, nullable=True) if name in names else facts
        for name, facts in columns.items()
    }


def _guessed(columns: Sequence[Column]) -> Relation:
    return Relation(_GUESS_ROWS, {c.name: unknown(c, _GUESS_ROWS) for c in columns})


def _renamed(relation: Relation, old: tuple[Column, ...], new: tuple[Column, ...]) -> Relation:
    names = {a.name: b.name for a, b in zip(old, new, strict=True)}
    return Relation(relation.rows, {names[a.name]: relation.columns[a.name] for a in old})
