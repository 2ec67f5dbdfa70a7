"""Worker processes that are killed, grow too large, or lose their coordinator."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time

import pytest

from starling_py.access import S3Access
from starling_py.events import TaskFinished, TaskStarted
from starling_py.invokers.process import WorkerProcess
from starling_py.invokers.processes import instance_limit
from starling_py.operators.errors import OutOfMemory, WorkerDied
from starling_py.operators.quoting import encode_path
from starling_py.shuffle.locations import LocalLocation


def test_workers_are_started_once_and_reused(make_engine, grouped, workers):
    engine = make_engine("process")
    engine.run(grouped())
    first = sorted(workers())
    assert len(first) == 2
    engine.run(grouped(query="again"))
    assert sorted(workers()) == first


def half_slow(plans):
    """Make a plan whose task takes long only as long as there is no file ``done``."""
    (plans.folder / "mark").mkdir()
    statement = (
        "SELECT count(*) AS c0 FROM range(CASE WHEN (SELECT count(*) FROM glob('{}/mark/*')) > 0"
        " THEN 10 ELSE 1000000000000 END)"
    )
    return plans.plan(plans.stage(0, statement.format(plans.folder), ["BIGINT"]), query="half-slow")


def test_a_killed_worker_is_replaced_and_its_task_retried(make_engine, plans, workers):
    events = []

    def kill(event):
        events.append(event)
        if isinstance(event, TaskStarted) and event.attempt == 1:
            threading.Timer(1.0, strike).start()

    def strike():
        (plans.folder / "mark" / "done").write_text("")
        for pid in workers():
            os.kill(pid, signal.SIGKILL)

    engine = make_engine("process", [kill])
    result = engine.run(half_slow(plans))
    assert result.table.to_pylist() == [{"c0": 10}]
    finished = [event.report for event in events if isinstance(event, TaskFinished)]
    assert [report.attempt for report in finished] == [1, 2]
    assert finished[0].error.code == WorkerDied.code
    assert "SIGKILL" in finished[0].error.message
    assert finished[1].error is None


def test_a_task_whose_workers_are_killed_twice_fails_the_query(make_engine, slow, grouped, workers):
    def kill(event):
        if isinstance(event, TaskStarted) and event.query == "slow":
            threading.Timer(1.0, strike).start()

    def strike():
        for pid in workers():
            os.kill(pid, signal.SIGKILL)

    engine = make_engine("process", [kill])
    with pytest.raises(WorkerDied, match="SIGKILL") as caught:
        engine.run(slow())
    origin = caught.value.origin
    assert (origin.query, origin.stage, origin.task, origin.attempt) == ("slow", 0, 0, 2)
    assert "out of memory" in caught.value.hint
    assert engine.run(grouped()).table.to_pylist() == grouped.expected()


def test_a_worker_killed_between_queries_is_replaced(make_engine, grouped, workers):
    engine = make_engine("process")
    engine.run(grouped())
    before = workers()
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 30
    while workers() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert engine.run(grouped(query="again")).table.to_pylist() == grouped.expected()
    assert not set(before) & set(workers())


def test_a_worker_that_cannot_start_is_a_typed_error(make_engine, plans, monkeypatch):
    monkeypatch.setattr("sys.executable", "/bin/false")
    engine = make_engine("process")
    with pytest.raises(WorkerDied, match=r"did not start.*exit code 1"):
        engine.run(plans.plan(plans.stage(0, "SELECT 1", ["INTEGER"])))


def test_a_worker_spills_and_stays_within_its_size(make_engine, plans):
    engine = make_engine("process", workers=1, memory=300 << 20)
    statement = (
        "SELECT sum(r)::BIGINT FROM (SELECT row_number() OVER (ORDER BY hash(range)) AS r"
        " FROM range(4000000))"
    )
    result = engine.run(plans.plan(plans.stage(0, statement, ["BIGINT"])))
    assert result.table.to_pylist() == [{"c0": 4000000 * 4000001 // 2}]
    (peak,) = result.metrics.peak_rss.values()
    assert instance_limit(300 << 20) < 300 << 20
    assert peak < 300 << 20


def test_a_worker_that_grows_past_its_size_is_killed(make_engine, plans, grouped):
    engine = make_engine("process", workers=1, memory=300 << 20)
    # The answer itself is outside of what DuckDB limits.
    statement = "SELECT range AS c0, range + 1 AS c1, range + 2 AS c2 FROM range(40000000)"
    plan = plans.plan(plans.stage(0, statement, ["BIGINT"] * 3))
    with pytest.raises(OutOfMemory) as caught:
        engine.run(plan)
    assert caught.value.origin.task == 0
    assert engine.run(grouped()).table.to_pylist() == grouped.expected()


def test_a_worker_that_does_not_listen_is_let_go_of(plans, scratch, monkeypatch):
    """Its socket is full, so that not even the word to stop gets through."""
    monkeypatch.setattr("starling_py.invokers.process._STOP_SECONDS", 0.3)
    location = LocalLocation(encode_path(str(scratch / "objects")))

    def worker(name):
        return WorkerProcess(name, size=1 << 30, store=location, scratch=scratch, access=S3Access())

    async def stuck(one):
        report = await one.run(plans.spec("SELECT 1::BIGINT AS c0", ["BIGINT"]))
        assert report.error is None
        os.kill(one.pid, signal.SIGSTOP)
        large = f"SELECT 1::BIGINT AS c0 -- {'x' * (8 << 20)}"
        task = asyncio.create_task(one.run(plans.spec(large, ["BIGINT"], nonce="large")))
        await asyncio.sleep(0.2)
        return task

    async def cancelled():
        one = worker("one")
        task = await stuck(one)
        task.cancel()
        assert task in (await asyncio.wait([task], timeout=20))[0]
        await one.close()

    async def closed():
        other = worker("other")
        task = await stuck(other)
        await asyncio.wait_for(other.close(), 20)
        with pytest.raises(WorkerDied):
            await task

    asyncio.run(cancelled())
    asyncio.run(closed())
