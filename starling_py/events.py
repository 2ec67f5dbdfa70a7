"""What happens to a query, told to listeners as it happens. The engine itself prints nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starling_py.operators.plan import Stage, StagePlan
    from starling_py.operators.task import TaskReport
    from starling_py.shuffle.errors import StarlingError

__all__ = [
    "Event",
    "Events",
    "Listener",
    "QueryFailed",
    "QueryFinished",
    "QueryPlanned",
    "StageFinished",
    "StageStarted",
    "TaskFinished",
    "TaskStarted",
]


@dataclass(frozen=True, slots=True)
class QueryPlanned:
    """A plan is about to run."""

    query: str
    plan: StagePlan


@dataclass(frozen=True, slots=True)
class StageStarted:
    """All inputs of a stage are there; its tasks may start."""

    query: str
    stage: Stage


@dataclass(frozen=True, slots=True)
class TaskStarted:
    """An attempt was handed to a worker."""

    query: str
    stage: int
    task: int
    attempt: int


@dataclass(frozen=True, slots=True)
class TaskFinished:
    """An attempt was reported, with its result or with its error."""

    query: str
    report: TaskReport


@dataclass(frozen=True, slots=True)
class StageFinished:
    """Every task of a stage has committed. ``reports`` are in task order."""

    query: str
    stage: Stage
    reports: tuple[TaskReport, ...]


@dataclass(frozen=True, slots=True)
class QueryFinished:
    """The answer is there. ``seconds`` is wall-clock since the query was planned."""

    query: str
    seconds: float


@dataclass(frozen=True, slots=True)
class QueryFailed:
    """There will be no answer."""

    query: str
    error: StarlingError
    seconds: float


Event = (
    QueryPlanned
    | StageStarted
    | TaskStarted
    | TaskFinished
    | StageFinished
    | QueryFinished
    | QueryFailed
)

Listener = Callable[[Event], None]


class Events:
    """Hands events on to listeners, in the thread in which they happen."""

    def __init__(self, listeners: Iterable[Listener] = ()) -> None:
        self._listeners = tuple(listeners)

    def plus(self, listeners: Iterable[Listener]) -> Events:
        """Return events that go to more listeners too."""
        return Events((*self._listeners, *listeners))

    def __call__(self, event: Event) -> None:
        """Tell every listener. One that raises is logged and does no harm to the query."""
        for listener in self._listeners:
            try:
                listener(event)
            except Exception:  # a listener is somebody else's code
                logging.getLogger(__name__).warning("an event listener failed", exc_info=True)
