"""The order of joins is never expected to cost more than the one that is written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starling_py.catalog.catalog import FileCatalog
from starling_py.planner import plan as planning
from starling_py.planner.plan import Planner, PlanOptions
from starling_py.planner.rules.join_order import JoinCosts, join_costs, order_joins
from starling_py.tpch.texts import text

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_no_query_joins_worse_than_it_is_written(
    tpch_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    costs: list[JoinCosts] = []

    def recorded(plan, footers):
        costs.extend(join_costs(plan, footers))
        return order_joins(plan, footers)

    rules = [recorded if rule is order_joins else rule for rule in planning._RULES]  # noqa: SLF001
    monkeypatch.setattr(planning, "_RULES", tuple(rules))
    planner = Planner()
    catalog = FileCatalog(str(tpch_folder), None)
    for number in range(1, 23):
        planner.plan(text(number), catalog, PlanOptions(3, 2, 2, 1 << 30), f"q{number}")
    planner.close()
    catalog.close()
    assert len(costs) > 20
    assert all(cost.chosen == min(cost.greedy, cost.written) for cost in costs)
    # The greedy order is worth having: of all queries together it leaves far fewer rows.
    assert sum(cost.chosen for cost in costs) * 2 < sum(cost.written for cost in costs)
