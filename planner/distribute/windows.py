"""Window functions: each where the rows of its partitions lie together.

One exchange serves all functions whose PARTITION BY keys have some in common. Aggregates over all
rows are merged by one task and go to every other one. What else has no PARTITION BY runs on one
worker, behind the others.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from starling_py.operators.plan import Delivery
from starling_py.planner.algebra import Group, Join, JoinKind, Window, outputs, with_columns
from starling_py.planner.distribute.groups import keys_within, place_group
from starling_py.planner.fragments import Fragment, Spread
from starling_py.planner.types import is_hashable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starling_py.planner.distribute.context import Context
    from starling_py.planner.expressions import Aggregate, Column
    from starling_py.planner.statistics import Relation
    from starling_py.planner.windowing import WindowCall

__all__ = ["place_window"]

_WITHOUT_KEYS = "window functions without PARTITION BY"
_VALUES_PER_TASK = 8
"""Common keys should have so many values for each task, or tasks get unequal shares."""


def place_window(node: Window, context: Context) -> Fragment:
    """Return the fragment of window functions, several exchanges apart where they need it."""
    moves = context.moves
    calls = [call for _, call in node.calls]
    counts_input = any(call.needs_input_order and not call.partitions for call in calls)
    below = context.place(node.input, in_order=counts_input)
    relation = context.estimator.estimate(node.input)
    pending = node.calls
    while pending:
        now = tuple(call for call in pending if _lies_together(below, call[1]))
        if now:
            below = below.over(Window(below.node, now))
            pending = tuple(call for call in pending if call not in now)
            continue
        totals = [(name, call.total) for name, call in pending]
        if relation.rows > context.few_groups and all(total is not None for _, total in totals):
            below = _with_totals(node, below, [(n, t) for n, t in totals if t is not None], context)
            break
        # Rows by hash do not come back in their order.
        wanted = [] if counts_input else [call for _, call in pending]
        keys = _common_keys(wanted, relation, context)
        apart = keys and relation.rows > context.few_groups
        below = moves.hashed(below, keys) if apart else moves.whole(below)
        if not keys:
            below = replace(below, alone=_WITHOUT_KEYS)
    made = below.over(with_columns(below.node, outputs(node)))
    return replace(made, spread=Spread.ONE) if made.spread is Spread.EVERY else made


def _with_totals(
    node: Window, below: Fragment, totals: list[tuple[str, Aggregate]], context: Context
) -> Fragment:
    """Return the rows, each beside the aggregates of all rows, which one task merges."""
    moves = context.moves
    draft = moves.close(below)
    columns = outputs(below.node)
    rows = moves.read(draft, Delivery.ALIGNED, columns)
    group = Group(node.input, (), tuple(totals))
    total = moves.whole(place_group(group, context, moves.read(draft, Delivery.ALIGNED, columns)))
    return rows.over(Join(rows.node, total.node, JoinKind.INNER, ()))


def _lies_together(fragment: Fragment, call: WindowCall) -> bool:
    return not fragment.is_parallel or (
        bool(call.partitions) and keys_within(fragment, call.partitions)
    )


def _common_keys(
    calls: Sequence[WindowCall], relation: Relation, context: Context
) -> tuple[Column, ...]:
    """Return keys to partition by: those of as many functions as can share them, or none."""
    wanted = [
        keys
        for call in calls
        if (keys := tuple(key for key in call.partitions if is_hashable(key.type)))
    ]
    if not wanted:
        return ()
    common = tuple(key for key in wanted[0] if all(key in keys for keys in wanted))
    if common and _is_spread(common, relation, context):
        return common
    return min(wanted, key=len) if len(wanted) == 1 else max(wanted, key=len)


def _is_spread(keys: tuple[Column, ...], relation: Relation, context: Context) -> bool:
    values = math.prod(relation.columns[key.name].distinct for key in keys)
    return values >= _VALUES_PER_TASK * context.sizing.hash_tasks()
