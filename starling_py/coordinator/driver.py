"""Runs a plan: tells the scheduler what happens and does what it answers."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import secrets
import time
from typing import TYPE_CHECKING, TypeVar

from starling_py.coordinator.answers import Answer, answer_rows
from starling_py.coordinator.messages import (
    Action,
    Attempt,
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
    Tick,
)
from starling_py.coordinator.options import Options
from starling_py.coordinator.scheduler import Scheduler
from starling_py.coordinator.transport import Transport
from starling_py.events import (
    Events,
    QueryFailed,
    QueryFinished,
    QueryPlanned,
    StageFinished,
    StageStarted,
    TaskFinished,
    TaskStarted,
)
from starling_py.operators.errors import TaskError
from starling_py.operators.task import TaskMetrics, TaskReport, TaskSpec
from starling_py.shuffle.errors import StarlingError
from starling_py.shuffle.meter import RequestCounts, metered
from starling_py.shuffle.objects import copy_key

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from starling_py.coordinator.progress import Progress
    from starling_py.invokers.protocol import Invoker
    from starling_py.operators.plan import Stage, StagePlan
    from starling_py.shuffle.rows import Rows

__all__ = ["Driver", "in_thread"]

_T = TypeVar("_T")
_TICK_SECONDS = 1.0
_STOP_SECONDS = 40.0


class Driver:
    """Runs one plan on an invoker.

    However the run ends, no attempt of it is running afterwards and its objects are gone.

    Parameters
    ----------
    seconds
        How long the query may take.
    folder
        Where an answer is kept that is too large for memory.
    divides
        Divide tasks that run out of time or memory, where they can be.
    stage_slots
        How many attempts of one stage are in flight at most; by default as many as of all.
    progress
        Of an earlier driver of the same plan.
    """

    def __init__(
        self,
        plan: StagePlan,
        invoker: Invoker,
        events: Events,
        *,
        seconds: float,
        max_attempts: int = 2,
        attempt_seconds: float = float("inf"),
        transport: Transport | None = None,
        divides: bool = False,
        stage_slots: int | None = None,
        folder: Path | None = None,
        progress: Progress | None = None,
    ) -> None:
        self._plan = plan
        self._folder = folder
        self._transport = transport or Transport()
        self._invoker = invoker
        self._events = events
        self._scheduler = Scheduler(
            plan,
            Options(
                slots=invoker.slots,
                memory_limit=invoker.memory_limit,
                deadline=time.time() + seconds,
                attempt_seconds=attempt_seconds,
                max_attempts=max_attempts,
                transport=self._transport,
                divides=divides,
                stage_slots=stage_slots,
            ),
            nonce=lambda: secrets.token_hex(8),
            progress=progress,
        )
        self._inbox: asyncio.Queue[Event | None] = asyncio.Queue()
        self._attempts: dict[Attempt, asyncio.Task[None]] = {}
        self._stopping: set[asyncio.Task[None]] = set()
        self._releases: list[asyncio.Task[None]] = []
        self._outcome: Finish | Fail | None = None
        self._keeps = False
        self._requests = RequestCounts()
        self._ended: list[TaskMetrics] = []
        # Keys are known beforehand, so what attempts may have left is deleted without a listing.
        self._left: dict[Attempt, str] = {}
        self._given_up: set[Attempt] = set()

    def cancel(self) -> None:
        """Ask for the end of the query; only from the thread of the event loop."""
        self._inbox.put_nowait(Cancel())

    def drain(self) -> None:
        """Let no more attempts begin; only from the thread of the event loop."""
        self._inbox.put_nowait(Drain())

    def leave(self) -> None:
        """Let :meth:`reports` return, as it is; only from the thread of the event loop."""
        self._inbox.put_nowait(None)

    @property
    def running(self) -> int:
        """How many attempts run."""
        return len(self._scheduler.in_flight)

    @property
    def requests(self) -> RequestCounts:
        """What the attempts so far have asked of stores."""
        return self._requests

    def progress(self) -> Progress:
        """Return how far the plan has come; only from the thread of the event loop."""
        return self._scheduler.progress()

    async def run(self) -> Answer:
        """Run the plan to its end.

        Raises
        ------
        StarlingError
            If there is no answer.
        """
        start = time.perf_counter()
        query = self._plan.query
        self._events(QueryPlanned(query, self._plan))
        try:
            with metered() as own:
                rows, reports = await self._run()
            answer = Answer(rows, reports, self._requests + own.snapshot(), tuple(self._ended))
        except StarlingError as error:
            self._events(QueryFailed(query, error, time.perf_counter() - start))
            raise
        self._events(QueryFinished(query, time.perf_counter() - start))
        return answer

    async def _run(self) -> tuple[tuple[Rows, ...], dict[int, tuple[TaskReport, ...]]]:
        try:
            reports = await self._reports()
            last = reports[self._plan.stages[-1].id]
            store, copied = self._invoker.store, self._transport.doublewrite
            rows = await in_thread(
                lambda: answer_rows(self._plan, last, store, copied=copied, folder=self._folder)
            )
            return rows, reports
        finally:
            await self._stop_attempts()
            # What fails to be deleted now is deleted with all the rest.
            await asyncio.gather(*self._releases, return_exceptions=True)
            await self._remove(list(self._left))

    async def reports(self) -> dict[int, tuple[TaskReport, ...]] | None:
        """Run the plan to its end, and leave all its objects where they are.

        Returns
        -------
        dict or None
            The reports of all tasks by stage; ``None`` if :meth:`leave` was called before the end.

        Raises
        ------
        StarlingError
            If there is no answer.
        """
        self._keeps = True
        try:
            return await self._reports()
        except _Left:
            return None
        finally:
            await self._stop_attempts()

    async def _reports(self) -> dict[int, tuple[TaskReport, ...]]:
        self._act(self._scheduler.start(time.time()))
        while self._outcome is None:
            event = await self._next_event()
            self._act(self._scheduler.handle(event, time.time()))
        if isinstance(self._outcome, Fail):
            raise self._outcome.error
        return {stage.id: self._scheduler.reports(stage.id) for stage in self._plan.stages}

    async def _remove(self, attempts: Sequence[Attempt]) -> None:
        """Delete what these attempts may have left, one key for all attempts of a task."""
        keys = list(dict.fromkeys(self._left[attempt] for attempt in attempts))
        if self._transport.doublewrite:
            keys += [copy_key(key) for key in keys]
        if not keys:
            return
        try:
            await in_thread(lambda: self._invoker.store.delete(keys))
        except StarlingError as error:
            # The answer, or the reason why there is none, matters more. No traceback: it would
            # name the bucket.
            logging.getLogger(__name__).warning("%s … was not removed (%s)", keys[0], error.code)
        else:
            for attempt in attempts:
                self._left.pop(attempt, None)

    def _release(self, stage: Stage) -> None:
        # An attempt that was given up may still write; what it leaves goes at the end.
        done = [
            attempt
            for attempt in self._left
            if attempt.stage == stage.id and attempt not in self._given_up
        ]
        self._releases.append(asyncio.get_running_loop().create_task(self._remove(done)))

    async def _next_event(self) -> Event:
        wait = min(max(self._scheduler.next_deadline - time.time(), 0.0), _TICK_SECONDS)
        try:
            event = await asyncio.wait_for(self._inbox.get(), wait)
        except TimeoutError:
            return Tick()
        if event is None:
            raise _Left
        return event

    def _act(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case Invoke():
                    self._invoke(action.attempt, action.spec)
                case CancelAttempt():
                    self._given_up.add(action.attempt)
                    task = self._attempts.pop(action.attempt, None)
                    if task is not None:
                        self._stopping.add(task)
                        task.cancel()
                case StageReady():
                    self._events(StageStarted(self._plan.query, action.stage))
                case StageComplete():
                    self._events(StageFinished(self._plan.query, action.stage, action.reports))
                case Release():
                    if not self._keeps:
                        self._release(action.stage)
                case Finish() | Fail():
                    self._outcome = action

    def _invoke(self, attempt: Attempt, spec: TaskSpec) -> None:
        self._events(TaskStarted(spec.query, spec.stage, spec.task, spec.attempt))
        self._left[attempt] = spec.key
        self._attempts[attempt] = asyncio.get_running_loop().create_task(
            self._attempt(attempt, spec)
        )

    async def _attempt(self, attempt: Attempt, spec: TaskSpec) -> None:
        try:
            report = await self._invoker.invoke(spec)
        except StarlingError as error:
            report = _failure(spec, error)
        except Exception as error:  # noqa: BLE001 - whatever an invoker raises ends the attempt
            report = _failure(spec, TaskError(f"{type(error).__name__}: {error}"))
        self._requests += report.metrics.requests
        self._ended.append(report.metrics)
        if report.inline:
            self._left.pop(attempt, None)
        if report.error is not None:
            self._given_up.add(attempt)
        self._attempts.pop(attempt, None)
        self._events(TaskFinished(spec.query, report))
        self._inbox.put_nowait(TaskReported(report))

    async def _stop_attempts(self) -> None:
        running = [*self._attempts.values(), *self._stopping]
        self._attempts.clear()
        for task in running:
            if task not in self._stopping:
                task.cancel()
        if running:
            await asyncio.wait(running, timeout=_STOP_SECONDS)


class _Left(Exception):
    """The driver was told to leave."""


def _failure(spec: TaskSpec, error: StarlingError) -> TaskReport:
    return TaskReport(spec.query, spec.stage, spec.task, spec.attempt, "none", error=error.record())


async def in_thread(work: Callable[[], _T]) -> _T:
    """Do something that waits, and wait for it without stopping the event loop."""
    # What the work asks of the store is counted where that of the caller is.
    here = contextvars.copy_context()
    try:
        waiting = asyncio.get_running_loop().run_in_executor(None, here.run, work)
    except RuntimeError:
        return work()  # the interpreter is about to end and starts no thread any more
    return await waiting
