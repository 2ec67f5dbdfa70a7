"""The price of a plan before it runs: its requests are those that the tasks' specs ask for."""

from __future__ import annotations

import itertools

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from starling_py.coordinator.specs import task_spec
from starling_py.operators.plan import (
    Combining,
    Delivery,
    Estimate,
    ExchangeRead,
    ScanRead,
    Stage,
    StagePlan,
)
from starling_py.operators.task import (
    HashPartitioning,
    InputColumn,
    SamePartitions,
    ShuffleInput,
    SinglePartition,
    TaskReport,
)
from starling_py.planner.price import priced
from starling_py.planner.sizing import PlanOptions
from starling_py.shuffle.index import ObjectIndex, PartitionEntry
from starling_py.shuffle.prices import FunctionSize, Prices

COLUMNS = (InputColumn("c0", "BIGINT"),)
SINGLE = (SinglePartition(),)
OPTIONS = PlanOptions(None, 4, 4, 4 << 30, payload=0)


def stage(number, tasks, reads=(), outputs=SINGLE, *, bytes_=1e6, combining=None):
    return Stage(
        number,
        "",
        "SELECT 1",
        COLUMNS,
        tuple(reads),
        outputs,
        tasks,
        1,
        Estimate(1.0, bytes_),
        combining=combining,
    )


def read(number, delivery, output=0):
    return ExchangeRead("input_0", number, output, delivery, COLUMNS)


def gets_of_specs(stages: tuple[Stage, ...], number: int) -> int:
    """Return how many runs of partitions the tasks of a stage are told to read."""
    plan = StagePlan("q", "", stages, (), (), ())
    reports = {each.id: [_report(each, task) for task in range(each.tasks)] for each in stages}
    found = 0
    for task in range(stages[number].tasks):
        spec = task_spec(
            plan, stages[number], task, 0, reports=reports, nonce="", memory_limit=1, deadline=1.0
        )
        found += sum(len(i.runs) for i in spec.inputs if isinstance(i, ShuffleInput))
    return found


def _report(each: Stage, task: int) -> TaskReport:
    count = sum(output.count for output in each.outputs)
    entry = PartitionEntry(0, 1, 1, 0)
    index = ObjectIndex("nonce", (entry,) * count)
    return TaskReport("q", each.id, task, 0, "w", index=index)


@given(
    st.integers(1, 12),
    st.integers(1, 12),
    st.integers(1, 24),
    st.sampled_from([Delivery.PARTITIONED, Delivery.EVERYTHING, Delivery.ALIGNED]),
)
def test_gets_of_an_exchange(producers, consumers, partitions, delivery):
    stages = (
        stage(0, producers, outputs=(HashPartitioning(("c0",), partitions),)),
        stage(1, consumers, [read(0, delivery)]),
    )
    made = priced(stages, OPTIONS)
    # The last stage's output is fetched by the coordinator.
    assert made[1].cost.exchange_gets == gets_of_specs(stages, 1) + consumers
    assert [each.cost.puts for each in made] == [producers, consumers]


@settings(max_examples=50)
@given(st.integers(1, 8), st.integers(1, 8), st.integers(1, 4), st.integers(1, 4))
def test_gets_through_combiners(producers, consumers, groups, runs):
    partitions = 4 * consumers
    groups, runs = min(groups, consumers), min(runs, producers)
    stages = (
        stage(0, producers, outputs=(HashPartitioning(("c0",), partitions),)),
        stage(
            1,
            groups * runs,
            [read(0, Delivery.COMBINED)],
            (SamePartitions(partitions),),
            combining=Combining(groups, runs),
        ),
        stage(2, consumers, [read(1, Delivery.PARTITIONED)]),
    )
    made = priced(stages, OPTIONS)
    assert made[1].cost.exchange_gets == gets_of_specs(stages, 1)
    assert made[2].cost.exchange_gets == gets_of_specs(stages, 2) + consumers


def test_small_outputs_travel_without_requests():
    options = msgspec.structs.replace(Prices(), call=0.0)
    stages = (
        stage(0, 4, outputs=(HashPartitioning(("c0",), 8),), bytes_=1000.0),
        stage(1, 2, [read(0, Delivery.PARTITIONED)], bytes_=10.0),
    )
    made = priced(stages, PlanOptions(None, 4, 4, 4 << 30, prices=options))
    assert [each.cost.puts for each in made] == [0, 0]
    assert [each.cost.exchange_gets for each in made] == [0, 0]
    assert all(each.cost.dollars > 0 for each in made)


def test_dollars_follow_the_prices():
    scan = ScanRead("input_0", "t", (), ((), ()), bytes=1e8, gets=10.0)
    stages = (stage(0, 2, [scan], bytes_=1e3),)
    free = Prices(get=0, put=0, call=0, arm64=0, x86_64=0)

    def dollars(**changed: float) -> float:
        prices = msgspec.structs.replace(free, **changed)
        options = PlanOptions(None, 4, 4, 4 << 30, payload=0, prices=prices)
        return priced(stages, options)[0].cost.dollars

    assert dollars() == 0
    assert dollars(get=1.0) == 12.0
    assert dollars(put=1.0) == 2.0
    assert dollars(call=1.0) == 2.0
    seconds = priced(stages, OPTIONS)[0].cost.seconds
    assert dollars(arm64=1.0) == pytest.approx(seconds * FunctionSize().gigabytes)
    assert dollars(x86_64=1.0) == 0


def test_replicated_tables_are_fetched_by_every_task():
    costs = [
        priced(
            (stage(0, 3, [ScanRead("i", "t", (), ((),), replicated, bytes=1e8, gets=10.0)]),),
            OPTIONS,
        )[0].cost
        for replicated in (False, True)
    ]
    assert [cost.scan_gets for cost in costs] == [10, 30]
    assert costs[0].seconds < costs[1].seconds
    assert all(a < b for a, b in itertools.pairwise(cost.dollars for cost in costs))
