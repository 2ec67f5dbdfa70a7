"""Which attempt of which task runs when: a state machine, events in and actions out.

It knows no clock, no socket and no thread. Time enters with the events, as seconds since the
epoch.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from starling_py.coordinator.specs import task_spec
from starling_py.coordinator.transport import Transport
from starling_py.operators.errors import Cancelled, TaskTimedOut, WorkerDied
from starling_py.operators.plan import ExchangeRead, Stage, StagePlan
from starling_py.shuffle.errors import (
    CorruptObject,
    ObjectMissing,
    Origin,
    StarlingError,
    StoreDenied,
    StoreError,
    StoreUnavailable,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from starling_py.operators.task import TaskReport, TaskSpec

__all__ = [
    "Action",
    "Attempt",
    "AttemptTimedOut",
    "Cancel",
    "CancelAttempt",
    "Event",
    "Fail",
    "Finish",
    "Invoke",
    "Options",
    "Release",
    "Scheduler",
    "StageComplete",
    "StageReady",
    "TaskReported",
    "Tick",
    "WorkerLost",
]


@dataclass(frozen=True, slots=True, order=True)
class Attempt:
    """Names one attempt of one task."""

    stage: int
    task: int
    number: int


@dataclass(frozen=True, slots=True)
class Options:
    """How a plan is run.

    ``slots`` attempts are in flight at most. ``memory_limit`` is that of a task's DuckDB, in bytes.
    ``deadline`` is that of the query, in seconds since the epoch.
    """

    slots: int
    memory_limit: int
    deadline: float
    attempt_seconds: float = float("inf")
    max_attempts: int = 2
    transport: Transport = field(default_factory=Transport)


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


Event = TaskReported | AttemptTimedOut | WorkerLost | Tick | Cancel


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

_RETRYABLE = frozenset(
    kind.code
    for kind in (
        WorkerDied,
        TaskTimedOut,
        CorruptObject,
        StoreError,
        ObjectMissing,
        StoreDenied,
        StoreUnavailable,
    )
)


@dataclass(slots=True)
class _StageState:
    stage: Stage
    waits_for: set[int]
    reports: list[TaskReport | None]
    missing: int
    attempts: list[int] = field(default_factory=list)


class Scheduler:
    """Runs one plan. Call :meth:`start` once, then :meth:`handle` with every event.

    Parameters
    ----------
    nonce
        Makes the nonce of an attempt; no two calls give the same.
    """

    def __init__(self, plan: StagePlan, options: Options, nonce: Callable[[], str]) -> None:
        self._plan = plan
        self._options = options
        self._nonce = nonce
        self._stages = {
            stage.id: _StageState(
                stage,
                _reads(stage),
                [None] * stage.tasks,
                stage.tasks,
                [0] * stage.tasks,
            )
            for stage in plan.stages
        }
        self._readers = {
            stage.id: {reader.id for reader in plan.stages if stage.id in _reads(reader)}
            for stage in plan.stages
        }
        self._ready: list[tuple[int, int]] = []
        self._in_flight: dict[Attempt, float] = {}
        self._ended = False

    @property
    def ended(self) -> bool:
        """Whether ``Finish`` or ``Fail`` has been answered."""
        return self._ended

    @property
    def in_flight(self) -> tuple[Attempt, ...]:
        """The attempts that run."""
        return tuple(self._in_flight)

    @property
    def next_deadline(self) -> float:
        """Until when, at the latest, something must be told to the scheduler."""
        return min(self._in_flight.values(), default=self._options.deadline)

    def reports(self, stage: int) -> tuple[TaskReport, ...]:
        """Return the accepted reports of a stage, in task order."""
        return tuple(report for report in self._stages[stage].reports if report is not None)

    def start(self, now: float) -> list[Action]:
        """Return the first actions."""
        actions: list[Action] = []
        self._start_stages(actions)
        self._fill(now, actions)
        return actions

    def handle(self, event: Event, now: float) -> list[Action]:
        """Return what is to be done, in order. Once the query has ended there is nothing to do."""
        if self._ended:
            return []
        actions: list[Action] = []
        if isinstance(event, Cancel):
            self._fail(Cancelled("the query was cancelled", origin=self._origin()), actions)
        elif isinstance(event, TaskReported):
            self._reported(event.report, actions)
        elif isinstance(event, WorkerLost):
            self._lost(event.attempt, WorkerDied(event.reason), actions)
        elif isinstance(event, AttemptTimedOut):
            self._timed_out(event.attempt, actions)
        if not self._ended:
            self._tick(now, actions)
        if not self._ended:
            self._fill(now, actions)
        return actions

    def _origin(self, attempt: Attempt | None = None) -> Origin:
        if attempt is None:
            return Origin(self._plan.query)
        return Origin(self._plan.query, attempt.stage, attempt.task, attempt.number)

    def _tick(self, now: float, actions: list[Action]) -> None:
        if now >= self._options.deadline:
            self._fail(
                TaskTimedOut("the query ran past its deadline", origin=self._origin()), actions
            )
            return
        for attempt in [attempt for attempt, until in self._in_flight.items() if now >= until]:
            if not self._ended:
                self._timed_out(attempt, actions)

    def _reported(self, report: TaskReport, actions: list[Action]) -> None:
        attempt = Attempt(report.stage, report.task, report.attempt)
        if report.query != self._plan.query or attempt not in self._in_flight:
            return  # late, a duplicate, or not ours
        if report.error is not None:
            self._lost(attempt, StarlingError.from_record(report.error), actions)
            return
        if report.index is None:
            self._lost(attempt, WorkerDied("the worker reported nothing"), actions)
            return
        del self._in_flight[attempt]
        state = self._stages[attempt.stage]
        state.reports[attempt.task] = report
        state.missing -= 1
        if not state.missing:
            actions.append(StageComplete(state.stage, self.reports(attempt.stage)))
            self._stage_done(attempt.stage, actions)

    def _stage_done(self, done: int, actions: list[Action]) -> None:
        if all(not state.missing for state in self._stages.values()):
            self._ended = True
            actions.append(Finish(self.reports(self._plan.stages[-1].id)))
            return
        for read in sorted(_reads(self._stages[done].stage)):
            self._readers[read].discard(done)
            if not self._readers[read]:
                actions.append(Release(self._stages[read].stage))
        for state in self._stages.values():
            state.waits_for.discard(done)
        self._start_stages(actions)

    def _start_stages(self, actions: list[Action]) -> None:
        for state in self._stages.values():
            if not state.waits_for and not any(state.attempts):
                actions.append(StageReady(state.stage))
                for task in range(state.stage.tasks):
                    state.attempts[task] = 1
                    heapq.heappush(self._ready, (state.stage.id, task))

    def _timed_out(self, attempt: Attempt, actions: list[Action]) -> None:
        if attempt in self._in_flight:
            actions.append(CancelAttempt(attempt))
            self._lost(attempt, TaskTimedOut("the task did not report in time"), actions)

    def _lost(self, attempt: Attempt, error: StarlingError, actions: list[Action]) -> None:
        if self._in_flight.pop(attempt, None) is None:
            return
        error.origin = self._origin(attempt)
        if error.code not in _RETRYABLE or attempt.number >= self._options.max_attempts:
            self._fail(error, actions)
            return
        self._stages[attempt.stage].attempts[attempt.task] = attempt.number + 1
        heapq.heappush(self._ready, (attempt.stage, attempt.task))

    def _fail(self, error: StarlingError, actions: list[Action]) -> None:
        self._ended = True
        actions.extend(CancelAttempt(attempt) for attempt in sorted(self._in_flight))
        self._in_flight.clear()
        self._ready.clear()
        actions.append(Fail(error))

    def _fill(self, now: float, actions: list[Action]) -> None:
        while self._ready and len(self._in_flight) < self._options.slots:
            stage_id, task = heapq.heappop(self._ready)
            state = self._stages[stage_id]
            until = min(now + self._options.attempt_seconds, self._options.deadline)
            spec = task_spec(
                self._plan,
                state.stage,
                task,
                state.attempts[task],
                reports={read: self.reports(read) for read in _reads(state.stage)},
                nonce=self._nonce(),
                memory_limit=self._options.memory_limit,
                deadline=until,
                transport=self._options.transport,
            )
            invoke = Invoke(spec)
            self._in_flight[invoke.attempt] = until
            actions.append(invoke)


def _reads(stage: Stage) -> set[int]:
    return {read.stage for read in stage.inputs if isinstance(read, ExchangeRead)}
