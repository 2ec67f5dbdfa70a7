"""Whole plans, on threads and in processes: the same answers, the same errors, nothing left."""

from __future__ import annotations

import asyncio
import threading

import msgspec
import pytest

from starling_py.coordinator.driver import Driver
from starling_py.engine import Engine, EngineOptions
from starling_py.events import (
    QueryFailed,
    QueryFinished,
    QueryPlanned,
    StageFinished,
    StageStarted,
    TaskFinished,
    TaskStarted,
)
from starling_py.operators.errors import (
    Cancelled,
    FileChanged,
    TaskError,
    TaskFailed,
    TaskTimedOut,
)
from starling_py.operators.plan import Delivery
from starling_py.operators.task import HashPartitioning


def objects(engine):
    return list(engine._parts._invoker.store.list(""))  # noqa: SLF001


def test_a_plan_with_a_shuffle_is_answered(engine, grouped):
    result = engine.run(grouped())
    assert result.table.to_pylist() == grouped.expected()
    metrics = result.metrics
    assert (metrics.stages, metrics.tasks, len(result.reports)) == (3, 6, 6)
    assert metrics.shuffled_rows == 10_007
    assert metrics.shuffled_bytes >= 16 * 10_007
    assert metrics.requests.requests == 0
    assert metrics.seconds > 0
    assert all(peak > 10 << 20 for peak in metrics.peak_rss.values())
    assert objects(engine) == []


def test_queries_follow_one_another_on_the_same_workers(engine, grouped):
    names = set()
    for number in range(5):
        result = engine.run(grouped(query=f"q{number}"))
        assert result.table.to_pylist() == grouped.expected()
        names |= {report.worker for report in result.reports}
    assert len(names) == 2


def test_several_threads_may_run_queries_at_once(engine, grouped):
    grouped()
    answers = {}

    def run(number):
        plan = grouped(rows=1000 + number, query=f"q{number}")
        answers[number] = engine.run(plan).table.to_pylist()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert answers == {number: grouped.expected(1000 + number) for number in range(6)}
    assert objects(engine) == []


def test_an_engine_runs_inside_a_running_loop(engine, grouped):
    async def run():
        return engine.run(grouped())

    assert asyncio.run(run()).table.num_rows == 7


def test_an_empty_answer_has_its_columns(engine, plans):
    types = ["HUGEINT", "VARCHAR", "STRUCT(a INTEGER)"]
    plan = plans.plan(plans.stage(0, "SELECT 1::HUGEINT, 'a', {'a': 1} WHERE false", types))
    table = engine.run(plan).table
    assert table.num_rows == 0
    assert table.column_names == ["c0", "c1", "c2"]
    full = plans.plan(plans.stage(0, "SELECT 1::HUGEINT, 'a', {'a': 1}", types))
    assert engine.run(full).table.schema == table.schema


def test_the_answer_is_in_task_order(engine, plans):
    files = [plans.parquet(f"{n}.parquet", f"SELECT {n}::BIGINT AS x") for n in range(6)]
    scan = plans.scan({"x": "BIGINT"}, *[(file,) for file in files])
    plan = plans.plan(plans.stage(0, "SELECT x AS c0 FROM input_0", ["BIGINT"], [scan], tasks=6))
    assert engine.run(plan).table["c0"].to_pylist() == list(range(6))


def test_a_stage_may_have_several_readers_and_outputs(engine, plans):
    both = (HashPartitioning(("c0",), 4), HashPartitioning(("c0 % 2",), 2))
    plan = plans.plan(
        plans.stage(0, "SELECT range AS c0 FROM range(100)", ["BIGINT"], outputs=both),
        plans.stage(
            1, "SELECT sum(c0)::BIGINT FROM input_0", ["BIGINT"], [plans.read(0, "BIGINT")], tasks=4
        ),
        plans.stage(
            2,
            "SELECT count(*)::BIGINT FROM input_0",
            ["BIGINT"],
            [plans.read(0, "BIGINT", output=1)],
            tasks=2,
        ),
        plans.stage(
            3,
            "SELECT (SELECT sum(c0)::BIGINT FROM input_0), (SELECT sum(c0)::BIGINT FROM other)",
            ["BIGINT", "BIGINT"],
            [
                plans.read(1, "BIGINT", delivery=Delivery.EVERYTHING),
                plans.read(2, "BIGINT", delivery=Delivery.EVERYTHING, name="other"),
            ],
        ),
    )
    assert engine.run(plan).table.to_pylist() == [{"c0": 4950, "c1": 100}]


def test_settings_reach_every_task(engine, plans):
    statement = "SELECT current_setting('TimeZone')"
    for zone in ("Asia/Tokyo", "UTC"):
        plan = plans.plan(
            plans.stage(0, statement, ["VARCHAR"], tasks=3), settings={"TimeZone": zone}
        )
        assert engine.run(plan).table["c0"].to_pylist() == [zone] * 3


def test_a_failing_task_names_where_it_was(engine, plans):
    plan = plans.plan(
        plans.stage(0, "SELECT range AS c0 FROM range(3)", ["BIGINT"]),
        plans.stage(
            4,
            "SELECT CAST('x' || c0 AS INTEGER) FROM input_0",
            ["INTEGER"],
            [plans.read(0, "BIGINT")],
        ),
        query="q5",
    )
    with pytest.raises(TaskFailed, match="Could not convert string 'x0'") as caught:
        engine.run(plan)
    origin = caught.value.origin
    assert (origin.query, origin.stage, origin.task, origin.attempt) == ("q5", 4, 0, 1)
    assert objects(engine) == []


def test_a_changed_file_fails_the_query(engine, grouped):
    plan = grouped()
    scan = plan.stages[0].inputs[0]
    changed = msgspec.structs.replace(scan.splits[0][0], mtime_ns=1)
    scan = msgspec.structs.replace(scan, splits=((changed,), *scan.splits[1:]))
    stage = msgspec.structs.replace(plan.stages[0], inputs=(scan,))
    with pytest.raises(FileChanged, match=r"10000\.parquet changed"):
        engine.run(msgspec.structs.replace(plan, stages=(stage, *plan.stages[1:])))


def test_a_query_past_its_time_is_stopped(make_engine, isolation, slow, grouped):
    engine = make_engine(isolation, seconds=4.0)  # enough for the query below on a busy machine
    with pytest.raises(TaskTimedOut):
        engine.run(slow(tasks=3))
    assert engine.run(grouped()).table.num_rows == 7


def test_an_attempt_past_its_time_is_tried_again(make_engine, isolation, slow):
    events = []
    engine = make_engine(isolation, [events.append], attempt_seconds=0.3)
    with pytest.raises(TaskTimedOut) as caught:
        engine.run(slow())
    assert caught.value.origin.attempt == 2
    assert [e.attempt for e in events if isinstance(e, TaskStarted)] == [1, 2]


def test_closing_cancels_what_runs(make_engine, isolation, slow):
    started = threading.Event()
    engine = make_engine(isolation, [lambda e: isinstance(e, TaskStarted) and started.set()])
    errors = []

    def run():
        try:
            engine.run(slow(tasks=2))
        except Cancelled as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    assert started.wait(30)
    engine.close()
    thread.join(30)
    assert len(errors) == 1
    with pytest.raises(Cancelled, match="closed"):
        engine.run(slow())


def test_cancelled_tasks_in_the_queue_do_not_wait_for_others(make_engine, isolation, slow):
    engine = make_engine(isolation, workers=1, seconds=0.5)
    busy = threading.Thread(target=_time_out, args=(engine, slow("a")))
    busy.start()
    _time_out(engine, slow("b", tasks=3))
    busy.join(30)
    assert not busy.is_alive()


def _time_out(engine, plan):
    with pytest.raises(TaskTimedOut):
        engine.run(plan)


def test_a_forgotten_engine_ends(isolation, scratch, grouped, workers):
    engine = Engine(EngineOptions(workers=2, isolation=isolation, memory=1 << 30, scratch=scratch))
    engine.run(grouped())
    assert list(scratch.iterdir())
    before = threading.active_count()
    del engine
    assert list(scratch.iterdir()) == []
    assert workers() == []
    assert threading.active_count() < before


def test_events_tell_the_story(make_engine, isolation, grouped):
    events = []

    def broken(event):
        raise ValueError(event)

    engine = make_engine(isolation, [broken, events.append])
    plan = grouped()
    more = []
    engine.run(plan, [more.append])
    assert events == more
    kinds = [type(event) for event in events]
    assert kinds[:2] == [QueryPlanned, StageStarted]
    assert kinds[-1] is QueryFinished
    assert kinds.count(TaskStarted) == kinds.count(TaskFinished) == 6
    finished = [event for event in events if isinstance(event, StageFinished)]
    assert [event.stage.id for event in finished] == [0, 1, 2]
    assert [len(event.reports) for event in finished] == [3, 2, 1]
    events.clear()
    bad = msgspec.structs.replace(plan.stages[0], statement="SELECT nothing")
    with pytest.raises(TaskFailed):
        engine.run(msgspec.structs.replace(plan, stages=(bad, *plan.stages[1:])))
    assert isinstance(events[-1], QueryFailed)
    assert events[-1].error.code == TaskFailed.code


def test_a_store_past_its_memory_spills(make_engine, plans):
    engine = make_engine("thread", memory=64 << 20)
    rows = 3_000_000
    plan = plans.plan(
        plans.stage(
            0,
            f"SELECT range AS c0, range AS c1 FROM range({rows})",
            ["BIGINT", "BIGINT"],
            outputs=(HashPartitioning(("c0",), 4),),
        ),
        plans.stage(
            1,
            "SELECT count(*), sum(c1)::BIGINT FROM input_0",
            ["BIGINT", "BIGINT"],
            [plans.read(0, "BIGINT", "BIGINT")],
            tasks=2,
        ),
    )
    table = engine.run(plan).table
    assert sum(table["c0"].to_pylist()) == rows
    assert sum(table["c1"].to_pylist()) == rows * (rows - 1) // 2
    assert engine._parts._invoker.store.spilled_bytes > 0  # noqa: SLF001


def test_an_engine_needs_a_worker():
    with pytest.raises(ValueError, match="at least one worker"):
        Engine(EngineOptions(workers=0))


def test_an_engine_that_is_closed_while_a_run_begins_ends_it(make_engine, grouped, monkeypatch):
    engine = make_engine("thread")
    engine.run(grouped())

    def late(*given, **named):
        engine.close()
        return Driver(*given, **named)

    monkeypatch.setattr("starling_py.engine.Driver", late)
    with pytest.raises(Cancelled, match="the engine is closed"):
        engine.run(grouped(query="late"))


def test_a_run_that_the_loop_leaves_behind_ends(make_engine, slow, monkeypatch):
    engine = make_engine("thread")
    begun, failed = threading.Event(), []

    def run():
        try:
            engine.run(slow(), [lambda _: begun.set()])
        except Cancelled as error:
            failed.append(str(error))

    async def stop(*_):
        """Do not wait for drivers, as if one did not end."""

    monkeypatch.setattr(engine._parts, "_stop", stop)  # noqa: SLF001
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert begun.wait(60)
    invoker = engine._parts._invoker  # noqa: SLF001
    engine.close()
    asyncio.run(invoker.close())
    thread.join(60)
    assert failed == ["the engine is closed"]


def test_what_an_engine_holds_goes_even_if_its_workers_do_not_end(make_engine, grouped, scratch):
    # Those of other tests, if garbage holds them.
    before = set(threading.enumerate())
    engine = make_engine("thread")
    engine.run(grouped())
    invoker = engine._parts._invoker  # noqa: SLF001
    end = invoker.close

    async def fail():
        await end()
        raise OSError("no")

    invoker.close = fail
    with pytest.raises(OSError, match="no"):
        engine.close()
    assert list(scratch.iterdir()) == []
    names = {thread.name for thread in set(threading.enumerate()) - before}
    assert not any(name.startswith("starling-coordinator") for name in names)


def test_a_worker_thread_that_breaks_tells_so_and_goes_on(make_engine, grouped, monkeypatch):
    def broken(*_, **__):
        raise MemoryError

    engine = make_engine("thread", seconds=20.0)
    with monkeypatch.context() as patched:
        patched.setattr("starling_py.invokers.threads.run_task", broken)
        with pytest.raises(TaskError, match="MemoryError"):
            engine.run(grouped())
    assert engine.run(grouped(query="again")).table.to_pylist() == grouped.expected()
