"""Partitions of very different sizes: each row of a split input is read once, of others k times."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from starling_py.coordinator.parts import share
from starling_py.coordinator.portions import portions
from starling_py.coordinator.specs import task_spec
from starling_py.operators.plan import (
    Combining,
    Delivery,
    Estimate,
    ExchangeRead,
    Stage,
    StagePlan,
)
from starling_py.operators.task import (
    HashPartitioning,
    InputColumn,
    SamePartitions,
    SinglePartition,
    TaskReport,
)
from starling_py.shuffle.index import ObjectIndex, PartitionEntry

COLUMNS = (InputColumn("c0", "BIGINT"),)
SIZE = Estimate(1.0, 1.0)
PARTITIONS = 8


def reports(stage: Stage, rows) -> tuple[TaskReport, ...]:
    made = []
    for task in range(stage.tasks):
        held = range(PARTITIONS)
        if stage.combining is not None:
            group = task // stage.combining.producer_groups
            held = share(PARTITIONS, group, stage.combining.partition_groups)
        entries = tuple(PartitionEntry(0, 1, rows(task, p), 0) for p in held)
        index = ObjectIndex(f"{stage.id} {task}", entries)
        made.append(TaskReport("q", stage.id, task, 1, "w", index=index))
    return tuple(made)


def plan_of(producers, tasks, splittable, combining=None, balance_rows=0) -> StagePlan:
    hashed = HashPartitioning(("c0",), PARTITIONS)
    stages = [Stage(0, "", "", COLUMNS, (), (hashed,), producers[0], 1, SIZE)]
    if combining is None:
        stages.append(Stage(1, "", "", COLUMNS, (), (hashed,), producers[1], 1, SIZE))
    else:
        wanted = ExchangeRead("input_0", 0, 0, Delivery.COMBINED, COLUMNS)
        count = combining.partition_groups * combining.producer_groups
        same = (SamePartitions(PARTITIONS),)
        stages.append(
            Stage(1, "", "", COLUMNS, (wanted,), same, count, 1, SIZE, combining=combining)
        )
    reads = tuple(
        ExchangeRead(f"input_{at}", at, 0, Delivery.PARTITIONED, COLUMNS, splittable=may)
        for at, may in enumerate(splittable)
    )
    stages.append(Stage(2, "", "", COLUMNS, reads, (SinglePartition(),), tasks, 1, SIZE))
    return StagePlan("q", "", tuple(stages), (), (), (), balance_rows=balance_rows)


@given(
    rows=st.lists(
        st.lists(st.integers(0, 50) | st.integers(0, 5000), min_size=8, max_size=8),
        min_size=1,
        max_size=6,
    ),
    tasks=st.integers(1, 7),
    splittable=st.tuples(st.booleans(), st.booleans()),
    combining=st.none() | st.builds(Combining, st.integers(1, 4), st.integers(1, 3)),
)
def test_every_row_meets_every_row_of_its_partition_once(rows, tasks, splittable, combining):
    plan = plan_of((len(rows), len(rows)), tasks, splittable, combining)
    known = {
        0: reports(plan.stages[0], lambda task, p: rows[task][p]),
        1: reports(plan.stages[1], lambda task, p: rows[task % len(rows)][7 - p] // 8),
    }
    stage = plan.stages[2]
    made = portions(plan, stage, known)
    # What meets what: pieces are objects' partitions, of the first and of the second input.
    met: Counter[tuple[object, object]] = Counter()
    for task in range(tasks):
        spec = task_spec(
            plan,
            stage,
            task,
            1,
            reports=known,
            nonce="n",
            memory_limit=1,
            deadline=1.0,
            portions=made,
        )
        sides = []
        for producer, side in zip(plan.stages, spec.inputs, strict=False):
            found = []
            for run in side.runs:
                number = int(run.nonce.split()[1])
                begin = 0
                if producer.combining is not None:
                    group = number // producer.combining.producer_groups
                    begin = share(PARTITIONS, group, producer.combining.partition_groups).start
                found += [
                    (begin + run.first + at, number)
                    for at, entry in enumerate(run.entries)
                    if entry.rows
                ]
            sides.append(found)
        for one in sides[0]:
            for other in sides[1]:
                if one[0] == other[0]:
                    met[one, other] += 1
        # Rows that match nothing are somewhere too.
        met.update((one, None) for one in sides[0] if not splittable[1])
        met.update((None, one) for one in sides[1] if not splittable[0])
    expected: Counter[tuple[object, object]] = Counter()
    places = []
    for number in (0, 1):
        found = []
        producer = plan.stages[number]
        for report in known[number]:
            begin = 0
            if producer.combining is not None:
                group = report.task // producer.combining.producer_groups
                begin = share(PARTITIONS, group, producer.combining.partition_groups).start
            found += [
                (begin + at, report.task)
                for at, entry in enumerate(report.index.partitions)
                if entry.rows
            ]
        places.append(found)
    expected.update((a, b) for a in places[0] for b in places[1] if a[0] == b[0])
    expected.update((one, None) for one in places[0] if not splittable[1])
    expected.update((None, one) for one in places[1] if not splittable[0])
    assert met == expected


def loads(plan: StagePlan, known) -> list[int] | None:
    stage = plan.stages[-1]
    made = portions(plan, stage, known)
    if made is None:
        return None
    found = []
    for task in range(stage.tasks):
        spec = task_spec(
            plan,
            stage,
            task,
            1,
            reports=known,
            nonce="n",
            memory_limit=1,
            deadline=1.0,
            portions=made,
        )
        found.append(sum(entry.rows for i in spec.inputs for r in i.runs for entry in r.entries))
    return found


def skewed(plan: StagePlan):
    return {
        0: reports(plan.stages[0], lambda _, p: 800 if p == 3 else 25),
        1: reports(plan.stages[1], lambda *_: 5),
    }


def test_a_heavy_partition_is_shared_by_tasks():
    plan = plan_of((10, 2), 5, (True, False))
    assert max(loads(plan, skewed(plan)) or []) < 2_600  # 10,000 rows and more are there
    plan = plan_of((10, 2), 5, (False, True))
    # Splitting the small side gains nothing; the heavy partition gets a task of its own.
    assert sorted(loads(plan, skewed(plan)) or [])[-1] == 8_010


def test_equal_partitions_and_few_rows_stay_in_runs():
    plan = plan_of((10, 2), 5, (True, True))
    even = {n: reports(plan.stages[n], lambda *_: 100) for n in (0, 1)}
    assert loads(plan, even) is None
    plan = plan_of((10, 2), 5, (True, True), balance_rows=20_000)
    assert loads(plan, skewed(plan)) is None
    plan = plan_of((10, 2), 1, (True, True))
    assert loads(plan, skewed(plan)) is None
