"""How far a plan has come, as data: from it another scheduler goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from starling_py.operators.task import TaskReport

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Begun", "Progress", "StageProgress"]


class Begun(msgspec.Struct, frozen=True, array_like=True):
    """A task or part that has begun and not committed: its number, and which attempt it is at."""

    number: int
    attempt: int
    running: bool


class StageProgress(msgspec.Struct, frozen=True):
    """A stage that has begun.

    ``reports`` are the accepted ones, in task order. ``divided`` are the tasks and parts that are
    replaced by their halves, in the order in which they were.
    """

    stage: int
    reports: tuple[TaskReport, ...] = ()
    begun: tuple[Begun, ...] = ()
    divided: tuple[int, ...] = ()


class Progress(msgspec.Struct, frozen=True):
    """The stages that have begun."""

    stages: tuple[StageProgress, ...] = ()

    @property
    def committed(self) -> int:
        """How many tasks and parts have committed."""
        return sum(len(stage.reports) for stage in self.stages)

    def plus(self, reports: Sequence[TaskReport]) -> Progress:
        """Return the progress with more tasks or parts committed, which had begun."""
        stages = []
        for stage in self.stages:
            more = {report.task: report for report in reports if report.stage == stage.stage}
            stages.append(
                msgspec.structs.replace(
                    stage,
                    reports=(*stage.reports, *more.values()),
                    begun=tuple(one for one in stage.begun if one.number not in more),
                )
            )
        return Progress(tuple(stages))
