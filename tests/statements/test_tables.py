"""CREATE TABLE … AS and DROP TABLE in a folder of this machine."""

from __future__ import annotations

import json

import duckdb
import pytest

import starling_py
from starling_py.errors import (
    BindError,
    IncompleteTable,
    OutputError,
    SqlSyntaxError,
    StoreUnavailable,
    TableExists,
    TaskFailed,
    UnknownColumn,
    UnknownTable,
    Unsupported,
    UsageError,
)
from starling_py.writing.folder import LocalFolder

TYPES = """SELECT 1::TINYINT a, 2::UBIGINT b, -3::HUGEINT c, 4::UHUGEINT d, 1.5::DECIMAL(30,3) e,
1.5::FLOAT f, 'nan'::DOUBLE g, 'x' h, true i, DATE 'infinity' j, TIMESTAMP '2020-01-01' k,
TIMESTAMP_NS '2020-01-01 00:00:00.123456789' l, TIMESTAMP_S '2020-01-01' m, TIME '10:00' n,
INTERVAL '-1 month 1 microsecond' o, '12345678-1234-1234-1234-123456789012'::UUID p, 'a'::BLOB q,
[1, NULL] s, {'x': 1, 'INTERVAL': [INTERVAL 1 MICROSECOND]} t, MAP {'k': 5::HUGEINT} u,
'{"a": 1}'::JSON v, 'a'::ENUM ('a', 'it''s, HUGEINT') w, NULL x, [1, 2]::INT[2] z,
TIMESTAMPTZ '2020-01-01 12:00:00+02' bb, TIMETZ '10:00:00+02:30' cc, '101'::BIT dd,
123456789012345678901234567890123456789012345::BIGNUM ee, TIMESTAMP_MS '2020-01-01' ff"""


def agree(house, sql: str, create: str) -> None:
    """Make a table here and in DuckDB, and compare what there is in them."""
    assert house.rows(create) == house.oracle.sql(create).fetchall()
    house.check(sql)


def test_a_new_table_is_there_for_the_next_statement(house):
    agree(
        house,
        "FROM made ORDER BY g",
        "CREATE TABLE made AS SELECT g, count(*) AS n, sum(k) AS total FROM numbers GROUP BY g",
    )
    house.check("DESCRIBE made")
    house.check(
        "SELECT m.total, count(*) FROM made m JOIN numbers n USING (g) GROUP BY 1 ORDER BY 1"
    )
    assert house.rows("SHOW TABLES") == [("made",), ("numbers",)]
    (name,) = {p.partition("/")[0] for p in house.everything()} - {"numbers"}
    assert name == "made"


def test_rows_keep_the_order_of_the_tasks(house):
    cursor = house.connection.execute("CREATE TABLE made AS SELECT k, s FROM numbers WHERE g < 6")
    assert [stage.tasks for stage in cursor.run.plan.stages] == [3]
    files = [file for file in house.everything() if file.startswith("made/part-")]
    assert len(files) == 3
    house.oracle.execute("CREATE VIEW made AS SELECT k, s FROM numbers WHERE g < 6")
    house.check("FROM made")
    # Others read the same rows in the same order, without the manifest.
    path = f"{house.folder}/made/*.parquet"
    assert duckdb.sql(f"FROM '{path}'").fetchall() == house.oracle.sql("FROM made").fetchall()


def test_every_type_comes_back(house):
    create = f"CREATE TABLE made AS {TYPES} UNION ALL SELECT {', '.join(['NULL'] * 29)}"
    agree(house, "DESCRIBE made", create)
    house.oracle.execute("SET arrow_lossless_conversion = true")
    for sql in ("FROM made", "SELECT c, count(*) FROM made GROUP BY c ORDER BY c NULLS LAST"):
        found = house.connection.execute(sql).fetchall()
        assert repr(found) == repr(house.oracle.sql(sql).fetchall())
    house.check("SELECT max(c), min(w)::VARCHAR, max(o), count(*) FROM made WHERE c < 0")


@pytest.mark.parametrize(
    "create",
    [
        "CREATE TABLE made AS SELECT 1 AS a, 2 AS a, 3 AS A",
        'CREATE TABLE made (x, "y z") AS SELECT g, k, s FROM numbers LIMIT 3',
        "CREATE TABLE made AS SELECT k, s FROM numbers WITH NO DATA",
        "CREATE TABLE made AS SELECT k, s FROM numbers WHERE k < 0 -- none",
        "CREATE TABLE main.made AS VALUES (1, 'x'), (2, NULL);",
        "CREATE TABLE memory.main.made AS FROM numbers WHERE k < 3 WITH DATA",
        "create table made as with x as (select 1 as one) select * from x",
        "CREATE TABLE made AS (SELECT 1 AS a) UNION ALL (SELECT 2)",
        "CREATE TABLE made AS SELECT NULL AS nothing, [] AS list",
    ],
)
def test_forms(quiet, create):
    try:
        agree(quiet, "FROM made", create)
        quiet.check("DESCRIBE made")
    finally:
        quiet.rows("DROP TABLE made")
        quiet.oracle.execute("DROP TABLE made")


def test_a_name_in_quotes(quiet):
    agree(quiet, 'FROM "été; DROP"', 'CREATE TABLE "été; DROP" AS SELECT 1 AS a')
    quiet.rows('DROP TABLE "été; DROP"')
    assert quiet.rows("SHOW TABLES") == [("numbers",)]


def test_a_table_that_exists(house):
    house.rows("CREATE TABLE made AS SELECT 1 AS a")
    before = house.everything()
    with pytest.raises(TableExists, match="made exists"):
        house.rows("CREATE TABLE MADE AS SELECT 2 AS a")
    cursor = house.connection.execute("CREATE TABLE IF NOT EXISTS made AS SELECT 2 AS a")
    assert (cursor.description[0][0], cursor.fetchall()) == ("Count", [])
    with pytest.raises(TableExists, match="numbers exists"):
        house.rows("CREATE TABLE numbers AS SELECT 2 AS a")
    with pytest.raises(Unsupported, match="cannot replace the table numbers"):
        house.rows("CREATE OR REPLACE TABLE numbers AS SELECT 2 AS a")
    assert house.everything() == before


def test_replacing_reads_the_old_table_and_removes_it(house):
    house.rows("CREATE TABLE made AS SELECT k FROM numbers")
    old = set(house.everything())
    assert house.rows("CREATE OR REPLACE TABLE made AS SELECT k + 1 AS j, 'x' AS s FROM made") == [
        (2000,)
    ]
    assert house.rows("SELECT min(j), max(j), count(*) FROM made") == [(1, 2000, 2000)]
    new = set(house.everything())
    left = {name for name in old & new if not name.startswith("numbers/")}
    assert left == {"made/_starling.json"}
    assert len(new) == len(old)


def test_a_query_that_fails_leaves_nothing(house):
    house.rows("CREATE TABLE made AS SELECT k FROM numbers")
    before = house.everything()
    failing = "SELECT CASE WHEN k = 1901 THEN CAST(s || 'x' AS INTEGER) ELSE k END FROM numbers"
    for create in ("CREATE TABLE other AS", "CREATE OR REPLACE TABLE made AS"):
        with pytest.raises(TaskFailed):
            house.rows(f"{create} {failing}")
    with pytest.raises(TaskFailed, match="DECIMAL"):
        house.rows("CREATE TABLE other AS SELECT 170141183460469231731687303715884105727::HUGEINT")
    assert house.everything() == before
    assert [path.name for path in house.folder.iterdir()].count("other") == 0
    assert not list(house.folder.glob(".starling*"))
    assert house.rows("SELECT count(*) FROM made") == [(2000,)]


def test_dropping(house):
    before = house.everything()
    house.rows("CREATE TABLE made AS SELECT 1 AS a")
    cursor = house.connection.execute("DROP TABLE made")
    assert (cursor.description[0][0], cursor.fetchall()) == ("Success", [])
    assert house.everything() == before
    assert not (house.folder / "made").exists()
    with pytest.raises(UnknownTable, match="made"):
        house.rows("DROP TABLE made")
    house.rows("DROP TABLE IF EXISTS made")
    with pytest.raises(Unsupported, match="cannot drop the table numbers"):
        house.rows("DROP TABLE numbers")
    assert house.everything() == before


def test_files_of_others_in_a_table_s_folder_stay(house):
    house.rows("CREATE TABLE made AS SELECT 1 AS a")
    mine = house.folder / "made/mine.parquet"
    mine.write_bytes((house.folder / "numbers/0.parquet").read_bytes())
    assert house.rows("FROM made") == [(1,)]
    house.rows("CREATE OR REPLACE TABLE made AS SELECT 2 AS a")
    assert house.rows("FROM made") == [(2,)]
    house.rows("DROP TABLE made")
    assert mine.exists()


def test_a_damaged_table_says_so(house):
    house.rows("CREATE TABLE made AS SELECT k FROM numbers")
    next(house.folder.glob("made/part-*")).unlink()
    with pytest.raises(IncompleteTable, match="made is not complete"):
        house.rows("FROM made")
    house.rows("CREATE OR REPLACE TABLE made AS SELECT 7 AS a")
    assert house.rows("FROM made") == [(7,)]


@pytest.mark.parametrize("name", ["../evil.parquet", "/etc/passwd"])
def test_a_manifest_names_no_files_elsewhere(house, name):
    house.rows("CREATE TABLE made AS SELECT 1 AS a")
    path = house.folder / "made/_starling.json"
    manifest = json.loads(path.read_text())
    manifest["files"][0]["name"] = name
    path.write_text(json.dumps(manifest))
    with pytest.raises(starling_py.errors.DataError, match="other folders"):
        house.rows("FROM made")


ERRORS = {
    "CREATE TABLE made AS\n  SELECT nope FROM numbers": (UnknownColumn, r"line 2, column 10"),
    "CREATE TABLE made AS SELEC 1": (SqlSyntaxError, "line 1, column 22"),
    "CREATE TABLE made (a, b) AS SELECT 1": (BindError, "more column names"),
    "CREATE TABLE made AS SELECT 1; SELECT 2": (Unsupported, "one statement"),
    "CREATE TABLE made AS SELECT union_value(num := 2) AS u": (Unsupported, 'UNION.*column "u"'),
    "CREATE TABLE _made AS SELECT 1": (Unsupported, "_made"),
    'CREATE TABLE "a/b" AS SELECT 1': (Unsupported, "a/b"),
    'CREATE TABLE "x.parquet" AS SELECT 1': (Unsupported, "x.parquet"),
    f"CREATE TABLE {'n' * 300} AS SELECT 1": (Unsupported, "200 bytes"),
}


@pytest.mark.parametrize("sql", ERRORS)
def test_errors(quiet, sql):
    before = quiet.everything()
    kind, words = ERRORS[sql]
    with pytest.raises(kind, match=words):
        quiet.rows(sql)
    assert quiet.everything() == before


def test_without_a_data_folder():
    with (
        starling_py.connect(workers=1) as connection,
        pytest.raises(UsageError, match="no data folder"),
    ):
        connection.execute("CREATE TABLE t AS SELECT 1")


def test_workers_that_are_processes_write_too(house):
    with starling_py.connect(house.folder, tasks=3, workers=2, isolation="process") as connection:
        made = connection.execute("CREATE TABLE made AS SELECT g, k FROM numbers WHERE g > 0")
        assert (
            made.fetchall()
            == house.oracle.sql("SELECT count(*) FROM numbers WHERE g > 0").fetchall()
        )
    house.oracle.execute("CREATE VIEW made AS SELECT g, k FROM numbers WHERE g > 0")
    house.check("FROM made")


def test_explain_shows_where_files_are_written(house):
    ((_, text),) = house.rows("EXPLAIN CREATE TABLE made AS FROM numbers")
    assert "parquet files" in text
    assert house.rows("SHOW TABLES") == [("numbers",)]


@pytest.mark.parametrize("error", [KeyboardInterrupt, StoreUnavailable])
def test_a_table_whose_new_manifest_is_there_keeps_its_new_files(house, monkeypatch, error):
    house.rows("CREATE TABLE made AS SELECT k FROM numbers")
    write = LocalFolder.write

    def lost(self, name, data, **how):
        write(self, name, data, **how)
        raise error("the reply was lost")

    with monkeypatch.context() as patched:
        patched.setattr(LocalFolder, "write", lost)
        with pytest.raises(error):
            house.rows("CREATE OR REPLACE TABLE made AS SELECT 7 AS a")
    assert house.rows("FROM made") == [(7,)]


def test_a_drop_that_fails_leaves_the_table_and_no_folder_of_its_own(house, monkeypatch):
    house.rows("CREATE TABLE made AS SELECT 1 AS a")
    before = sorted(house.folder.rglob("*"))

    def fail(*_):
        raise OutputError("cannot write")

    with monkeypatch.context() as patched:
        patched.setattr(LocalFolder, "move", fail)
        with pytest.raises(OutputError):
            house.rows("DROP TABLE made")
    assert sorted(house.folder.rglob("*")) == before
