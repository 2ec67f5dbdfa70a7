"""Window functions: each where the rows of its partitions lie together.

One exchange serves all functions whose PARTITION BY keys have some in common. Functions without
PARTITION BY run on one worker, behind the others.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from starling_py.planner.algebra import Window, outputs, with_columns
from starling_py.planner.distribute.groups import keys_within
from starling_py.planner.fragments import Fragment, Spread
from starling_py.planner.types import is_hashable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starling_py.planner.distribute.context import Context
    from starling_py.planner.expressions import Column
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
        # Rows by hash do not come back in their order.
        wanted = [] if counts_input else [call for _, call in pending]
        keys = _common_keys(wanted, relation, context)
        apart = keys and relation.rows > context.few_groups
        below = moves.hashed(below, keys) if apart else moves.whole(below)
        if not keys:
            below = replace(below, alone=_WITHOUT_KEYS)
    made = below.over(with_columns(below.node, outputs(node)))
    return replace(made, spread=Spread.ONE) if made.spread is Spread.EVERY else made


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
