"""A large ORDER BY is sorted by several tasks, each a range of the keys."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from starling_py.engine import Engine, EngineOptions
from starling_py.operators.task import RangePartitioning

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import World

    from starling_py.operators.plan import StagePlan

VALUES = {
    "BOOLEAN": "v % 2 = 0",
    "INTEGER": "v",
    "HUGEINT": "v::HUGEINT * 10000000000000000000000",
    "DOUBLE": "CASE v WHEN 3 THEN 'nan' WHEN 4 THEN '-inf' WHEN 5 THEN -0.0 WHEN 6 THEN 0.0 "
    "ELSE v / 4 END",
    "DECIMAL(18,3)": "v / 4",
    "VARCHAR": "CASE WHEN v % 4 = 0 THEN '' ELSE repeat('é', 40) || chr(abs(v) % 9 + 65) || v END",
    "BLOB": "encode(repeat(chr(1), 62) || chr(0) || chr(abs(v) % 5 + 1) || v)",
    "UUID": "md5(v::VARCHAR)::UUID",
    "TIMESTAMP": "TIMESTAMP '2020-01-01' + to_hours(v)",
    "TIMESTAMP WITH TIME ZONE": "TIMESTAMPTZ '2020-01-01 00:00:00+00' + to_hours(v)",
    "INTERVAL": "to_days((v + 20) * 15)",
    "ENUM('z', 'b', 'm')": "['b', 'z', 'm'][abs(v) % 3 + 1]",
    "INTEGER[]": "[v % 3, NULL, v]",
    "STRUCT(a INTEGER, b VARCHAR)": "{'a': v % 3, 'b': chr(abs(v) + 60)}",
}


def ranged(plan: StagePlan) -> bool:
    return any(isinstance(out, RangePartitioning) for s in plan.stages for out in s.outputs)


def check(world: World, sql: str, tasks: int, order: tuple[int, ...]) -> None:
    plan = world.plan(sql, tasks, sort_rows=0)
    assert ranged(plan)
    assert plan.stages[-1].tasks == tasks
    found = world.difference(sql, plan, order)
    statements = "\n".join(stage.statement for stage in plan.stages)
    assert found is None, f"{found}\n{sql}\n{statements}"


@pytest.mark.parametrize("type_", VALUES)
def test_every_type_in_every_order(world: World, tmp_path: Path, type_: str) -> None:
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        for part in range(3):
            connection.execute(
                f"""COPY (SELECT i, CASE WHEN i % 11 = 0 THEN NULL
                ELSE CAST({VALUES[type_]} AS {type_}) END AS x
                FROM (SELECT i, (i * 37 % 101 % 43 - 20)::INTEGER AS v
                FROM range({part * 40}, {part * 40 + 40}) AS t(i)))
                TO '{tmp_path}/{part}.parquet'"""
            )
    files = f"'{tmp_path}/*.parquet'"
    # What a file has of an ENUM is text.
    x = f"CAST(x AS {type_})"
    sql = f"SELECT {x} AS x, i FROM {files} ORDER BY {x} DESC NULLS FIRST, i DESC"
    check(world, sql, 4, (0, 1))
    check(world, f"SELECT {x} AS x FROM {files} ORDER BY 1 ASC NULLS LAST", 3, (0,))


ORDERED = {
    "SELECT id, g FROM l ORDER BY g DESC, id": (1, 0),
    "SELECT id, k, v FROM l ORDER BY k NULLS FIRST, v DESC, id": (1, 2, 0),
    "SELECT k, count(*) AS n, sum(x) FROM l GROUP BY k ORDER BY n DESC, k": (1, 0),
    "SELECT l.id, u.name FROM l JOIN u ON id = uk ORDER BY upper(name), l.id": (1, 0),
    "SELECT id + 1 AS a FROM l WHERE id % 3 = 0 ORDER BY -id": (0,),
    "SELECT g, id FROM l ORDER BY length(g), id % 5, id": (),
    "SELECT 7 AS seven, k FROM l ORDER BY k": (1,),
    "SELECT id FROM l WHERE id < 0 ORDER BY id": (0,),
    "SELECT k4 FROM only_nulls ORDER BY k4": (0,),
    "SELECT id FROM l UNION ALL SELECT id2 FROM r ORDER BY 1": (0,),
}


@pytest.mark.parametrize("sql", ORDERED)
def test_statements(world: World, sql: str) -> None:
    check(world, sql, 3, ORDERED[sql])


def test_order_of_ties_is_free_but_no_row_is_lost(world: World) -> None:
    check(world, "SELECT g, id FROM l ORDER BY g", 4, (0,))


def test_small_answers_and_tops_are_sorted_by_one_task(world: World) -> None:
    assert not ranged(world.check("SELECT id FROM l ORDER BY id", 3, order=(0,)))
    for sql in (
        "SELECT id FROM l ORDER BY id LIMIT 3",
        "SELECT max(id) FROM (SELECT id FROM l ORDER BY k LIMIT 9)",
    ):
        plan = world.plan(sql, 3, sort_rows=0)
        assert not ranged(plan)
        assert plan.stages[-1].tasks == 1


def test_by_random_numbers_each_row_once(world: World) -> None:
    plan = world.plan("SELECT id FROM l ORDER BY random()", 3, sort_rows=0)
    assert ranged(plan)
    assert sorted(world.engine.run(plan).table.column(0).to_pylist()) == list(range(60))


def test_between_processes(world: World) -> None:
    """Through files, where an object's partitions are bytes."""
    sql = "SELECT id, g, k FROM l ORDER BY g DESC, id"
    options = EngineOptions(workers=2, isolation="process", memory=1 << 30)
    with Engine(options) as engine:
        apart = replace(world, engine=engine)
        check(apart, sql, 3, (1, 0))


@given(
    values=st.lists(st.integers(-5, 5) | st.integers(-1000, 1000), min_size=1, max_size=60),
    tasks=st.integers(2, 6),
)
@settings(max_examples=15, deadline=None, derandomize=True, database=None)
def test_any_distribution(world: World, tmp_path_factory, values, tasks) -> None:
    path = tmp_path_factory.mktemp("sorted") / "t.parquet"
    with duckdb.connect() as connection:
        rows = ", ".join(f"({value})" for value in values)
        connection.execute(f"COPY (SELECT * FROM (VALUES {rows}) AS t(a)) TO '{path}'")
    check(world, f"SELECT a FROM '{path}' ORDER BY a DESC", tasks, (0,))
