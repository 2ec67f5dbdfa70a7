"""A filter on the mark of a MARK join is a SEMI or ANTI join, where three-valued logic allows it.

``IN`` keeps rows whose mark is true: a SEMI join. ``NOT IN`` keeps rows whose mark is false, and a
mark is NULL where a NULL is compared: that is an ANTI join only when no comparison can meet one.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from starling_py.planner.algebra import (
    Filter,
    Group,
    Join,
    JoinKind,
    Named,
    Node,
    Plan,
    Project,
    outputs,
    rewrite,
)
from starling_py.planner.expressions import Call, Column, Expression, Literal
from starling_py.planner.statistics import Estimator

if TYPE_CHECKING:
    from starling_py.planner.footers import Footers

__all__ = ["simplify_marks"]


def simplify_marks(plan: Plan, footers: Footers) -> Plan:
    """Return the plan with SEMI and ANTI joins for filtered marks, and no DISTINCT below them."""
    estimator = Estimator(footers, dict(plan.ctes))

    def change(node: Node) -> Node:
        match node:
            case Filter(input=Join(kind=JoinKind.MARK) as join, conditions=conditions):
                return _filtered(join, conditions, estimator)
            case Join(kind=JoinKind.SEMI | JoinKind.ANTI | JoinKind.MARK, right=Group() as group):
                if not group.aggregates and group.keys:
                    return replace(node, right=group.input)
        return node

    return Plan(
        tuple((number, rewrite(definition, change)) for number, definition in plan.ctes),
        rewrite(plan.root, change),
    )


def _filtered(join: Join, conditions: tuple[Expression, ...], estimator: Estimator) -> Node:
    mark = Column(join.mark, "BOOLEAN")
    rest = tuple(
        c for c in conditions if c not in (mark, Call("NOT", (mark,), "BOOLEAN", "prefix"))
    )
    if mark in conditions:
        kind, value = JoinKind.SEMI, "true"
    elif len(rest) < len(conditions) and _never_null(join, estimator):
        kind, value = JoinKind.ANTI, "false"
    else:
        return Filter(join, conditions)
    made: Node = Join(join.left, join.right, kind, join.conditions, join.residual)
    # What is above may still name the mark, which now is the same for every row.
    items = tuple(Named(column.name, column) for column in outputs(join.left))
    made = Project(made, (*items, Named(join.mark, Literal(value, "BOOLEAN"))))
    return Filter(made, rest) if rest else made


def _never_null(join: Join, estimator: Estimator) -> bool:
    left, right = estimator.estimate(join.left), estimator.estimate(join.right)

    def free(expression: Expression, columns: object) -> bool:
        if not isinstance(expression, Column) or not isinstance(columns, dict):
            return False
        facts = columns.get(expression.name)
        return facts is not None and not facts.nullable

    return all(
        condition.matches_nulls
        or (free(condition.left, left.columns) and free(condition.right, right.columns))
        for condition in join.conditions
    )
