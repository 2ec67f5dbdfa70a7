"""Puts exchanges where rows must move, and so cuts the algebra into stages.

Partitioning is a property of a fragment. An operator that finds the property it needs takes its
inputs in place; one that does not closes them into stages and reads those. Which joins may be cut
how is the table in :mod:`starling_py.planner.placement`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from starling_py.operators.plan import Delivery
from starling_py.operators.task import SinglePartition
from starling_py.planner.aggregates import in_two_parts
from starling_py.planner.algebra import (
    Condition,
    CteRead,
    Filter,
    Group,
    Join,
    JoinKind,
    Limit,
    Named,
    Node,
    Plan,
    Project,
    Scan,
    SetKind,
    SetOperation,
    Sort,
    StageRead,
    Values,
    outputs,
    walk,
    with_inputs,
)
from starling_py.planner.clustering import common_bounds, extents, ranged
from starling_py.planner.exchanges import Exchanges
from starling_py.planner.expressions import Column, Expression
from starling_py.planner.fragments import Draft, Fragment, Spread, is_replicable
from starling_py.planner.placement import Choice, JoinPlacement, Way
from starling_py.planner.remote import fetched_bytes, on_s3
from starling_py.planner.types import is_hashable

if TYPE_CHECKING:
    from starling_py.planner.footers import Footers
    from starling_py.planner.names import Names
    from starling_py.planner.sizing import Sizing
    from starling_py.planner.statistics import Estimator

__all__ = ["distribute"]

_TIMES_SMALLER = 10
"""A table that every task reads whole is by so much smaller than the largest one."""
_WORTH_GROUPING = 0.75
"""Rows are grouped before an exchange where at most this share of them should be left."""


def distribute(
    plan: Plan, estimator: Estimator, footers: Footers, sizing: Sizing, names: Names
) -> list[Draft]:
    """Return the stages of a plan, in dependency order; the last one's rows are the answer."""
    distributor = _Distributor(plan, estimator, footers, sizing, names)
    for number, definition in plan.ctes:
        distributor.define(number, definition)
    distributor.finish(distributor.place(plan.root, in_order=True))
    return distributor.moves.drafts


class _Distributor:
    def __init__(
        self, plan: Plan, estimator: Estimator, footers: Footers, sizing: Sizing, names: Names
    ) -> None:
        roots = (*(definition for _, definition in plan.ctes), plan.root)
        scans = [node for root in roots for node in walk(root) if isinstance(node, Scan)]
        # Of the largest table each task takes a share, however small the table is.
        largest = max((_rows(scan) for scan in scans), default=0)
        self.small_rows = min(sizing.options.small_rows, largest // _TIMES_SMALLER)
        self.few_groups = sizing.options.few_groups
        self.footers = footers
        self.estimator = estimator
        self.sizing = sizing
        self.names = names
        self.moves = Exchanges(sizing)
        self.ctes: dict[int, Draft] = {}

    def define(self, number: int, definition: Node) -> None:
        self.ctes[number] = self.moves.close(self.place(definition, in_order=True))

    def finish(self, fragment: Fragment) -> None:
        """Make the root's fragment the last stage."""
        draft = self.moves.close(fragment)
        if draft is not self.moves.drafts[-1] or draft.outputs:
            read = self.moves.read(draft, Delivery.ALIGNED)
            draft = self.moves.new_draft(read)
        draft.output(SinglePartition())

    # Operators

    def place(self, node: Node, *, in_order: bool = False) -> Fragment:
        """Return the fragment of a node.

        With ``in_order``, tasks' rows one after the other are in the order that a single DuckDB
        gives without an ORDER BY, where the node has such an order.
        """
        match node:
            case Scan():
                return self._scan(node)
            case Values():
                return Fragment(node, Spread.EVERY if is_replicable(node) else Spread.ONE, 1)
            case CteRead(cte=cte, columns=columns):
                return self.moves.read(self.ctes[cte], Delivery.ALIGNED, columns)
            case StageRead():
                raise TypeError("a stage's read before there are stages")
            case Filter(input=input_) | Project(input=input_):
                below = self.place(input_, in_order=in_order)
                made = below.over(with_inputs(node, (below.node,)))
                if made.spread is Spread.EVERY and not is_replicable(made.node):
                    return replace(made, spread=Spread.ONE)
                return made
            case Join():
                return self._join(node)
            case Group():
                return self._group(node)
            case Sort():
                return self._sort(node, None)
            case Limit():
                return self._limit(node)
            case SetOperation():
                return self._set_operation(node, in_order=in_order)

    def _scan(self, node: Scan) -> Fragment:
        rows = _rows(node)
        if rows <= self.small_rows:
            return Fragment(replace(node, replicated=True), Spread.EVERY, 1)
        relation = self.estimator.estimate(node)
        kept = self.footers.kept(node)
        if on_s3(node.table):
            tasks = self.sizing.fetch_tasks(len(kept), fetched_bytes(node, kept))
            return Fragment(node, Spread.ONE if tasks == 1 else Spread.SPLIT, tasks)
        share = sum(item.row_group.rows for item in kept) / rows
        width = sum(facts.width for facts in relation.columns.values())
        tasks = self.sizing.scan_tasks(len(kept), rows * share * width)
        return Fragment(node, Spread.SPLIT, tasks)

    def _join(self, node: Join) -> Fragment:
        left = self.place(node.left)
        right = self.place(node.right)
        reducing = _reducing(node, node.right, node.left)
        placement = JoinPlacement(
            node,
            left,
            right,
            self.estimator.estimate(node.left),
            self.estimator.estimate(node.right),
            self.estimator.estimate(reducing),
            self.footers,
            self.sizing,
        )
        chosen = placement.choose()
        match chosen.way:
            case Way.IN_PLACE:
                left, right = (
                    self.moves.read_once(left, right),
                    self.moves.read_once(right, left),
                )
            case Way.REPLICATE_RIGHT:
                right = self.moves.whole(right) if right.spread is not Spread.EVERY else right
            case Way.REPLICATE_LEFT:
                left = self.moves.whole(left) if left.spread is not Spread.EVERY else left
            case Way.GATHER:
                left, right = self.moves.gathered(left), self.moves.gathered(right)
            case Way.HASH:
                left, right = self._hash_sides(node, left, right, placement, chosen)
            case Way.RANGE:
                left = self._cut(left, chosen.left_keys, chosen.bounds)
                right = self._cut(right, chosen.right_keys, chosen.bounds)
        joined = replace(node, left=left.node, right=right.node)
        return placement.result(joined, left, right, chosen)

    def _hash_sides(
        self, node: Join, left: Fragment, right: Fragment, placement: JoinPlacement, chosen: Choice
    ) -> tuple[Fragment, Fragment]:
        if chosen.left_keys:
            nulls = placement.preserves_left and chosen.left_nulls
            moved = self.moves.hashed(left, chosen.left_keys, spread_nulls=nulls)
            if chosen.reduces_right:
                # The same stage's rows, once by hash and once whole.
                whole = self.moves.whole_again(moved.node, left)
                right = right.over(_reducing(node, right.node, whole.node))
            left = moved
        if chosen.right_keys:
            nulls = placement.preserves_right and chosen.right_nulls
            right = self.moves.hashed(right, chosen.right_keys, spread_nulls=nulls)
        return left, right

    def _cut(
        self, fragment: Fragment, keys: tuple[Expression, ...], bounds: tuple[int, ...]
    ) -> Fragment:
        for key in keys:
            if isinstance(key, Column):
                return ranged(fragment, key, bounds)
        return fragment

    def _group(self, node: Group) -> Fragment:
        below = self.place(node.input)
        if not below.is_parallel or _keys_within(below, node.keys):
            made = below.over(replace(node, input=below.node))
            return replace(made, spread=Spread.ONE) if made.spread is Spread.EVERY else made
        parts = [in_two_parts(call, self.names) for _, call in node.aggregates]
        before = self.estimator.estimate(node.input).rows
        after = self.estimator.estimate(node).rows
        if after > self.few_groups:
            cut = self._clustered(below, node.keys)
            if cut is not None:
                return cut.over(replace(node, input=cut.node))
        hashable = bool(node.keys) and all(is_hashable(key.type) for key in node.keys)
        if any(p is None for p in parts) or (node.keys and after > before * _WORTH_GROUPING):
            apart = hashable and before > self.few_groups
            moved = self.moves.hashed(below, node.keys) if apart else self.moves.whole(below)
            return moved.over(replace(node, input=moved.node))
        known = [p for p in parts if p is not None]
        partial = Group(below.node, node.keys, tuple(a for p in known for a in p.partial))
        producer = below.over(partial)
        apart = hashable and after > self.few_groups
        moved = self.moves.hashed(producer, node.keys) if apart else self.moves.whole(producer)
        merged = Group(moved.node, node.keys, tuple(a for p in known for a in p.merge))
        results = tuple(
            Named(name, p.result) for (name, _), p in zip(node.aggregates, known, strict=True)
        )
        if not results:
            return moved.over(merged)
        keys = tuple(Named(key.name, key) for key in node.keys)
        return moved.over(Project(merged, keys + results))

    def _clustered(self, below: Fragment, keys: tuple[Column, ...]) -> Fragment | None:
        """Return the fragment cut by ranges of a key, if its files are clustered by one."""
        for key in keys:
            known = extents(below, key, self.footers)
            bounds = common_bounds([known], below.tasks) if known else None
            if bounds is not None:
                return ranged(below, key, bounds)
        return None

    def _sort(self, node: Sort, limit: Limit | None) -> Fragment:
        below = self.place(node.input)
        if below.is_parallel:
            if limit is not None and limit.count is not None:
                most = limit.count + limit.offset
                below = below.over(Limit(Sort(below.node, node.keys), most))
            below = self.moves.whole(below)
        below = self.moves.gathered(below)
        made: Node = Sort(below.node, node.keys)
        if limit is not None:
            made = Limit(made, limit.count, limit.offset)
        return below.over(made)

    def _limit(self, node: Limit) -> Fragment:
        match node.input:
            case Sort() as sort:
                return self._sort(sort, node)
            case Project(input=Sort() as sort, items=items):
                sorted_ = self._sort(sort, node)
                return sorted_.over(Project(sorted_.node, items))
        below = self.place(node.input, in_order=True)
        if below.is_parallel:
            if node.count is not None:
                below = below.over(Limit(below.node, node.count + node.offset))
            below = self.moves.whole(below)
        below = self.moves.gathered(below)
        return below.over(Limit(below.node, node.count, node.offset))

    def _set_operation(self, node: SetOperation, *, in_order: bool) -> Fragment:
        members = [self.place(child, in_order=in_order) for child in node.inputs]
        if not any(member.is_parallel for member in members):
            gathered = [self.moves.gathered(member) for member in members]
            together = replace(node, inputs=tuple(member.node for member in gathered))
            return Fragment(together, Spread.ONE, 1)
        if node.kind is SetKind.UNION:
            return self._union(node, members, in_order=in_order)
        if not all(is_hashable(column.type) for column in node.columns):
            moved = [self.moves.whole(member) for member in members]
        else:
            moved = [self.moves.hashed(member, outputs(member.node)) for member in members]
        together = replace(node, inputs=tuple(member.node for member in moved))
        first = moved[0]
        if first.spread is not Spread.HASHED:
            return Fragment(together, Spread.ONE, 1)
        keys = tuple(frozenset((column,)) for column in node.columns)
        return Fragment(together, Spread.HASHED, first.tasks, keys)

    def _union(self, node: SetOperation, members: list[Fragment], *, in_order: bool) -> Fragment:
        """Return UNION ALL: each member a stage, read piece by piece, or whole to keep order."""
        delivery = Delivery.EVERYTHING if in_order else Delivery.ALIGNED
        reads = [self.moves.read(self.moves.close(m), delivery, outputs(m.node)) for m in members]
        together = replace(node, inputs=tuple(read.node for read in reads))
        if in_order:
            return Fragment(together, Spread.ONE, 1)
        # A member of one task is read by the first task; the others get none of it.
        aligned = [
            replace(r.node, delivery=delivery) for r in reads if isinstance(r.node, StageRead)
        ]
        together = replace(node, inputs=tuple(aligned))
        return Fragment(together, Spread.SPLIT, max(read.tasks for read in reads))


def _rows(scan: Scan) -> int:
    return sum(file.rows for file in scan.table.files)


def _keys_within(fragment: Fragment, keys: tuple[Column, ...]) -> bool:
    """Return whether rows that agree on all of ``keys`` lie in one task."""
    if not fragment.is_keyed:
        return False
    return all(any(key in equal for key in keys) for equal in fragment.keys)


def _reducing(node: Join, right: Node, left: Node) -> Join:
    """Return the right side's rows that some left row equals in its keys."""
    conditions = tuple(Condition(c.right, c.operator, c.left) for c in node.conditions if c.equates)
    return Join(right, left, JoinKind.SEMI, conditions)
