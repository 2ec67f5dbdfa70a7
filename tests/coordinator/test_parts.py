"""Tasks that are divided, and schedulers that go on where others were: all rows once, in order."""

from __future__ import annotations

import itertools

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from starling_py.coordinator.messages import Drain, Fail, Finish, Invoke, TaskReported
from starling_py.coordinator.options import Options
from starling_py.coordinator.parts import halves, in_order, part_of, rows_of, task_of
from starling_py.coordinator.progress import Progress
from starling_py.coordinator.scheduler import Scheduler
from starling_py.operators.errors import OutOfMemory, TaskTimedOut
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
    ScanInput,
    SinglePartition,
    TaskReport,
)
from starling_py.shuffle.errors import ErrorRecord
from starling_py.shuffle.index import ObjectIndex, PartitionEntry

COLUMNS = (InputColumn("c0", "BIGINT"),)
SINGLE = (SinglePartition(),)
PARTITIONS = 7


def stage(number, tasks, inputs, outputs=SINGLE, **changes):
    made = Stage(
        number, "", "SELECT 1", COLUMNS, tuple(inputs), tuple(outputs), tasks, 1, Estimate(1.0, 1.0)
    )
    return msgspec.structs.replace(made, **changes)


def read(number, delivery):
    return ExchangeRead("input_0", number, 0, delivery, COLUMNS)


def files(*lengths, first=0):
    return tuple(
        FileRange(f"f{at}", 1, 1, 1000, first, first + length) for at, length in enumerate(lengths)
    )


def rows(ranges):
    return [(file.path, row) for file in ranges for row in range(file.first_row, file.last_row)]


@st.composite
def plans(draw):
    """A scan of several tasks, a stage over its partitions, and the answer."""
    lengths = st.lists(st.integers(0, 9), max_size=3)
    splits = tuple(
        files(*draw(lengths), first=task * 100) for task in range(draw(st.integers(1, 3)))
    )
    borders = tuple(tuple(sorted(draw(st.sets(st.integers(1, 20), max_size=3)))) for _ in splits)
    scan = ScanRead("input_0", "t", (), splits, borders=draw(st.sampled_from([(), borders])))
    return StagePlan(
        "q",
        "",
        (
            stage(0, len(splits), [scan], [HashPartitioning(("c0",), PARTITIONS)], divisible=True),
            stage(1, draw(st.integers(1, 4)), [read(0, Delivery.PARTITIONED)], divisible=True),
            stage(2, 1, [read(1, Delivery.EVERYTHING)]),
        ),
        (),
        (),
        (),
    )


def report(spec, **changes):
    entries = tuple(
        PartitionEntry(0, 8, 1, 0) for _ in range(sum(output.count for output in spec.outputs))
    )
    made = TaskReport(
        spec.query,
        spec.stage,
        spec.task,
        spec.attempt,
        "w",
        index=ObjectIndex(spec.nonce, entries),
    )
    return TaskReported(msgspec.structs.replace(made, **changes))


def late(spec, code=TaskTimedOut.code):
    return report(spec, index=None, error=ErrorRecord(code, "too large"))


@settings(max_examples=200, deadline=None)
@given(plans(), st.integers(1, 4), st.data())
def test_whatever_is_divided_or_handed_over_all_is_read_once_and_in_order(plan, slots, data):
    nonces = map(str, itertools.count())
    options = Options(slots, 1, 1000.0, max_attempts=3, divides=True)

    def made(progress=None):
        return Scheduler(plan, options, lambda: next(nonces), progress)

    machine = made()
    running, committed = {}, {}
    actions = machine.start(0.0)
    while not any(isinstance(action, Finish) for action in actions):
        assert not any(isinstance(action, Fail) for action in actions)
        for action in actions:
            if isinstance(action, Invoke):
                assert (action.spec.stage, action.spec.task) not in committed
                running[action.spec.stage, action.spec.task] = action.spec
        assert running, "as long as there is no end, something runs"
        what = data.draw(st.sampled_from(["done", "done", "late", "hand over"]))
        key = data.draw(st.sampled_from(sorted(running)))
        if what == "done":
            committed[key] = running.pop(key)
            actions = machine.handle(report(committed[key]), 0.0)
        elif what == "late" and halves(plan, plan.stages[key[0]], key[1]):
            actions = machine.handle(late(running.pop(key)), 0.0)
        else:
            saved = machine.progress()
            assert {(s.stage, one.number) for s in saved.stages for one in s.begun} >= set(running)
            assert saved.committed == len(committed)
            encoded = msgspec.msgpack.encode(saved)
            running.clear()
            machine = made(msgspec.msgpack.decode(encoded, type=Progress))
            actions = machine.start(0.0)
    scanned = [committed[0, one.task].inputs[0] for one in machine.reports(0)]
    assert all(isinstance(one, ScanInput) for one in scanned)
    wanted = [row for split in plan.stages[0].inputs[0].splits for row in rows(split)]
    assert [row for one in scanned for row in rows(one.files)] == wanted
    pairs = [
        (run.key, partition)
        for one in machine.reports(1)
        for run in committed[1, one.task].inputs[0].runs
        for partition in range(run.first, run.last)
    ]
    keys = [f"q/stage-0000/task-{one.task:06d}.shuffle" for one in machine.reports(0)]
    assert sorted(pairs) == sorted(itertools.product(keys, range(PARTITIONS)))
    for key in keys:
        assert [partition for of, partition in pairs if of == key] == list(range(PARTITIONS))
    gathered = [run.key for run in committed[2, 0].inputs[0].runs]
    assert gathered == [f"q/stage-0001/task-{one.task:06d}.shuffle" for one in machine.reports(1)]


def divisible(*inputs, tasks=2, **changes):
    made = stage(1, tasks, inputs, **({"divisible": True} | changes))
    hashed = stage(0, 2, [], [HashPartitioning(("c0",), PARTITIONS)])
    return StagePlan("q", "", (hashed, made), (), (), ()), made


SCAN = ScanRead("input_0", "t", (), (files(10), files(10)))


@pytest.mark.parametrize(
    ("plan", "made"),
    [
        divisible(SCAN, divisible=False),
        divisible(SCAN, combining=Combining(1, 1)),
        divisible(msgspec.structs.replace(SCAN, conditions=("", "c0 > 1"))),
        divisible(SCAN, SCAN),
        divisible(SCAN, read(0, Delivery.PARTITIONED)),
        divisible(read(0, Delivery.ALIGNED)),
        divisible(read(0, Delivery.EVERYTHING)),
        divisible(ScanRead("input_0", "t", (), (files(1), files()))),
        divisible(read(0, Delivery.PARTITIONED), tasks=PARTITIONS),
    ],
)
def test_what_is_not_divided(plan, made):
    assert halves(plan, made, 0) is None
    assert part_of(plan, made, 0) is None


@pytest.mark.parametrize(
    "others",
    [(), (read(0, Delivery.EVERYTHING),), (msgspec.structs.replace(SCAN, replicated=True),)],
)
def test_a_scan_is_cut_where_a_row_group_begins(others):
    scan = ScanRead("input_0", "t", (), (files(4, 6), files(3)), borders=((2, 4, 9), ()))
    plan, made = divisible(scan, *others)
    first, second = halves(plan, made, 0)
    assert (part_of(plan, made, first), part_of(plan, made, second)) == (range(4), range(4, 10))
    assert {task_of(made, first), task_of(made, second)} == {0}
    assert rows_of(scan.splits[0], range(4, 10)) == (scan.splits[0][1],)
    # No row group begins inside: in the middle of its rows.
    low, high = halves(plan, made, 1)
    assert (part_of(plan, made, low), part_of(plan, made, high)) == (range(1), range(1, 3))
    numbers = [high, second, low, first]
    assert sorted(numbers, key=lambda n: in_order(made, n)) == [first, second, low, high]


def test_a_draining_scheduler_begins_nothing():
    plan, made = divisible(SCAN)
    plan = msgspec.structs.replace(plan, stages=(made,))
    machine = Scheduler(plan, Options(1, 1, 1000.0), lambda: "n")
    (_, invoke) = machine.start(0.0)
    assert machine.handle(Drain(), 0.0) == []
    assert not [a for a in machine.handle(report(invoke.spec), 0.0) if isinstance(a, Invoke)]
    assert machine.in_flight == ()


def test_a_task_that_cannot_be_divided_is_tried_again_and_fails():
    plan, _ = divisible(SCAN, divisible=False)
    plan = msgspec.structs.replace(plan, stages=plan.stages[1:])
    machine = Scheduler(
        plan,
        Options(1, 1, 1000.0, max_attempts=2, divides=True),
        lambda: "n",
    )
    (_, invoke) = machine.start(0.0)
    (again,) = machine.handle(late(invoke.spec), 0.0)
    assert (again.spec.task, again.spec.attempt) == (0, 2)
    (fail,) = machine.handle(late(again.spec), 0.0)
    assert fail.error.code == TaskTimedOut.code


def test_a_task_that_is_out_of_memory_is_divided_three_times():
    plan, made = divisible(ScanRead("input_0", "t", (), (files(1 << 20),)), tasks=1)
    plan = msgspec.structs.replace(plan, stages=(made,))
    machine = Scheduler(plan, Options(1, 1, 1000.0, divides=True), lambda: "n")
    actions = machine.start(0.0)
    found = []
    while not isinstance(actions[-1], Fail):
        assert actions[-1].spec.attempt == 1
        found.append(actions[-1].spec)
        actions = machine.handle(late(found[-1], OutOfMemory.code), 0.0)
    rows = [sum(f.last_row - f.first_row for f in spec.inputs[0].files) for spec in found]
    assert (rows[0], min(rows)) == (1 << 20, 1 << 17)
    assert actions[-1].error.code == OutOfMemory.code
    # Nobody divides where workers are of this machine.
    machine = Scheduler(plan, Options(1, 1, 1000.0), lambda: "n")
    (_, invoke) = machine.start(0.0)
    (fail,) = machine.handle(late(invoke.spec, OutOfMemory.code), 0.0)
    assert isinstance(fail, Fail)
