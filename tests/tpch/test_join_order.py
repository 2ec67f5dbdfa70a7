"""The order of joins is never expected to cost more than the one that is written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from join_orders import check_costs, recorded_costs

from starling_py.catalog.catalog import FileCatalog
from starling_py.planner.plan import Planner, PlanOptions
from starling_py.tpch.texts import text

if TYPE_CHECKING:
    from pathlib import Path


def test_no_query_joins_worse_than_it_is_written(tpch_folder: Path) -> None:
    planner = Planner()
    catalog = FileCatalog(str(tpch_folder), None)
    with recorded_costs() as costs:
        for number in range(1, 23):
            planner.plan(text(number), catalog, PlanOptions(3, 2, 2, 1 << 30), f"q{number}")
    planner.close()
    catalog.close()
    assert len(costs) > 20
    check_costs(costs)
    # The greedy order is worth having: of all queries together it leaves far fewer rows.
    assert sum(cost.chosen for cost in costs) * 2 < sum(cost.written for cost in costs)
