"""Statements that write and are stopped: nothing is seen of them, and nothing stays behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
from click.testing import CliRunner

from starling_py.cli.main import main

COMMAND = [sys.executable, "-m", "starling_py.cli"]
FOREVER = (
    # The tasks that never end are those that write.
    "SELECT a.k FROM numbers a, numbers b, numbers c, numbers d "
    "WHERE a.k + b.k + c.k + d.k < 0 OR a.k * b.k > c.k * d.k + 10000000"
)


def stopped(folder, sql: str, number: int, isolation: str, tmp_path) -> int:
    """Run a statement, end it by a signal while its tasks run, and return the exit code."""
    args = ["query", sql, "--data", str(folder), "--tasks", "2", "--isolation", isolation]
    (tmp_path / "scratch").mkdir(exist_ok=True)
    environment = {**os.environ, "TMPDIR": str(tmp_path / "scratch")}
    with subprocess.Popen(
        [*COMMAND, *args],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    ) as process:
        try:
            deadline = time.monotonic() + 60
            while not list(folder.glob(".starling-*/*")):
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.02)
            process.send_signal(number)
            _, errors = process.communicate(timeout=60)
        finally:
            process.kill()
        assert "Traceback" not in errors
        return process.returncode


@pytest.mark.parametrize(
    ("isolation", "sql"),
    [
        ("thread", f"CREATE OR REPLACE TABLE made AS {FOREVER}"),
        ("process", f"COPY ({FOREVER}) TO '{{}}/x' (FORMAT csv)"),
    ],
)
def test_ctrl_c(house, tmp_path, isolation, sql):
    house.rows("CREATE TABLE made AS SELECT 1 AS a")
    before = house.everything()
    text = sql.replace("{}", str(house.folder))
    assert stopped(house.folder, text, signal.SIGINT, isolation, tmp_path) == 130
    assert house.everything() == before
    assert not list(house.folder.glob(".starling-*"))


def test_cleanup_after_a_kill(house, tmp_path):
    before = house.everything()
    sql = f"CREATE TABLE made AS {FOREVER}"
    assert stopped(house.folder, sql, signal.SIGKILL, "thread", tmp_path) == -signal.SIGKILL
    assert list(house.folder.glob(".starling-*"))
    assert house.rows("SHOW TABLES") == [("numbers",)]
    (house.folder / ".starling-mine").mkdir()

    def cleanup(*args: str) -> str:
        return CliRunner().invoke(main, ["cleanup", "--data", str(house.folder), *args]).output

    assert "0 files of 0 queries removed" in cleanup()
    assert "of 1 query would be removed" in cleanup("--older-than", "0s", "--dry-run")
    assert list(house.folder.glob(".starling-*/"))
    assert "of 1 query removed" in cleanup("--older-than", "0s")
    assert [path.name for path in house.folder.glob(".starling-*")] == [".starling-mine"]
    assert house.everything() == before


def test_cleanup_of_a_table_that_lost_its_files(house):
    house.rows("CREATE TABLE made AS SELECT k FROM numbers")
    house.rows("CREATE TABLE good AS SELECT k FROM numbers")
    (house.folder / "good/part-1a21973a97d8bedfcf1-000007.parquet").write_text("left by a replace")
    (house.folder / "good/other.parquet").write_text("somebody's")
    next(house.folder.glob("made/part-*")).unlink()
    args = ["cleanup", "--data", str(house.folder), "--older-than", "0s"]
    done = CliRunner().invoke(main, args)
    assert "4 files of 2 queries removed" in done.output
    assert house.rows("SHOW TABLES") == [("good",), ("numbers",)]
    assert (house.folder / "good/other.parquet").exists()
    assert house.rows("SELECT count(*) FROM good") == [(2000,)]


@pytest.mark.parametrize("args", [[], ["--data", ".", "--scratch", "s3://b/p"]])
def test_cleanup_of_one_place(args):
    done = CliRunner().invoke(main, ["cleanup", *args])
    assert (done.exit_code, "give --scratch or --data" in done.output) == (2, True)
