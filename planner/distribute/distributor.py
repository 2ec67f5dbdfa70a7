"""Goes through a plan's operators, each placed by the file of its family."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from starling_py.operators.plan import Delivery
from starling_py.operators.task import SinglePartition
from starling_py.planner.algebra import (
    CteRead,
    DistinctOn,
    Filter,
    Group,
    GroupingSets,
    Join,
    Limit,
    Node,
    Plan,
    Project,
    Recursive,
    Sample,
    Scan,
    SetOperation,
    Sort,
    StageRead,
    TableCall,
    Unnest,
    Values,
    Window,
    walk,
    with_inputs,
)
from starling_py.planner.distribute.context import Context
from starling_py.planner.distribute.grouping_sets import place_grouping_sets
from starling_py.planner.distribute.groups import place_group
from starling_py.planner.distribute.joins import place_join
from starling_py.planner.distribute.order import place_limit, place_sort
from starling_py.planner.distribute.recursion import place_recursive
from starling_py.planner.distribute.rows import place_distinct_on, place_sample
from starling_py.planner.distribute.scans import cut_scan, table_rows
from starling_py.planner.distribute.sets import place_set_operation
from starling_py.planner.distribute.windows import place_window
from starling_py.planner.exchanges import Exchanges
from starling_py.planner.fragments import Draft, Fragment, Spread, is_replicable

if TYPE_CHECKING:
    from starling_py.planner.footers import Footers
    from starling_py.planner.names import Names
    from starling_py.planner.sizing import Sizing
    from starling_py.planner.statistics import Estimator

__all__ = ["distribute"]

_TIMES_SMALLER = 10
"""A table that every task reads whole is by so much smaller than the largest one."""


def distribute(
    plan: Plan, estimator: Estimator, footers: Footers, sizing: Sizing, names: Names
) -> list[Draft]:
    """Return the stages of a plan, in dependency order; the last one's rows are the answer."""
    distributor = _Distributor(plan, estimator, footers, sizing, names)
    for number, definition in plan.ctes:
        distributor.define(number, definition)
    distributor.finish(distributor.place(plan.root, in_order=True))
    return distributor.context.moves.drafts


class _Distributor:
    def __init__(
        self, plan: Plan, estimator: Estimator, footers: Footers, sizing: Sizing, names: Names
    ) -> None:
        roots = (*(definition for _, definition in plan.ctes), plan.root)
        scans = [node for root in roots for node in walk(root) if isinstance(node, Scan)]
        # Of the largest table each task takes a share, however small the table is.
        largest = max((table_rows(scan) for scan in scans), default=0)
        self.context = Context(
            place=self.place,
            moves=Exchanges(sizing),
            estimator=estimator,
            footers=footers,
            sizing=sizing,
            names=names,
            ctes={},
            small_rows=min(sizing.options.small_rows, largest // _TIMES_SMALLER),
        )

    def define(self, number: int, definition: Node) -> None:
        fragment = self.place(definition, in_order=True)
        self.context.ctes[number] = self.context.moves.close(fragment)

    def finish(self, fragment: Fragment) -> None:
        """Make the root's fragment the last stage."""
        moves = self.context.moves
        draft = moves.close(fragment)
        if draft is not moves.drafts[-1] or draft.outputs:
            read = moves.read(draft, Delivery.ALIGNED)
            draft = moves.new_draft(read)
        draft.output(SinglePartition())

    def place(self, node: Node, *, in_order: bool = False) -> Fragment:
        """Return the fragment of a node."""
        context = self.context
        match node:
            case Scan() if table_rows(node) <= context.small_rows:
                return Fragment(replace(node, replicated=True), Spread.EVERY, 1)
            case Scan():
                return cut_scan(node, context.estimator, context.footers, context.sizing)
            case Values():
                return Fragment(node, Spread.EVERY if is_replicable(node) else Spread.ONE, 1)
            case TableCall():
                return Fragment(node, Spread.EVERY, 1)
            case CteRead(cte=cte, columns=columns):
                return context.moves.read(context.ctes[cte], Delivery.ALIGNED, columns)
            case StageRead():
                raise TypeError("a stage's read before there are stages")
            case Filter(input=input_) | Project(input=input_) | Unnest(input=input_):
                below = self.place(input_, in_order=in_order)
                made = below.over(with_inputs(node, (below.node,)))
                if made.spread is Spread.EVERY and not is_replicable(made.node):
                    return replace(made, spread=Spread.ONE)
                return made
            case Join():
                return place_join(node, context)
            case Group():
                return place_group(node, context)
            case GroupingSets():
                return place_grouping_sets(node, context)
            case DistinctOn():
                return place_distinct_on(node, context)
            case Sample():
                return place_sample(node, context)
            case Recursive():
                return place_recursive(node, context)
            case Window():
                return place_window(node, context)
            case Sort():
                return place_sort(node, None, context, in_order=in_order)
            case Limit():
                return place_limit(node, context)
            case SetOperation():
                return place_set_operation(node, context, in_order=in_order)
