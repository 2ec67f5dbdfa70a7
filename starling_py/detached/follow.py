"""What happens to a detached query, told to listeners as an engine would."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starling_py.events import (
    Events,
    QueryFailed,
    QueryFinished,
    QueryPlanned,
    StageFinished,
    StageStarted,
    TaskFinished,
)
from starling_py.shuffle.errors import StarlingError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from starling_py.detached.files import QueryFiles, Seen
    from starling_py.detached.state import Ending
    from starling_py.events import Listener
    from starling_py.operators.plan import Stage, StagePlan
    from starling_py.operators.task import TaskReport

__all__ = ["Follower"]


class Follower:
    """Tells each thing once, as soon as a saved state shows it."""

    def __init__(self, query: str, files: QueryFiles, listeners: Iterable[Listener]) -> None:
        self._query = query
        self._files = files
        self._events = Events(listeners)
        self._plan: StagePlan | None = None
        self._told: set[tuple[int, int]] = set()
        self._begun: set[int] = set()
        self._complete: set[int] = set()

    def follow(self, seen: Seen) -> None:
        """Tell what is new in what there is."""
        if self._plan is None and seen.state and (planned := self._files.plan()) is not None:
            self._planned(planned.plan)
        saved = self._files.saved(seen.state) if seen.state and self._plan else None
        for stage in saved.progress.stages if saved is not None else ():
            # The halves of a divided task are one more than it was.
            self._tell(stage.stage, stage.reports, len(stage.divided))

    def end(self, ending: Ending) -> None:
        """Tell what is left to tell, and how it has ended."""
        if ending.planned is not None:
            if self._plan is None:
                self._planned(ending.planned.plan)
            for stage in ending.planned.plan.stages:
                reports = [report for report in ending.reports if report.stage == stage.id]
                self._tell(stage.id, reports, len(reports) - stage.tasks)
        if ending.error is None:
            self._events(QueryFinished(self._query, ending.seconds))
        else:
            error = StarlingError.from_record(ending.error)
            self._events(QueryFailed(self._query, error, ending.seconds))

    def _planned(self, plan: StagePlan) -> None:
        self._plan = plan
        self._events(QueryPlanned(self._query, plan))

    def _tell(self, number: int, reports: Sequence[TaskReport], more: int) -> None:
        stage = self._stage(number)
        if stage is None or number in self._complete:
            return
        if number not in self._begun:
            self._begun.add(number)
            self._events(StageStarted(self._query, stage))
        for report in reports:
            if (number, report.task) not in self._told:
                self._told.add((number, report.task))
                self._events(TaskFinished(self._query, report))
        if len(reports) == stage.tasks + more:
            self._complete.add(number)
            self._events(StageFinished(self._query, stage, tuple(reports)))

    def _stage(self, number: int) -> Stage | None:
        stages = self._plan.stages if self._plan is not None else ()
        return next((stage for stage in stages if stage.id == number), None)
