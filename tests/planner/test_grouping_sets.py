"""ROLLUP, CUBE and GROUPING SETS, with NULL keys beside those left out, and sets of no rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import World

GROUPED = {
    "cube": "SELECT g, k, count(*), sum(v), avg(x), grouping(g), grouping(k, g) FROM l "
    "GROUP BY CUBE (g, k)",
    "rollup": "SELECT g, k, count(*), stddev(v) FROM l GROUP BY ROLLUP (g, k)",
    "sets that repeat": "SELECT g, k, count(*), grouping_id(g, k) FROM l "
    "GROUP BY GROUPING SETS ((g), (g), (k), (), ())",
    "several": "SELECT g, k, d, count(*) FROM l GROUP BY GROUPING SETS ((g), (k)), ROLLUP (d)",
    "computed": "SELECT k % 3 AS a, upper(g) AS b, sum(v) FROM l "
    "GROUP BY ROLLUP (k % 3, upper(g)) HAVING count(*) > 2",
    "filter": "SELECT g, count(*) FILTER (WHERE k > 3), grouping(g) FROM l GROUP BY ROLLUP (g)",
    "ranked": "SELECT g, rank() OVER (PARTITION BY grouping(g) ORDER BY sum(v)) FROM l "
    "GROUP BY ROLLUP (g, d)",
    "keys alone": "SELECT g, k FROM l GROUP BY CUBE (g, k)",
    "not read": "SELECT count(*) FROM (SELECT g, k, sum(v) FROM l GROUP BY CUBE (g, k))",
    "one set": "SELECT g, grouping(g), count(*) FROM l GROUP BY g",
    "no parts": "SELECT g, k, count(DISTINCT d), median(v), grouping(k) FROM l "
    "GROUP BY GROUPING SETS ((g, k), (k), (k))",
    "keys that cannot be hashed": "SELECT [k] AS a, g, count(*) FROM l GROUP BY ROLLUP ([k], g)",
    "no rows": "SELECT g, k, count(*), sum(v), min(g) FROM l WHERE id < 0 "
    "GROUP BY GROUPING SETS ((g, k), (), ())",
    "no rows, no parts": "SELECT g, count(DISTINCT k) FROM l WHERE id < 0 GROUP BY ROLLUP (g)",
    "only the empty set": "SELECT median(v), count(DISTINCT k) FROM l "
    "GROUP BY GROUPING SETS ((), ())",
    "only the empty set, in parts": "SELECT count(*), sum(v) FROM l "
    "GROUP BY GROUPING SETS ((), ())",
    "only the empty set, not read": "SELECT count(*) FROM (SELECT sum(v) FROM l "
    "GROUP BY GROUPING SETS ((), ()))",
    "only the empty set, in one task": "SELECT max(1) FROM "
    "(SELECT sum(a) FROM (VALUES (1)) AS t(a) GROUP BY GROUPING SETS ((), ()))",
    "cube without parts": "SELECT g, k, count(DISTINCT d), median(v), grouping(g, k) FROM l "
    "GROUP BY CUBE (g, k)",
    "no table": "SELECT k5, count(*), sum(id5) FROM empty GROUP BY ROLLUP (k5)",
    "below a join": "SELECT * FROM (SELECT k, sum(v) AS s FROM l GROUP BY ROLLUP (k)) "
    "JOIN r ON k IS NOT DISTINCT FROM k2",
}


@pytest.mark.parametrize("name", GROUPED)
def test_grouped(world: World, name: str) -> None:
    for tasks in (1, 2, 7):
        plan = world.check(GROUPED[name], tasks)
        assert not any("operator" in stage.fallback for stage in plan.stages)
    world.check(GROUPED[name], 3, small_rows=2_000)


def test_parts_are_merged_by_tasks(world: World) -> None:
    plan = world.check("SELECT k, d, sum(v) FROM l GROUP BY ROLLUP (k, d)", 3)
    assert [stage.tasks for stage in plan.stages] == [3, 3]
    assert "GROUPING SETS" in plan.stages[0].statement


def test_an_aggregate_without_parts_takes_one_worker_for_the_empty_set_only(world: World) -> None:
    plan = world.check("SELECT k, median(v) FROM l GROUP BY ROLLUP (k)", 3)
    assert not any(stage.fallback for stage in plan.stages)
    assert [stage.tasks for stage in plan.stages][-1] == 3
