"""Which attempt of which task runs when: a state machine, events in and actions out.

It knows no clock, no socket and no thread. Time enters with the events, as seconds since the
epoch.
"""

from __future__ import annotations

import heapq
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from starling_py.coordinator.messages import (
    Action,
    Attempt,
    AttemptTimedOut,
    Cancel,
    CancelAttempt,
    Drain,
    Event,
    Fail,
    Finish,
    Invoke,
    Release,
    StageComplete,
    StageReady,
    TaskReported,
    WorkerLost,
)
from starling_py.coordinator.options import DIVIDED, MEMORY_DIVISIONS, RETRIED
from starling_py.coordinator.parts import divisions, halves, in_order
from starling_py.coordinator.portions import Portion, portions
from starling_py.coordinator.progress import Begun, Progress, StageProgress
from starling_py.coordinator.ranges import KeyRange, key_ranges
from starling_py.coordinator.specs import task_spec
from starling_py.operators.errors import Cancelled, OutOfMemory, TaskTimedOut, WorkerDied
from starling_py.operators.plan import ExchangeRead, Stage, StagePlan
from starling_py.shuffle.errors import Origin, StarlingError

if TYPE_CHECKING:
    from collections.abc import Callable

    from starling_py.coordinator.options import Options
    from starling_py.operators.task import TaskReport

__all__ = ["Scheduler"]


@dataclass(slots=True)
class _StageState:
    """``open`` tells which attempt each task or part is at that has not committed.

    ``running`` attempts are in flight; tasks and parts in ``held`` wait for one of them to end.
    """

    stage: Stage
    waits_for: set[int]
    open: dict[int, int]
    accepted: dict[int, TaskReport] = field(default_factory=dict)
    divided: list[int] = field(default_factory=list)
    begun: bool = False
    running: int = 0
    held: deque[int] = field(default_factory=deque)
    portions: tuple[Portion, ...] | None = None
    ranges: tuple[KeyRange, ...] | None = None
    complete: tuple[TaskReport, ...] = ()

    def reports(self) -> tuple[TaskReport, ...]:
        if self.complete:
            return self.complete
        numbers = sorted(self.accepted, key=lambda number: in_order(self.stage, number))
        found = tuple(self.accepted[number] for number in numbers)
        if not self.open:
            self.complete = found
        return found

    def accept(self, report: TaskReport) -> None:
        del self.open[report.task]
        self.accepted[report.task] = report

    def divide(self, number: int, parts: tuple[int, int]) -> None:
        del self.open[number]
        self.open |= dict.fromkeys(parts, 1)
        self.divided.append(number)


class Scheduler:
    """Runs one plan. Call :meth:`start` once, then :meth:`handle` with every event.

    Parameters
    ----------
    nonce
        Makes the nonce of an attempt; no two calls give the same.
    progress
        Of an earlier scheduler of the same plan. What was running begins again.
    """

    def __init__(
        self,
        plan: StagePlan,
        options: Options,
        nonce: Callable[[], str],
        progress: Progress | None = None,
    ) -> None:
        self._plan = plan
        self._options = options
        self._nonce = nonce
        self._stages = {
            stage.id: _StageState(stage, _reads(stage), dict.fromkeys(range(stage.tasks), 1))
            for stage in plan.stages
        }
        self._readers = {
            stage.id: {reader.id for reader in plan.stages if stage.id in _reads(reader)}
            for stage in plan.stages
        }
        self._ready: list[tuple[int, int]] = []
        self._in_flight: dict[Attempt, float] = {}
        self._ended = False
        self._draining = False
        for stage in progress.stages if progress is not None else ():
            self._restore(stage)

    def _restore(self, progress: StageProgress) -> None:
        state = self._stages[progress.stage]
        for number in progress.divided:
            parts = halves(self._plan, state.stage, number)
            if parts is None:
                raise ValueError(f"task {number} of stage {progress.stage} is not divisible")
            state.divide(number, parts)
        for report in progress.reports:
            state.accept(report)
        for one in progress.begun:
            state.open[one.number] = one.attempt

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
        return self._stages[stage].reports()

    def progress(self) -> Progress:
        """Return how far the plan has come."""
        running = {(attempt.stage, attempt.task) for attempt in self._in_flight}
        return Progress(
            tuple(
                StageProgress(
                    number,
                    state.reports(),
                    tuple(
                        Begun(task, attempt, (number, task) in running)
                        for task, attempt in state.open.items()
                        if attempt > 1 or (number, task) in running
                    ),
                    tuple(state.divided),
                )
                for number, state in self._stages.items()
                if state.begun or not state.open
            )
        )

    def start(self, now: float) -> list[Action]:
        """Return the first actions."""
        actions: list[Action] = []
        for number in [number for number, state in self._stages.items() if not state.open]:
            if not self._ended:
                self._stage_done(number, actions)
        if not self._ended:
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
        elif isinstance(event, Drain):
            self._draining = True
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
        state = self._end(attempt)
        state.accept(report)
        if not state.open:
            actions.append(StageComplete(state.stage, self.reports(attempt.stage)))
            self._stage_done(attempt.stage, actions)

    def _stage_done(self, done: int, actions: list[Action]) -> None:
        if all(not state.open for state in self._stages.values()):
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
            if state.open and not state.waits_for and not state.begun:
                state.begun = True
                known = {read: self.reports(read) for read in _reads(state.stage)}
                state.portions = portions(self._plan, state.stage, known)
                state.ranges = key_ranges(state.stage, known)
                actions.append(StageReady(state.stage))
                for number in state.open:
                    heapq.heappush(self._ready, (state.stage.id, number))

    def _timed_out(self, attempt: Attempt, actions: list[Action]) -> None:
        if attempt in self._in_flight:
            actions.append(CancelAttempt(attempt))
            self._lost(attempt, TaskTimedOut("the task did not report in time"), actions)

    def _lost(self, attempt: Attempt, error: StarlingError, actions: list[Action]) -> None:
        if attempt not in self._in_flight:
            return
        error.origin = self._origin(attempt)
        state = self._end(attempt)
        if (parts := self._parts(attempt, error)) is not None:
            state.divide(attempt.task, parts)
            for part in parts:
                heapq.heappush(self._ready, (attempt.stage, part))
            return
        if error.code not in RETRIED or attempt.number >= self._options.max_attempts:
            self._fail(error, actions)
            return
        state.open[attempt.task] = attempt.number + 1
        heapq.heappush(self._ready, (attempt.stage, attempt.task))

    def _parts(self, attempt: Attempt, error: StarlingError) -> tuple[int, int] | None:
        """Return what a task that was too large is divided into, if it is and can be."""
        state = self._stages[attempt.stage]
        stage = state.stage
        if not self._options.divides or state.portions or error.code not in DIVIDED:
            return None
        is_hopeless = divisions(stage, attempt.task) >= MEMORY_DIVISIONS
        if error.code == OutOfMemory.code and is_hopeless:
            return None
        return halves(self._plan, stage, attempt.task)

    def _fail(self, error: StarlingError, actions: list[Action]) -> None:
        self._ended = True
        actions.extend(CancelAttempt(attempt) for attempt in sorted(self._in_flight))
        self._in_flight.clear()
        self._ready.clear()
        actions.append(Fail(error))

    def _end(self, attempt: Attempt) -> _StageState:
        """Forget an attempt that was in flight, and let another one of its stage come."""
        del self._in_flight[attempt]
        state = self._stages[attempt.stage]
        state.running -= 1
        if state.held:
            heapq.heappush(self._ready, (attempt.stage, state.held.popleft()))
        return state

    def _fill(self, now: float, actions: list[Action]) -> None:
        while self._ready and not self._draining and len(self._in_flight) < self._options.slots:
            stage_id, number = heapq.heappop(self._ready)
            state = self._stages[stage_id]
            if state.running >= (self._options.stage_slots or self._options.slots):
                state.held.append(number)
                continue
            state.running += 1
            until = min(now + self._options.attempt_seconds, self._options.deadline)
            spec = task_spec(
                self._plan,
                state.stage,
                number,
                state.open[number],
                reports={read: self.reports(read) for read in _reads(state.stage)},
                nonce=self._nonce(),
                memory_limit=self._options.memory_limit,
                deadline=until,
                transport=self._options.transport,
                portions=state.portions,
                ranges=state.ranges,
            )
            invoke = Invoke(spec)
            self._in_flight[invoke.attempt] = until
            actions.append(invoke)


def _reads(stage: Stage) -> set[int]:
    return {read.stage for read in stage.inputs if isinstance(read, ExchangeRead)}
