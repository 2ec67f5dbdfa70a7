"""Whole plans on functions: the same answers, also when functions fail, and nothing left."""

from __future__ import annotations

import pytest
from lambda_processes import until
from s3_servers import S3Server

from starling_py.events import TaskFinished
from starling_py.operators.errors import Cancelled, TaskTimedOut, WorkerDied
from starling_py.shuffle.meter import RequestCounts
from starling_py.shuffle.rows import whole


@pytest.fixture(params=["moto", "ministack"])
def server(request: pytest.FixtureRequest) -> S3Server:
    return request.getfixturevalue(request.param)


def test_a_plan_with_a_shuffle_through_s3(place, grouped):
    lamb = place.serve()
    answer = place.run(lamb, grouped())
    assert whole(answer.rows).to_pylist() == grouped.expected()
    statistics = lamb.statistics()
    assert (statistics.calls, statistics.failed) == (6, 0)
    assert (statistics.cold, statistics.warm) == (2, 4)
    counts = sum(
        (report.metrics.requests for reports in answer.reports.values() for report in reports),
        RequestCounts(),
    )
    assert counts.put == 6
    assert counts.get > 6


def test_small_outputs_travel_in_the_payload(place, grouped):
    lamb = place.serve()
    answer = place.run(lamb, grouped(), payload=1 << 20)
    assert whole(answer.rows).to_pylist() == grouped.expected()
    assert answer.requests.put == 0


def test_warm_instances_serve_the_next_query(place, grouped):
    lamb = place.serve()
    place.run(lamb, grouped(query="first"))
    answer = place.run(lamb, grouped(query="second"))
    assert whole(answer.rows).to_pylist() == grouped.expected()
    assert lamb.statistics().cold == 2


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.long)])
def test_a_plan_gets_over_faults(place, grouped, seed):
    events = []
    lamb = place.serve(
        faults={"seed": seed, "throttle": 0.2, "crash": 0.1, "timeout": 0.1, "unavailable": 0.1},
        timeout=30,
    )
    for query in "abc":
        answer = place.run(
            lamb, grouped(query=query), attempts=8, listeners=[events.append], workers=3
        )
        assert whole(answer.rows).to_pylist() == grouped.expected()
    assert lamb.statistics().throttled
    failed = [e.report.error.code for e in events if isinstance(e, TaskFinished) and e.report.error]
    assert set(failed) <= {WorkerDied.code, TaskTimedOut.code}
    assert len(failed) == lamb.statistics().failed > 0


def test_a_cancelled_query_returns_before_its_functions_end(place, plans):
    lamb = place.serve(timeout=60)
    statement = "SELECT count(*) AS c0 FROM range(1000000000000) a"
    plan = plans.plan(plans.stage(0, statement, ["BIGINT"], tasks=2), query="slow")
    with pytest.raises((Cancelled, TaskTimedOut)):
        place.run(lamb, plan, seconds=2.0)
    assert lamb.statistics().calls == 2
    # Its functions see the deadline in their specs, long before their own time-out.
    until(lambda: lamb.statistics().in_flight == 0, seconds=20)
    assert lamb.statistics().failed == 0
