"""Estimates: exact where footers say it, sane everywhere, and guesses that are meant as such."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest

from starling_py.planner.adapter.operators import adapt
from starling_py.planner.algebra import Group, Join, JoinKind, Limit, Plan, Scan, walk
from starling_py.planner.bind import Binder, Wording
from starling_py.planner.footers import Footers
from starling_py.planner.names import Names
from starling_py.planner.rules.inline_ctes import inline_ctes
from starling_py.planner.rules.prune_columns import prune_columns
from starling_py.planner.rules.rename import drop_renames
from starling_py.planner.statistics import Estimator, Relation

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conftest import World


@pytest.fixture(scope="module")
def binder() -> Iterator[Binder]:
    made = Binder()
    yield made
    made.close()


def algebra(world: World, binder: Binder, sql: str) -> Plan:
    found = ((name, world.catalog.find(name)) for name in binder.parse(sql).tables)
    tables = {name: table for name, table in found if table is not None}
    plan = adapt(binder.bind(Wording(sql, sql), tables, sql).plan or {}, tables, Names())
    for rule in (inline_ctes, drop_renames, prune_columns):
        plan = rule(plan, Footers())
    return plan


def relation(world: World, binder: Binder, sql: str) -> Relation:
    plan = algebra(world, binder, sql)
    return Estimator(Footers(), dict(plan.ctes)).estimate(plan.root)


HOLD_NULLS = """
SELECT id2 FROM r GROUP BY ROLLUP (id2)
SELECT id2 FROM r GROUP BY GROUPING SETS ((id2, h), (h))
SELECT id2 FROM l POSITIONAL JOIN (SELECT id2 FROM r WHERE id2 < 5)
SELECT id2 FROM (SELECT id2 FROM r WHERE id2 < 5) POSITIONAL JOIN l
SELECT id2 FROM l LEFT JOIN r ON id = id2 + 3
SELECT id2 FROM r RIGHT JOIN l ON id = id2 + 3
SELECT id2 FROM r FULL JOIN l ON id = id2 + 3
SELECT id2 FROM l ASOF LEFT JOIN r ON id > id2
""".strip().splitlines()


@pytest.mark.parametrize("sql", HOLD_NULLS)
def test_a_column_that_gets_nulls_is_not_said_to_be_free_of_them(
    world: World, binder: Binder, sql: str
) -> None:
    """NOT IN over GROUPING SETS and POSITIONAL JOIN once was a join that knows no NULL."""
    (column,) = relation(world, binder, sql).columns.values()
    assert column.nullable
    for tasks in (1, 3):
        world.check(f"SELECT id FROM l WHERE id NOT IN (SELECT id2 - 2 FROM ({sql}))", tasks)
        world.check(f"SELECT id FROM l WHERE id NOT IN ({sql})", tasks)


def test_a_json_null_that_is_cast_is_null(world: World, tmp_path: Path) -> None:
    world.oracle.execute(f"COPY (SELECT 'null' AS v, 7 AS n) TO '{tmp_path}/j.parquet'")
    sql = f"SELECT v::JSON::BIGINT AS j FROM '{tmp_path}/j.parquet'"
    world.check(f"SELECT id FROM l WHERE id NOT IN ({sql})", 2)


STATEMENTS = """
SELECT * FROM l
SELECT * FROM empty
SELECT * FROM only_nulls WHERE k4 = 3 OR k4 IS NULL
SELECT * FROM l WHERE k > 3 AND k < 2 AND g = 'x' AND x > 100 AND d < DATE '1970-01-01'
SELECT * FROM l WHERE id > 100
SELECT * FROM l WHERE id IN (1, 2, 3) AND NOT (v > 1) AND g LIKE 'g%' AND g NOT LIKE '%1'
SELECT * FROM empty, l
SELECT * FROM empty FULL JOIN l ON k5 = k
SELECT * FROM l, r WHERE k = k2 AND id < id2
SELECT * FROM l LEFT JOIN r ON k = k2 LEFT JOIN mid ON mk = k2
SELECT * FROM l WHERE k IN (SELECT k2 FROM r) AND id NOT IN (SELECT id2 FROM r)
SELECT * FROM l WHERE EXISTS (SELECT 1 FROM empty WHERE k5 = k)
SELECT *, (SELECT name FROM u WHERE uk = k), k IN (SELECT k2 FROM r) FROM l
SELECT k, g, count(*) FROM l GROUP BY k, g
SELECT k5, count(*) FROM empty GROUP BY k5
SELECT count(*) FROM empty
SELECT DISTINCT k FROM l
SELECT k FROM l UNION SELECT k2 FROM r
SELECT k FROM l EXCEPT SELECT k2 FROM r
SELECT k FROM l INTERSECT ALL SELECT k5 FROM empty
SELECT * FROM (VALUES (1), (2)) AS t(a)
SELECT * FROM l ORDER BY k LIMIT 3 OFFSET 2
WITH c AS MATERIALIZED (SELECT * FROM l) SELECT * FROM c a JOIN c b ON a.k = b.k
SELECT max(d), min(v) FROM l GROUP BY id % 3
""".strip().splitlines()


@pytest.mark.parametrize("sql", STATEMENTS)
def test_every_estimate_is_a_number_of_rows(world: World, binder: Binder, sql: str) -> None:
    plan = algebra(world, binder, sql)
    estimator = Estimator(Footers(), dict(plan.ctes))
    for node in (node for root in (*dict(plan.ctes).values(), plan.root) for node in walk(root)):
        made = estimator.estimate(node)
        assert 0.0 <= made.rows < math.inf
        assert 0.0 <= made.bytes < math.inf
        for facts in made.columns.values():
            assert 1.0 <= facts.distinct <= max(made.rows, 1.0)
            assert facts.width > 0.0
            assert (facts.low is None) == (facts.high is None)
            assert facts.low is None or facts.high is None or facts.low <= facts.high
        match node:
            case Join(kind=JoinKind.SEMI | JoinKind.ANTI | JoinKind.MARK, left=left):
                assert made.rows <= estimator.estimate(left).rows
            case Join(kind=JoinKind.LEFT, left=left):
                assert made.rows >= estimator.estimate(left).rows
            case Limit(count=int(most)):
                assert made.rows <= most
            case Group(input=input_, keys=keys) if keys:
                assert made.rows <= max(1.0, estimator.estimate(input_).rows)


ROWS = {
    "l": 60,
    "r": 60,
    "u": 60,
    "mid": 15,
    "few": 3,
    "no_nulls": 60,
    "only_nulls": 60,
    "empty": 0,
}


@pytest.mark.parametrize("table", ROWS)
def test_scans_have_the_rows_of_their_footers(world: World, binder: Binder, table: str) -> None:
    assert relation(world, binder, f"SELECT * FROM {table}").rows == ROWS[table]


def test_facts_of_columns_come_from_footers(world: World, binder: Binder) -> None:
    plan = algebra(world, binder, "SELECT k, id, g, d FROM l")
    (scan,) = (node for node in walk(plan.root) if isinstance(node, Scan))
    columns = Estimator(Footers()).estimate(scan).columns
    k, id_, g, d = (columns[item.name] for item in scan.scanned)
    assert (k.low, k.high, k.nullable) == (0, 9, True)
    assert (id_.low, id_.high, id_.nullable, id_.distinct) == (0, 59, False, 60)
    assert (g.low, g.nullable) == (None, False)
    assert d.distinct == 20


NARROWED = {
    # 0 to 59 without NULLs.
    "id < 30": 30,
    "id >= 45": 15,
    "id > 9 AND id < 20": 10,
    "id BETWEEN 10 AND 19": 10,
    "id = 7": 1,
    "id IN (1, 2, 3)": 3,
    "id IS NOT NULL": 60,
    "id > 1000": 1,
    "id < 0 OR id > 29": 30,
}


@pytest.mark.parametrize("condition", NARROWED)
def test_ranges_narrow(world: World, binder: Binder, condition: str) -> None:
    made = relation(world, binder, f"SELECT id FROM l WHERE {condition}")
    assert made.rows == pytest.approx(NARROWED[condition], abs=1.6)
    tighter = relation(world, binder, f"SELECT id FROM l WHERE ({condition}) AND k = 3")
    assert tighter.rows < made.rows


def test_what_is_narrowed_is_known_above(world: World, binder: Binder) -> None:
    (facts,) = relation(
        world, binder, "SELECT id FROM l WHERE id > 9 AND id <= 20"
    ).columns.values()
    assert (facts.low, facts.high) == (9, 20)
    assert facts.distinct == pytest.approx(11, abs=1)


def test_joins_by_key(world: World, binder: Binder) -> None:
    by_key = relation(world, binder, "SELECT l.id, u.name FROM l JOIN u ON id = uk")
    assert by_key.rows == pytest.approx(60)
    product = relation(world, binder, "SELECT l.id, u.name FROM l, u")
    assert product.rows == 3600
    few = relation(world, binder, "SELECT id FROM l WHERE id IN (SELECT a FROM few)")
    assert few.rows == pytest.approx(3, abs=1)


def test_outer_joins_bring_nulls(world: World, binder: Binder) -> None:
    for word, nullable in (
        ("LEFT", [False, True]),
        ("RIGHT", [True, False]),
        ("FULL", [True, True]),
    ):
        made = relation(world, binder, f"SELECT id, uk FROM l {word} JOIN u ON id = uk")
        assert [facts.nullable for facts in made.columns.values()] == nullable


# Selectivities that nothing is known about: 60 rows times the guess.
GUESSES = {
    "id + k > 7": 0.3,
    "g LIKE '%g%'": 0.1,
    "g NOT LIKE '%g%'": 0.9,
    "k IS NULL": 0.05,
    "g > 'g1'": 0.2,
    "length(g) = 2": 0.05,
    "id <> 3": 0.9,
    "id = k": 0.3,
}


@pytest.mark.parametrize("condition", GUESSES)
def test_guesses(world: World, binder: Binder, condition: str) -> None:
    made = relation(world, binder, f"SELECT id FROM l WHERE {condition}")
    assert made.rows == pytest.approx(60 * GUESSES[condition])


DERIVED = {
    "year(d)": 3,
    "extract(year FROM d)": 3,
    "month(d)": 12,
    "date_part('quarter', d)": 4,
    "date_part('year', d)": 3,
    "date_trunc('month', d)": 3,
    "dayofweek(d + 1)": 7,
    "id % 7": 14,
    "k IS NULL": 3,
    "g LIKE '%1'": 3,
    "CASE WHEN id > 30 THEN 'a' WHEN id > 10 THEN 'b' ELSE 'a' END": 2,
    "CASE WHEN id > 30 THEN d END": 60,
    "CAST(d AS VARCHAR)": 20,
    "7": 1,
}


@pytest.mark.parametrize("expression", DERIVED)
def test_computed_columns_have_no_more_values_than_a_bound(
    world: World, binder: Binder, expression: str
) -> None:
    sql = f"SELECT DISTINCT {expression} AS x FROM l"
    found = len(world.oracle.sql(sql).fetchall())
    # One may be the value NULL, which no bound counts.
    assert found - 1 <= relation(world, binder, sql).rows <= DERIVED[expression]
