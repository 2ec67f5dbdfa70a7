"""random() and uuid() are called once for each row; what is one value per query is one value."""

from __future__ import annotations

from typing import TYPE_CHECKING

import duckdb
import pytest

from starling_py.planner.errors import Unsupported
from starling_py.planner.expressions import VOLATILE
from starling_py.planner.source import SESSION_FUNCTIONS

if TYPE_CHECKING:
    from conftest import World

# Each counts what is wrong: no plan of any size may find any.
NONE_WRONG = {
    "a join repeats rows": "SELECT count(DISTINCT u) - count(DISTINCT id) FROM "
    "(SELECT uuid() AS u, id FROM l) JOIN r ON id < id2",
    "a broadcast side": "SELECT count(DISTINCT a.x) - count(DISTINCT a.id) FROM "
    "l, (SELECT random() AS x, mid AS id FROM mid) a",
    "a CTE read twice": "WITH c AS (SELECT random() AS x, id FROM l) "
    "SELECT count(*) FROM c a JOIN c b ON a.id = b.id WHERE a.x <> b.x",
    "two parts of an average": "SELECT count(*) FROM (SELECT "
    "avg(CASE WHEN random() < 0.5 THEN 1.0 END) AS a FROM l GROUP BY g) WHERE a <> 1.0",
    "a key of groups": "SELECT sum(n)::INT - 60 FROM (SELECT r, count(*) AS n FROM "
    "(SELECT floor(random() * 5) AS r FROM l) GROUP BY r)",
    "a key of windows": "SELECT count(*) FROM (SELECT p, first(p) OVER (PARTITION BY p) AS q FROM "
    "(SELECT floor(random() * 5) AS p FROM l)) WHERE p <> q",
    "an order": "SELECT count(*) - 7 FROM (SELECT id, random() AS x FROM l ORDER BY x LIMIT 7)",
    "a sample read twice": "WITH c AS (SELECT id FROM l USING SAMPLE 9) SELECT count(*) - 9 FROM "
    "c a JOIN c b ON a.id = b.id",
    "now": "SELECT count(DISTINCT now()) - 1 FROM l JOIN r ON k = k2",
    "a filter above a join": "SELECT count(*) FROM (SELECT id, count(*) AS n FROM "
    "(SELECT id, random() AS x FROM l) JOIN no_nulls ON id > k3 WHERE x >= 0 GROUP BY id) "
    "WHERE n > 60",
}


@pytest.mark.parametrize("name", NONE_WRONG)
def test_once_for_each_row(world: World, name: str) -> None:
    for tasks, small_rows in ((1, 0), (3, 0), (3, 20_000)):
        plan = world.plan(NONE_WRONG[name], tasks, small_rows=small_rows)
        (row,) = world.engine.run(plan).table.to_pylist()
        assert [int(value) for value in row.values()] == [0]


WALK = """WITH RECURSIVE c AS {kind} ({source}), t(x, r) AS (SELECT 1, 0.0::DOUBLE
    UNION ALL SELECT x + 1, {read} WHERE x < 6) SELECT count(DISTINCT r) FROM t"""
OFTEN = {
    "in each step": WALK.format(
        kind="", source="SELECT 1", read="s.r FROM t, (SELECT random() AS r) s"
    ),
    "in each step, of a table": WALK.format(
        kind="",
        source="SELECT 1",
        read="s.r FROM t, (SELECT random() AS r FROM l WHERE id = 3) s",
    ),
    "in each step, of a CTE": WALK.format(
        kind="", source="SELECT random() AS r", read="c.r FROM t, c"
    ),
    "once for all steps": WALK.format(
        kind="MATERIALIZED", source="VALUES (random())", read="c.col0 FROM t, c"
    ),
    "of a step's own rows": WALK.format(
        kind="", source="SELECT 1", read="random() + (SELECT count(*) FROM l) FROM t"
    ),
}


@pytest.mark.parametrize("name", OFTEN)
def test_as_often_as_duckdb(world: World, name: str) -> None:
    for tasks in (1, 3):
        world.check(OFTEN[name], tasks)


def test_a_condition_that_differs_each_time_stays_above_the_join(world: World) -> None:
    sql = "SELECT * FROM l JOIN r ON k = k2 JOIN mid ON mk = k WHERE random() * id < id2"
    plan = world.plan(sql, 3)
    assert [stage.statement.count("random") for stage in plan.stages][-1] == 1


def test_keys_that_differ_each_time_are_no_keys(world: World) -> None:
    plan = world.plan("SELECT id FROM l JOIN r ON floor(random() * k) = k2 + floor(x)", 3)
    assert not any("random" in repr(stage.outputs) for stage in plan.stages)


@pytest.mark.parametrize("name", sorted(SESSION_FUNCTIONS))
def test_session_functions_are_refused_by_name(world: World, name: str) -> None:
    with pytest.raises(Unsupported, match=name):
        world.plan(f"SELECT {name}(0.5) FROM l", 2)


def test_every_volatile_function_is_known() -> None:
    with duckdb.connect() as connection:
        found = connection.execute(
            "SELECT DISTINCT function_name FROM duckdb_functions() WHERE stability = 'VOLATILE'"
        ).fetchall()
    assert {name for (name,) in found} <= VOLATILE | SESSION_FUNCTIONS
