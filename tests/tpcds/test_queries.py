"""The 99 queries of TPC-DS, answered as DuckDB answers them.

``make tpcds-data`` makes the data; ``make tpcds`` runs this at scale 1, also as a user would.
"""

from __future__ import annotations

import os

import pytest
from join_orders import check_costs, recorded_costs

NUMBERS = range(1, 100)


@pytest.mark.parametrize("number", NUMBERS)
def test_nothing_is_small(warehouse, read, number: int):
    """As if the tables were large: none is read whole by several tasks for being small."""
    query = read(number)
    plan = warehouse.plan(query.sql, 3, small_rows=0, few_groups=0)
    assert warehouse.difference(query, plan) is None, stages(plan)


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("tasks", [None, 5] if "TPCDS_DATA" in os.environ else [])
def test_answers_are_those_of_duckdb(warehouse, read, number: int, tasks: int | None):
    query = read(number)
    plan = warehouse.plan(query.sql, tasks)
    assert warehouse.difference(query, plan) is None, stages(plan)


def test_nearly_all_are_distributed(warehouse, read):
    reasons = {}
    for number in NUMBERS:
        plan = warehouse.plan(read(number).sql, 5)
        fallbacks = [stage.fallback for stage in plan.stages if stage.fallback]
        if fallbacks:
            reasons[number] = fallbacks
    assert len(NUMBERS) - len(reasons) >= 90, reasons


def test_no_query_joins_worse_than_it_is_written(warehouse, read):
    with recorded_costs() as costs:
        for number in NUMBERS:
            warehouse.plan(read(number).sql, 5)
    assert len(costs) > len(NUMBERS)
    check_costs(costs)


def stages(plan) -> str:
    """Return the statements of a plan, to read when it is wrong."""
    return "\n".join(f"stage {stage.id}: {stage.statement}" for stage in plan.stages)
