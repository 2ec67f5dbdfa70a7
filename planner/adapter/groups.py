"""Groups of the serialized plan: GROUP BY with its sets, DISTINCT and DISTINCT ON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from starling_py.planner.adapter.expressions import aggregate, expression, order_keys
from starling_py.planner.algebra import (
    DistinctOn,
    Group,
    GroupingSets,
    Named,
    Node,
    Project,
    outputs,
)
from starling_py.planner.errors import CannotDistribute
from starling_py.planner.expressions import Aggregate, Column, Expression, is_volatile

if TYPE_CHECKING:
    from starling_py.planner.adapter.joins import Row
    from starling_py.planner.names import Names

__all__ = ["Computed", "read_distinct", "read_group"]

Serialized = Mapping[str, Any]
_MOST_KEYS = 62
"""GROUPING() has a bit for each, in a BIGINT."""


class Computed:
    """Columns that an operator needs below itself."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self._items: list[Named] = []

    def column(self, made: Expression, base: str) -> Column:
        """Return the column that holds an expression's values."""
        if isinstance(made, Column):
            return made
        known = next((item for item in self._items if item.expression == made), None)
        if known is None or is_volatile(made):
            known = Named(self._names.fresh(base), made)
            self._items.append(known)
        return known.column

    def below(self, node: Node) -> Node:
        """Return the node with these columns behind its own."""
        if not self._items:
            return node
        passed = tuple(Named(column.name, column) for column in outputs(node))
        return Project(node, passed + tuple(self._items))


def read_group(serialized: Serialized, node: Node, row: Row, names: Names) -> tuple[Node, Row]:
    """Return an AGGREGATE_AND_GROUP_BY over its input.

    Raises
    ------
    CannotDistribute
        For an aggregate or a key that is not known exactly.
    """
    computed = Computed(names)
    keys = tuple(
        computed.column(expression(item, row), item["alias"] or "g")
        for item in serialized["groups"]
    )
    calls = []
    for item in serialized["expressions"]:
        call = _once(aggregate(item, row), computed)
        calls.append((names.fresh(call.name), call))
    if not keys and not calls:
        # HAVING makes one group of all rows, and of none. Without a column it could not be told.
        calls.append((names.fresh("count_star"), Aggregate("count_star", (), "BIGINT")))
    results = tuple(Column(name, call.type) for name, call in calls)
    below = computed.below(node)
    sets = tuple(tuple(one) for one in serialized["grouping_sets"])
    every = len(sets) <= 1 and all(len(one) == len(keys) for one in sets)
    if every and not serialized["grouping_functions"]:
        return Group(below, tuple(dict.fromkeys(keys)), tuple(calls)), keys + results
    if len(set(keys)) < len(keys) or len(keys) > _MOST_KEYS:
        raise CannotDistribute("GROUPING SETS of keys that repeat")
    groupings = tuple(
        (names.fresh("grouping"), tuple(of)) for of in serialized["grouping_functions"]
    )
    out = tuple((names.fresh(key.name.rpartition("_")[0]), key) for key in keys)
    # GROUPING() of a plain GROUP BY has one set of all keys.
    made = GroupingSets(below, out, sets or (tuple(range(len(keys))),), tuple(calls), groupings)
    return made, outputs(made)


def _once(call: Aggregate, computed: Computed) -> Aggregate:
    """Return the call over columns where it would compute twice what may differ each time."""

    def change(made: Expression) -> Expression:
        return computed.column(made, "v") if is_volatile(made) else made

    return call.mapped(change)


def read_distinct(serialized: Serialized, node: Node, row: Row, names: Names) -> tuple[Node, Row]:
    """Return a DISTINCT or DISTINCT ON over its input.

    Raises
    ------
    CannotDistribute
        For a DISTINCT of other columns than its input's.
    """
    targets = [expression(item, row) for item in serialized["distinct_targets"]]
    if serialized["distinct_type"] == "DISTINCT":
        if set(targets) != set(row):
            raise CannotDistribute("DISTINCT over other columns than those selected")
        return Group(node, tuple(dict.fromkeys(row)), ()), row
    computed = Computed(names)
    keys = tuple(dict.fromkeys(computed.column(target, "on") for target in targets))
    order = serialized["order_by"]
    made = order_keys(order["orders"], row) if order else ()
    return DistinctOn(computed.below(node), keys, made), row
