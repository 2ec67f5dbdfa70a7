"""Aggregates in parts: states that travel, DISTINCT in two steps, and rows brought together."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from starling_py.planner.aggregates import in_two_parts
from starling_py.planner.expressions import Aggregate, Column
from starling_py.planner.names import Names
from starling_py.planner.states import FUNCTIONS

if TYPE_CHECKING:
    from conftest import World

PROGRAM = Path(__file__).with_name("export_states.py")

PLAIN = """sum count count_star avg mean min max bool_and bool_or bit_and bit_or bit_xor any_value
    product count_if countif"""
EVERY_VALUE_IN_THE_STATE = """list array_agg string_agg group_concat listagg median mad quantile
    quantile_cont quantile_disc"""
NO_STATE = """approx_quantile approx_top_k histogram histogram_exact entropy mode reservoir_quantile
    bitstring_agg lttb variant_group_object sum_no_overflow decimal_average"""
MERGED_WRONGLY = "last arg_max_nulls_last arg_min_nulls_last"


@pytest.mark.parametrize("part", range(3))
def test_states_merge_to_what_one_statement_gives(part: int) -> None:
    functions = sorted(FUNCTIONS)[part::3]
    ran = subprocess.run(
        [sys.executable, str(PROGRAM), *functions],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert (ran.stdout, ran.returncode) == ("done\n", 0), f"{functions}\n{ran.stdout}{ran.stderr}"


def test_every_aggregate_is_known_to_have_parts_or_not(world: World) -> None:
    """A function that a new DuckDB brings has to be looked at."""
    rows = world.oracle.execute(
        "SELECT DISTINCT function_name FROM duckdb_functions() WHERE function_type = 'aggregate'"
    ).fetchall()
    parts = FUNCTIONS | set(PLAIN.split())
    together = {*EVERY_VALUE_IN_THE_STATE.split(), *NO_STATE.split(), *MERGED_WRONGLY.split()}
    assert {name for (name,) in rows} - {"combine_aggr"} == parts | together
    for name in together:
        for types in (("DOUBLE",), ("VARCHAR",), ("BIGINT", "BIGINT"), ("VARCHAR", "DOUBLE")):
            arguments = tuple(Column(f"x{at}", type_) for at, type_ in enumerate(types))
            assert in_two_parts(Aggregate(name, arguments, "DOUBLE"), Names()) is None


IN_PARTS = """
stddev(x), variance(id), var_pop(x), stddev_pop(v), sem(x), kurtosis(x), skewness(id * id)
corr(x, id), covar_pop(x, id), covar_samp(id, k), regr_slope(x, id), regr_intercept(x, k)
regr_r2(x, id), regr_count(x, k), regr_avgx(x, k), regr_sxx(x, id), regr_syy(x, k), regr_sxy(k, id)
approx_count_distinct(k), fsum(x), favg(x), kahan_sum(v), product(1 + x / 16)
arg_max(g, id), arg_min(d, id), max_by(v, id), arg_max({'a': k}, id), first(g ORDER BY id DESC)
arg_max_null(k, id), arg_min_null(k, -id), arg_max(id, id), min_by(g, g), any_value(k % 1)
min([k, id]), max({'a': g, 'b': id}), min(k = 3), max(g::BLOB), min(INTERVAL (id) HOUR)
avg(d), avg(id::HUGEINT), avg(v::DECIMAL(38, 3)), avg(INTERVAL (id) HOUR), avg(id::FLOAT)
count_if(k > 3), count_if(k > 100), sum(k > 3), bit_xor(id), geomean(id + 1)
stddev(x) FILTER (WHERE id > 20), arg_max(v, id) FILTER (WHERE k > 4), count(*) FILTER (WHERE k = 1)
stddev(x) FILTER (WHERE id < 0), first(id) FILTER (WHERE id = 30), favg(k) FILTER (WHERE false)
any_value(k) FILTER (WHERE id = 7), approx_count_distinct(id) FILTER (WHERE id > 40)
max(DISTINCT k), min(DISTINCT g), bool_and(DISTINCT k > 1), sum(v), avg(v), count(k)
""".strip().splitlines()

TOGETHER = """
median(x), mad(id), quantile_cont(x, 0.3), quantile_disc(v, [0.25, 0.5]), quantile_disc(id, 0.3)
quantile_cont(x, -0.3), percentile_cont(0.25) WITHIN GROUP (ORDER BY id DESC), sum(id)
approx_quantile(id, 0.5), list_sort(approx_top_k(id // 40, 2)), histogram(k, [2, 4, 8]), sum(id)
list(id ORDER BY v, id), string_agg(id::VARCHAR, ',' ORDER BY d DESC, id), last(id ORDER BY x, id)
list(DISTINCT k ORDER BY k DESC NULLS FIRST), sum(id ORDER BY v), max(id, 3), arg_max(g, id, 2)
list(id ORDER BY id) FILTER (WHERE k > 4), median(k) FILTER (WHERE id > 30), stddev(x), count(*)
arg_min_nulls_last(k, id), list(DISTINCT g ORDER BY g), count(DISTINCT k), sum(id)
entropy(k), mode(k % 1), sum(id)
""".strip().splitlines()


@pytest.mark.parametrize("calls", IN_PARTS)
def test_in_parts(world: World, calls: str) -> None:
    world.check(f"SELECT {calls} FROM l", 3)
    world.check(f"SELECT {calls} FROM l WHERE id < 0", 3)
    check(world, f"SELECT g, k % 2, {calls} FROM l GROUP BY 1, 2")
    plan = world.plan(f"SELECT {calls} FROM l", 3)
    assert [stage.label for stage in plan.stages] == ["scan l, total", "total"]


@pytest.mark.parametrize("calls", TOGETHER)
def test_together(world: World, calls: str) -> None:
    """DuckDB itself gives the values of ``approx_top_k`` in any order where it has two threads."""
    world.check(f"SELECT {calls} FROM l", 3)
    plan = check(world, f"SELECT g, {calls} FROM l GROUP BY 1")
    assert plan.stages[0].tasks == 3
    assert not plan.stages[0].fallback


def test_rows_and_parts_keep_the_order_of_files(world: World) -> None:
    """With one thread to a task, as there is for three."""
    rows = "list(id), array_agg(k), string_agg(g, '-'), listagg(id::VARCHAR, ';'), last(id)"
    parts = "first(id), first(k), first([k, id]), any_value(k), arbitrary(g), arg_min(d, v)"
    ties = "arg_max({'a': k}, v), arg_max_null(k, x), arg_min_null(k, v)"
    for tasks in (3, 7):
        for calls in (rows, parts, ties):
            world.check(f"SELECT g, {calls} FROM l GROUP BY 1", tasks)


DISTINCT = """
count(DISTINCT k)
count(DISTINCT k), sum(DISTINCT k), avg(DISTINCT k), stddev(DISTINCT k), max(k)
count(DISTINCT k), count(*), sum(v), avg(x), arg_max(g, id), first(id) FILTER (WHERE id = 8)
count(DISTINCT k), count(DISTINCT id % 7), sum(DISTINCT v), avg(DISTINCT x), count(*), count(k)
count(DISTINCT k) FILTER (WHERE id > 20), count(DISTINCT k), sum(id) FILTER (WHERE k > 3)
count(DISTINCT CASE WHEN k > 3 THEN k END), product(DISTINCT 1 + k % 3), min(DISTINCT v)
count(DISTINCT d), count(DISTINCT x), count(DISTINCT -0.0 * k::DOUBLE), count(DISTINCT v)
approx_count_distinct(DISTINCT k), any_value(DISTINCT k % 1), bit_xor(DISTINCT id % 4)
count(DISTINCT [k]), sum(DISTINCT k)
first(DISTINCT id % 1), list(DISTINCT g ORDER BY g), count(DISTINCT g), sum(id)
""".strip().splitlines()


@pytest.mark.parametrize("calls", DISTINCT)
def test_distinct(world: World, calls: str) -> None:
    world.check(f"SELECT {calls} FROM l", 3)
    world.check(f"SELECT {calls} FROM l WHERE id < 0", 3)
    check(world, f"SELECT g, {calls} FROM l GROUP BY 1")
    check(world, f"SELECT k % 2, {calls} FROM l JOIN r ON k = k2 GROUP BY 1 HAVING sum(k) > 1")


def test_distinct_values_of_few_groups_are_counted_by_many_tasks(world: World) -> None:
    sql = "SELECT count(DISTINCT k), sum(v), count(DISTINCT id) FROM l"
    assert world.difference(sql, plan := world.plan(sql, 4)) is None
    assert [stage.tasks for stage in plan.stages] == [4, 4, 1]
    sql = "SELECT g, count(DISTINCT id), count(*) FROM l GROUP BY g"
    assert world.difference(sql, plan := world.plan(sql, 4, few_groups=60)) is None
    assert [stage.tasks for stage in plan.stages] == [4, 4, 1]
    # Many groups: all rows of one go to one task.
    assert world.difference(sql, plan := world.plan(sql, 4, few_groups=0)) is None
    assert [stage.tasks for stage in plan.stages] == [4, 4]


def check(world: World, sql: str):
    for few_groups in (0, 100):
        plan = world.plan(sql, 3, few_groups=few_groups)
        found = world.difference(sql, plan)
        statements = "\n".join(stage.statement for stage in plan.stages)
        assert found is None, f"{found}\n{sql}\n{statements}"
    return plan
