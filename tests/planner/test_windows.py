"""Window functions of every kind, partitioned and not, answered as DuckDB answers them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from starling_py.operators.task import HashPartitioning

if TYPE_CHECKING:
    from conftest import World

RANKS = "rank() OVER w, dense_rank() OVER w, percent_rank() OVER w, cume_dist() OVER w"
PARTITIONED = {
    "totals": "SELECT id, v / sum(v) OVER (), count(*) OVER (ORDER BY 1), median(v) OVER (), "
    "count(DISTINCT g) FILTER (WHERE k > 2) OVER (), list(id ORDER BY id) OVER () FROM l",
    "totals beside keys": "SELECT id, sum(v) OVER (PARTITION BY k), sum(v) OVER () FROM l "
    "WHERE id % 20 > 3",
    "totals of nothing": "SELECT k5, sum(k5) OVER (), count(*) OVER () FROM empty",
    "totals of groups": "SELECT g, sum(v), sum(v) * 100 / sum(sum(v)) OVER () FROM l GROUP BY g",
    "ranks": f"SELECT id, {RANKS} FROM l WINDOW w AS (PARTITION BY k ORDER BY g)",
    "order of NULLs": f"SELECT id, {RANKS} FROM l "
    "WINDOW w AS (PARTITION BY g ORDER BY k DESC NULLS FIRST)",
    "ntile": "SELECT id, ntile(4) OVER (PARTITION BY g ORDER BY id) FROM l",
    "lag": "SELECT id, lag(k) OVER w, lead(k, 2, -1) OVER w, lag(k, 1, id IGNORE NULLS) OVER w "
    "FROM l WINDOW w AS (PARTITION BY g ORDER BY id)",
    "values": "SELECT id, first_value(k IGNORE NULLS) OVER w, last_value(k) OVER w, "
    "nth_value(k, 2) OVER w, first(v) OVER w, fill(x) OVER (PARTITION BY g ORDER BY id) "
    "FROM l WINDOW w AS (PARTITION BY g ORDER BY id)",
    "aggregates": "SELECT id, sum(v) OVER w, count(*) OVER w, avg(x) OVER w, min(d) OVER w "
    "FROM l WINDOW w AS (PARTITION BY k)",
    "running": "SELECT id, sum(v) OVER w, count(k) OVER w FROM l "
    "WINDOW w AS (PARTITION BY g ORDER BY k)",
    "rows": "SELECT id, sum(v) OVER (PARTITION BY g ORDER BY id "
    "ROWS BETWEEN 1 PRECEDING AND 2 FOLLOWING EXCLUDE TIES) FROM l",
    "range": "SELECT id, sum(v) OVER (PARTITION BY g ORDER BY k "
    "RANGE BETWEEN 2 PRECEDING AND 1 FOLLOWING EXCLUDE CURRENT ROW) FROM l",
    "range of dates": "SELECT id, sum(v) OVER (PARTITION BY g ORDER BY d "
    "RANGE BETWEEN INTERVAL 3 DAYS PRECEDING AND CURRENT ROW) FROM l",
    "range backwards": "SELECT id, sum(v) OVER (PARTITION BY g ORDER BY k DESC "
    "RANGE BETWEEN 2 PRECEDING AND UNBOUNDED FOLLOWING) FROM l",
    "range of decimals": "SELECT id, count(*) OVER (PARTITION BY g ORDER BY v "
    "RANGE BETWEEN 0.5 PRECEDING AND 0.5 FOLLOWING) FROM l",
    "groups": "SELECT id, count(*) OVER (PARTITION BY g ORDER BY k "
    "GROUPS BETWEEN 1 PRECEDING AND 1 FOLLOWING EXCLUDE GROUP) FROM l",
    "computed frame": "SELECT id, sum(v) OVER (PARTITION BY g ORDER BY id "
    "ROWS BETWEEN coalesce(k, 0) PRECEDING AND CURRENT ROW) FROM l",
    "computed key": "SELECT id, string_agg(DISTINCT g, ',' ORDER BY g) FILTER (WHERE k > 2) "
    "OVER (PARTITION BY k + 1) FROM l",
    "distinct": "SELECT id, count(DISTINCT k) FILTER (WHERE id > 3) OVER (PARTITION BY g) FROM l",
    "order in arguments": "SELECT id, list(id ORDER BY v DESC, id) OVER (PARTITION BY k), "
    "rank(ORDER BY v) OVER (PARTITION BY g ORDER BY id) FROM l",
    "several keys": "SELECT id, sum(v) OVER (PARTITION BY k), count(*) OVER (PARTITION BY g), "
    "avg(x) OVER (PARTITION BY k, g), max(v) OVER (PARTITION BY g, d) FROM l",
    "qualify": "SELECT * FROM l QUALIFY row_number() OVER (PARTITION BY k ORDER BY id) = 1",
    "above groups": "SELECT g, k, sum(v), rank() OVER (PARTITION BY g ORDER BY sum(v) DESC), "
    "sum(sum(v)) OVER (PARTITION BY k) FROM l GROUP BY g, k",
    "above a join": "SELECT l.id, r.id2, row_number() OVER (PARTITION BY k ORDER BY id, id2) "
    "FROM l JOIN r ON k = k2",
    "below groups": "SELECT k, sum(n) FROM (SELECT k, count(*) OVER (PARTITION BY k, g) AS n "
    "FROM l) GROUP BY k",
    "not read": "SELECT count(*) FROM (SELECT k, sum(v) OVER (PARTITION BY k) AS s FROM l)",
    "lateral": "SELECT l.id, t.id2 FROM l, LATERAL "
    "(SELECT id2 FROM r WHERE k2 = k ORDER BY id2 LIMIT 2) t",
    "holistic": "SELECT id, mode(k) OVER (PARTITION BY g), "
    "median(v) OVER (PARTITION BY g ORDER BY id ROWS 3 PRECEDING) FROM l WHERE id < 20",
    "nothing": "SELECT k5, count(*) OVER (PARTITION BY k5), rank() OVER (ORDER BY k5) FROM empty",
    "only NULLs": "SELECT id4, count(*) OVER (PARTITION BY k4) FROM only_nulls",
}
GLOBAL = {
    "in the order of the files": "SELECT id, row_number() OVER (), first(id) OVER () FROM l",
    "and with a key": "SELECT id, row_number() OVER (), sum(v) OVER (PARTITION BY k) FROM l",
    "ordered": "SELECT id, row_number() OVER (ORDER BY id DESC), sum(v) OVER (ORDER BY k) FROM l",
    "total in an order": "SELECT id, sum(v) OVER (), sum(v) OVER (ORDER BY id) FROM l",
    "total of what comes first": "SELECT id, list(id) OVER (), mode(g) OVER () FROM l",
    "keys that cannot be hashed": "SELECT id, sum(v) OVER (PARTITION BY [k]) FROM l",
}


@pytest.mark.parametrize("name", PARTITIONED)
def test_partitioned(world: World, name: str) -> None:
    for tasks in (1, 2, 7):
        plan = world.check(PARTITIONED[name], tasks)
        if "empty" not in PARTITIONED[name]:
            assert not any(stage.fallback for stage in plan.stages)
    world.check(PARTITIONED[name], 3, small_rows=2_000)


@pytest.mark.parametrize("name", GLOBAL)
def test_without_a_key_one_worker_stands_above_scans(world: World, name: str) -> None:
    for tasks in (1, 2, 7):
        plan = world.check(GLOBAL[name], tasks)
    assert plan.stages[0].tasks == 7
    assert [s.tasks for s in plan.stages if s.fallback == "window functions without PARTITION BY"]


def keys(world: World, sql: str) -> list[list[str]]:
    """Return the keys by which the stages of a plan partition, without the numbers of names."""
    return [
        [key.strip('"').rpartition("_")[0] for key in output.keys]
        for stage in world.plan(sql, 3).stages
        for output in stage.outputs
        if isinstance(output, HashPartitioning)
    ]


def test_functions_share_an_exchange_by_what_their_keys_have_in_common(world: World) -> None:
    shared = "SELECT sum(v) OVER (PARTITION BY id, g), max(v) OVER (PARTITION BY d, id) FROM l"
    assert keys(world, shared) == [["id"]]
    # Ten values of k would leave tasks without work.
    few = "SELECT sum(v) OVER (PARTITION BY id, k), max(v) OVER (PARTITION BY d, k) FROM l"
    assert keys(world, few) == [["id", "k"], ["d", "k"]]


def test_no_exchange_where_a_group_has_brought_the_rows_together(world: World) -> None:
    sql = "SELECT k, g, sum(sum(v)) OVER (PARTITION BY k, g) FROM l GROUP BY k, g"
    assert [sorted(found) for found in keys(world, sql)] == [["g", "k"]]
