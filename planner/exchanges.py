"""Exchanges: fragments are closed into stages, and their rows read by other stages."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from starling_py.operators.plan import Delivery
from starling_py.operators.task import HashPartitioning, RangePartitioning, SinglePartition
from starling_py.planner.algebra import Node, StageRead, outputs
from starling_py.planner.expressions import (
    Column,
    Expression,
    order_sql,
    sort_key_sql,
    sql,
    substitute,
)
from starling_py.planner.fragments import Draft, Fragment, Spread

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starling_py.planner.expressions import OrderKey
    from starling_py.planner.sizing import Sizing

__all__ = ["Exchanges"]

_FEW_READERS = 2
"""So many tasks read a small table each for itself; for more of them a stage reads it once."""


class Exchanges:
    """The stages made so far, and the ways to read them."""

    def __init__(self, sizing: Sizing) -> None:
        self.sizing = sizing
        self.drafts: list[Draft] = []

    def close(self, fragment: Fragment) -> Draft:
        """Return the stage that computes a fragment, which may be one that is there already."""
        node = fragment.node
        if isinstance(node, StageRead) and node.delivery is Delivery.ALIGNED:
            return self.drafts[node.stage]
        return self.new_draft(fragment)

    def new_draft(self, fragment: Fragment) -> Draft:
        draft = Draft(len(self.drafts), fragment, outputs(fragment.node))
        self.drafts.append(draft)
        return draft

    def read(
        self, draft: Draft, delivery: Delivery, columns: tuple[Column, ...] | None = None
    ) -> Fragment:
        """Return a read of all of a stage's rows."""
        output = draft.output(SinglePartition())
        node = StageRead(columns or draft.columns, draft.number, output, delivery)
        if delivery is Delivery.ALIGNED and draft.fragment.is_parallel:
            return Fragment(node, Spread.SPLIT, draft.fragment.tasks)
        return Fragment(node, Spread.ONE, 1)

    def whole(self, fragment: Fragment) -> Fragment:
        """Return all rows of a fragment in one task, or in every task that takes it in."""
        draft = self.close(fragment)
        return self.read(draft, Delivery.EVERYTHING, outputs(fragment.node))

    def gathered(self, fragment: Fragment) -> Fragment:
        """Return all rows of a fragment in one task."""
        if fragment.spread is Spread.EVERY:
            return replace(fragment, spread=Spread.ONE, tasks=1)
        return self.whole(fragment) if fragment.is_parallel else fragment

    def hashed(
        self, fragment: Fragment, keys: Sequence[Expression], *, spread_nulls: bool = False
    ) -> Fragment:
        """Return the rows of a fragment partitioned by keys over its columns."""
        draft = self.close(fragment)
        columns = outputs(fragment.node)
        # The reader may know the stage's columns by other names than the stage does.
        at_producer = {
            mine.name: theirs for mine, theirs in zip(columns, draft.columns, strict=True)
        }
        texts = tuple(sql(substitute(key, at_producer)) for key in keys)
        partitioning = HashPartitioning(texts, self.sizing.partitions(), spread_nulls)
        output = draft.output(partitioning)
        node = StageRead(columns, draft.number, output, Delivery.PARTITIONED)
        if spread_nulls:
            return Fragment(node, Spread.SPLIT, self.sizing.hash_tasks())
        sets = tuple(frozenset((key,)) for key in keys)
        return Fragment(node, Spread.HASHED, self.sizing.hash_tasks(), sets)

    def ranged(self, fragment: Fragment, keys: tuple[OrderKey, ...]) -> Fragment:
        """Return the rows of a fragment so that tasks have ranges of these keys, in task order."""
        # A stage of its own: others may want these rows in the order in which they came.
        draft = self.new_draft(fragment)
        key = sort_key_sql(keys)
        partitioning = RangePartitioning(key, order_sql(keys), self.sizing.rank_partitions())
        output = draft.output(partitioning)
        node = StageRead(draft.columns, draft.number, output, Delivery.RANGED, key)
        return Fragment(node, Spread.SPLIT, self.sizing.hash_tasks())

    def whole_again(self, read: Node, fragment: Fragment) -> Fragment:
        """Return all rows of the stage that ``read`` reads, under the fragment's names."""
        if not isinstance(read, StageRead):
            raise TypeError(read)
        return self.read(self.drafts[read.stage], Delivery.EVERYTHING, outputs(fragment.node))

    def read_once(self, side: Fragment, other: Fragment) -> Fragment:
        """Return a side that every task could read, read by one task where the others are many."""
        if side.spread is Spread.EVERY and other.is_parallel and other.tasks > _FEW_READERS:
            return self.whole(side)
        return side
