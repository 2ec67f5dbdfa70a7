"""COPY … TO files and folders of this machine."""

from __future__ import annotations

import signal
from pathlib import Path

import duckdb
import pytest

import starling_py
from starling_py.errors import (
    BindError,
    OutputError,
    SqlSyntaxError,
    TaskFailed,
    UnknownColumn,
    Unsupported,
    UsageError,
)
from starling_py.events import QueryFinished


@pytest.fixture
def out(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


def rows(path) -> list[tuple]:
    return duckdb.sql(f"FROM '{path}'").fetchall()


SINGLE = {
    "x.csv": "",
    "x.tsv": "(DELIM '\t', NULLSTR 'nil')",
    "x.json": "",
    "x.jsonl": "(FORMAT json)",
    "arrays.json": "(ARRAY true)",
    "x.csv.gz": "",
    "y.csv": "(HEADER false, QUOTE '|', FORCE_QUOTE (s))",
    "z.csv": "(FORMAT csv, DELIMITER ';', COMPRESSION none)",
}


@pytest.mark.parametrize("name", SINGLE)
def test_one_file_of_text_is_what_duckdb_writes(quiet, out, name):
    query = "(SELECT k, s, k / 8 AS x FROM numbers ORDER BY s, k LIMIT 100)"
    assert quiet.rows(f"COPY {query} TO '{out}/{name}' {SINGLE[name]}") == [(100,)]
    quiet.oracle.execute(f"COPY {query} TO '{out}/oracle-{name}' {SINGLE[name]}")
    assert (out / name).read_bytes() == (out / f"oracle-{name}").read_bytes()
    assert sorted(path.name for path in out.iterdir()) == sorted([name, f"oracle-{name}"])


def test_one_file_of_parquet_replaces_what_is_there(quiet, out):
    path = out / "x.parquet"
    path.write_text("something else")
    assert quiet.rows(f"COPY numbers TO '{path}' (COMPRESSION zstd)") == [(2000,)]
    assert rows(path) == quiet.oracle.sql("FROM numbers").fetchall()
    codec = duckdb.sql(f"SELECT DISTINCT compression FROM parquet_metadata('{path}')").fetchall()
    assert codec == [("ZSTD",)]
    quiet.rows(f"COPY numbers (s, k) TO '{path}'")
    assert rows(path) == quiet.oracle.sql("SELECT s, k FROM numbers").fetchall()


def test_a_folder_is_written_by_all_tasks_in_their_order(quiet, out):
    cursor = quiet.connection.execute(
        f"COPY (SELECT k, s FROM numbers WHERE g <> 1) TO '{out}/a' (FORMAT parquet, RETURN_FILES)"
    )
    assert [stage.tasks for stage in cursor.run.plan.stages] == [3]
    ((count, files),) = cursor.fetchall()
    assert [column[:2] for column in cursor.description] == [
        ("Count", "BIGINT"),
        ("Files", "VARCHAR[]"),
    ]
    expected = quiet.oracle.sql("SELECT k, s FROM numbers WHERE g <> 1").fetchall()
    assert count == len(expected)
    assert len(files) == 3
    assert rows(f"{out}/a/*.parquet") == expected
    assert sorted(files) == sorted(str(path) for path in (out / "a").iterdir())
    assert [path.name for path in out.iterdir()] == ["a"]


def test_an_ordered_query_stays_in_order(quiet, out):
    query = "SELECT k, s FROM numbers ORDER BY s DESC NULLS LAST, k"
    quiet.rows(f"COPY ({query}) TO '{out}/a' (FORMAT csv)")
    assert rows(f"{out}/a/*.csv") == quiet.oracle.sql(query).fetchall()


def test_partitions(quiet, out):
    copy = f"COPY (SELECT * FROM numbers) TO '{out}/p' (FORMAT parquet, PARTITION_BY (g))"
    assert quiet.rows(copy) == [(2000,)]
    assert sorted(path.name for path in (out / "p").iterdir()) == [f"g={n}" for n in range(7)]
    found = duckdb.sql(f"SELECT k, g, s FROM '{out}/p/**/*.parquet' ORDER BY k").fetchall()
    assert found == quiet.oracle.sql("FROM numbers ORDER BY k").fetchall()
    with pytest.raises(OutputError, match="not empty"):
        quiet.rows(copy)
    assert quiet.rows(copy.replace("(g)", "(g), APPEND")) == [(2000,)]
    assert len(rows(f"{out}/p/**/*.parquet")) == 4000
    assert quiet.rows(copy.replace("(g)", "(g), OVERWRITE")) == [(2000,)]
    assert len(rows(f"{out}/p/**/*.parquet")) == 2000
    quiet.rows(
        f"COPY (FROM numbers) TO '{out}/q' (FORMAT csv, PARTITION_BY (g), WRITE_PARTITION_COLUMNS)"
    )
    assert len(duckdb.sql(f"FROM '{out}/q/**/*.csv'").columns) == 3


def test_files_of_a_size(quiet, out):
    quiet.rows(f"COPY numbers TO '{out}/a' (FORMAT csv, FILE_SIZE_BYTES 4000)")
    assert len(list((out / "a").iterdir())) > 3
    found = duckdb.sql(f"FROM '{out}/a/*.csv' ORDER BY k").fetchall()
    assert found == quiet.oracle.sql("FROM numbers ORDER BY k").fetchall()


def test_nothing_to_write(quiet, out):
    assert quiet.rows(f"COPY (FROM numbers WHERE k < 0) TO '{out}/a' (FORMAT parquet)") == [(0,)]
    assert duckdb.sql(f"FROM '{out}/a/*.parquet'").columns == ["k", "g", "s"]
    copy = f"COPY (FROM numbers WHERE k < 0) TO '{out}/b' (FORMAT parquet, PARTITION_BY (g))"
    assert quiet.rows(copy) == [(0,)]


def test_a_hugeint_is_a_decimal_in_parquet(quiet, out):
    quiet.rows(f"COPY (SELECT sum(k) AS s, [sum(k)] AS l FROM numbers) TO '{out}/x.parquet'")
    found = duckdb.sql(f"FROM '{out}/x.parquet'")
    assert [str(type_) for type_ in found.types] == ["DECIMAL(38,0)", "DECIMAL(38,0)[]"]
    assert found.fetchall() == [(1999000, [1999000])]


def test_a_query_that_fails_leaves_nothing(quiet, out):
    (out / "x.parquet").write_text("before")
    query = "SELECT CASE WHEN k = 1901 THEN CAST(s || 'x' AS INTEGER) ELSE k END FROM numbers"
    for target in ("x.parquet", "folder"):
        with pytest.raises(TaskFailed):
            quiet.rows(f"COPY ({query}) TO '{out}/{target}' (FORMAT parquet)")
    assert [path.name for path in out.iterdir()] == ["x.parquet"]
    assert (out / "x.parquet").read_text() == "before"


def test_a_relative_path(quiet, out, monkeypatch):
    monkeypatch.chdir(out)
    quiet.rows("COPY (SELECT 1 AS a) TO 'x.csv'")
    quiet.rows("COPY (SELECT 1 AS a) TO './it''s/' (FORMAT csv, FILE_EXTENSION 'txt')")
    assert (out / "x.csv").read_text() == "a\n1\n"
    assert [path.suffix for path in (out / "it's").iterdir()] == [".txt"]


ERRORS = {
    "COPY (SELECT nope FROM numbers) TO 'OUT/x.csv'": (UnknownColumn, "line 1, column 14"),
    "COPY (SELEC 1) TO 'OUT/x.csv'": (SqlSyntaxError, "line 1, column"),
    "COPY numbers TO 'OUT/x'": (Unsupported, "needs a FORMAT"),
    "COPY numbers TO 'OUT/x' (FORMAT xlsx)": (Unsupported, "FORMAT xlsx"),
    "COPY numbers TO 'OUT/x.csv' (FOO 3)": (BindError, "foo"),
    "COPY numbers TO 'OUT/x' (FORMAT parquet, PARTITION_BY (zz))": (BindError, "zz"),
    "COPY numbers TO 'OUT/x' (FORMAT parquet, FILENAME_PATTERN 'a')": (
        Unsupported,
        "FILENAME_PATTERN",
    ),
    "COPY numbers TO 'OUT/x.csv' CSV HEADER": (Unsupported, "CSV"),
    "COPY numbers TO 'OUT/none/x.csv'": (OutputError, "no folder"),
    "COPY numbers TO 'OUT/sub.csv'": (OutputError, "it is a folder"),
    "COPY numbers TO 'OUT/file' (FORMAT csv)": (OutputError, "it is a file"),
    "COPY numbers TO 'gs://b/x.csv'": (UsageError, "gs://"),
    "COPY numbers TO 's3://bucket'  (FORMAT csv)": (UsageError, "whole bucket"),
    "COPY numbers TO '' (FORMAT csv)": (UsageError, "name a file"),
    "COPY (SELECT INTERVAL 1 DAY AS i) TO 'OUT/x.parquet'": (Unsupported, "INTERVAL"),
    "COPY (SELECT TIMETZ '10:00:00+01' AS i) TO 'OUT/x.parquet'": (Unsupported, "TIME WITH TIME"),
}


@pytest.mark.parametrize("sql", ERRORS)
def test_errors(quiet, out, sql):
    (out / "sub.csv").mkdir()
    (out / "file").write_text("")
    kind, words = ERRORS[sql]
    with pytest.raises(kind, match=words):
        quiet.rows(sql.replace("OUT", str(out)))
    assert sorted(path.name for path in out.iterdir()) == ["file", "sub.csv"]


def test_a_table_that_create_table_made_is_no_target(house):
    house.rows("CREATE TABLE made AS SELECT 1 AS a")
    with pytest.raises(Unsupported, match="made is a table"):
        house.rows(f"COPY numbers TO '{house.folder}/made' (FORMAT parquet, APPEND)")


def test_a_folder_that_is_filled_in_the_meantime_is_not_replaced(house, out):
    def fill(event):
        if isinstance(event, QueryFinished):
            (out / "x").mkdir()
            (out / "x/mine.txt").write_text("mine")

    with (
        starling_py.connect(house.folder, tasks=2, workers=2, listeners=[fill]) as connection,
        pytest.raises(OutputError, match="x: the folder was filled while this query ran") as error,
    ):
        connection.execute(f"COPY numbers TO '{out}/x' (FORMAT parquet, PER_THREAD_OUTPUT)")
    assert "OVERWRITE" in error.value.hint
    assert [path.name for path in out.rglob("*")] == ["x", "mine.txt"]


def test_a_file_that_has_the_name_of_a_partition(house, out):
    (out / "x").mkdir()
    (out / "x/g=1").write_text("mine")
    with pytest.raises(OutputError, match=r"cannot write .*/x/g=1"):
        house.rows(f"COPY numbers TO '{out}/x' (FORMAT csv, PARTITION_BY (g), APPEND)")
    assert (out / "x/g=1").read_text() == "mine"


def test_ctrl_c_while_a_folder_is_replaced_leaves_one_of_both(house, out, monkeypatch):
    house.rows(f"COPY numbers TO '{out}/x' (FORMAT parquet, PER_THREAD_OUTPUT)")
    rename = Path.rename

    def interrupted(self, target):
        made = rename(self, target)
        if str(target).endswith("/old"):
            signal.raise_signal(signal.SIGINT)
        return made

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        house.rows(
            f"COPY (SELECT k FROM numbers LIMIT 3) TO '{out}/x' "
            "(FORMAT parquet, PER_THREAD_OUTPUT, OVERWRITE)"
        )
    assert [path.name for path in out.iterdir()] == ["x"]
    assert len(rows(f"{out}/x/*.parquet")) in (3, 2000)
