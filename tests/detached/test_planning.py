"""What a plan must not leave to the coordinator that runs it, because there may be another."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from starling_py.coordinator.progress import Begun, Progress, StageProgress
from starling_py.detached.adopt import adopted
from starling_py.detached.planning import repeatable
from starling_py.operators.task import HashPartitioning, RangePartitioning, SinglePartition
from starling_py.shuffle.format import Producer
from starling_py.shuffle.memory import MemoryStore
from starling_py.shuffle.objects import task_key
from starling_py.shuffle.write import commit_partitions

HASHED = HashPartitioning(("c0",), 4)
RANGED = RangePartitioning("c0", "c0", 4)


@pytest.mark.parametrize(
    ("statement", "outputs", "is_divisible"),
    [
        ("SELECT c0 FROM input_0", (HASHED,), True),
        ("SELECT c0 FROM input_0", (RANGED,), False),
        ("SELECT random() AS c0 FROM input_0", (HASHED,), False),
        ('SELECT "random"() AS c0 FROM input_0', (HASHED,), False),
        ("SELECT gen_random_uuid() AS c0 FROM input_0", (HASHED,), False),
        ("SELECT c0 FROM input_0 USING SAMPLE 10%", (HASHED,), False),
    ],
)
def test_what_may_be_divided(plans, statement, outputs, is_divisible):
    stage = plans.stage(0, statement, ["BIGINT"], outputs=outputs, tasks=2)
    made = repeatable(plans.plan(msgspec.structs.replace(stage, divisible=True)))
    assert made.stages[0].divisible is is_divisible
    # Tasks have equal numbers of partitions, however many rows there are.
    assert made.balance_rows > 10**18


def test_objects_are_adopted_unless_only_a_report_tells_their_ranges(plans):
    import pyarrow as pa

    plan = plans.plan(
        plans.stage(0, "SELECT 1", ["BIGINT"], outputs=(RANGED,), tasks=2),
        plans.stage(1, "SELECT 1", ["BIGINT"], outputs=(SinglePartition(),), tasks=3),
    )
    store = MemoryStore()
    table = pa.table({"c0": [1, 2]})
    for stage, task in ((0, 0), (1, 0), (1, 2)):
        key = task_key("q", stage, task)
        commit_partitions(store, key, Producer("q", stage, task, "nonce"), [table])
    running = [Begun(task, 1, running=True) for task in range(2)]
    waiting = Begun(2, 2, running=False)
    progress = Progress(
        (StageProgress(0, begun=(running[0],)), StageProgress(1, begun=(*running, waiting)))
    )
    found = asyncio.run(adopted(plan, progress, store))
    assert found.stages[0] == progress.stages[0]
    assert [report.task for report in found.stages[1].reports] == [0]
    assert found.stages[1].begun == (running[1], waiting)
    assert found.committed == 1
    store.close()
