"""Combiners: what they cost, where they are put, and that answers stay what they are."""

from __future__ import annotations

import math
from dataclasses import replace

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from starling_py.operators.plan import (
    Combining,
    Delivery,
    Estimate,
    ExchangeRead,
    ScanRead,
    Stage,
)
from starling_py.operators.task import (
    HashPartitioning,
    InputColumn,
    SamePartitions,
    SinglePartition,
)
from starling_py.planner.combining import chosen_combiners, with_combiners
from starling_py.planner.placement import JoinPlacement, Way
from starling_py.planner.plan import PlanOptions
from starling_py.planner.shuffle_cost import (
    Exchange,
    cheapest,
    combined_gets,
    direct_gets,
    dollars,
)
from starling_py.shuffle.prices import Prices

PRICES = Prices()
GIBIBYTE = 1 << 30
COLUMNS = (InputColumn("c0", "BIGINT"),)
SINGLE = (SinglePartition(),)


def exchange(s, *r, bytes_=0.0, workers=1000, memory=3.0 * GIBIBYTE):
    return Exchange(s, r, 4 * max(r), bytes_, workers, memory)


EXCHANGES = st.builds(
    lambda s, r, times, bytes_, workers: exchange(s, *[r] * times, bytes_=bytes_, workers=workers),
    st.integers(1, 600),
    st.integers(1, 200),
    st.integers(1, 3),
    st.floats(0, 1e12),
    st.integers(1, 1000),
)


# What it costs


def test_figures_of_the_paper():
    # The paper's readers also fetch each header: 131,072 and 368,640.
    assert direct_gets(exchange(512, 128)) == 131_072 // 2
    large = exchange(5120, 1280)
    assert direct_gets(large) * PRICES.get == pytest.approx(5.24 / 2, rel=0.01)
    split = Combining(20, 64)
    assert split.partition_groups * split.producer_groups == 1280
    assert combined_gets(large, split) == 368_640 // 2


@given(st.integers(1, 30), st.integers(1, 30), st.integers(1, 500), st.integers(1, 500))
def test_gets_with_combiners(groups, readers_of_each, s, objects):
    r = groups * readers_of_each
    objects = min(objects, s)
    found = combined_gets(exchange(s, r), Combining(groups, objects))
    assert found == s * groups + r * objects
    # The best split of as many combiners.
    assert found >= 2 * math.sqrt(groups * objects * s * r) - 1e-6
    best = math.sqrt(groups * objects * r / s)
    assert s * best + r * groups * objects / best == pytest.approx(
        2 * math.sqrt(groups * objects * s * r)
    )


def test_readers_between_two_groups_read_twice_as_much():
    assert combined_gets(exchange(10, 3), Combining(2, 5)) == 10 * 2 + 4 * 5


@given(EXCHANGES, st.sampled_from([0.0, 0.001, 10.0]))
@example(exchange(786, 1, bytes_=1.8e9, workers=273), 10.0)
def test_never_more_expensive_than_direct(wanted, waiting):
    # Nor when nobody likes to wait, and combiners are faster.
    split = cheapest(wanted, PRICES, waiting=waiting)
    if split is not None:
        assert dollars(wanted, split, PRICES) < dollars(wanted, None, PRICES)


@given(EXCHANGES)
def test_forced_combiners_fit(wanted):
    split = cheapest(wanted, PRICES, forced=True)
    assert 1 <= split.partition_groups <= min(wanted.consumers)
    assert 1 <= split.producer_groups <= wanted.producers
    count = split.partition_groups * split.producer_groups
    assert count >= min(wanted.producers, *wanted.consumers, wanted.workers)
    # What came in and what goes out, in half of the memory.
    most = wanted.producers * min(wanted.consumers)
    assert count >= min(2 * wanted.bytes / (wanted.memory / 2), most / 4)


def test_large_exchanges_are_combined_and_small_ones_are_not():
    small = cheapest(exchange(8, 8, bytes_=1e8), PRICES)
    large = cheapest(exchange(512, 128, bytes_=1e9), PRICES)
    assert small is None
    assert large is not None
    assert 128 % large.partition_groups == 0
    assert 512 % large.producer_groups == 0
    # Bytes that move twice more can cost more than the requests.
    assert cheapest(exchange(512, 128, bytes_=1e12), PRICES) is None
    # Who waits for nothing pays for nothing.
    assert cheapest(exchange(16, 16), PRICES) is None
    assert cheapest(exchange(16, 16), PRICES, waiting=0) is not None


@given(EXCHANGES)
def test_all_readers_count(wanted):
    times = len(wanted.consumers)
    single = replace(wanted, consumers=wanted.consumers[:1])
    assert direct_gets(wanted) == times * direct_gets(single)
    split = Combining(1, wanted.producers)
    read_once = wanted.producers
    assert combined_gets(wanted, split) - read_once == times * (
        combined_gets(single, split) - read_once
    )


# Where they are put


def stage(number, tasks, reads=(), outputs=SINGLE):
    return Stage(
        number, "", "SELECT 1", COLUMNS, tuple(reads), outputs, tasks, 1, Estimate(1.0, 1e9)
    )


def read(number, delivery, output=0):
    return ExchangeRead("input_0", number, output, delivery, COLUMNS)


HASHED = HashPartitioning(("c0",), 16)


def chain():
    return (
        stage(0, 6, outputs=(HASHED, SinglePartition(), HashPartitioning(("c1",), 16))),
        stage(1, 4, [read(0, Delivery.PARTITIONED), read(0, Delivery.EVERYTHING, 1)], (HASHED,)),
        stage(2, 4, [read(0, Delivery.PARTITIONED, 2), read(1, Delivery.PARTITIONED)]),
        stage(3, 4, [read(0, Delivery.PARTITIONED), read(0, Delivery.ALIGNED)]),
        stage(4, 1, [read(2, Delivery.EVERYTHING), read(3, Delivery.EVERYTHING)]),
    )


def test_one_combiner_stage_stands_before_all_reads_by_partition():
    asked = []

    def choose(producer, partitions, consumers):
        asked.append((producer.id, partitions, consumers))
        return Combining(2, 3) if len(consumers) > 1 else None

    made = with_combiners(chain(), choose)
    assert asked == [(0, 16, (4, 4)), (0, 16, (4,)), (1, 16, (4,))]
    assert [each.id for each in made] == [0, 1, 2, 3, 4, 5]
    combiner = made[1]
    assert (combiner.combining, combiner.tasks, combiner.threads) == (Combining(2, 3), 6, 1)
    assert (combiner.statement, combiner.columns) == ("", COLUMNS)
    assert combiner.outputs == (SamePartitions(16),)
    assert combiner.inputs == (ExchangeRead("input_0", 0, 0, Delivery.COMBINED, COLUMNS),)
    reads = [[(r.stage, r.output, r.delivery) for r in each.inputs] for each in made]
    assert reads[2:] == [
        [(1, 0, Delivery.PARTITIONED), (0, 1, Delivery.EVERYTHING)],
        [(0, 2, Delivery.PARTITIONED), (2, 0, Delivery.PARTITIONED)],
        [(1, 0, Delivery.PARTITIONED), (0, 0, Delivery.ALIGNED)],
        [(3, 0, Delivery.EVERYTHING), (4, 0, Delivery.EVERYTHING)],
    ]


@pytest.mark.parametrize(
    ("shuffle", "remote", "combiners"),
    [("direct", True, 0), ("auto", True, 1), ("auto", False, 0), ("combined", False, 1)],
)
def test_options(shuffle, remote, combiners):
    many = (
        stage(0, 512, outputs=(HashPartitioning(("c0",), 512),)),
        stage(1, 128, [read(0, Delivery.PARTITIONED)]),
    )
    options = PlanOptions(
        None, 500, 500, 500 * 3 * GIBIBYTE, shuffle=shuffle, remote_shuffle=remote
    )
    made = chosen_combiners(many, options)
    assert sum(each.combining is not None for each in made) == combiners


def test_free_requests_and_workers_need_no_combiners():
    many = (
        stage(0, 512, outputs=(HashPartitioning(("c0",), 512),)),
        stage(1, 128, [read(0, Delivery.PARTITIONED)]),
    )
    free = Prices(get=0, arm64=0)
    options = PlanOptions(None, 500, 500, 500 * 3 * GIBIBYTE, remote_shuffle=True, prices=free)
    assert chosen_combiners(many, options) == many


# What they answer

STATEMENTS = (
    "SELECT k, count(*) AS n, min(g) AS g, sum(v) AS v FROM l GROUP BY k",
    "SELECT g, string_agg(k::VARCHAR, ',' ORDER BY id) AS t FROM l GROUP BY g",
    "SELECT DISTINCT d, g FROM l",
    "SELECT l.id, r.id2, name FROM l JOIN r ON k = k2 JOIN u ON id = uk",
    "SELECT id, id2 FROM l FULL JOIN r ON k = k2",
    "SELECT id, h FROM l LEFT JOIN r ON k = k2 AND x > 0.5",
    "SELECT count(*) AS n FROM l JOIN r ON k = k2",
    "SELECT id FROM l WHERE NOT EXISTS (SELECT 1 FROM r WHERE k = k2)",
    "WITH c AS (SELECT k, max(id) AS m FROM l GROUP BY k) "
    "SELECT a.k, b.m FROM c a JOIN c b ON a.k = b.k JOIN r ON a.k = k2",
    "SELECT k FROM l INTERSECT SELECT k2 FROM r",
    "SELECT k5, count(*) AS n FROM empty FULL JOIN few ON a = k5 GROUP BY k5",
)


def plan_by_hash(world, sql, tasks, shuffle):
    """Plan a statement with exchanges by hash where it can have them."""

    def choose(self):
        return min(self.ways(), key=lambda choice: (choice.way is not Way.HASH, choice.cost))

    options = PlanOptions(tasks, 4, 4, GIBIBYTE, small_rows=0, few_groups=0, shuffle=shuffle)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(JoinPlacement, "choose", choose)
        return world.planner.plan(sql, world.catalog, options, "test")


@given(
    st.sampled_from(STATEMENTS),
    st.integers(2, 5),
    st.lists(st.tuples(st.integers(1, 6), st.integers(1, 6)), min_size=1, max_size=4),
)
@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_any_split_gives_the_same_answer(world, sql, tasks, splits):
    plan = plan_by_hash(world, sql, tasks, "direct")
    left = iter(splits)

    def choose(producer, _, consumers):
        groups, objects = next(left, (1, 1))
        return Combining(min(groups, *consumers), min(objects, producer.tasks))

    combined = msgspec.structs.replace(plan, stages=with_combiners(plan.stages, choose))
    assert any(each.combining for each in combined.stages)
    assert world.difference(sql, plan) is None
    assert world.difference(sql, combined) is None


@pytest.mark.parametrize("sql", STATEMENTS)
def test_statements_are_combined_when_asked_to(world, sql):
    plan = plan_by_hash(world, sql, 5, "combined")
    by_hash = {
        (each.id, number)
        for each in plan.stages
        for number, output in enumerate(each.outputs)
        if isinstance(output, HashPartitioning)
    }
    assert by_hash
    for each in plan.stages:
        for wanted in each.inputs:
            if isinstance(wanted, ScanRead):
                continue
            assert wanted.stage < each.id
            if (wanted.stage, wanted.output) in by_hash:
                assert wanted.delivery is Delivery.COMBINED
    assert world.difference(sql, plan) is None
