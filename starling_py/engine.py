"""Runs plans: coordinator, workers, their store and everything that has to end with them."""

from __future__ import annotations

import asyncio
import os
import threading
import time
import weakref
from concurrent.futures import CancelledError, Future, wait
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeVar

from starling_py.access import S3Access
from starling_py.cancelling import Cancellation
from starling_py.coordinator.driver import Driver
from starling_py.coordinator.machine import available_cores, default_memory
from starling_py.coordinator.scratch import Scratch, sweep
from starling_py.coordinator.transport import Transport
from starling_py.events import Events, Listener
from starling_py.invokers.functions import LambdaInvoker
from starling_py.invokers.processes import ProcessInvoker
from starling_py.invokers.protocol import PAYLOAD_BYTES
from starling_py.invokers.threads import ThreadInvoker
from starling_py.operators.errors import Cancelled, TaskError, TaskTimedOut
from starling_py.shuffle.locations import LocalLocation, encode_path, open_location
from starling_py.shuffle.memory import MemoryStore
from starling_py.shuffle.rows import whole

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable
    from pathlib import Path

    import pyarrow as pa

    from starling_py.coordinator.answers import Answer
    from starling_py.invokers.function_client import FunctionClient
    from starling_py.invokers.protocol import Invoker
    from starling_py.operators.plan import StagePlan
    from starling_py.operators.task import TaskMetrics, TaskReport
    from starling_py.shuffle.locations import S3Location
    from starling_py.shuffle.meter import RequestCounts
    from starling_py.shuffle.objects import ObjectStore
    from starling_py.shuffle.rows import Rows

__all__ = ["Engine", "EngineOptions", "RunMetrics", "RunResult", "run_result"]

_T = TypeVar("_T")
_STOP_SECONDS = 60.0
_POLL_SECONDS = 0.01
_END_SECONDS = 30.0
_SLICE_SECONDS = 0.1
_INSTANCE_OVERHEAD = 60 << 20
_LEAST_INSTANCE = 64 << 20


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """How an engine runs tasks.

    Parameters
    ----------
    workers
        How many tasks run at once.
    stage_workers
        How many of them may be of one stage; by default all.
    isolation
        ``"thread"`` runs them in this process, ``"process"`` in a process each.
    memory
        Bytes for the objects of the shuffle and all workers together; 0 stands for 80 % of what
        is free when the engine is made.
    seconds
        How long a query may take.
    attempts
        How often a task is tried, where trying again makes sense.
    attempt_seconds
        How long one attempt may take.
    scratch
        Where the directory for spilled and exchanged data is made; by default the machine's
        directory for temporary files.
    objects
        Where on S3 tasks put what they hand to one another; by default in this process's memory,
        or for processes in the scratch directory.
    access
        The ways to S3.
    payload
        Bytes of data that travel in a report or a spec instead of S3.
    doublewrite
        Put each object on S3 twice.
    function
        Runs the tasks on AWS Lambda, whatever ``isolation`` says; needs ``objects``.
    """

    workers: int = field(default_factory=available_cores)
    isolation: Literal["thread", "process"] = "thread"
    memory: int = 0
    seconds: float = 86_400.0
    attempts: int = 2
    attempt_seconds: float = float("inf")
    scratch: Path | None = None
    objects: S3Location | None = None
    access: S3Access = field(default_factory=S3Access)
    payload: int = PAYLOAD_BYTES
    doublewrite: bool = False
    function: FunctionClient | None = None
    stage_workers: int | None = None

    @property
    def transport(self) -> Transport:
        """How outputs travel: on one machine uncompressed and through the store."""
        if self.objects is None:
            return Transport()
        return Transport("lz4", self.payload, self.doublewrite)


@dataclass(frozen=True, slots=True)
class RunMetrics:
    """What a query cost.

    ``shuffled_bytes`` are those of all outputs but the last stage's. ``requests`` are those to
    stores, of all attempts and of the coordinator; ``attempts`` has the metrics of each of the
    attempts. ``peak_rss`` is per worker, in bytes; workers that are threads share that of the
    process.
    """

    stages: int
    tasks: int
    shuffled_bytes: int
    shuffled_rows: int
    requests: RequestCounts
    seconds: float
    cpu_seconds: float
    peak_rss: dict[str, int]
    attempts: tuple[TaskMetrics, ...] = ()


@dataclass(frozen=True, slots=True)
class RunResult:
    """The answer piece by piece, columns c0, c1 …; reports in the order of stages and tasks."""

    rows: tuple[Rows, ...]
    metrics: RunMetrics
    reports: tuple[TaskReport, ...]

    @property
    def count(self) -> int:
        """How many rows the answer has."""
        return sum(piece.rows for piece in self.rows)

    @property
    def table(self) -> pa.Table:
        """The whole answer."""
        return whole(self.rows)


class Engine:
    """Runs plans on workers that it starts with the first and keeps until it is closed.

    Several threads may call :meth:`run` at once; they share the workers.
    """

    def __init__(
        self, options: EngineOptions | None = None, listeners: Iterable[Listener] = ()
    ) -> None:
        self._options = options or EngineOptions()
        if self._options.workers < 1:
            raise ValueError("an engine has at least one worker")
        self._events = Events(listeners)
        self._parts = _Parts(self._options)
        # Also when the engine is forgotten, or the interpreter ends.
        self._finalizer = weakref.finalize(self, self._parts.close)

    @property
    def options(self) -> EngineOptions:
        return self._options

    def run(
        self,
        plan: StagePlan,
        listeners: Iterable[Listener] = (),
        cancellation: Cancellation | None = None,
    ) -> RunResult:
        """Run a plan and return its answer.

        Whatever happens, no task of the plan runs on, and none of its objects is left, when
        this returns or raises. ``KeyboardInterrupt`` cancels the query, cleans up and goes on.

        Parameters
        ----------
        listeners
            Are told of this run only, in a thread of the engine.
        cancellation
            Lets other threads end the run.

        Raises
        ------
        StarlingError
            If there is no answer.
        """
        return self._parts.run(plan, self._events.plus(listeners), cancellation or Cancellation())

    def close(self) -> None:
        """End all workers and remove all scratch data. A closed engine runs nothing more."""
        self._finalizer()

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Parts:
    """What an engine holds. It does not know its engine, so that the engine can be forgotten."""

    def __init__(self, options: EngineOptions) -> None:
        self._options = options
        self._lock = threading.Lock()
        self._closed = False
        self._owner = os.getpid()
        self._scratch: Scratch | None = None
        self._invoker: Invoker | None = None
        self._loop: _LoopThread | None = None
        self._drivers: set[Driver] = set()

    def run(self, plan: StagePlan, events: Events, cancellation: Cancellation) -> RunResult:
        invoker, loop = self._started()
        driver = Driver(
            plan,
            invoker,
            events,
            seconds=self._options.seconds,
            max_attempts=self._options.attempts,
            attempt_seconds=self._options.attempt_seconds,
            transport=self._options.transport,
            divides=self._options.function is not None,
            stage_slots=self._options.stage_workers,
            folder=self._scratch.path if self._scratch is not None else None,
        )
        running: Future[tuple[Answer, float]] | None = None
        try:
            with cancellation.stopped_by(lambda: loop.call(driver.cancel)):
                running = loop.submit(self._drive(driver))
                answer, seconds = self._wait(running, loop)
        except CancelledError:
            # The loop has ended, and with it whatever ran in it.
            raise Cancelled("the engine is closed") from None
        except BaseException:
            # Ctrl-C: the caller goes on only when nothing of the query is left.
            loop.call(driver.cancel)
            if running is not None and not running.done():
                wait([running], _STOP_SECONDS)
            raise
        return run_result(plan, answer, seconds)

    async def _drive(self, driver: Driver) -> tuple[Answer, float]:
        if self._closed:
            raise Cancelled("the engine is closed")  # since this run has begun
        loop = asyncio.get_running_loop()
        start = loop.time()
        self._drivers.add(driver)
        try:
            return await driver.run(), loop.time() - start
        finally:
            self._drivers.discard(driver)

    def _wait(self, running: Future[_T], loop: _LoopThread) -> _T:
        deadline = time.monotonic() + self._options.seconds + _STOP_SECONDS
        while time.monotonic() < deadline:
            # In slices: a signal that comes just before a wait is noticed only after it.
            if wait([running], _SLICE_SECONDS).done:
                return running.result()
            if loop.has_ended and not running.done():
                raise CancelledError
        raise TaskTimedOut("the query does not come to its end")

    def _started(self) -> tuple[Invoker, _LoopThread]:
        with self._lock:
            if self._owner != os.getpid():
                raise TaskError("the engine belongs to the process that this one was forked from")
            if self._closed:
                raise Cancelled("the engine is closed")
            if self._scratch is None:
                sweep(self._options.scratch)
                self._scratch = Scratch(self._options.scratch, owned=True)
            if self._invoker is None:
                self._invoker = _invoker(self._options, self._scratch.path)
            if self._loop is None:
                self._loop = _LoopThread()
            return self._invoker, self._loop

    def close(self) -> None:
        if self._owner != os.getpid():
            return  # a fork owns nothing of this
        with self._lock:
            self._closed = True
            loop, self._loop = self._loop, None
            invoker, self._invoker = self._invoker, None
            scratch, self._scratch = self._scratch, None
        # From the last to the first, each also if one before it fails or meets Ctrl-C.
        with ExitStack() as steps:
            if scratch is not None:
                steps.callback(scratch.close)
            steps.callback(self._options.access.close)
            if invoker is not None:
                steps.callback(invoker.store.close)
            if loop is not None:
                steps.callback(loop.close)
                loop.submit(self._stop(invoker)).result(_STOP_SECONDS)

    async def _stop(self, invoker: Invoker | None) -> None:
        for driver in self._drivers:
            driver.cancel()  # what has not begun yet does not begin any more
        deadline = time.monotonic() + _STOP_SECONDS / 2
        while self._drivers and time.monotonic() < deadline:
            await asyncio.sleep(_POLL_SECONDS)
        if invoker is not None:
            await invoker.close()


class _LoopThread:
    """An event loop in a thread of its own: callers may be inside a loop themselves."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._lock = threading.Lock()
        self._ending = False
        self._thread = threading.Thread(target=self._run, name="starling-coordinator", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._loop.run_forever()
        finally:
            self._loop.run_until_complete(self._end())
            self._loop.run_until_complete(self._loop.shutdown_default_executor())
            self._loop.close()

    async def _end(self) -> None:
        """Cancel what still runs: somebody may wait for it."""
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left, timeout=_END_SECONDS)

    def submit(self, work: Coroutine[object, object, _T]) -> Future[_T]:
        """Run a coroutine in the loop; ``CancelledError`` where that has ended."""
        with self._lock:
            if self._ending:
                work.close()
                raise CancelledError
            return asyncio.run_coroutine_threadsafe(work, self._loop)

    @property
    def has_ended(self) -> bool:
        return not self._thread.is_alive()

    def call(self, work: Callable[[], object]) -> None:
        """Call a function in the loop, some time soon, unless that has ended."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(work)

    def close(self) -> None:
        with self._lock:
            self._ending = True
            self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_STOP_SECONDS)


def _invoker(options: EngineOptions, scratch: Path) -> Invoker:
    access = options.access
    if options.function is not None:
        if options.objects is None:
            raise ValueError("functions hand their outputs to one another through S3")
        return LambdaInvoker(
            options.function, options.workers, location=options.objects, access=access
        )
    memory = options.memory or default_memory()
    if options.isolation == "process":
        return ProcessInvoker(
            options.workers,
            memory=memory,
            scratch=scratch,
            location=options.objects or LocalLocation(encode_path(str(scratch / "objects"))),
            access=access,
        )
    store: ObjectStore
    if options.objects is None:
        # Half for what tasks hand to one another; what does not fit goes to files.
        store = MemoryStore(budget=memory // 2, spill_directory=scratch)
    else:
        store = open_location(options.objects, access.source)
    share = memory // 2 // options.workers - _INSTANCE_OVERHEAD
    return ThreadInvoker(
        options.workers,
        store,
        memory_limit=max(share, _LEAST_INSTANCE),
        temp_directory=scratch,
        buckets=lambda: access.buckets,
    )


def run_result(plan: StagePlan, answer: Answer, seconds: float) -> RunResult:
    """Return an answer with what it cost."""
    reports = tuple(report for stage in plan.stages for report in answer.reports[stage.id])
    last = plan.stages[-1].id
    shuffled = [
        report.index for report in reports if report.stage != last and report.index is not None
    ]
    peaks: dict[str, int] = {}
    for report in reports:
        peaks[report.worker] = max(report.metrics.peak_rss, peaks.get(report.worker, 0))
    return RunResult(
        answer.rows,
        RunMetrics(
            stages=len(plan.stages),
            tasks=len(reports),
            shuffled_bytes=sum(index.bytes for index in shuffled),
            shuffled_rows=sum(index.rows for index in shuffled),
            requests=answer.requests,
            seconds=seconds,
            cpu_seconds=sum(report.metrics.cpu_seconds for report in reports),
            peak_rss=peaks,
            attempts=answer.attempts or tuple(report.metrics for report in reports),
        ),
        reports,
    )
