"""Inner joins are ordered by expected sizes: DuckDB bound them against empty tables, in FROM order.

Greedy: of all pairs of what is joined so far, the pair with the smallest result goes next, where a
result larger than both its inputs costs extra. Products come last. Where the order as written comes
to less, it stays. A SEMI join stands as deep as it can where it leaves few rows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from starling_py.planner.algebra import (
    Condition,
    Filter,
    Join,
    JoinKind,
    Node,
    Plan,
    SetOperation,
    inputs,
    outputs,
    with_columns,
    with_conditions,
    with_inputs,
)
from starling_py.planner.expressions import Call, Expression, is_volatile, references
from starling_py.planner.fragments import has_volatile_condition
from starling_py.planner.statistics import Estimator, Relation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starling_py.planner.footers import Footers

__all__ = ["JoinCosts", "join_costs", "order_joins"]

_GROWTH_PENALTY = 4.0
_SELECTIVE_SEMI = 0.5
_FLIPPED = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}
_JOINABLE = frozenset(("=", "IS NOT DISTINCT FROM", *_FLIPPED))


def order_joins(plan: Plan, footers: Footers) -> Plan:
    """Return the plan with its inner joins in the order of least expected rows."""
    return _all_ordered(plan, footers, [])


@dataclass(frozen=True, slots=True)
class JoinCosts:
    """What joining some tables is expected to cost: rows of all joins, those that grow weighted."""

    chosen: float
    greedy: float
    written: float


def join_costs(plan: Plan, footers: Footers) -> list[JoinCosts]:
    """Return the costs of all groups of inner joins that :func:`order_joins` orders."""
    costs: list[JoinCosts] = []
    _all_ordered(plan, footers, costs)
    return costs


def _all_ordered(plan: Plan, footers: Footers, costs: list[JoinCosts]) -> Plan:
    estimator = Estimator(footers, dict(plan.ctes))

    def ordered(node: Node) -> Node:
        return with_columns(_ordered(node, estimator, costs), outputs(node))

    ctes = tuple((number, ordered(definition)) for number, definition in plan.ctes)
    return Plan(ctes, ordered(plan.root))


def _ordered(node: Node, estimator: Estimator, costs: list[JoinCosts]) -> Node:
    if _is_inner(node):
        return _reorder(node, estimator, costs)
    if isinstance(node, Join) and node.kind is JoinKind.SEMI and _is_inner(node.left):
        pushed = _push_semi(node, estimator)
        if pushed is not None:
            return _ordered(pushed, estimator, costs)
    old = inputs(node)
    new = tuple(_ordered(child, estimator, costs) for child in old)
    if isinstance(node, SetOperation):
        # A set operation pairs columns by position.
        new = tuple(with_columns(b, outputs(a)) for a, b in zip(old, new, strict=True))
    if all(a is b for a, b in zip(old, new, strict=True)):
        return node
    return with_inputs(node, new)


def _is_inner(node: Node) -> bool:
    """Return whether a node is inner joins and filters, of conditions that may move."""
    if isinstance(node, Filter):
        return _is_inner(node.input) and not any(map(is_volatile, node.conditions))
    return (
        isinstance(node, Join)
        and node.kind is JoinKind.INNER
        and not node.asof
        and not has_volatile_condition(node)
    )


@dataclass(slots=True)
class _Graph:
    leaves: list[Node]
    predicates: list[Expression]


def _flatten(node: Node, graph: _Graph) -> None:
    match node:
        case Filter(input=input_, conditions=conditions) if _is_inner(node):
            graph.predicates += conditions
            _flatten(input_, graph)
        case Join() if _is_inner(node):
            graph.predicates += (
                Call(c.operator, (c.left, c.right), "BOOLEAN", "infix") for c in node.conditions
            )
            graph.predicates += node.residual
            _flatten(node.left, graph)
            _flatten(node.right, graph)
        case _:
            graph.leaves.append(node)


@dataclass(frozen=True, slots=True)
class _Part:
    """What is joined so far, with the leaves in it as a bit set."""

    node: Node
    relation: Relation
    members: int


@dataclass(frozen=True, slots=True)
class _Predicate:
    expression: Expression
    members: int
    left: int
    right: int

    @property
    def joins(self) -> bool:
        return bool(self.left and self.right and not self.left & self.right)


def _reorder(node: Node, estimator: Estimator, costs: list[JoinCosts]) -> Node:
    graph = _Graph([], [])
    _flatten(node, graph)
    owner = {column.name: at for at, leaf in enumerate(graph.leaves) for column in outputs(leaf)}
    predicates = [_predicate(p, owner) for p in dict.fromkeys(graph.predicates)]
    parts = []
    for at, leaf in enumerate(graph.leaves):
        own = tuple(p.expression for p in predicates if p.members == 1 << at)
        made = with_conditions(_ordered(leaf, estimator, costs), own)
        parts.append(_Part(made, estimator.estimate(made), 1 << at))
    constant = tuple(p.expression for p in predicates if not p.members)
    pending = [p for p in predicates if p.members.bit_count() > 1]
    greedy, cost = _greedy(parts, pending, estimator)
    written, written_cost = _as_written(node, iter(parts), pending, estimator)
    costs.append(JoinCosts(min(cost, written_cost), cost, written_cost))
    made = (greedy if cost <= written_cost else written).node
    return Filter(made, constant) if constant else made


def _greedy(
    parts: list[_Part], pending: list[_Predicate], estimator: Estimator
) -> tuple[_Part, float]:
    """Return the join of all parts, and its cost."""
    total = 0.0
    # A pair stays a candidate until one of its parts is joined.
    candidates: dict[tuple[int, int], _Part] = {}
    while len(parts) > 1:
        best: tuple[float, int, int, _Part] | None = None
        for i, a in enumerate(parts):
            for j in range(i + 1, len(parts)):
                pair = (a.members, parts[j].members)
                if pair not in candidates:
                    candidates[pair] = _joined(a, parts[j], pending, estimator)
                candidate = candidates[pair]
                cost = _cost(a, parts[j], candidate)
                if best is None or cost < best[0]:
                    best = (cost, i, j, candidate)
        if best is None:
            break
        cost, i, j, part = best
        total += cost
        pending = [p for p in pending if p.members & ~part.members]
        parts = [p for at, p in enumerate(parts) if at not in (i, j)] + [part]
    return parts[0], total


def _as_written(
    node: Node, parts: Iterator[_Part], predicates: list[_Predicate], estimator: Estimator
) -> tuple[_Part, float]:
    """Return the join of parts in the shape of the statement's, each predicate as deep as can be.

    ``parts`` are those of the leaves, in the order in which they were flattened.
    """
    match node:
        case Filter(input=input_) if _is_inner(node):
            return _as_written(input_, parts, predicates, estimator)
        case Join(left=left, right=right) if _is_inner(node):
            a, left_cost = _as_written(left, parts, predicates, estimator)
            b, right_cost = _as_written(right, parts, predicates, estimator)
            both = a.members | b.members
            new = [
                p
                for p in predicates
                if not p.members & ~both and p.members & ~a.members and p.members & ~b.members
            ]
            made = _joined(a, b, new, estimator)
            return made, left_cost + right_cost + _cost(a, b, made)
    return next(parts), 0.0


def _predicate(expression: Expression, owner: dict[str, int]) -> _Predicate:
    def members(part: Expression) -> int:
        bits = 0
        for name in references(part):
            bits |= 1 << owner[name]
        return bits

    left = right = 0
    if isinstance(expression, Call) and expression.name in _JOINABLE:
        left, right = map(members, expression.arguments)
    return _Predicate(expression, members(expression), left, right)


def _joined(a: _Part, b: _Part, pending: list[_Predicate], estimator: Estimator) -> _Part:
    """Return the inner join of two parts by all predicates that it completes, larger side left."""
    if a.relation.rows < b.relation.rows:
        a, b = b, a
    both = a.members | b.members
    conditions: list[Condition] = []
    residual: list[Expression] = []
    for p in pending:
        if p.members & ~both:
            continue
        if p.joins and not p.left & ~a.members and not p.right & ~b.members:
            conditions.append(_condition(p.expression, flip=False))
        elif p.joins and not p.left & ~b.members and not p.right & ~a.members:
            conditions.append(_condition(p.expression, flip=True))
        else:
            residual.append(p.expression)
    node = Join(a.node, b.node, JoinKind.INNER, tuple(conditions), tuple(residual))
    return _Part(node, estimator.join(node, a.relation, b.relation), both)


def _condition(expression: Expression, *, flip: bool) -> Condition:
    if not isinstance(expression, Call):
        raise TypeError(expression)
    left, right = expression.arguments
    if flip:
        return Condition(right, _FLIPPED.get(expression.name, expression.name), left)
    return Condition(left, expression.name, right)


def _cost(a: _Part, b: _Part, joined: _Part) -> float:
    rows = joined.relation.rows
    node = joined.node
    if isinstance(node, Join) and not any(c.equates for c in node.conditions):
        # A product, or a join that compares every pair.
        return a.relation.rows * b.relation.rows * 1e3 + rows
    if rows > max(a.relation.rows, b.relation.rows):
        rows *= _GROWTH_PENALTY
    return rows


def _push_semi(node: Join, estimator: Estimator) -> Node | None:
    """Return the inner joins with the SEMI join on the one input that it looks at, or ``None``."""
    graph = _Graph([], [])
    _flatten(node.left, graph)
    right_names = {column.name for column in outputs(node.right)}
    wanted = {name for c in node.conditions for name in references(c.left)}
    wanted |= {name for part in node.residual for name in references(part)} - right_names
    for at, leaf in enumerate(graph.leaves):
        if not wanted <= {column.name for column in outputs(leaf)}:
            continue
        semi = replace(node, left=leaf)
        before = estimator.estimate(leaf).rows
        if estimator.estimate(semi).rows > before * _SELECTIVE_SEMI:
            return None
        leaves = [*graph.leaves[:at], semi, *graph.leaves[at + 1 :]]
        return _product(leaves, graph.predicates)
    return None


def _product(leaves: list[Node], predicates: list[Expression]) -> Node:
    made = leaves[0]
    for leaf in leaves[1:]:
        made = Join(made, leaf, JoinKind.INNER, ())
    return Filter(made, tuple(predicates)) if predicates else made
