"""What the scheduler is told (events) and what it answers (actions)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starling_py.operators.plan import Stage
    from starling_py.operators.task import TaskReport, TaskSpec
    from starling_py.shuffle.errors import StarlingError

__all__ = [
    "Action",
    "Attempt",
    "AttemptTimedOut",
    "Cancel",
    "CancelAttempt",
    "Drain",
    "Event",
    "Fail",
    "Finish",
    "Invoke",
    "Release",
    "StageComplete",
    "StageReady",
    "TaskReported",
    "Tick",
    "WorkerLost",
]


@dataclass(frozen=True, slots=True, order=True)
class Attempt:
    """Names one attempt of one task, or of a part of one."""

    stage: int
    task: int
    number: int


# Events


@dataclass(frozen=True, slots=True)
class TaskReported:
    """A worker answered."""

    report: TaskReport


@dataclass(frozen=True, slots=True)
class AttemptTimedOut:
    """An attempt has not been reported for too long."""

    attempt: Attempt


@dataclass(frozen=True, slots=True)
class WorkerLost:
    """The worker that held an attempt is gone."""

    attempt: Attempt
    reason: str = "the worker died"


@dataclass(frozen=True, slots=True)
class Tick:
    """It is ``now``."""


@dataclass(frozen=True, slots=True)
class Cancel:
    """The user wants no answer any more."""


@dataclass(frozen=True, slots=True)
class Drain:
    """No more attempts are to begin; another scheduler will go on."""


Event = TaskReported | AttemptTimedOut | WorkerLost | Tick | Cancel | Drain


# Actions


@dataclass(frozen=True, slots=True)
class StageReady:
    """The inputs of a stage are complete."""

    stage: Stage


@dataclass(frozen=True, slots=True)
class Invoke:
    """Hand this to a worker."""

    spec: TaskSpec

    @property
    def attempt(self) -> Attempt:
        return Attempt(self.spec.stage, self.spec.task, self.spec.attempt)


@dataclass(frozen=True, slots=True)
class CancelAttempt:
    """Stop an attempt; what it still reports does not matter."""

    attempt: Attempt


@dataclass(frozen=True, slots=True)
class StageComplete:
    """All tasks of a stage have committed."""

    stage: Stage
    reports: tuple[TaskReport, ...]


@dataclass(frozen=True, slots=True)
class Release:
    """Nobody reads the output of a stage any more."""

    stage: Stage


@dataclass(frozen=True, slots=True)
class Finish:
    """The query is answered. ``reports`` are those of the last stage, in task order."""

    reports: tuple[TaskReport, ...]


@dataclass(frozen=True, slots=True)
class Fail:
    """The query has failed. Every attempt in flight has been cancelled before this action."""

    error: StarlingError


Action = StageReady | Invoke | CancelAttempt | StageComplete | Release | Finish | Fail
