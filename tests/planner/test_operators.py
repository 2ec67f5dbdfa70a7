"""Operators beyond those of plain queries: what each keeps, in which order, on how many tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import World

DISTRIBUTED = """
SELECT DISTINCT ON (g) g, id FROM l ORDER BY g, id DESC
SELECT g FROM (SELECT DISTINCT ON (g) g, id FROM l)
SELECT DISTINCT ON (k, g) * FROM l ORDER BY k NULLS FIRST, g DESC, v, id
SELECT DISTINCT ON (k % 3) id, v FROM l ORDER BY k % 3, id DESC LIMIT 2
SELECT DISTINCT ON (l.k) l.k, r.id2 FROM l JOIN r ON k = k2 ORDER BY l.k, r.id2
SELECT unnest([1, 2, id]) FROM l
SELECT id, unnest([k, id]), unnest(range(3)) FROM l WHERE id < 30
SELECT u, count(*) FROM (SELECT unnest([k, k + 1]) AS u FROM l) GROUP BY u
SELECT id FROM l WHERE k IN (SELECT unnest([1, 2, 3]))
SELECT unnest(list(id ORDER BY id)) FROM l GROUP BY g
SELECT id, u FROM l, unnest([id, k]) t(u)
SELECT id, u, g FROM l, generate_series(1, k, 2) t(u) WHERE u > 2
SELECT id, u FROM l LEFT JOIN LATERAL unnest([k]) t(u) ON u > 2
SELECT id, u, o FROM l, unnest([id, k, NULL]) WITH ORDINALITY t(u, o)
SELECT id, o FROM l, range(k) WITH ORDINALITY t(u, o) WHERE o > 2
SELECT id, u, w FROM l, unnest([id, k]) t(u), range(u % 3) s(w)
SELECT l.id, y FROM l, LATERAL (VALUES (k), (id), (NULL)) t(y)
SELECT id, (SELECT max(u) FROM unnest([id, k]) t(u)) FROM l
SELECT l.id, t.id2 FROM l, LATERAL (SELECT id2 FROM r WHERE k2 < k ORDER BY id2 LIMIT 2) t
SELECT (SELECT k2 FROM r WHERE id2 > id ORDER BY id2 LIMIT 1) FROM l
SELECT i, count(id) FROM range(12) t(i) LEFT JOIN l ON k = i GROUP BY i
SELECT * FROM generate_series(1, 10) t(i), l WHERE i = id
SELECT l.g, l.id, r.id2 FROM l ASOF JOIN r ON k = k2 AND id >= id2
SELECT l.id, r.id2 FROM l ASOF LEFT JOIN r ON k = k2 AND id > id2
SELECT l.id, r.id2 FROM l ASOF LEFT JOIN r ON id >= id2
SELECT l.id, r.id2 FROM l ASOF LEFT JOIN (FROM r WHERE id2 < 0) r ON k = k2 AND id >= id2
SELECT l.id, r.id2 FROM (FROM l WHERE id % 20 = 3) l ASOF JOIN r ON k = k2 AND id >= id2
SELECT l.id, u.name FROM l ASOF JOIN u ON id <= uk
SELECT l.id, r.id2 FROM l JOIN r ON id < id2 AND k > k2
SELECT l.id, r.id2 FROM l LEFT JOIN r ON id BETWEEN id2 - 2 AND id2 + 2
SELECT *, (k, id) IN (SELECT k2, id2 FROM r) FROM l
SELECT * FROM l WHERE (k, g) NOT IN (SELECT k2, h FROM r)
SELECT *, (k, g) NOT IN (SELECT k2, h FROM r) FROM l
SELECT k FROM l INTERSECT ALL SELECT k2 FROM r
PIVOT l ON g IN ('g0', 'g1') USING sum(v) GROUP BY k
UNPIVOT (SELECT id, k FROM l) ON id, k INTO NAME n VALUE v
SELECT list_transform([id, 7], lambda y, i: y + k + i) FROM l
SELECT [x + 1 for x in [1, id] if x > 2] FROM l
SELECT list_reduce([1, 2, k], lambda a, b: a * 2 + b, id), list_reduce([k], lambda a, b: a) FROM l
SELECT list_filter(apply([k], lambda x: apply([id], lambda y: x + y)), lambda z: z <> []) FROM l
SELECT apply([1, 2], lambda x: CASE WHEN x = k THEN apply([x], lambda x: x + 1) ELSE [x] END) FROM l
SELECT k, list_sum(list_transform(list(id), lambda x: x % 3)) FROM l GROUP BY k
SELECT invoke(lambda x, y: x - y * k + id, 5, 2) FROM l
SELECT apply([1], lambda a: invoke(lambda x: x - a * k, 7)) FROM l
SELECT k, min({'1': TIMETZ '00:00:00+05:30'}) FROM l GROUP BY k
SELECT id FROM l WHERE (k, id) IN ((1, 2), (3, 4), (3, 3)) OR (k, g) > (7, 'g1')
SELECT row(k, g) AS t, count(*), max((id, d)) FROM l GROUP BY 1
SELECT id, [row(k, g)] AS t FROM l JOIN r ON row(k, 1) = row(k2, 1)
SELECT TRY(CAST(g AS INTEGER)), TRY(1 // k) FROM l
""".strip().splitlines()

ONE_WORKER = {
    "SELECT * FROM l POSITIONAL JOIN mid": "POSITIONAL JOIN",
    "SELECT id, name FROM l POSITIONAL JOIN u WHERE id > 5": "POSITIONAL JOIN",
    "WITH RECURSIVE t(a, b) AS (SELECT k, 0 FROM l WHERE k < 3 UNION "
    "SELECT k2, b + 1 FROM t JOIN r ON a = k2 - 1 WHERE b < 4) SELECT * FROM t": "recursive CTE",
    "WITH RECURSIVE t(a) AS (SELECT 1 UNION ALL SELECT a + s FROM t, (SELECT count(*) % 2 + 1 AS s "
    "FROM r GROUP BY h) x WHERE a < 4) SELECT a FROM t": "recursive CTE",
    "SELECT l.id, r.id2 FROM l FULL JOIN r ON id < id2 AND k > k2": "FULL JOIN without equal keys",
    "SELECT l.id, r.id2 FROM l ASOF RIGHT JOIN r ON k = k2 AND id >= id2": "ASOF RIGHT JOIN",
}

ORDERED = {
    "SELECT k, id FROM l ORDER BY id DESC LIMIT 25.5% OFFSET 3": (0, 1),
    "SELECT id FROM l LIMIT 10%": (0,),
    "SELECT id FROM l LIMIT (SELECT count(*) - 40 FROM r) OFFSET 2": (0,),
    "SELECT id FROM l ORDER BY id DESC LIMIT (SELECT 7) OFFSET (SELECT 3)": (0,),
    "SELECT id FROM l ORDER BY v, id LIMIT (SELECT NULL::INT)": (0,),
    "SELECT id FROM l POSITIONAL JOIN u": (0,),
    "SELECT unnest([id, k]) FROM l": (0,),
    "SELECT * FROM range(10)": (0,),
}


@pytest.mark.parametrize("sql", DISTRIBUTED)
def test_distributed(world: World, sql: str) -> None:
    for tasks in (1, 2, 7):
        plan = world.check(sql, tasks)
        assert not [stage.fallback for stage in plan.stages if stage.fallback]
    assert max(stage.tasks for stage in plan.stages) == 7
    world.check(sql, 3, small_rows=2_000)


@pytest.mark.parametrize("sql", ONE_WORKER)
def test_on_one_worker_above_scans(world: World, sql: str) -> None:
    for tasks in (1, 2, 7):
        plan = world.check(sql, tasks)
    reasons = [stage.fallback for stage in plan.stages if stage.fallback]
    assert len(reasons) == 1
    assert ONE_WORKER[sql] in reasons[0]
    assert plan.stages[0].tasks == 7


@pytest.mark.parametrize("sql", ORDERED)
def test_in_order(world: World, sql: str) -> None:
    for tasks in (1, 2, 7):
        world.check(sql, tasks, order=ORDERED[sql])


def test_lateral_lists_are_unnested_where_the_rows_are(world: World) -> None:
    plan = world.check("SELECT id, u FROM l, unnest([id, k]) t(u)", 3)
    assert [stage.tasks for stage in plan.stages] == [3]


def rows(world: World, sql: str, tasks: int = 3) -> list[tuple[object, ...]]:
    table = world.engine.run(world.plan(sql, tasks)).table
    return [tuple(row.values()) for row in table.to_pylist()]


def test_a_seed_picks_the_same_rows_each_time(world: World) -> None:
    for method in ("reservoir(10 ROWS)", "bernoulli(50%)"):
        sql = f"SELECT id FROM l TABLESAMPLE {method} REPEATABLE (42)"
        assert rows(world, sql) == rows(world, sql)
        plan = world.plan(sql, 3)
        assert [stage.tasks for stage in plan.stages] == [3, 1]
        assert "sample of all rows" in plan.stages[1].fallback


def test_samples(world: World) -> None:
    assert rows(world, "SELECT count(*) FROM l USING SAMPLE 10") == [(10,)]
    assert rows(world, "SELECT count(*) FROM (FROM l USING SAMPLE 50% (reservoir))") == [(30,)]
    for sql in ("bernoulli(50%)", "system(50%)"):
        text = f"SELECT count(*), count(DISTINCT id) FROM l TABLESAMPLE {sql}"
        ((sampled, distinct),) = rows(world, text)
        assert distinct == sampled <= 60
        assert world.plan(text, 3).stages[0].tasks == 3
