"""Where prices come from, and what a run costs by them."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import starling_py
from starling_py import RequestCounts
from starling_py.errors import UsageError
from starling_py.operators.plan import Cost, Estimate, Stage, StagePlan
from starling_py.operators.task import SinglePartition, TaskMetrics
from starling_py.prices import (
    PLACE_VARIABLE,
    PRICES_VARIABLE,
    FunctionSize,
    Prices,
    Pricing,
    client_place,
    load_prices,
    price_run,
    request_dollars,
)
from starling_py.shuffle.prices import FunctionUse
from starling_py.shuffle.s3_options import S3Options

GIBIBYTE = 1 << 30
ROUND = Prices(
    get=1.0,
    put=10.0,
    kms=0.5,
    internet=100.0,
    other_region=50.0,
    call=1000.0,
    arm64=7.0,
    x86_64=8.0,
)
ONE_GIGABYTE = FunctionSize(GIBIBYTE, "arm64")
NOTHING = RequestCounts()
FREE = (Cost(),)


def plan(*costs: Cost) -> StagePlan:
    stages = tuple(
        Stage(at, "", "", (), (), (SinglePartition(),), 1, 1, Estimate(0.0, 0.0), cost=cost)
        for at, cost in enumerate(costs)
    )
    return StagePlan("q", "", stages, (), (), ())


def priced(attempts, requests=NOTHING, *, costs=FREE, **options):
    chosen = {"functions": True, "remote_scratch": True, "options": S3Options} | options
    pricing = Pricing(ROUND, ONE_GIGABYTE, **chosen)
    return price_run(plan(*costs), attempts, requests, pricing)


# The table


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("p.toml", 'region = "eu-west-1"\nget = 0.5\n'),
        ("p.json", '{"region": "eu-west-1", "get": 0.5}'),
    ],
)
def test_a_file_says_what_differs(tmp_path, monkeypatch, name, text):
    path = tmp_path / name
    path.write_text(text)
    expected = msgspec.structs.replace(Prices(), region="eu-west-1", get=0.5)
    assert load_prices(path) == expected
    assert load_prices() == Prices()
    monkeypatch.setenv(PRICES_VARIABLE, str(path))
    assert load_prices() == expected
    with starling_py.connect() as connection:
        assert connection.config.prices == expected
    with starling_py.connect(prices=ROUND) as connection:
        assert connection.config.prices == ROUND


@pytest.mark.parametrize(
    "text", ["got = 1.0", "get = -1.0", 'get = "much"', "get = nan", "get =", "\xff"]
)
def test_a_file_with_something_else_is_refused(tmp_path, text):
    path = tmp_path / "p.toml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(UsageError, match=r"p\.toml"):
        load_prices(path)
    with pytest.raises(UsageError, match="cannot read"):
        load_prices(tmp_path / "missing.toml")


# Requests and bytes


@given(st.builds(RequestCounts, *[st.integers(0, 10**6)] * 5, kms=st.integers(0, 10**6)))
def test_requests_by_kind(counts):
    expected = counts.get + counts.head + 10 * (counts.put + counts.list) + counts.kms / 2
    assert request_dollars(counts, ROUND) == pytest.approx(expected)
    assert priced((), counts).paid == pytest.approx(expected)


@pytest.mark.parametrize(
    ("place", "dollars"), [("us-east-1", 0.0), ("eu-west-1", 100.0), ("internet", 200.0)]
)
def test_bytes_that_leave_the_region(place, dollars, monkeypatch):
    monkeypatch.setenv(PLACE_VARIABLE, place)
    inside = TaskMetrics(requests=RequestCounts(bytes_in=3 * GIBIBYTE))
    asked = RequestCounts(bytes_in=5 * GIBIBYTE, bytes_out=9 * GIBIBYTE)
    on_functions = priced((inside,), asked)
    assert on_functions.dollars == pytest.approx(1000.0 + dollars)
    # Tasks that run here have fetched all of it.
    here = priced((inside,), asked, functions=False)
    assert here.paid == pytest.approx(dollars * 5 / 2)


@pytest.mark.parametrize(
    ("told", "options", "place"),
    [
        ("internet", S3Options(), "internet"),
        ("eu-west-1", S3Options(region="eu-west-1"), "region"),
        ("US-EAST-1", S3Options(), "region"),
        ("eu-west-1", S3Options(), "other_region"),
        (None, S3Options(endpoint="http://localhost:1"), "region"),
    ],
)
def test_where_this_machine_is(told, options, place):
    assert client_place(options, {PLACE_VARIABLE: told} if told else {}) == place
    assert client_place(S3Options(), {"AWS_EXECUTION_ENV": "AWS_ECS_FARGATE"}) == "region"


# Calls and seconds


def test_coordinators_are_paid_beside_the_tasks(monkeypatch):
    monkeypatch.setenv(PLACE_VARIABLE, "internet")
    used = FunctionUse(3, 2.5, FunctionSize(2 * GIBIBYTE, "arm64"))
    # What they fetch does not leave the region.
    asked = RequestCounts(bytes_in=5 * GIBIBYTE)
    alone, with_them = priced((), coordinators=FunctionUse()), priced((), asked, coordinators=used)
    assert alone.items == ()
    lines = {item.name: (item.quantity, item.dollars) for item in with_them.items}
    assert lines == {
        "calls of coordinators": (3, 3 * ROUND.call),
        "coordinators": (5.0, 5.0 * ROUND.arm64),
    }


def test_functions_are_paid_by_the_call_in_whole_milliseconds():
    twice = FunctionSize(2 * GIBIBYTE, "arm64")
    attempts = (
        TaskMetrics(seconds=0.5, called_seconds=1.0001, function=twice),
        TaskMetrics(seconds=0.0001, called_seconds=0.0101, function=twice),
        TaskMetrics(),  # of a function that died
    )
    price = priced(attempts, costs=(Cost(1, 1, 1, 9.0, 9.0, 9.0, 9.0),))
    assert price.dollars == pytest.approx(3 * 1000.0 + (1.001 + 0.011) * 2 * 7.0)
    assert price.size == twice
    assert not price.estimated


def test_what_ran_here_is_an_estimate():
    cores = ONE_GIGABYTE.cores
    costs = (Cost(scan_gets=4, exchange_gets=2, puts=3, waiting_seconds=0.5),)
    work = (TaskMetrics(seconds=99.0, cpu_seconds=cores),)
    price = priced(work, costs=costs, functions=False, remote_scratch=False)
    assert price.dollars == pytest.approx(4 + 2 + 30 + 1000 + 1.5 * 7.0)
    assert price.paid == 0.0
    assert all(item.estimated for item in price.items)
    # What was handed over through S3 is not estimated once more.
    remote = priced(work, costs=costs, functions=False, remote_scratch=True)
    assert remote.dollars == pytest.approx(4 + 1000 + 1.5 * 7.0)


def test_a_run_has_its_price(data):
    sql = "SELECT k, count(*) FROM t GROUP BY k"
    with starling_py.connect(data, tasks=3, prices=Prices(call=1.0)) as connection:
        expected = connection.explain(sql)
        run = connection.execute(sql).run
    assert run.price.estimated
    assert run.price.paid == 0.0
    calls = next(item for item in run.price.items if item.name == "calls")
    assert (calls.quantity, calls.dollars) == (run.tasks, float(run.tasks))
    assert run.price.dollars > calls.dollars
    assert expected.dollars == pytest.approx(sum(s.cost.dollars for s in expected.stages))
    assert all(stage.cost.dollars >= stage.tasks for stage in expected.stages)
