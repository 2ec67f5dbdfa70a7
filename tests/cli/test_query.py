"""What ``starling query`` shows and writes is what DuckDB would."""

from __future__ import annotations

import json
import re
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

SQL = """SELECT c.name, count(*) AS n, sum(price) AS total, min(note) AS "first, note"
FROM orders LEFT JOIN customers c ON c.id = customer GROUP BY ALL ORDER BY name, n"""

VALUES = """SELECT * FROM (VALUES
    (1, 1.50, 'plain', DATE '2020-01-02', [1, NULL], 1e300::DOUBLE),
    (NULL, NULL, NULL, NULL, NULL, NULL),
    (-2, 0.05, 'quo"te, comma', DATE '1999-12-31', [], 'nan'::DOUBLE),
    (3, 7.00, '', DATE '0001-01-01', [3], 0.1)
) v(i, "d e", s, day, list, f)"""


def oracle(shop: Path) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    connection.execute(f"CREATE VIEW orders AS FROM '{shop}/orders/*.parquet'")
    connection.execute(f"CREATE VIEW customers AS FROM '{shop}/customers.parquet'")
    return connection


@pytest.mark.parametrize("sql", [SQL, VALUES], ids=["query", "values"])
@pytest.mark.parametrize(
    ("format_", "options"),
    [
        ("csv", "FORMAT csv, HEADER true"),
        ("json", "FORMAT json, ARRAY true"),
        ("jsonl", "FORMAT json"),
    ],
)
def test_streamed_formats(starling, shop, tmp_path, sql, format_, options):
    with oracle(shop) as connection:
        connection.execute(f"COPY ({sql}) TO '{tmp_path}/expected' ({options})")
    result = starling("query", sql, "--data", shop, "--format", format_, "--tasks", 2)
    assert result.exit_code == 0, result.output
    assert result.stdout_bytes == (tmp_path / "expected").read_bytes()
    saved = tmp_path / f"saved.{format_}"
    again = starling("query", sql, "--data", shop, "--output", saved)
    assert again.exit_code == 0
    assert again.stdout == ""
    assert saved.read_bytes() == (tmp_path / "expected").read_bytes()


@pytest.mark.parametrize("sql", [SQL, VALUES], ids=["query", "values"])
def test_binary_formats(starling, shop, tmp_path, sql):
    with oracle(shop) as connection:
        expected = connection.sql(sql).to_arrow_table()
        connection.execute(f"COPY ({sql}) TO '{tmp_path}/expected.parquet'")
    for suffix in ("parquet", "arrow"):
        saved = starling("query", sql, "--data", shop, "-o", tmp_path / f"saved.{suffix}", "-q")
        assert saved.exit_code == 0, saved.output
        assert saved.output == ""
    read = pq.read_table(tmp_path / "saved.parquet")
    assert read.schema == pq.read_table(tmp_path / "expected.parquet").schema
    assert str(read.to_pylist()) == str(expected.to_pylist())
    with pa.ipc.open_file(tmp_path / "saved.arrow") as file:
        table = file.read_all()
    assert table.schema == expected.schema
    assert str(table.to_pylist()) == str(expected.to_pylist())
    assert {path.name for path in tmp_path.iterdir()} == {
        "expected.parquet",
        "saved.parquet",
        "saved.arrow",
    }


def test_table(starling):
    sql = """SELECT * FROM (VALUES (1, 1.50, 'one', [1, NULL]), (NULL, NULL, NULL, NULL),
        (-20, 0.05, 'é日', [])) v(i, "d e", s, list)"""
    result = starling("query", sql)
    assert result.stdout.splitlines() == [
        "   i    d e   s      list",
        "─" * 30,
        "   1   1.50   one    [1, NULL]",
        "NULL   NULL   NULL   NULL",
        " -20   0.05   é日    []",
    ]
    assert "3 rows from 1 stage, 1 task" in result.stderr


def test_all_rows_in_a_pipe(starling, shop):
    result = starling("query", "FROM orders", "--data", shop, "--max-rows", 1)
    assert len(result.stdout.splitlines()) == 30_002


def test_control_characters_do_not_reach_the_terminal(starling):
    sql = "SELECT 'a' || chr(27) || '[31m' || chr(10) || 'é日' AS x"
    for format_ in ("table", "markdown"):
        result = starling("query", sql, "--format", format_)
        assert "\x1b" not in result.stdout
        assert "a\\x1b[31m" in result.stdout
        assert "é日" in result.stdout


def test_markdown(starling):
    sql = """SELECT 'a|b' AS "x|y", NULL AS z, E'1\n2' AS two"""
    result = starling("query", sql, "--format", "markdown")
    assert result.stdout.splitlines() == [
        "| x\\|y | z | two |",
        "| --- | --- | --- |",
        "| a\\|b | NULL | 1<br>2 |",
    ]


def test_duplicate_names(starling, tmp_path):
    sql = "SELECT 1 AS x, 2 AS x, 3 AS X"
    assert starling("query", sql).stdout.split()[:3] == ["x", "x", "X"]
    with duckdb.connect() as connection:
        for suffix in ("csv", "json", "parquet"):
            connection.execute(f"COPY ({sql}) TO '{tmp_path}/expected.{suffix}'")
            saved = starling("query", sql, "-o", tmp_path / f"saved.{suffix}")
            assert saved.exit_code == 0, saved.output
    assert json.loads((tmp_path / "saved.json").read_text()) == [
        json.loads((tmp_path / "expected.json").read_text())
    ]
    assert pq.read_schema(tmp_path / "saved.parquet").names == ["x", "x_1", "X_2"]


def test_where_the_sql_comes_from(starling, tmp_path):
    file = tmp_path / "q.sql"
    file.write_text("SELECT 'é' AS x -- comment\n;\n", encoding="utf-8")
    expected = "x\né\n"
    for args, given in (
        (["--file", file], None),
        (["-"], file.read_text(encoding="utf-8")),
        ([], file.read_text(encoding="utf-8")),
        ([file.read_text(encoding="utf-8")], None),
    ):
        result = starling("query", *args, "--format", "csv", input=given)
        assert result.stdout == expected, result.output
    file.write_bytes(b"SELECT '\xff'")
    assert "UTF-8" in starling("query", "--file", file).stderr


def test_stats(starling, shop):
    args = ("query", SQL, "--data", shop, "--tasks", 3)
    plain = starling(*args).stderr
    assert "stages" in plain
    assert "shuffled" in plain
    assert len(plain.splitlines()) == 1
    more = starling(*args, "--stats").stderr
    assert "stage 0 (" in more
    assert "peak memory" in more
    assert starling(*args, "--quiet").stderr == ""


def test_tables_by_pattern_and_path(starling, shop):
    sql = (
        f"SELECT (SELECT count(*) FROM o) a, (SELECT count(*) FROM '{shop}/orders/[01].parquet') b"
    )
    result = starling("query", sql, "--table", f"o={shop}/**/*0.parquet", "--format", "csv")
    assert result.stdout == "a,b\n10000,20000\n", result.output


@pytest.mark.parametrize(
    "name",
    ["a 'b' \"c\" é", "a [1]", "a*b?c[d", "%41 # & {x} ~"],
)
def test_a_folder_and_names_with_odd_characters(starling, shop, tmp_path, name):
    folder = tmp_path / name
    (folder / "t t").mkdir(parents=True)
    for part in (folder / "t t").parent, folder / "t t":
        (part / "x*.parquet").write_bytes((shop / "customers.parquet").read_bytes())
    result = starling(
        "query", 'SELECT count(*) AS n FROM "t t", "x*" x', "--data", folder, "--format", "csv"
    )
    assert result.stdout == "n\n9\n", result.output
    saved = folder / "out 'x'.csv"
    assert starling("query", 'FROM "t t"', "--data", folder, "-o", saved).exit_code == 0
    assert saved.read_text(encoding="utf-8").startswith("id,name\n0,Ann\n")


def test_empty_answers(starling, shop):
    for format_, expected in (
        ("csv", "id,name\n"),
        ("json", "[\n\t\n]\n"),
        ("jsonl", ""),
        ("table", "id   name\n─────────\n"),
    ):
        args = ("query", "FROM customers WHERE id > 9", "--data", shop, "--format", format_)
        result = starling(*args)
        assert (result.exit_code, result.stdout) == (0, expected), result.output


@pytest.mark.parametrize("isolation", ["thread", "process"])
def test_isolation(starling, shop, isolation):
    args = ("--data", shop, "--tasks", 2, "--workers", 2, "--isolation", isolation)
    result = starling("query", SQL, *args, "--memory", "2GB", "--format", "csv")
    with oracle(shop) as connection:
        expected = connection.execute(SQL).fetchall()
    assert len(result.stdout.splitlines()) == len(expected) + 1, result.output


def test_stats_name_the_task_that_has_most_rows(starling, tmp_path):
    """Nothing can share the rows of one group that an aggregate needs together."""
    with duckdb.connect() as connection:
        connection.execute(
            f"""COPY (SELECT CASE WHEN i % 5 > 0 THEN 7 ELSE i % 97 END AS k, i % 1000 AS x
            FROM range(260_000) AS t(i)) TO '{tmp_path}/t.parquet'"""
        )
    sql = f"SELECT k, median(x) FROM '{tmp_path}/t.parquet' GROUP BY k"
    told = starling("query", sql, "--tasks", 3, "--stats").stderr
    assert re.search(r"skewed: task \d read \d\d% of the rows", told), told


@pytest.mark.parametrize(
    ("sql", "given", "shown"),
    [
        ("SELECT name FROM customers WHERE name = $who", ["who=it's; --"], "name\n"),
        ("SELECT ?, ?", ["1=a=b", "2:=1.50"], "$1,$2\na=b,1.50\n"),
        ("SELECT DATE '2020-01-01' = :d AS x", ["d=2020-01-01"], "x\ntrue\n"),
        ("SELECT $l[2] + 1 AS x, $n AS n", ["l:=[1, 2]", "n:=null"], "x,n\n3,\n"),
    ],
)
def test_parameters(starling, shop, sql, given, shown):
    options = [text for value in given for text in ("--param", value)]
    result = starling("query", sql, "--data", shop, "--format", "csv", *options)
    assert result.exit_code == 0, result.output
    assert result.stdout == shown


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["x"], "'x' is not of the form NAME=TEXT or NAME:=JSON"),
        (["=1"], "'=1' is not of the form"),
        (["x:=1 2"], "'1 2' is not JSON"),
        (["x=1", "$x=2"], "there are two values for $x"),
    ],
)
def test_wrong_parameters(starling, given, message):
    result = starling("query", "SELECT $x", *(t for value in given for t in ("-p", value)))
    assert result.exit_code == 2
    assert message in result.stderr
