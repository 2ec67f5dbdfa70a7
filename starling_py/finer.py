"""What a query that ran out of memory in functions is planned as again: with more tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starling_py.config import MOST_TASKS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starling_py.config import Config
    from starling_py.operators.plan import StagePlan
    from starling_py.planner.copying import Query
    from starling_py.planning import Planning

__all__ = ["finer_plan"]

_MOST = 3
"""So often the tasks are doubled."""


def finer_plan(
    planning: Planning,
    config: Config,
    sql: str,
    part: Query,
    plans: Sequence[StagePlan],
    failed: int | None,
) -> StagePlan | None:
    """Return a plan with more tasks for the stage that has failed, if there is one.

    Parameters
    ----------
    plans
        What has been tried, the last of which has failed.
    """
    if config.target != "lambda" or config.tasks or len(plans) > _MOST:
        return None
    last = plans[-1]
    if any(stage.divisible and stage.id == failed for stage in last.stages):
        return None  # its tasks have been divided already
    tasks = 2 * max(stage.tasks for stage in last.stages)
    found = planning.plan(sql, part, min(tasks, MOST_TASKS))
    if len(found.stages) != len(last.stages):
        return found
    more = any(
        new.tasks > old.tasks and failed in (None, old.id)
        for old, new in zip(last.stages, found.stages, strict=True)
    )
    return found if more else None
