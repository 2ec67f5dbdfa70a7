"""Scratch on S3: nothing is left, whatever happens, and what is left can be removed."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time

import duckdb
import pytest
from s3_servers import BUCKET

import starling_py
from starling_py.cli.main import main
from starling_py.errors import (
    BucketMissing,
    Cancelled,
    CredentialsMissing,
    ObjectChanged,
    StarlingError,
    UsageError,
    VersionedBucket,
)
from starling_py.events import TaskStarted
from starling_py.leftovers import new_query_id

SLOW = "SELECT g, count(DISTINCT a.k * b.k) FROM numbers a JOIN numbers b USING (g) GROUP BY g"
LATER = 60.0  # the servers are slow


def test_a_query_that_fails_leaves_nothing(reach, numbers):
    with reach.connect(numbers, tasks=3) as connection:
        with pytest.raises(StarlingError, match="Conversion"):
            connection.execute("SELECT g, sum(('x' || t)::INT) FROM numbers GROUP BY g")
        with pytest.raises(StarlingError, match="number 9999"):
            connection.execute(
                "SELECT max(CASE WHEN n > 1 THEN error('number ' || m) END) FROM "
                "(SELECT g, count(*) AS n, max(k) AS m FROM numbers WHERE g = 9999 % 7 GROUP BY g)"
            )
        assert connection.execute("SELECT count(*) FROM numbers").fetchall() == [(10_000,)]
    assert reach.left() == []


@pytest.mark.parametrize("isolation", ["thread", "process"])
def test_closing_the_connection_ends_a_query(reach, numbers, isolation):
    begun = threading.Event()

    def close_in_time(event: object) -> None:
        if isinstance(event, TaskStarted) and event.stage > 0:
            begun.set()

    connection = reach.connect(numbers, tasks=3, isolation=isolation, listeners=[close_in_time])
    closer = threading.Thread(target=lambda: begun.wait(LATER) and connection.close())
    closer.start()
    with pytest.raises(Cancelled):
        connection.execute(SLOW)
    closer.join(LATER)
    connection.close()
    assert reach.left() == []


@pytest.mark.parametrize(
    "s3_server",
    # It takes half a minute to read the object that is on its way, which is waited for.
    ["moto", pytest.param("ministack", marks=pytest.mark.long)],
    indirect=True,
)
def test_ctrl_c_leaves_nothing(reach, numbers, command):
    command += ["query", SLOW, "--data", numbers]
    command += ["--scratch", reach.scratch, "--tasks", "3"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + LATER
    while not reach.left():
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=LATER)
    assert process.returncode == 130, errors
    assert reach.left() == []


def test_what_a_killed_machine_left_is_cleaned_up(reach, numbers, capsys, command):
    command += ["query", SLOW, "--data", numbers]
    command += ["--scratch", reach.scratch, "--tasks", "3"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + LATER
    while not reach.left():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.kill()
    process.wait(LATER)
    mine = reach.server.store(reach.prefix)
    mine.put("report.csv", [b"not ours"])
    mine.put("0123/stage-0000/task-000000.shuffle", [b"no query's id"])
    mine.close()
    left = reach.left()

    def cleanup(*arguments: str) -> str:
        with pytest.raises(SystemExit) as ended:
            main(["cleanup", "--scratch", reach.scratch, *arguments])
        assert ended.value.code == 0
        return capsys.readouterr().out

    assert cleanup().startswith("0 objects of 0 queries")  # it began less than a day ago
    assert f"{len(left) - 2:,} object" in cleanup("--older-than", "0s", "--dry-run")
    assert reach.left() == left
    assert "of 1 query" in cleanup("--older-than", "0s")
    assert reach.left() == ["0123/stage-0000/task-000000.shuffle", "report.csv"]


def test_a_query_id_tells_when_it_was_made():
    made = new_query_id("0123456789abcdef")
    assert len(made) == 19
    assert abs(int(made[:11], 16) / 1000 - time.time()) < LATER
    assert made.endswith("01234567")


def test_a_versioned_bucket_is_refused(reach, numbers):
    bucket = reach.server.new_bucket()
    client = reach.server.client()
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    client.close()
    with (
        reach.connect(numbers, scratch=f"s3://{bucket}/scratch") as connection,
        pytest.raises(VersionedBucket, match=bucket),
    ):
        connection.execute("SELECT count(*) FROM numbers")


def test_no_bucket(reach, numbers):
    elsewhere = "s3://starling-none/scratch"
    for data, scratch in ((numbers, elsewhere), (elsewhere, reach.scratch)):
        with (
            reach.connect(data, scratch=scratch) as connection,
            pytest.raises(BucketMissing, match="starling-none"),
        ):
            connection.execute("SELECT g, count(*) FROM numbers GROUP BY g")


@pytest.mark.parametrize("scratch", ["scratch", "s3:/b/x", "s3://", "gs://b/x", ""])
def test_a_scratch_that_is_no_prefix_on_s3(scratch):
    with pytest.raises(UsageError, match="s3://bucket/prefix"):
        starling_py.connect(scratch=scratch).execute("SELECT 1").fetchall()


def test_no_credentials(reach, numbers, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    with reach.connect(numbers) as connection:
        with pytest.raises(CredentialsMissing) as raised:
            connection.execute("SELECT count(*) FROM numbers")
        assert "AWS_PROFILE" in (raised.value.hint or "")


def test_a_file_replaced_after_planning_is_an_error(reach, numbers, tmp_path):
    path = tmp_path / "new.parquet"
    with duckdb.connect() as connection:
        connection.execute(
            f"COPY (SELECT range AS k, 8::BIGINT AS g, 'x' AS t FROM range(2500)) "
            f"TO '{path}' (FORMAT parquet)"
        ).fetchall()
    key = numbers.removeprefix(f"s3://{BUCKET}/") + "/numbers/2.parquet"

    def replace(event: object) -> None:
        if type(event).__name__ == "QueryPlanned":
            client = reach.server.client()
            client.put_object(Bucket=BUCKET, Key=key, Body=path.read_bytes())
            client.close()

    with reach.connect(numbers, tasks=2, listeners=[replace]) as connection:
        with pytest.raises(ObjectChanged, match=r"numbers/2\.parquet"):
            connection.execute("SELECT sum(k), max(t) FROM numbers")
        listing = connection.execute(
            "SELECT max(g) FROM numbers",
        ).fetchall()
        assert listing == [(8,)]
    assert os.environ["AWS_ENDPOINT_URL"] == reach.server.endpoint
