"""What LATERAL makes of each row alone is made in place, without a join back to the rows.

DuckDB computes it once for each distinct row of a CTE and joins that to all rows of the CTE. Where
nothing but projections, filters and UNNEST stands between, the rows themselves may go through them.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from starling_py.planner.algebra import (
    CteRead,
    Filter,
    Group,
    Join,
    JoinKind,
    Named,
    Node,
    Plan,
    Project,
    Unnest,
    outputs,
    rewrite,
)
from starling_py.planner.expressions import (
    Call,
    Column,
    Expression,
    Literal,
    is_volatile,
    substitute,
)
from starling_py.planner.rules.inline_ctes import inline_ctes

if TYPE_CHECKING:
    from starling_py.planner.footers import Footers

__all__ = ["unnest_in_place"]

RowByRow = Project | Filter | Unnest


def unnest_in_place(plan: Plan, footers: Footers) -> Plan:
    """Return the plan without joins of a CTE's rows to what was made of each of them."""
    roots = [definition for _, definition in plan.ctes] + [plan.root]
    made = [rewrite(root, _change) for root in roots]
    if all(new is old for new, old in zip(made, roots, strict=True)):
        return plan
    numbers = (number for number, _ in plan.ctes)
    ctes = tuple(zip(numbers, made[:-1], strict=True))
    # A CTE may have one reader left.
    return inline_ctes(Plan(ctes, made[-1]), footers)


def _change(node: Node) -> Node:
    match node:
        case Join(kind=JoinKind.INNER, left=CteRead() as left, residual=(), asof=False):
            return _in_place(node, left) or node
    return node


def _in_place(node: Join, left: CteRead) -> Node | None:
    chain: list[RowByRow] = []
    below = node.right
    while isinstance(below, RowByRow):
        if any(map(is_volatile, _expressions(below))):
            return None
        chain.append(below)
        below = below.input
    match below:
        case Group(input=CteRead(cte=cte) as read, keys=keys, aggregates=()) if cte == left.cte:
            pass
        case _:
            return None
    positions = {column.name: at for at, column in enumerate(read.columns)}
    seen = set()
    for condition in node.conditions:
        if not condition.matches_nulls or not isinstance(condition.left, Column):
            return None
        key = _origin(condition.right, chain)
        if key is None or positions.get(key.name) is None:
            return None
        if left.columns[positions[key.name]] != condition.left:
            return None
        seen.add(key)
    if seen != set(keys):
        # Some key may differ between rows that are joined.
        return None
    of_left = {key.name: left.columns[positions[key.name]] for key in keys}
    return _rebuilt(node, left, chain, of_left)


def _rebuilt(node: Join, left: CteRead, chain: list[RowByRow], of_left: dict[str, Column]) -> Node:
    """Return the chain over the left rows, which pass through it."""
    passed = tuple(Named(column.name, column) for column in left.columns)
    made: Node = left
    names: dict[str, Expression] = dict(of_left)
    for part in reversed(chain):
        match part:
            case Project(items=items):
                new = tuple(Named(i.name, substitute(i.expression, names)) for i in items)
                made = Project(made, passed + new)
                names = {}
            case Filter(conditions=conditions):
                made = Filter(made, tuple(substitute(c, names) for c in conditions))
            case Unnest():
                made = replace(part.mapped(partial(substitute, values=names)), input=made)
    columns = (Named(column.name, names.get(column.name, column)) for column in outputs(node))
    return Project(made, tuple(columns))


def _expressions(node: RowByRow) -> list[Expression]:
    match node:
        case Project(items=items):
            return [item.expression for item in items]
        case Filter(conditions=conditions):
            return list(conditions)
        case Unnest():
            return list(node.expressions())


def _origin(expression: Expression, chain: list[RowByRow]) -> Column | None:
    """Return the column at the end of a chain whose value the expression has, if there is one."""
    for part in chain:
        if not isinstance(expression, Column):
            return None
        match part:
            case Project(items=items):
                known = {item.name: item.expression for item in items}
                if expression.name not in known:
                    return None
                expression = known[expression.name]
            case Unnest():
                expression = _repeated(expression, part)
    return expression if isinstance(expression, Column) else None


def _repeated(column: Column, unnest: Unnest) -> Expression:
    """Return what every value of an unnested list is, where that is one thing."""
    lists = {name.name: _items(made) for name, made in unnest.lists}
    if column.name not in lists:
        return column
    mine = lists[column.name]
    if mine and all(len(others) == len(mine) for others in lists.values()) and len(set(mine)) == 1:
        return mine[0]
    return Literal("NULL", column.type)


def _items(made: Expression) -> tuple[Expression, ...]:
    """Return the items of a list that is written out, or none."""
    if isinstance(made, Call) and made.name == "list_value":
        return made.arguments
    return ()
