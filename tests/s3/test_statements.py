"""Statements that write to S3: seen whole or not at all, and nothing left behind."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time

import duckdb
import pytest
from s3_servers import BUCKET

from starling_py.cli.main import main
from starling_py.errors import (
    Cancelled,
    IncompleteTable,
    OutputError,
    StarlingError,
    TableExists,
    TaskFailed,
    Unsupported,
)
from starling_py.events import TaskStarted
from starling_py.leftovers import new_query_id
from starling_py.writing.prefix import RemoteFolder

LATER = 30.0
FAILING = "SELECT CASE WHEN k = 9000 THEN CAST(t || 'x' AS INTEGER) ELSE k END FROM numbers"
SLOW = (
    "SELECT a.k FROM numbers a, numbers b, numbers c, numbers d "
    "WHERE a.k + b.k + c.k + d.k < 0 OR a.k * b.k > c.k * d.k + 200000000"
)


class Bucket:
    """The objects below the prefix of the tables."""

    def __init__(self, reach, url: str) -> None:
        self.prefix = url.removeprefix(f"s3://{BUCKET}/")
        self.store = reach.server.store(self.prefix)

    def listed(self) -> list[str]:
        return [info.key for info in self.store.list("")]

    def download(self, below: str, folder) -> None:
        for key in self.listed():
            if key.startswith(f"{below}/"):
                path = folder / key
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(self.store.get(key))


@pytest.fixture
def bucket(reach, numbers):
    found = Bucket(reach, numbers)
    yield found
    found.store.close()


@pytest.mark.parametrize(
    ("s3_server", "isolation"),
    [("moto", "thread"), ("ministack", "process")],
    indirect=["s3_server"],
)
def test_a_table(reach, numbers, bucket, tmp_path, isolation):
    before = bucket.listed()
    with reach.connect(numbers, tasks=3, isolation=isolation) as connection:
        cursor = connection.execute(
            "CREATE TABLE made AS SELECT g, sum(k) AS s, INTERVAL 1 MICROSECOND AS i FROM numbers "
            "GROUP BY g"
        )
        assert cursor.fetchall() == [(7,)]
        assert cursor.run.requests.put > 0
        assert connection.execute("SHOW TABLES").fetchall() == [("made",), ("numbers",)]
        described = connection.execute("DESCRIBE made").fetchall()
        assert [row[1] for row in described] == ["BIGINT", "HUGEINT", "INTERVAL"]
        rows = connection.execute("SELECT g, s FROM made ORDER BY g").fetchall()
        assert (
            rows
            == connection.execute("SELECT g, sum(k) FROM numbers GROUP BY g ORDER BY g").fetchall()
        )
        with pytest.raises(TableExists):
            connection.execute("CREATE TABLE made AS SELECT 1 AS a")
        connection.execute("CREATE OR REPLACE TABLE made AS SELECT k, t FROM numbers WHERE g < 6")
        expected = connection.execute("SELECT k, t FROM numbers WHERE g < 6").fetchall()
        assert connection.execute("FROM made").fetchall() == expected
        files = set(bucket.listed()) - set(before)
        assert len(files) == 4
        bucket.download("made", tmp_path)
        assert duckdb.sql(f"FROM '{tmp_path}/made/*.parquet'").fetchall() == expected
        connection.execute("DROP TABLE made")
    assert bucket.listed() == before
    assert reach.left() == []


def test_a_table_in_a_prefix_with_nothing_in_it(reach):
    url = f"s3://{BUCKET}/{reach.server.new_prefix()}"
    with reach.connect(url) as connection:
        assert connection.execute("CREATE TABLE made AS SELECT 42 AS a").fetchall() == [(1,)]
        assert connection.execute("FROM made").fetchall() == [(42,)]


def test_copies(reach, numbers, bucket, tmp_path):
    before = bucket.listed()
    with reach.connect(numbers, tasks=3) as connection:
        copy = f"COPY numbers TO '{numbers}/p' (FORMAT parquet, PARTITION_BY (g), RETURN_FILES)"
        ((count, files),) = connection.execute(copy).fetchall()
        assert count == 10_000
        made = set(bucket.listed()) - set(before)
        assert {f"{numbers}/{key}" for key in made} == set(files)
        assert {key.split("/")[1] for key in made} == {f"g={n}" for n in range(7)}
        assert connection.execute("SELECT count(*), sum(g) FROM p").fetchall() == (
            connection.execute("SELECT count(*), sum(g) FROM numbers").fetchall()
        )
        with pytest.raises(OutputError, match="not empty"):
            connection.execute(copy)
        connection.execute(copy.replace("RETURN_FILES", "APPEND"))
        assert connection.execute("SELECT count(*) FROM p").fetchall() == [(20_000,)]
        connection.execute(copy.replace("RETURN_FILES", "OVERWRITE"))
        assert connection.execute("SELECT count(*) FROM p").fetchall() == [(10_000,)]
        query = "SELECT t, k FROM numbers ORDER BY t DESC LIMIT 500"
        connection.execute(f"COPY ({query}) TO '{numbers}/x.csv.gz'")
        (tmp_path / "x.csv.gz").write_bytes(bucket.store.get("x.csv.gz"))
        read = f"FROM read_csv('{tmp_path}/x.csv.gz', types = {{'t': 'VARCHAR'}})"
        assert duckdb.sql(read).fetchall() == connection.execute(query).fetchall()
    assert not [key for key in bucket.listed() if ".starling" in key]


def test_a_query_that_fails_leaves_nothing(reach, numbers, bucket):
    with reach.connect(numbers, tasks=3) as connection:
        connection.execute("CREATE TABLE made AS SELECT 1 AS a")
        before = bucket.listed()
        for sql in (
            f"CREATE TABLE other AS {FAILING}",
            f"CREATE OR REPLACE TABLE made AS {FAILING}",
            f"COPY ({FAILING}) TO '{numbers}/out' (FORMAT csv)",
        ):
            with pytest.raises(TaskFailed):
                connection.execute(sql)
            assert bucket.listed() == before
        with pytest.raises(Unsupported, match="made is a table"):
            connection.execute(f"COPY numbers TO '{numbers}/made' (FORMAT parquet, OVERWRITE)")
        assert connection.execute("FROM made").fetchall() == [(1,)]


def test_closing_the_connection_leaves_nothing(reach, numbers, bucket):
    before = bucket.listed()
    begun = threading.Event()
    connection = reach.connect(
        numbers, tasks=3, listeners=[lambda event: isinstance(event, TaskStarted) and begun.set()]
    )
    closer = threading.Thread(target=lambda: begun.wait(LATER) and connection.close())
    closer.start()
    with pytest.raises(Cancelled):
        connection.execute(f"CREATE TABLE made AS {SLOW}")
    closer.join(LATER)
    assert bucket.listed() == before


def test_ctrl_c_when_all_files_of_a_new_table_are_there(reach, numbers, bucket, monkeypatch):
    publish = RemoteFolder.publish

    def interrupted(self, *given, **how):
        publish(self, *given, **how)
        raise KeyboardInterrupt

    before = bucket.listed()
    with reach.connect(numbers, tasks=3) as connection:
        with monkeypatch.context() as patched:
            patched.setattr(RemoteFolder, "publish", interrupted)
            with pytest.raises(KeyboardInterrupt):
                connection.execute("CREATE TABLE made AS FROM numbers")
        assert bucket.listed() == before
        assert connection.execute("SHOW TABLES").fetchall() == [("numbers",)]


def test_a_commit_that_fails_half_way_is_undone(reach, numbers, bucket, monkeypatch):
    from starling_py.shuffle.s3_client import S3Client

    copied: list[str] = []
    copy = S3Client.copy

    async def failing(self, source: str, target: str) -> None:
        if copied:
            raise StarlingError("no more copies")
        copied.append(target)
        await copy(self, source, target)

    with reach.connect(numbers, tasks=3) as connection:
        connection.execute("CREATE TABLE made AS SELECT 1 AS a")
        before = bucket.listed()
        monkeypatch.setattr(S3Client, "copy", failing)
        for sql in (
            "CREATE TABLE other AS SELECT k FROM numbers",
            "CREATE OR REPLACE TABLE made AS SELECT k FROM numbers",
            f"COPY numbers TO '{numbers}/out' (FORMAT csv)",
        ):
            with pytest.raises(StarlingError, match="no more copies"):
                connection.execute(sql)
            assert copied
            copied.clear()
            assert bucket.listed() == before
        assert connection.execute("FROM made").fetchall() == [(1,)]


def test_a_table_is_not_there_before_all_of_it_is(reach, numbers, bucket, starling_cleanup):
    with reach.connect(numbers, tasks=3) as connection:
        connection.execute("CREATE TABLE made AS SELECT k FROM numbers")
        gone = next(key for key in bucket.listed() if key.startswith("made/part-"))
        bucket.store.delete([gone])
        with pytest.raises(IncompleteTable, match="made is not complete"):
            connection.execute("FROM made")
        assert connection.tables()[0].error is not None
        starling_cleanup(numbers)
        assert not [key for key in bucket.listed() if key.startswith("made/")]
        connection.execute("CREATE TABLE made AS SELECT 7 AS a")
        assert connection.execute("FROM made").fetchall() == [(7,)]


@pytest.fixture
def starling_cleanup():
    from click.testing import CliRunner

    def run(data: str) -> str:
        done = CliRunner().invoke(main, ["cleanup", "--data", data, "--older-than", "0s"])
        assert done.exit_code == 0, done.output
        return done.output

    return run


@pytest.mark.parametrize("s3_server", ["moto"], indirect=True)
def test_ctrl_c_leaves_nothing_and_a_kill_something_to_clean_up(
    reach, numbers, bucket, starling_cleanup
):
    before = bucket.listed()
    command = [sys.executable, "-m", "starling_py.cli", "query"]
    command += [f"COPY ({SLOW}) TO '{numbers}/out' (FORMAT csv, APPEND)"]
    command += ["--data", numbers, "--tasks", "4", "--workers", "2", "--scratch", reach.scratch]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
        try:
            time.sleep(3.0)
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=60)
        finally:
            process.kill()
        assert process.returncode == 130, errors
    assert bucket.listed() == before
    # What a task has written when the process is killed.
    query = new_query_id("0" * 32)
    bucket.store.put(f".starling-{query}/000000-aa/part-{query}-000000.csv", [b"k"])
    bucket.store.put(".starling-mine/x", [b"k"])
    assert "1 file of 1 query removed" in starling_cleanup(numbers)
    assert set(bucket.listed()) - set(before) == {".starling-mine/x"}
