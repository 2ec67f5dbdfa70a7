"""``connect(target="lambda")`` and ``starling query --target lambda``."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import duckdb
import pytest
from click.testing import CliRunner
from lambda_processes import until
from s3_servers import BUCKET

import starling_py
from starling_py.cli.main import main
from starling_py.errors import BadInvocation, FunctionMissing, UsageError


@pytest.fixture
def numbers(place, tmp_path, monkeypatch) -> str:
    """A table of two files: k = 0 … 9999."""
    monkeypatch.setenv("STARLING_CACHE_DIR", str(tmp_path / "cache"))
    folder = tmp_path / "numbers"
    folder.mkdir()
    store = place.server.data_store(f"functions/{place.prefix}/numbers")
    with duckdb.connect() as connection:
        for part in range(2):
            path = folder / f"{part}.parquet"
            first, last = part * 5000, part * 5000 + 5000
            connection.execute(
                f"COPY (SELECT range AS k FROM range({first}, {last})) TO '{path}' (FORMAT parquet)"
            ).fetchall()
            store.put(path.name, [path.read_bytes()])
    store.close()
    return f"s3://{BUCKET}/functions/{place.prefix}"


@pytest.fixture
def scratch(place) -> str:
    return f"s3://{BUCKET}/{place.prefix}"


def test_a_query_on_functions(place, numbers, scratch, monkeypatch):
    lamb = place.serve(limits={"concurrency": 3})
    monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", lamb.endpoint)
    with starling_py.connect(numbers, target="lambda", scratch=scratch, tasks=3) as connection:
        sql = "SELECT k % 7 AS g, sum(k) FROM numbers GROUP BY g ORDER BY g"
        cursor = connection.execute(sql)
        assert cursor.fetchall() == [(g, sum(range(g, 10_000, 7))) for g in range(7)]
        assert cursor.run.tasks == lamb.statistics().calls
        price = cursor.run.price
        assert not price.estimated
        assert price.paid == price.dollars > 0
        calls = next(item for item in price.items if item.name == "calls")
        assert calls.quantity == lamb.statistics().calls
        # Calls take longer than the tasks in them, and the first of each instance its start too.
        metrics = [report.metrics for report in cursor.run.reports]
        assert all(each.called_seconds > each.seconds for each in metrics)
        assert lamb.statistics().most_in_flight <= 3


def test_what_lambda_allows_is_known_before_a_plan_is_made(place, numbers, scratch, monkeypatch):
    lamb = place.serve(limits={"concurrency": 3}, memory=3538)
    monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", lamb.endpoint)
    with starling_py.connect(numbers, target="lambda", scratch=scratch) as connection:
        assert connection.config.workers == 64
        (stage,) = connection.explain("SELECT count(*) FROM numbers").stages
        # Three workers of two cores each, of which the only task could have all.
        assert stage.threads == 6
    assert lamb.statistics().calls == 0


KILLED = """
import sys, starling_py
from starling_py.coordinator.transport import Transport
Transport.inline_limit = lambda *_: 0  # all of it goes through the store
options = {"target": "lambda", "scratch": sys.argv[2], "tasks": 2, "workers": 2}
with starling_py.connect(sys.argv[1], **options) as connection:
    connection.execute("SELECT k % 5000 AS g, sum(k) FROM numbers GROUP BY g")
"""


def test_nothing_is_left_of_a_client_that_was_killed(place, numbers, scratch):
    lamb = place.serve(faults={"latency": 1.0})
    client = subprocess.Popen(
        [sys.executable, "-c", KILLED, numbers, scratch],
        env={**os.environ, "AWS_ENDPOINT_URL_LAMBDA": lamb.endpoint},
    )
    try:
        until(lambda: place.left() or client.poll() is not None, seconds=60)
        assert client.poll() is None
    finally:
        client.kill()
        client.wait(30)
    assert place.left() != []
    # Calls that are on their way come to their end.
    time.sleep(2.0)
    until(lambda: lamb.statistics().in_flight == 0, seconds=60)
    words = ["cleanup", "--scratch", scratch, "--older-than", "0s"]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    assert "of 1 query" in done.output
    assert place.left() == []


def test_the_command(place, numbers, scratch, monkeypatch):
    lamb = place.serve()
    monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", lamb.endpoint)
    words = ["--data", numbers, "--scratch", scratch, "--target", "lambda", "--workers", "2"]
    sql = "SELECT count(*) AS n FROM numbers"
    done = CliRunner().invoke(main, ["query", sql, *words, "--format", "csv", "--quiet"])
    assert (done.exit_code, done.output) == (0, "n\n10000\n")
    assert CliRunner().invoke(main, ["explain", sql, *words]).exit_code == 0
    done = CliRunner().invoke(main, ["query", sql, *words, "--function", "nobody"])
    assert done.exit_code == 1
    assert "there is no function nobody in us-east-1" in done.output


def test_errors_come_before_anything_runs(place, numbers, scratch, monkeypatch, tmp_path):
    lamb = place.serve()
    monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", lamb.endpoint)
    for options in (
        {"target": "moon"},
        {"target": "lambda"},
        {"function": "starling"},
    ):
        with pytest.raises(UsageError):
            starling_py.connect(numbers, **options)
    options = {"target": "lambda", "scratch": scratch}
    with (
        starling_py.connect(numbers, function="nobody", **options) as connection,
        pytest.raises(FunctionMissing),
    ):
        connection.explain("SELECT 1")
    with (
        starling_py.connect(tmp_path, **options) as connection,
        pytest.raises(BadInvocation, match="not on S3"),
    ):
        connection.execute("SELECT count(*) FROM numbers")


def test_functions_write_to_s3(place, numbers, scratch, monkeypatch, tmp_path):
    lamb = place.serve()
    monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", lamb.endpoint)
    options = {"target": "lambda", "scratch": scratch, "tasks": 2, "workers": 2}
    with starling_py.connect(numbers, **options) as connection:
        made = connection.execute("CREATE TABLE made AS SELECT k, k * 2 AS j FROM numbers")
        assert made.fetchall() == [(10_000,)]
        assert lamb.statistics().calls == made.run.tasks == 2
        assert connection.execute("SELECT sum(j) FROM made").fetchall() == [(99_990_000,)]
        with pytest.raises(UsageError, match="cannot write to this machine"):
            connection.execute(f"COPY numbers TO '{tmp_path}/x.csv'")
    store = place.server.store(f"functions/{place.prefix}/made")
    names = [info.key for info in store.list("")]
    assert [name.partition("-")[0] for name in names] == ["_starling.json", *["part"] * 2]
    store.close()
