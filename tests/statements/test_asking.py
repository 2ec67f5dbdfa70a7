"""DESCRIBE, SHOW TABLES, SUMMARIZE and EXPLAIN, and what is refused by name."""

from __future__ import annotations

import json

import pytest

from starling_py.errors import SqlSyntaxError, UnknownColumn, UnknownTable, Unsupported


@pytest.mark.parametrize(
    "sql",
    [
        "DESCRIBE numbers",
        "desc numbers;",
        "SHOW numbers",
        "DESCRIBE TABLE numbers",
        "/* a */ DESCRIBE -- b\n SELECT g + 1 AS x, sum(k), [s] FROM numbers GROUP BY ALL",
        "DESCRIBE VALUES (1, 'x')",
        "DESCRIBE FROM numbers",
        "SELECT column_name FROM (DESCRIBE numbers) ORDER BY 1",
        "SHOW TABLES",
        "TABLE numbers LIMIT 3",
    ],
)
def test_answers_are_duckdb_s(quiet, sql):
    quiet.check(sql)


@pytest.mark.parametrize("sql", ["numbers", "SELECT k, g FROM numbers WHERE k % 2 = 0"])
def test_summarize_is_duckdb_s(quiet, sql):
    """Sums of floats and sketches of quantiles depend on the order of rows: columns 7 to 9."""
    cursor = quiet.connection.execute(f"SUMMARIZE {sql}")
    expected = quiet.oracle.sql(f"SUMMARIZE {sql}")
    assert [column[0] for column in cursor.description] == expected.columns
    for found, row in zip(cursor.fetchall(), expected.fetchall(), strict=True):
        assert (found[:6], found[10:]) == (row[:6], row[10:])


def test_describe_names_a_file_and_reads_no_data(quiet):
    cursor = quiet.connection.execute(f"DESCRIBE '{quiet.folder}/numbers/0.parquet'")
    assert [row[:2] for row in cursor.fetchall()] == [
        ("k", "BIGINT"),
        ("g", "BIGINT"),
        ("s", "VARCHAR"),
    ]
    assert (cursor.run.stages, cursor.run.tasks) == (0, 0)


def test_tables_are_those_of_the_catalog_at_the_time(house):
    assert house.rows("SHOW TABLES") == [("numbers",)]
    (house.folder / "more").mkdir()
    (house.folder / "more/0.parquet").write_bytes((house.folder / "numbers/0.parquet").read_bytes())
    assert house.rows("SHOW TABLES") == [("more",), ("numbers",)]
    names = ["k", "g", "s"]
    types = ["BIGINT", "BIGINT", "VARCHAR"]
    for sql in ("SHOW ALL TABLES", "SHOW", "DESCRIBE"):
        assert house.rows(sql) == [
            ("memory", "main", name, names, types, False) for name in ("more", "numbers")
        ]


def test_explain_is_the_engine_s_own_plan(quiet):
    cursor = quiet.connection.execute("EXPLAIN SELECT g, count(*) FROM numbers GROUP BY g")
    assert [column[:2] for column in cursor.description] == [
        ("explain_key", "VARCHAR"),
        ("explain_value", "VARCHAR"),
    ]
    ((key, text),) = cursor.fetchall()
    assert key == "distributed_plan"
    assert "stage 0  scan numbers, aggregate: 3 tasks" in text
    ((_, text),) = quiet.rows("EXPLAIN (FORMAT json) FROM numbers")
    assert json.loads(text)["stages"][0]["tasks"] == 3


REFUSED = {
    "EXPLAIN ANALYZE SELECT 1": ("EXPLAIN ANALYZE", "--stats"),
    "EXPLAIN (FORMAT html) SELECT 1": (r"FORMAT HTML", "text or json"),
    "EXPLAIN DESCRIBE numbers": ("no plan", None),
    "SHOW DATABASES": ("SHOW DATABASES", "SHOW TABLES"),
    "SHOW TABLES FROM main": ("SHOW TABLES FROM main", "SHOW TABLES"),
    "CREATE TABLE t (a INTEGER)": ("types of columns", "AS SELECT"),
    "CREATE TEMP TABLE t AS SELECT 1": ("CREATE TEMPORARY TABLE", "DROP TABLE"),
    "CREATE VIEW v AS SELECT 1": ("CREATE VIEW", "CREATE TABLE name AS"),
    "CREATE MACRO f(a) AS a": ("CREATE MACRO", "WITH"),
    "CREATE TABLE other.t AS SELECT 1": ("no schema other", "no schema"),
    "DROP VIEW v": ("DROP VIEW", "DROP TABLE"),
    "DROP TABLE t CASCADE": ("CASCADE", None),
    "INSERT INTO numbers VALUES (1)": ("INSERT", "APPEND"),
    "UPDATE numbers SET k = 1": ("UPDATE", "CREATE OR REPLACE"),
    "DELETE FROM numbers": ("DELETE", "CREATE OR REPLACE"),
    "MERGE INTO numbers USING numbers n ON false WHEN MATCHED THEN DELETE": (
        "MERGE",
        "CREATE OR REPLACE",
    ),
    "COPY numbers FROM 'x.csv'": ("COPY … FROM", "FROM 'path"),
    "SET threads = 1": ("SET", "options of the connection"),
    "PRAGMA version": ("PRAGMA", "options of the connection"),
    "ATTACH 'x.db'": ("ATTACH", "FROM 'path"),
    "INSTALL httpfs": ("LOAD", "no extensions"),
    "LOAD httpfs": ("LOAD", "no extensions"),
    "BEGIN": ("TRANSACTION", "whole or not at all"),
    "VACUUM": ("VACUUM", None),
    "SHOW TABLES; SELECT 1": ("one statement", None),
}


@pytest.mark.parametrize("sql", REFUSED)
def test_refused_by_name_with_what_to_use_instead(quiet, sql):
    what, instead = REFUSED[sql]
    with pytest.raises(Unsupported, match=what) as caught:
        quiet.connection.execute(sql)
    assert instead is None or instead in caught.value.hint


@pytest.mark.parametrize(
    ("sql", "error", "place"),
    [
        ("EXPLAIN SELECT k,\n  nope FROM numbers", UnknownColumn, "line 2, column 3"),
        ("DESCRIBE SELECT nope FROM numbers", UnknownColumn, "line 1, column 17"),
        ("DESCRIBE numbres", UnknownTable, "numbres"),
        ("EXPLAIN SELEC 1", SqlSyntaxError, "line 1, column 9"),
    ],
)
def test_errors_point_into_the_user_s_text(quiet, sql, error, place):
    with pytest.raises(error, match=place):
        quiet.connection.execute(sql)
