"""ROLLUP, CUBE and GROUPING SETS: each task groups its rows by all sets, then parts are merged.

The bits of GROUPING() over all keys tell the sets apart: a NULL key is not one left out. Where an
aggregate has no parts, or where no set has a key, each row is repeated for every set, and grouped
as any other.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from starling_py.operators.plan import Delivery
from starling_py.planner.aggregates import in_two_parts
from starling_py.planner.algebra import (
    Group,
    GroupingSets,
    Named,
    Node,
    Project,
    SetKind,
    SetOperation,
    Unnest,
    outputs,
    with_columns,
)
from starling_py.planner.distribute.groups import place_group
from starling_py.planner.distribute.sets import united
from starling_py.planner.expressions import Call, Case, Cast, Column, Expression, Literal
from starling_py.planner.fragments import Fragment, Spread
from starling_py.planner.types import is_hashable

if TYPE_CHECKING:
    from starling_py.planner.distribute.context import Context

__all__ = ["place_grouping_sets"]


def place_grouping_sets(node: GroupingSets, context: Context) -> Fragment:
    """Return the fragment of a grouping by several sets."""
    below = context.place(node.input)
    if not below.is_parallel:
        made = below.over(replace(node, input=below.node))
        return replace(made, spread=Spread.ONE) if made.spread is Spread.EVERY else made
    parts = [in_two_parts(call, context.names) for _, call in node.aggregates]
    mask = Column(context.names.fresh("grouping"), "BIGINT")
    sets = tuple(dict.fromkeys(tuple(sorted(one)) for one in node.sets))
    known = [part for part in parts if part is not None]
    if len(known) < len(parts) or not node.keys:
        grouped = _apart(node, sets, mask, below, context)
        return grouped.over(_finished(node, mask, grouped.node, context))
    partial = GroupingSets(
        below.node,
        node.keys,
        sets,
        tuple(aggregate for part in known for aggregate in part.partial),
        ((mask.name, tuple(range(len(node.keys)))),),
    )
    producer = below.over(partial)
    keys = (*node.key_columns, mask)
    many = context.estimator.estimate(node).rows > context.few_groups
    apart = many and all(is_hashable(key.type) for key in keys)
    moved = context.moves.hashed(producer, keys) if apart else context.moves.whole(producer)
    merged = Group(moved.node, keys, tuple(a for part in known for a in part.merge))
    results = tuple(
        Named(name, part.result) for (name, _), part in zip(node.aggregates, known, strict=True)
    )
    passed = tuple(Named(key.name, key) for key in keys)
    return moved.over(_finished(node, mask, Project(merged, passed + results), context))


def _apart(
    node: GroupingSets,
    sets: tuple[tuple[int, ...], ...],
    mask: Column,
    below: Fragment,
    context: Context,
) -> Fragment:
    """Return the groups of rows that are repeated for each set; those of no key beside them.

    Without rows there is a group by no key, which no row would bring about.
    """
    if () not in sets:
        return _repeated(node, sets, mask, below, context)
    moves = context.moves
    draft = moves.close(below)
    once, again = (moves.read(draft, Delivery.ALIGNED, outputs(below.node)) for _ in range(2))
    rest = tuple(one for one in sets if one)
    total = place_group(Group(node.input, (), node.aggregates), context, again)
    nulls = (
        Named(key.name, Literal(f"CAST(NULL AS {key.type})", key.type)) for key in node.key_columns
    )
    passed = (Named(column.name, column) for column in outputs(total.node))
    bits = Named(mask.name, _integer(_mask((), node)))
    total = total.over(Project(total.node, (*nulls, bits, *passed)))
    if not rest:
        return total
    grouped = _repeated(node, rest, mask, once, context)
    members = [grouped.over(with_columns(grouped.node, outputs(total.node))), total]
    columns = outputs(total.node)
    union = SetOperation(SetKind.UNION, True, tuple(m.node for m in members), columns)
    return united(union, members, context, in_order=False)


def _repeated(
    node: GroupingSets,
    sets: tuple[tuple[int, ...], ...],
    mask: Column,
    below: Fragment,
    context: Context,
) -> Fragment:
    """Return the groups of rows that are repeated for each set, with its keys only."""
    masks = tuple(_integer(_mask(one, node)) for one in sets)
    keys = []
    for at, (name, key) in enumerate(node.keys):
        branches = tuple((_is_mask(mask, one, node), key) for one in sets if at in one)
        null = Literal(f"CAST(NULL AS {key.type})", key.type)
        keys.append(Named(name, Case(branches, null, key.type) if branches else null))

    def repeated(rows: Node) -> Node:
        each = Unnest(rows, ((mask, Call("list_value", masks, "BIGINT[]")),))
        return Project(each, (*(Named(c.name, c) for c in outputs(each)), *keys))

    group = Group(repeated(node.input), (*node.key_columns, mask), node.aggregates)
    return place_group(group, context, below.over(repeated(below.node)))


def _finished(
    node: GroupingSets,
    mask: Column,
    grouped: Node,
    context: Context,
) -> Node:
    """Return the node's columns over its groups; those of a set that is named twice come twice."""
    times = Counter(tuple(sorted(one)) for one in node.sets)
    made = grouped
    if max(times.values()) > 1:
        branches = tuple(
            (_is_mask(mask, one, node), _integer(count)) for one, count in times.items()
        )
        count = Case(branches, _integer(1), "BIGINT")
        copy = Column(context.names.fresh("copy"), "BIGINT")
        made = Unnest(made, ((copy, Call("range", (count,), "BIGINT[]")),))
    kinds = tuple(Named(name, _grouping(of, mask, node)) for name, of in node.groupings)
    passed = tuple(
        Named(column.name, column)
        for column in outputs(node)
        if column.name not in (kind.name for kind in kinds)
    )
    return with_columns(Project(made, passed + kinds), outputs(node))


def _mask(one: tuple[int, ...], node: GroupingSets) -> int:
    """Return GROUPING() of all keys in the groups of a set: the bits of the keys left out."""
    last = len(node.keys) - 1
    return sum(1 << (last - at) for at in range(len(node.keys)) if at not in one)


def _is_mask(mask: Column, one: tuple[int, ...], node: GroupingSets) -> Expression:
    return Call("=", (mask, _integer(_mask(one, node))), "BOOLEAN", "infix")


def _grouping(of: tuple[int, ...], mask: Column, node: GroupingSets) -> Expression:
    """Return GROUPING() of some keys, out of that of all."""
    last = len(node.keys) - 1
    bits = []
    for place, at in enumerate(of):
        shifted = Call(">>", (mask, _integer(last - at)), "BIGINT", "infix")
        bit = Call("&", (shifted, _integer(1)), "BIGINT", "infix")
        weight = _integer(1 << (len(of) - 1 - place))
        bits.append(Call("*", (bit, weight), "BIGINT", "infix"))
    total = bits[0]
    for bit in bits[1:]:
        total = Call("+", (total, bit), "BIGINT", "infix")
    return Cast(total, "BIGINT")


def _integer(value: int) -> Literal:
    return Literal(f"CAST({value} AS BIGINT)", "BIGINT", value)
