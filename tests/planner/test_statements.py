"""Statements of every kind, answered as DuckDB answers them, whatever the number of tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from starling_py.planner.errors import Unsupported

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import World

UNORDERED = """
SELECT * FROM l
SELECT id, v FROM l WHERE v > 1.5 AND g = 'g1'
SELECT k + 1, v * 2 - v, x / 4, g || '!', d + 3, -v, k IS NULL, coalesce(k, -1) FROM l
SELECT CASE WHEN k > 5 THEN 'big' WHEN k IS NULL THEN NULL ELSE g END, CAST(v AS VARCHAR) FROM l
SELECT m * 2, m * mid, m * 1.5, m * m, m * m * m, mid * m / 3, m % 2 FROM mid
SELECT m * 3, sum(m * 2), avg(m * mid) FROM mid GROUP BY ALL
SELECT count(*) FROM l
SELECT count(*), count(k), sum(k), avg(k), min(g), max(d), sum(v), avg(v), sum(x), avg(x) FROM l
SELECT count(*), count(k), sum(k), avg(k), min(g), max(d), sum(v), avg(v) FROM l WHERE id < 0
SELECT count(*), sum(id5), avg(id5), min(id5) FROM empty
SELECT k5, count(*) FROM empty GROUP BY k5
SELECT k, count(*), count(k), sum(id), avg(v), min(d), max(x) FROM l GROUP BY k
SELECT k, g, count(*) FROM l GROUP BY k, g
SELECT k % 3 AS m, g, sum(v) FROM l GROUP BY ALL
SELECT k, sum(v) FILTER (WHERE id > 20), count(*) FILTER (WHERE g = 'g1') FROM l GROUP BY k
SELECT k, count(DISTINCT g), sum(DISTINCT id % 4) FROM l GROUP BY k
SELECT count(DISTINCT k), count(DISTINCT g), count(*) FROM l
SELECT k, bool_and(v > 1), bool_or(v > 2), bit_and(id), bit_or(id), bit_xor(id) FROM l GROUP BY k
SELECT stddev(x), var_pop(x), median(x), approx_count_distinct(k) FROM l
SELECT g, stddev_samp(x), median(id), mode(k % 2) FROM l GROUP BY g
SELECT g, string_agg(id::VARCHAR, ',' ORDER BY id), list(id ORDER BY id DESC) FROM l GROUP BY g
SELECT g, arg_max(id, id), arg_min(d, id), any_value(g) FROM l GROUP BY g
SELECT k, sum(id) FROM l GROUP BY k HAVING count(*) > 5
SELECT 1 FROM l HAVING true
SELECT uk FROM u WHERE EXISTS (SELECT 1 FROM empty HAVING true)
SELECT DISTINCT k FROM l
SELECT DISTINCT k, g FROM l WHERE id > 3
SELECT DISTINCT g FROM l UNION ALL SELECT h FROM r
SELECT k FROM l UNION SELECT k2 FROM r
SELECT k FROM l UNION ALL SELECT k2 FROM r UNION ALL SELECT uk FROM u
SELECT k FROM l EXCEPT SELECT k2 FROM r
SELECT k FROM l EXCEPT ALL SELECT k2 FROM r
SELECT k FROM l INTERSECT SELECT k2 FROM r
SELECT k FROM l INTERSECT ALL SELECT k2 FROM r
SELECT k, count(*) FROM (SELECT k FROM l UNION ALL SELECT k2 FROM r) GROUP BY k
SELECT * FROM (SELECT k, id FROM l UNION ALL SELECT k2, id2 FROM r) t JOIN u ON uk = k
SELECT k, NULL AS n, 1 AS one, 'x' AS s FROM l UNION ALL SELECT k5, 2, 3, NULL FROM empty
WITH c AS (SELECT k, sum(v) AS s FROM l GROUP BY k) SELECT * FROM c a JOIN c b ON a.s = b.s
WITH c AS MATERIALIZED (SELECT k, id FROM l) SELECT a.id, b.id FROM c a, c b WHERE a.k = b.k
WITH c AS (SELECT * FROM l WHERE id < 30) SELECT (SELECT max(id) FROM c), (SELECT min(k) FROM c)
WITH a AS (SELECT k FROM l), b AS (SELECT k FROM a WHERE k > 2) SELECT * FROM a JOIN b USING (k)
SELECT l.id, m FROM l, (SELECT max(id2) AS m FROM r) WHERE id * 2 > m
SELECT g, sum(w) FROM l LEFT JOIN r ON k = k2 GROUP BY g
SELECT k, sum(v) FROM l GROUP BY k UNION ALL SELECT k2, sum(w) FROM r GROUP BY k2
SELECT a.id FROM l a WHERE a.v > (SELECT avg(b.v) FROM l b WHERE b.g = a.g)
SELECT * FROM l WHERE k IN (SELECT k2 FROM r WHERE w > 1) AND id NOT IN (SELECT id2 FROM r)
SELECT * FROM l WHERE EXISTS (SELECT 1 FROM r WHERE k2 = k AND id2 <> id)
SELECT * FROM l WHERE NOT EXISTS (SELECT 1 FROM r WHERE k2 = k AND id2 <> id) OR id = 3
SELECT * FROM l WHERE (SELECT count(*) FROM r WHERE k2 = k) = 0
SELECT a.k, a.g, b.w FROM l a JOIN r b ON a.k = b.k2 JOIN u ON u.uk = b.id2 WHERE u.grp = 1
SELECT count(*) FROM l a, l b, l c WHERE a.id = b.id AND b.id = c.id AND a.g = 'g2'
SELECT a.id, b.id FROM l a JOIN l b ON a.id = b.id + 1
SELECT sum(id) FROM l WHERE d BETWEEN DATE '2020-01-03' AND DATE '2020-01-05'
SELECT id FROM l WHERE g LIKE 'g_' AND g NOT LIKE '%2' AND id IN (1, 2, 3, 50, NULL)
SELECT id FROM l WHERE id BETWEEN 18 AND 22 OR id > 57
SELECT 1, 'a', NULL, DATE '2020-01-01', 1.5, INTERVAL 3 DAY, TIMESTAMP '2020-01-01 10:00:00'
SELECT * FROM (VALUES (1, 'a'), (2, NULL)) AS t(a, b)
SELECT * FROM (VALUES (1, 'a'), (2, NULL)) AS t(a, b) JOIN l ON k = a
SELECT id, [id, k], {'a': id, 'b': g}, [1, 2, NULL][2] FROM l
SELECT k AS "a b", g AS "quo""te", v AS "Grün", d AS "select" FROM l
SELECT k AS a, g AS a, k AS a FROM l
SELECT * FROM l a, l b WHERE a.id = b.id
SELECT now() = now(), current_date = current_date FROM l
SELECT 'nan'::DOUBLE, 'inf'::DOUBLE, '-inf'::FLOAT, x FROM l WHERE x < 'inf'::DOUBLE
SELECT uk::HUGEINT * 100000000000000000000, sum(uk::HUGEINT) OVER () FROM u
SELECT id, row_number() OVER (PARTITION BY g ORDER BY id), sum(v) OVER (ORDER BY id) FROM l
SELECT g, grouping(g), count(*) FROM l GROUP BY ROLLUP (g)
SELECT DISTINCT ON (g) g, id FROM l ORDER BY g, id
SELECT unnest([id, -id]) FROM l
WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < 10) SELECT n FROM t
FROM l
FROM l SELECT id WHERE id > 50
VALUES (1, 2), (3, 4)
SELECT main.l.id FROM main.l
DESCRIBE l
SELECT * EXCLUDE (d) FROM l
SELECT l.* FROM l JOIN u ON uk = id WHERE u.name LIKE 'name 1%'
SELECT k, count(*) FROM l GROUP BY k HAVING sum(v) > (SELECT avg(w) FROM r)
SELECT COUNT(*) FROM (SELECT k FROM l ORDER BY k LIMIT 7)
SELECT max(c) FROM (SELECT count(*) AS c FROM l GROUP BY g)
SELECT (SELECT count(*) FROM l), (SELECT sum(w) FROM r), (SELECT id5 FROM empty)
SELECT id FROM l WHERE false
SELECT sum(id) FROM l WHERE false
SELECT l.id, e.id5 FROM l LEFT JOIN empty e ON e.k5 = l.k
SELECT k4, count(*), sum(id4) FROM only_nulls GROUP BY k4
SELECT id FROM l FULL JOIN mid ON mk = k JOIN few ON id > a WHERE mid BETWEEN 3 AND 40 AND k > 2
WITH c AS (FROM r) SELECT id FROM (SELECT id, k IN (SELECT x.k2 FROM c x, c y) AS m FROM l)
WITH a AS (FROM l), b AS (SELECT x.k FROM a x, a y WHERE x.id = y.id) SELECT 1 FROM b LIMIT 0
SELECT id FROM l WHERE id + length(uuid()::VARCHAR) BETWEEN 40 AND 50
SELECT k, string_agg('x', ',' ORDER BY CAST('y' AS VARCHAR)) FROM l GROUP BY k
SELECT k, list(id ORDER BY 1 + 1, id) FROM l GROUP BY k
""".strip().splitlines()

ORDERED = {
    "SELECT g, id FROM l ORDER BY 1 + 1, id DESC LIMIT 7": (1,),
    "SELECT id, k FROM l ORDER BY CASE WHEN 2 > 1 THEN 2 END, 1": (0,),
    "SELECT id, k, v FROM l ORDER BY v DESC, id": (2, 0),
    "SELECT id, k FROM l ORDER BY k NULLS FIRST, id DESC": (1, 0),
    "SELECT id, k FROM l ORDER BY k DESC, id LIMIT 7": (0, 1),
    "SELECT id FROM l ORDER BY v, id LIMIT 5 OFFSET 10": (0,),
    "SELECT id FROM l ORDER BY id OFFSET 50": (0,),
    "SELECT g, count(*) AS n FROM l GROUP BY g ORDER BY n DESC, g": (0, 1),
    "SELECT id FROM l ORDER BY g, id": (0,),
    "SELECT k, sum(v) AS s FROM l GROUP BY k ORDER BY s DESC NULLS LAST, k LIMIT 3": (0, 1),
    f"SELECT id FROM l ORDER BY id LIMIT {2**63 - 1} OFFSET 50": (0,),
    f"SELECT id FROM l LIMIT {2**63 - 1} OFFSET {2**63 - 1}": (0,),
    "SELECT id FROM l LIMIT 5": (0,),
    "SELECT id FROM l LIMIT 7 OFFSET 33": (0,),
    "SELECT id FROM l WHERE id > 15 LIMIT 9": (0,),
    "SELECT id FROM l": (0,),
    "SELECT id FROM l UNION ALL SELECT id2 FROM r LIMIT 70": (0,),
    "SELECT id FROM l UNION ALL SELECT id2 FROM r": (0,),
    "SELECT id FROM l LIMIT 0": (0,),
    "SELECT * FROM (SELECT id FROM l ORDER BY id DESC LIMIT 12) ORDER BY id LIMIT 3": (0,),
    "SELECT id FROM l ORDER BY id DESC LIMIT 100": (0,),
    "SELECT name FROM u ORDER BY upper(name) LIMIT 4": (0,),
}


@pytest.mark.parametrize("sql", UNORDERED)
def test_same_rows_as_duckdb(world: World, sql: str) -> None:
    for tasks in (1, 2, 5, None):
        world.check(sql, tasks)
    world.check(sql, 3, small_rows=30)


@pytest.mark.parametrize("sql", ORDERED)
def test_same_order_as_duckdb(world: World, sql: str) -> None:
    for tasks in (1, 2, 5, None):
        world.check(sql, tasks, order=ORDERED[sql])


def test_forced_tasks_are_forced(world: World) -> None:
    plan = world.check("SELECT k, sum(v) FROM l JOIN r ON k = k2 GROUP BY k ORDER BY k", 5)
    assert [stage.tasks for stage in plan.stages][:-1] == [5] * (len(plan.stages) - 1)
    assert plan.stages[-1].tasks == 1


def test_auto_takes_one_task_for_small_data(world: World) -> None:
    plan = world.check("SELECT k, sum(v) FROM l JOIN r ON k = k2 GROUP BY k ORDER BY k", None)
    assert [(stage.tasks, stage.threads, stage.fallback) for stage in plan.stages] == [(1, 2, "")]


FALLBACKS = {
    "SELECT id, row_number() OVER (ORDER BY id) FROM l": "without PARTITION BY",
    "SELECT struct_update({'a': id}, a := 1) FROM l": "function struct_update",
    "SELECT union_value(a := id) FROM l": "type UNION",
}


@pytest.mark.parametrize("sql", FALLBACKS)
def test_what_is_not_known_runs_on_one_worker_and_says_why(world: World, sql: str) -> None:
    plan = world.plan(sql, 4)
    assert [stage.tasks for stage in plan.stages] == [4, 1]
    assert FALLBACKS[sql] in plan.stages[1].fallback


def test_row_ids_are_refused(world: World) -> None:
    with pytest.raises(Unsupported, match="rowid"):
        world.plan("SELECT rowid FROM l", 2)


REFUSED = {
    "SELECT rowid, row_number() OVER () FROM l": "rowid",
    "SELECT id FROM l; DROP TABLE l": "one statement",
    "SELECT * FROM information_schema.tables": "system tables",
    "SELECT * FROM pg_catalog.pg_tables": "system tables",
    "SELECT * FROM sqlite_master": "system tables",
    "SELECT * FROM duckdb_tables()": "system tables",
    "EXPLAIN SELECT 1": "EXPLAIN",
}


@pytest.mark.parametrize("sql", REFUSED)
def test_refused_by_name(world: World, sql: str) -> None:
    with pytest.raises(Unsupported, match=REFUSED[sql]):
        world.plan(sql, 2)


def test_files_beside_a_table_of_their_stand_in_name(world: World, tmp_path: Path) -> None:
    """A call of read_parquet once took the place of a table called files_0."""
    world.oracle.execute(f"COPY (SELECT 7 AS a) TO '{tmp_path}/f.parquet'")
    sql = f"""WITH files_0 AS (SELECT 1 AS a)
        SELECT files_0.a, r.a FROM files_0, read_parquet('{tmp_path}/f.parquet') AS r"""
    rows = world.engine.run(world.plan(sql, 2)).table.to_pylist()
    assert [list(row.values()) for row in rows] == [[1, 7]]


def test_structs_are_distributed(world: World) -> None:
    plan = world.check("SELECT {'a': id, 'select': g, 'B c': [k]} AS s FROM l", 3)
    assert [stage.tasks for stage in plan.stages] == [3]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT id, s FROM {} WHERE s.a = 3",
        "SELECT s.b.c, count(*), sum(s.a) FROM {} WHERE s.a IS NOT NULL GROUP BY 1",
        "SELECT id FROM {} WHERE s.b.c LIKE 'x1%' OR s.a BETWEEN 5 AND 7",
        "SELECT DISTINCT s FROM {}",
        "SELECT t.id, u.id FROM {} t JOIN {} u ON t.s.a = u.s.a AND t.s = u.s",
        "SELECT s, l, m FROM {} ORDER BY id LIMIT 3",
        "SELECT l[1], len(l), m['k'], s.a FROM {} WHERE l[1] = 2",
    ],
)
def test_nested_columns(world: World, tmp_path: Path, sql: str) -> None:
    world.oracle.execute(
        f"""COPY (SELECT i AS id, {{'a': CASE WHEN i % 7 > 0 THEN i % 10 END,
        'b': {{'c': 'x' || i % 20}}}} AS s, [i % 3, i] AS l, MAP {{'k': i}} AS m
        FROM range(50) AS t(i)) TO '{tmp_path}/nested.parquet'"""
    )
    text = sql.replace("{}", f"'{tmp_path}/nested.parquet'")
    for tasks in (1, 3, None):
        plan = world.check(text, tasks)
        assert not plan.stages[0].fallback


def test_deep_expressions_are_a_clear_error_or_an_answer(world: World) -> None:
    plan = world.check(f"SELECT {'+'.join(['k'] * 900)} FROM l", 2)
    assert "nested too deeply" in plan.stages[0].fallback
    with pytest.raises(Unsupported, match="nested so deeply"):
        world.plan(f"SELECT {'+'.join(['file_row_number'] * 900)} FROM l", 2)
    world.check(f"SELECT id FROM l WHERE {' AND '.join(f'k <> {at}' for at in range(300))}", 3)


def test_tables_and_files_are_found_by_any_case_of_their_names(
    world: World, tmp_path: Path
) -> None:
    for sql in (
        "SELECT id FROM L WHERE k > 3",
        "SELECT id FROM l JOIN R ON k = k2 JOIN L x USING (id)",
    ):
        plan = world.check(sql, 3)
        assert not any(stage.fallback for stage in plan.stages)
    for name, rows in (("f", "SELECT 7 AS a"), ("F", "SELECT 'x' AS a, 2 AS b")):
        world.oracle.execute(f"COPY ({rows}) TO '{tmp_path}/{name}.parquet'")
        world.check(f"SELECT * FROM '{tmp_path}/{name}.parquet'", 3)
    with pytest.raises(Unsupported, match="differ by case alone"):
        world.plan(f"SELECT * FROM '{tmp_path}/f.parquet', '{tmp_path}/F.parquet'", 2)
