"""Bad input gets one clear line, a hint where there is one, and the right exit code."""

from __future__ import annotations

import shutil
import uuid
from pathlib import Path

import pytest

from starling_py import output


def failed(result, code: int) -> str:
    """Return the error line after checking that nothing else went wrong."""
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    assert "internal error" not in result.output
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert lines[0].startswith("error: ")
    assert sum(line.startswith("error:") for line in lines) == 1
    return result.stderr


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["nothing"], "nothing"),
        (["query", "SELECT 1", "--bogus"], "--bogus"),
        (["query", "SELECT 1", "--tasks", "0"], "--tasks"),
        (["query", "SELECT 1", "--tasks", "many"], "--tasks"),
        (["query", "SELECT 1", "--workers", "0"], "--workers"),
        (["query", "SELECT 1", "--tasks", "10001"], "tasks must be from 1 to 10,000"),
        (["query", "SELECT 1", "--workers", "1001"], "workers must be from 1 to 1,000"),
        (["query", "SELECT 1", "--workers", "x"], "'x' is not a valid number"),
        (["query", "SELECT 1", "--isolation", "none"], "--isolation"),
        (["query", "SELECT 1", "--memory", "lots"], "'lots' is not a size"),
        (["query", "SELECT 1", "--memory", "1kB"], "at least 64MiB"),
        (["query", "SELECT 1", "--format", "xml"], "--format"),
        (["query", "SELECT 1", "--table", "t"], "NAME=GLOB"),
        (["query", "SELECT 1", "--table", "=x"], "NAME=GLOB"),
        (["query", "SELECT 1", "--table", "t=a", "--table", "t=b"], "two tables"),
        (["query", "SELECT 1", "--stats", "--quiet"], "exclude each other"),
        (["query", "SELECT 1", "--file", "x.sql"], "not both"),
        (["query", "--file", "/nowhere/x.sql"], "/nowhere/x.sql"),
        (["query", " \n"], "empty"),
        (["query", "SELECT '\udcff'"], "not Unicode"),
        (["query", "SELECT 1", "--data", ""], "data folder is empty"),
        (["query", "SELECT 1", "--format", "csv", "--output", "x.csv"], "goes by its suffix"),
        (["query", "SELECT 1", "--data", "/nowhere"], "no such folder: /nowhere"),
        (["query", "SELECT 1", "--output", "x.doc"], ".parquet"),
        (["query", "SELECT 1", "--output", "/nowhere/x.csv"], "no folder /nowhere"),
        (["explain", "SELECT 1", "--data", "/nowhere"], "no such folder: /nowhere"),
        (["tables", "--data", "/nowhere"], "no such folder: /nowhere"),
        (["tables"], "--data"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage(starling, args, says):
    assert says in failed(starling(*args), 2)


def test_no_command_shows_help(starling):
    result = starling()
    assert result.exit_code == 2
    assert "query" in result.output


def test_an_empty_folder(starling, tmp_path):
    assert "holds no tables" in failed(starling("tables", "--data", tmp_path), 2)
    result = starling("query", "FROM t", "--data", tmp_path)
    assert f"hint: the folder {tmp_path} holds no tables" in failed(result, 1)
    (tmp_path / "t").mkdir()
    assert "no Parquet files" in failed(starling("query", "FROM t", "--data", tmp_path), 1)


def test_the_hint_without_any_tables(starling):
    assert "hint: there are no tables" in failed(starling("query", "FROM t"), 1)


@pytest.mark.parametrize("command", ["query", "explain"])
def test_syntax(starling, shop, command):
    text = failed(starling(command, "SELECT id\nFROM orders WHERE WHERE", "--data", shop), 1)
    assert "line 2, column 19" in text
    line, caret = text.splitlines()[1:3]
    assert line[caret.index("^") :] == "WHERE"


def test_unknown_names(starling, shop):
    assert "orders" in failed(starling("query", "FROM ordrs", "--data", shop), 1).split("hint:")[1]
    text = failed(starling("query", "SELECT pric FROM orders", "--data", shop), 1)
    assert "pric" in text
    assert '"price"' in text


@pytest.mark.parametrize(
    "sql",
    ["DELETE FROM orders", "CREATE TABLE t (i INT)", "SELECT 1; SELECT 2", "COPY orders TO 'x'"],
)
def test_other_statements(starling, shop, sql):
    failed(starling("query", sql, "--data", shop), 1)


def test_a_statement_that_fails_on_its_data(starling, shop):
    sql = "SELECT CAST(note AS INT) FROM orders"
    text = failed(starling("query", sql, "--data", shop, "--tasks", 2), 1)
    assert "stage" in text
    assert "task" in text


def test_paths_without_files(starling, tmp_path):
    assert "nothing.parquet" in failed(starling("query", f"FROM '{tmp_path}/nothing.parquet'"), 1)
    args = ("--table", f"t={tmp_path}/*.parquet")
    assert f"{tmp_path}/*.parquet" in failed(starling("query", "FROM t", *args), 1)
    assert "only local" in failed(starling("query", "FROM 'gs://bucket/x.parquet'"), 1)


def test_options_of_read_parquet(starling, shop):
    sql = f"FROM read_parquet('{shop}/orders/*', binary_as_string = true)"
    assert "binary_as_string" in failed(starling("query", sql), 1)


@pytest.fixture
def broken(shop, tmp_path):
    """Tables of which one is good."""
    good = (shop / "customers.parquet").read_bytes()
    (tmp_path / "good.parquet").write_bytes(good)
    (tmp_path / "text.parquet").write_text("id,name\n" * 100)
    (tmp_path / "cut.parquet").write_bytes(good[:-30])
    (tmp_path / "differ").mkdir()
    (tmp_path / "differ/1.parquet").write_bytes(good)
    shutil.copy(shop / "orders/0.parquet", tmp_path / "differ/2.parquet")
    return tmp_path


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ("text", "text.parquet is not a Parquet file"),
        ("cut", "cut.parquet is truncated"),
        ("differ", "column name is VARCHAR in"),
    ],
)
def test_broken_tables(starling, broken, table, says):
    for command in ("query", "explain"):
        assert says in failed(starling(command, f"FROM {table}", "--data", broken), 1)
    good = starling("query", "SELECT count(*) FROM good", "--data", broken, "--format", "csv")
    assert good.exit_code == 0
    listed = starling("tables", "--data", broken)
    assert listed.exit_code == 0
    assert says in listed.stdout
    assert "good: 3 rows" in listed.stdout


def test_a_page_that_is_damaged(starling, shop, tmp_path):
    data = bytearray((shop / "orders/0.parquet").read_bytes())
    data[40:400] = bytes(360)
    (tmp_path / "t.parquet").write_bytes(data)
    text = failed(starling("query", "SELECT sum(id), max(note) FROM t", "--data", tmp_path), 1)
    assert "t.parquet" in text


def test_an_output_that_cannot_be_written(starling, tmp_path):
    (tmp_path / "x.csv").mkdir()
    assert "is a folder" in failed(starling("query", "SELECT 1", "-o", tmp_path / "x.csv"), 2)


@pytest.mark.parametrize("kind", ["csv", "parquet", "arrow"])
def test_a_full_disk(starling, shop, monkeypatch, tmp_path, kind):
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    # What is written to the file's temporary name finds a disk without room.
    name = uuid.UUID(int=0xFFFF)
    monkeypatch.setattr(output.uuid, "uuid4", lambda: name)
    out = tmp_path / f"answer.{kind}"
    (tmp_path / f".answer.{kind}.{name.hex[:8]}.part").symlink_to("/dev/full")
    out.write_text("before")
    text = failed(starling("query", "FROM orders", "--data", shop, "-o", out, "-q"), 1)
    assert text == f"error: cannot write {out}: no space left on device\n"
    assert out.read_text() == "before"
    assert list(tmp_path.iterdir()) == [out]
