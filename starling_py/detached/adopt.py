"""Tasks that have committed after their coordinator was gone."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from starling_py.coordinator.driver import in_thread
from starling_py.operators.task import RangePartitioning, TaskReport
from starling_py.shuffle.errors import CorruptObject, ObjectMissing
from starling_py.shuffle.objects import task_key
from starling_py.shuffle.read import read_index

if TYPE_CHECKING:
    from starling_py.coordinator.progress import Begun, Progress
    from starling_py.operators.plan import Stage, StagePlan
    from starling_py.shuffle.objects import ObjectStore

__all__ = ["adopted", "has_ranges"]

_WORKER = "unknown"


def has_ranges(stage: Stage) -> bool:
    """Return whether a stage's rows are cut into ranges by what its tasks find in them."""
    return any(isinstance(output, RangePartitioning) for output in stage.outputs)


async def adopted(plan: StagePlan, progress: Progress, store: ObjectStore) -> Progress:
    """Return the progress with those running tasks committed whose objects are there.

    Where their ranges begin is told by reports only, so tasks with ranges run again to tell it.
    """
    ranged = {stage.id for stage in plan.stages if has_ranges(stage)}

    def report(stage: int, begun: Begun) -> TaskReport | None:
        try:
            index = read_index(store, task_key(plan.query, stage, begun.number))
        except (ObjectMissing, CorruptObject):
            return None
        return TaskReport(plan.query, stage, begun.number, begun.attempt, _WORKER, index=index)

    asked = [
        in_thread(partial(report, stage.stage, one))
        for stage in progress.stages
        if stage.stage not in ranged
        for one in stage.begun
        if one.running
    ]
    found = [one for one in await asyncio.gather(*asked) if one is not None]
    return progress.plus(found)
