"""What orders of joins are expected to cost, noted down while queries are planned."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from starling_py.planner import plan as planning
from starling_py.planner.algebra import Plan
from starling_py.planner.footers import Footers
from starling_py.planner.rules.join_order import JoinCosts, join_costs, order_joins


@contextmanager
def recorded_costs() -> Iterator[list[JoinCosts]]:
    """Note the costs of all joins that planners order in this context."""
    costs: list[JoinCosts] = []

    def recorded(plan: Plan, footers: Footers) -> Plan:
        costs.extend(join_costs(plan, footers))
        return order_joins(plan, footers)

    rules = [recorded if rule is order_joins else rule for rule in planning._RULES]  # noqa: SLF001
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planning, "_RULES", tuple(rules))
        yield costs


def check_costs(costs: list[JoinCosts]) -> None:
    """Check that no order is expected to cost more than the one that is written."""
    assert all(cost.chosen == min(cost.greedy, cost.written) for cost in costs)
