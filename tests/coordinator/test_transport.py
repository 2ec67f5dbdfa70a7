"""What travels in reports and specs, and never more than fits."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from starling_py.coordinator.specs import task_spec
from starling_py.coordinator.transport import Transport
from starling_py.operators.plan import Delivery, Estimate, ExchangeRead, Stage, StagePlan
from starling_py.operators.task import HashPartitioning, ShuffleInput, SinglePartition, TaskReport
from starling_py.shuffle.index import ObjectIndex, PartitionEntry


def stage(number: int, tasks: int, reads: list[tuple[int, Delivery]]) -> Stage:
    inputs = tuple(
        ExchangeRead(f"input_{at}", read, 0, delivery, ())
        for at, (read, delivery) in enumerate(reads)
    )
    output = HashPartitioning(("c0",), 8)
    return Stage(number, "", "", (), inputs, (output,), tasks, 1, Estimate(1.0, 1.0))


def reported(made: Stage, task: int, size: int) -> TaskReport:
    """Return a report whose first partition is everything that the object holds."""
    entries = [PartitionEntry(0, size, 1, 0)]
    entries += [PartitionEntry(size, 0, 0, 0) for _ in range(7)]
    index = ObjectIndex(f"n{task}", tuple(entries))
    return TaskReport("q", made.id, task, 1, "w", index=index, inline=bytes(size))


DELIVERIES = st.sampled_from(
    [Delivery.PARTITIONED, Delivery.EVERYTHING, Delivery.ALIGNED, Delivery.COMBINED]
)


@given(
    payload=st.integers(0, 100_000),
    producers=st.lists(st.tuples(st.integers(1, 9), DELIVERIES), min_size=1, max_size=4),
    tasks=st.integers(1, 9),
)
def test_no_spec_carries_more_than_the_payload(payload, producers, tasks):
    made = [stage(number, s, []) for number, (s, _) in enumerate(producers)]
    reads = [
        (number, Delivery.PARTITIONED if how is Delivery.COMBINED else how)
        for number, (_, how) in enumerate(producers)
    ]
    consumer = stage(len(made), tasks, reads)
    plan = StagePlan("q", "", (*made, consumer), (), (), ())
    transport = Transport("lz4", payload)
    reports = {}
    for one in made:
        limit = transport.inline_limit(plan, one)
        assert 0 <= limit <= payload
        reports[one.id] = [reported(one, task, limit) for task in range(one.tasks)]
    for task in range(tasks):
        spec = task_spec(
            plan,
            consumer,
            task,
            1,
            reports=reports,
            nonce="n",
            memory_limit=1,
            deadline=1.0,
            transport=transport,
        )
        carried = [
            len(run.data)
            for wanted in spec.inputs
            if isinstance(wanted, ShuffleInput)
            for run in wanted.runs
        ]
        assert sum(carried) <= payload
        assert spec.inline_limit == payload  # the coordinator alone reads the last stage
        assert spec.codec == "lz4"


def test_without_a_payload_everything_goes_through_the_store():
    single = stage(0, 3, [])
    assert Transport().inline_limit(StagePlan("q", "", (single,), (), (), ()), single) == 0


def test_what_is_inline_has_no_copy():
    producer = stage(0, 2, [])
    consumer = Stage(
        1,
        "",
        "",
        (),
        (ExchangeRead("input_0", 0, 0, Delivery.EVERYTHING, ()),),
        (SinglePartition(),),
        1,
        1,
        Estimate(1.0, 1.0),
    )
    plan = StagePlan("q", "", (producer, consumer), (), (), ())
    stored = TaskReport("q", 0, 1, 1, "w", index=reported(producer, 1, 5).index)
    spec = task_spec(
        plan,
        consumer,
        0,
        1,
        reports={0: [reported(producer, 0, 5), stored]},
        nonce="n",
        memory_limit=1,
        deadline=1.0,
        transport=Transport("lz4", 100, doublewrite=True),
    )
    (wanted,) = spec.inputs
    assert isinstance(wanted, ShuffleInput)
    assert [(run.data, run.copied) for run in wanted.runs] == [(bytes(5), False), (b"", True)]
    assert spec.doublewrite
