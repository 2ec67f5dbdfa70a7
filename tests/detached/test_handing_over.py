"""Queries that outlive their coordinators: handed over, killed, left alone; tasks divided."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

import msgspec
import pytest
from lambda_processes import until

from starling_py.detached.calling import start
from starling_py.detached.errors import CoordinatorLost
from starling_py.detached.files import QueryFiles
from starling_py.detached.state import Planned, Request, Start
from starling_py.events import QueryFinished, QueryPlanned, StageFinished, TaskFinished
from starling_py.invokers.function_client import FunctionClient
from starling_py.leftovers import new_query_id
from starling_py.operators.plan import Delivery
from starling_py.shuffle.locations import S3Location
from starling_py.shuffle.meter import RequestCounts
from starling_py.worker.payload import VERSION

WORKER, COORDINATOR = "starling-worker", "starling-coordinator"
SQL = "SELECT k % 4001 AS g, sum(k) AS s FROM numbers GROUP BY g ORDER BY g"
ROWS = [(g, sum(range(g, 10_000, 4001))) for g in range(4001)]
TASKS = 10


def files_of(cloud, query: str) -> QueryFiles:
    store = cloud.server.store(cloud.prefix)
    cloud.stack.callback(store.close)
    return QueryFiles(store, query)


def processes(lamb, function: str) -> list[int]:
    found = []
    for pid in lamb.processes():
        with contextlib.suppress(OSError):
            if f"FUNCTION_NAME={function}\0".encode() in Path(f"/proc/{pid}/environ").read_bytes():
                found.append(pid)
    return found


def rows(queries, query: str, ending) -> list:
    result, _ = queries.answer(query, ending)
    return result.fetch()


def test_a_coordinator_hands_over_when_its_time_is_up(numbers):
    lamb = numbers.serve(coordinator={"timeout": 8}, faults={"latency": 0.6})
    queries, events = numbers.queries(), []
    query = numbers.detach(SQL, "--tasks", TASKS)
    ending = queries.wait(query, [events.append], seconds=100)
    assert ending.error is None, ending.error
    assert rows(queries, query, ending) == ROWS
    # Of the coordinators before the last one too, each of which had some four seconds.
    assert ending.used.calls == lamb.statistics(COORDINATOR).calls
    assert ending.used.seconds > 4 * (ending.used.calls - 1)
    coordinators, tasks = lamb.statistics(COORDINATOR), len(ending.reports)
    assert coordinators.calls >= 2
    # Of what had committed nothing was done again; what ran at a hand-over may have been.
    assert lamb.statistics(WORKER).calls <= tasks + 2 * (coordinators.calls - 1)
    told = [event for event in events if isinstance(event, TaskFinished)]
    assert len(told) == len({(e.report.stage, e.report.task) for e in told}) == tasks
    kinds = [type(event) for event in events]
    assert (kinds[0], kinds[-1]) == (QueryPlanned, QueryFinished)
    assert kinds.count(StageFinished) == len(ending.planned.plan.stages)
    assert sorted(numbers.left()) == ["detached/ending", "stage-0002/task-000000.shuffle"]


def test_a_coordinator_that_is_killed_is_called_again(numbers):
    lamb = numbers.serve(faults={"latency": 0.3})
    queries = numbers.queries()
    query = numbers.detach(SQL, "--tasks", TASKS)
    files = files_of(numbers, query)

    def committed() -> bool:
        saved = files.saved(files.look().state) if files.look().state else None
        return saved is not None and saved.progress.committed > 1

    until(committed)
    (process,) = processes(lamb, COORDINATOR)
    os.kill(process, signal.SIGKILL)
    ending = queries.wait(query, seconds=100)
    assert rows(queries, query, ending) == ROWS
    assert lamb.statistics(COORDINATOR).calls == 2
    assert lamb.statistics(COORDINATOR).failed == 1
    assert lamb.statistics(WORKER).calls < 2 * len(ending.reports)
    assert sorted(numbers.left()) == ["detached/ending", "stage-0002/task-000000.shuffle"]


def test_whoever_waits_calls_a_successor_when_nothing_happens(numbers):
    with contextlib.ExitStack() as first:
        numbers.stack, kept = first, numbers.stack
        numbers.serve(faults={"latency": 0.3})
        query = numbers.detach(SQL, "--tasks", TASKS)
        files = files_of(numbers, query)
        until(lambda: files.look().state)
        numbers.stack = kept
    # All of that Lambda is gone, and with it whatever would have repeated the call.
    lamb = numbers.serve()
    queries = numbers.queries(silence_seconds=5.0)
    ending = queries.wait(query, seconds=100)
    assert rows(queries, query, ending) == ROWS
    assert lamb.statistics(COORDINATOR).calls >= 1


def test_whoever_waits_is_told_when_nobody_does_anything(numbers):
    lamb = numbers.serve(coordinator={"handler": "json.dumps"})
    query = numbers.detach(SQL)
    with pytest.raises(CoordinatorLost, match="called 3 times and does nothing"):
        numbers.queries(silence_seconds=0.2).wait(query, seconds=100)
    until(lambda: lamb.statistics(COORDINATOR).in_flight == 0)
    assert lamb.statistics(WORKER).calls == 0


def test_the_later_of_two_coordinators_goes_on(numbers):
    lamb = numbers.serve(faults={"latency": 0.4})
    queries = numbers.queries()
    query = numbers.detach(SQL, "--tasks", TASKS)
    files = files_of(numbers, query)
    until(lambda: files.look().state)
    client = FunctionClient(COORDINATOR, connections=1, region="us-east-1")
    numbers.stack.callback(client.close)
    place = S3Location("starling-tests", numbers.prefix, numbers.server.options())
    # The same event again does nothing; one that says that the first is gone takes over.
    start(client, Start(VERSION, place, query, after=0))
    start(client, Start(VERSION, place, query, after=1))
    until(lambda: files.look().claim == 2 or files.look().has_ending)
    ending = queries.wait(query, seconds=100)
    assert rows(queries, query, ending) == ROWS
    until(lambda: lamb.statistics(COORDINATOR).in_flight == 0)
    assert lamb.statistics(COORDINATOR).calls == 3
    assert lamb.statistics(COORDINATOR).failed == 0
    assert sorted(numbers.left()) == ["detached/ending", "stage-0002/task-000000.shuffle"]


def test_a_query_gets_over_faults(numbers):
    lamb = numbers.serve(
        faults={"seed": 2, "throttle": 0.2, "crash": 0.15, "timeout": 0.1, "unavailable": 0.1}
    )
    queries = numbers.queries(silence_seconds=8.0)
    query = numbers.detach(SQL, "--tasks", 6, "--doublewrite")
    ending = queries.wait(query, seconds=200)
    assert ending.error is None, ending.error
    assert rows(queries, query, ending) == ROWS
    until(lambda: lamb.statistics(COORDINATOR).in_flight == 0)
    assert lamb.statistics(WORKER).failed + lamb.statistics(COORDINATOR).failed > 0
    left = {key for key in numbers.left() if not key.startswith("copy/")}
    assert left >= {"detached/ending", "stage-0002/task-000000.shuffle"}


STUCK = """
SELECT c0, c1 FROM (SELECT s AS c0, n AS c1, (SELECT count(*)
    FROM range(CASE WHEN n > 3000 THEN 1000000000000 ELSE 1 END)) AS c2
    FROM (SELECT sum(x)::BIGINT AS s, count(*) AS n FROM input_0)) WHERE c2 > 0
"""
"""Never ends for more than 3000 rows."""


@pytest.fixture
def stuck(plans, cloud):
    """A plan of two tasks of which each is too much for a worker, and the sum of their rows."""
    file = plans.parquet("x.parquet", "SELECT range AS x FROM range(10000)")
    remote = cloud.upload("x.parquet", (plans.folder / "x.parquet").read_bytes(), file)
    splits = [
        (msgspec.structs.replace(remote, first_row=first, last_row=first + 5000),)
        for first in (0, 5000)
    ]
    scan = plans.stage(
        0, STUCK, ["BIGINT", "BIGINT"], [plans.scan({"x": "BIGINT"}, *splits)], tasks=2
    )
    total = plans.stage(
        1,
        "SELECT sum(c0)::BIGINT AS c0, max(c1) AS c1 FROM input_0",
        ["BIGINT", "BIGINT"],
        [plans.read(0, "BIGINT", "BIGINT", delivery=Delivery.EVERYTHING)],
    )
    return plans.plan(msgspec.structs.replace(scan, divisible=True), total)


def test_a_task_that_takes_too_long_is_divided(cloud, stuck):
    lamb = cloud.serve(worker={"timeout": 6})
    queries = cloud.queries()
    query = new_query_id(os.urandom(4).hex())
    files = files_of(cloud, query)
    files.put_request(
        Request("", None, (), None, 2, "auto", False, WORKER, queries.options, time.time() + 100)
    )
    files.settle_plan(Planned(msgspec.structs.replace(stuck, query=query), RequestCounts()))
    client = FunctionClient(COORDINATOR, connections=1, region="us-east-1")
    cloud.stack.callback(client.close)
    place = S3Location("starling-tests", cloud.prefix, cloud.server.options())
    start(client, Start(VERSION, place, query))
    events = []
    ending = queries.wait(query, [events.append], seconds=100)
    assert ending.error is None, ending.error
    ((total, most),) = rows(queries, query, ending)
    assert total == sum(range(10_000))
    assert most <= 3000
    assert len(ending.reports) >= 5
    assert len([e for e in events if isinstance(e, StageFinished)]) == 2
    assert lamb.statistics(WORKER).calls == len(ending.reports) + 2
