"""Which partitions of which producers a consumer is told to read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from starling_py.coordinator.parts import share
from starling_py.coordinator.specs import output_runs, task_spec
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
    FileRange,
    HashPartitioning,
    InputColumn,
    SamePartitions,
    ScanColumn,
    Setting,
    SinglePartition,
    TaskReport,
)
from starling_py.planner.shuffle_cost import Exchange, combined_gets, direct_gets
from starling_py.shuffle.index import ObjectIndex, PartitionEntry

COLUMNS = (InputColumn("c0", "BIGINT"),)


def make(producers, outputs, consumers, delivery, output=0, rows=lambda *_: 1):
    """Return, per consumer task, the (producer, partition) pairs that it reads."""
    producer = Stage(3, "", "", COLUMNS, (), outputs, producers, 1, Estimate(1.0, 1.0))
    wanted = ExchangeRead("input_0", 3, output, delivery, COLUMNS)
    consumer = Stage(
        5, "", "", COLUMNS, (wanted,), (SinglePartition(),), consumers, 1, Estimate(1.0, 1.0)
    )
    plan = StagePlan("q", "", (producer, consumer), (), (Setting("TimeZone", "UTC"),), ("/r",))
    count = sum(o.count for o in outputs)
    reports = tuple(
        TaskReport(
            "q",
            3,
            task,
            1,
            "w",
            index=ObjectIndex(
                f"n{task}", tuple(PartitionEntry(p, 1, rows(task, p), 0) for p in range(count))
            ),
        )
        for task in range(producers)
    )
    found = []
    for task in range(consumers):
        spec = task_spec(
            plan,
            consumer,
            task,
            1,
            reports={3: reports},
            nonce="n",
            memory_limit=1,
            deadline=1.0,
        )
        assert (spec.settings, spec.roots) == (plan.settings, plan.roots)
        (shuffled,) = spec.inputs
        pairs = []
        for run in shuffled.runs:
            number = int(run.nonce[1:])
            assert run.key == f"q/stage-0003/task-{number:06d}.shuffle"
            assert [entry.offset for entry in run.entries] == list(range(run.first, run.last))
            pairs += [(number, p) for p in range(run.first, run.last)]
        found.append(pairs)
    return found


def hashed(count):
    return HashPartitioning(("c0",), count)


@given(st.integers(0, 50), st.integers(1, 60))
def test_shares_cover_everything_once(total, parts):
    found = [share(total, part, parts) for part in range(parts)]
    assert [x for run in found for x in run] == list(range(total))
    assert max(map(len, found)) - min(map(len, found)) <= 1


@given(st.integers(1, 5), st.integers(1, 16), st.integers(1, 6), st.integers(0, 2))
def test_partitioned_reads_every_partition_of_every_producer_once(producers, count, consumers, out):
    outputs = [hashed(3), SinglePartition(), hashed(2)]
    outputs[out] = hashed(count)
    before = sum(output.count for output in outputs[:out])
    found = make(producers, tuple(outputs), consumers, Delivery.PARTITIONED, out)
    every = [pair for pairs in found for pair in pairs]
    assert sorted(every) == [
        (s, p) for s in range(producers) for p in range(before, before + count)
    ]
    owners = {}
    for task, pairs in enumerate(found):
        for _, partition in pairs:
            assert owners.setdefault(partition, task) == task


@given(st.integers(1, 5), st.integers(1, 6), st.integers(1, 6))
def test_everything_goes_to_everybody_in_task_order(producers, count, consumers):
    found = make(producers, (hashed(2), hashed(count)), consumers, Delivery.EVERYTHING, 1)
    wanted = [(s, p) for s in range(producers) for p in range(2, 2 + count)]
    assert found == [wanted] * consumers


@given(st.integers(1, 9), st.integers(1, 9))
def test_aligned_hands_whole_producers_on(producers, consumers):
    found = make(producers, (hashed(2),), consumers, Delivery.ALIGNED)
    assert [pair for pairs in found for pair in pairs] == [
        (s, p) for s in range(producers) for p in range(2)
    ]


def test_runs_without_a_row_are_left_out():
    rows = lambda task, partition: int(task == 1 and partition == 3)  # noqa: E731
    found = make(3, (hashed(4),), 2, Delivery.PARTITIONED, rows=rows)
    assert found == [[], [(1, 2), (1, 3)]]


@pytest.mark.parametrize("replicated", [True, False])
def test_scans_get_their_split(replicated):
    splits = tuple((FileRange(f"/{name}", 1, 1, 9, 0, 9),) for name in "ab")
    columns = (ScanColumn("x", "BIGINT"),)
    scan = ScanRead("input_0", "t", columns, splits[:1] if replicated else splits, replicated)
    stage = Stage(0, "", "", COLUMNS, (scan,), (SinglePartition(),), 2, 1, Estimate(1.0, 1.0))
    plan = StagePlan("q", "", (stage,), (), (), ())
    for task in range(2):
        spec = task_spec(plan, stage, task, 1, reports={}, nonce="n", memory_limit=1, deadline=1.0)
        assert spec.inputs[0].files == splits[0 if replicated else task]


def test_an_output_is_read_from_where_it_starts():
    stage = Stage(0, "", "", COLUMNS, (), (hashed(3), SinglePartition()), 1, 1, Estimate(1.0, 1.0))
    entries = tuple(PartitionEntry(p, 1, 1, 0) for p in range(4))
    report = TaskReport("q", 0, 0, 1, "w", index=ObjectIndex("n", entries))
    (run,) = output_runs(stage, [report], 1, query="q")
    assert (run.first, run.last, run.entries) == (3, 4, entries[3:])


def combined(producers, partitions, split, consumers, rows=lambda *_: 1, inline=False):
    """Run a shuffle through combiners, on numbers alone.

    Returns
    -------
    tuple
        What each consumer reads, as lists of (producer, partition) per run that it is told, and
        the number of all runs, of combiners and consumers.
    """
    outputs = (SinglePartition(), hashed(partitions))
    producer = Stage(0, "", "", COLUMNS, (), outputs, producers, 1, Estimate(1.0, 1.0))
    taken = ExchangeRead("input_0", 0, 1, Delivery.COMBINED, COLUMNS)
    combiner = Stage(
        1,
        "",
        "",
        COLUMNS,
        (taken,),
        (SamePartitions(partitions),),
        split.partition_groups * split.producer_groups,
        1,
        Estimate(1.0, 1.0),
        combining=split,
    )
    wanted = ExchangeRead("input_0", 1, 0, Delivery.PARTITIONED, COLUMNS)
    consumer = Stage(
        2, "", "", COLUMNS, (wanted,), (SinglePartition(),), consumers, 1, Estimate(1.0, 1.0)
    )
    plan = StagePlan("q", "", (producer, combiner, consumer), (), (), ())
    count = 0

    def specs(stage, reports):
        nonlocal count
        for task in range(stage.tasks):
            spec = task_spec(
                plan,
                stage,
                task,
                1,
                reports=reports,
                nonce="n",
                memory_limit=1,
                deadline=1.0,
            )
            (shuffled,) = spec.inputs
            count += len(shuffled.runs)
            yield spec, shuffled.runs

    def entries(numbers):
        return tuple(PartitionEntry(at, 1, number, 0) for at, number in enumerate(numbers))

    # The only partition of the producers' first output comes first in their objects.
    produced = [
        TaskReport(
            "q",
            0,
            task,
            1,
            "w",
            index=ObjectIndex(
                f"{task}", entries([7, *(rows(task, at) for at in range(partitions))])
            ),
            inline=bytes(1 + partitions) if inline else b"",
        )
        for task in range(producers)
    ]
    reports, held = [], []
    for spec, runs in specs(combiner, {0: produced}):
        (output,) = spec.outputs
        found = [
            [(int(run.nonce), run.first - 1 + at) for run in runs if run.entries[at].rows]
            for at in range(output.count)
        ]
        assert all(run.last - run.first == output.count for run in runs)
        assert len({run.first for run in runs}) <= 1
        assert all(bool(run.data) == inline for run in runs)
        held.append(found)
        index = ObjectIndex(f"{spec.task}", entries([len(pairs) for pairs in found]))
        reports.append(TaskReport("q", 1, spec.task, 1, "w", index=index))
    read = []
    for _, runs in specs(consumer, {1: reports}):
        assert [run.key for run in runs] == [
            f"q/stage-0001/task-{int(run.nonce):06d}.shuffle" for run in runs
        ]
        read.append(
            [
                [pair for pairs in held[int(run.nonce)][run.first : run.last] for pair in pairs]
                for run in runs
            ]
        )
    return read, count


SPLITS = st.builds(Combining, st.integers(1, 6), st.integers(1, 5))


@given(st.integers(1, 9), st.integers(1, 24), SPLITS, st.integers(1, 8))
def test_combined_consumers_get_what_direct_ones_get(producers, partitions, split, consumers):
    direct = make(
        producers, (SinglePartition(), hashed(partitions)), consumers, Delivery.PARTITIONED, 1
    )
    read, _ = combined(producers, partitions, split, consumers)
    for mine, theirs in zip(read, direct, strict=True):
        pairs = [pair for run in mine for pair in run]
        assert sorted(pairs) == sorted((task, at - 1) for task, at in theirs)
        # Each partition has its rows in the order of the producers.
        for partition in {at for _, at in pairs}:
            tasks = [task for task, at in pairs if at == partition]
            assert tasks == sorted(tasks)


@given(
    st.integers(1, 12), st.integers(1, 4), st.integers(1, 8), st.integers(1, 8), st.integers(1, 12)
)
def test_requests_are_as_many_as_planned(producers, times, groups, consumers, objects):
    partitions = times * max(consumers, groups)
    split = Combining(groups, min(objects, producers))
    exchange = Exchange(producers, (consumers,), partitions, 0.0, 1, 1.0)
    _, gets = combined(producers, partitions, split, consumers)
    assert gets == combined_gets(exchange, split)
    if consumers % groups == 0:
        assert gets == producers * groups + consumers * split.producer_groups
    direct = make(producers, (hashed(partitions),), consumers, Delivery.PARTITIONED)
    assert direct_gets(exchange) == producers * sum(bool(pairs) for pairs in direct)


def test_nothing_is_read_where_there_is_no_row():
    read, gets = combined(4, 8, Combining(2, 2), 4, rows=lambda task, at: int(task == at == 3))
    assert read == [[], [[(3, 3)]], [], []]
    assert gets == 2


def test_combiners_take_what_reports_carry():
    read, _ = combined(4, 8, Combining(2, 2), 4, inline=True)
    assert sum(len(run) for runs in read for run in runs) == 32
