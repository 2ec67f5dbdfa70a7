"""Tasks on threads of this process, each with a DuckDB instance of its own."""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from typing import TYPE_CHECKING

from starling_py.operators.errors import TaskError, WorkerDied
from starling_py.operators.instance import Instance
from starling_py.operators.run import run_task
from starling_py.operators.task import TaskReport
from starling_py.shuffle.errors import Origin

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from starling_py.operators.task import TaskSpec
    from starling_py.shuffle.buckets import Buckets
    from starling_py.shuffle.objects import ObjectStore

__all__ = ["ThreadInvoker"]

_STOP_SECONDS = 30.0
_INTERRUPT_SECONDS = 0.02


class _Job:
    """An attempt on its way through a worker thread."""

    def __init__(self, spec: TaskSpec, loop: asyncio.AbstractEventLoop) -> None:
        self.spec = spec
        self.cancelled = threading.Event()
        self.answer: asyncio.Future[TaskReport] = loop.create_future()
        self._loop = loop
        self._turn = threading.Lock()

    def claim(self) -> bool:
        """Take the job, once; return whether the caller has got it."""
        return self._turn.acquire(blocking=False)

    def finish(self, report: TaskReport) -> None:
        try:
            self._loop.call_soon_threadsafe(self._settle, report)
        except RuntimeError:
            return  # the loop is closed: nobody waits any more

    def _settle(self, report: TaskReport) -> None:
        if not self.answer.done():
            self.answer.set_result(report)


class _Worker:
    """A thread and its DuckDB instance."""

    def __init__(
        self,
        name: str,
        jobs: queue.SimpleQueue[_Job | None],
        store: ObjectStore,
        temp_directory: Path,
        buckets: Callable[[], Buckets] | None,
    ) -> None:
        self._name = name
        self._jobs = jobs
        self._store = store
        self._buckets = buckets
        self._instance = Instance(temp_directory)
        self._lock = threading.Lock()
        self._job: _Job | None = None
        # A thread that is no daemon would be waited for before anything could tell it to stop.
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def _work(self) -> None:
        try:
            while (job := self._jobs.get()) is not None:
                if not job.claim():
                    continue
                with self._lock:
                    self._job = job
                try:
                    report = run_task(
                        job.spec,
                        self._store,
                        self._instance,
                        worker=self._name,
                        cancelled=job.cancelled,
                        buckets=self._buckets,
                    )
                except BaseException as error:  # noqa: BLE001 - nobody must wait for ever
                    report = self._broken(job.spec, error)
                finally:
                    with self._lock:
                        self._job = None
                job.finish(report)
                del job, report
        finally:
            self._instance.close()

    def _broken(self, spec: TaskSpec, error: BaseException) -> TaskReport:
        """Return the report of a task that has not even made one."""
        record = TaskError(f"{type(error).__name__} in a worker: {error}").record()
        return TaskReport(spec.query, spec.stage, spec.task, spec.attempt, self._name, error=record)

    def interrupt(self, job: _Job | None = None) -> bool:
        """Interrupt ``job``, or whatever runs; return whether it runs here."""
        with self._lock:
            running = self._job
            if running is None or (job is not None and running is not job):
                return False
            running.cancelled.set()
            self._instance.interrupt()
            return True

    def join(self, deadline: float) -> None:
        while self._thread.is_alive() and time.monotonic() < deadline:
            self.interrupt()
            self._thread.join(_INTERRUPT_SECONDS)


class ThreadInvoker:
    """Worker threads of this process, mostly over a store in its memory.

    The threads start with the first task, are kept between queries, and end with :meth:`close`.

    Parameters
    ----------
    workers
        How many threads.
    memory_limit
        Of each thread's DuckDB, in bytes.
    temp_directory
        Where the threads may spill, each in a folder of its own.
    buckets
        Opens what scans read on S3, when the first of them does.
    """

    def __init__(
        self,
        workers: int,
        store: ObjectStore,
        *,
        memory_limit: int,
        temp_directory: Path,
        buckets: Callable[[], Buckets] | None = None,
    ) -> None:
        self._slots = workers
        self._store = store
        self._memory_limit = memory_limit
        self._temp_directory = temp_directory
        self._buckets = buckets
        self._lock = threading.Lock()
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._workers: list[_Worker] = []
        self._closed = False

    @property
    def slots(self) -> int:
        return self._slots

    @property
    def memory_limit(self) -> int:
        return self._memory_limit

    @property
    def store(self) -> ObjectStore:
        return self._store

    async def invoke(self, spec: TaskSpec) -> TaskReport:
        self._start(spec)
        job = _Job(spec, asyncio.get_running_loop())
        self._jobs.put(job)
        try:
            return await asyncio.shield(job.answer)
        except asyncio.CancelledError:
            await self._stop(job)
            raise

    async def _stop(self, job: _Job) -> None:
        job.cancelled.set()
        if job.claim():
            return  # no worker has taken it, and none will
        deadline = time.monotonic() + _STOP_SECONDS
        while not job.answer.done() and time.monotonic() < deadline:
            # Again and again: an interrupt between two statements is lost.
            for worker in self._workers:
                worker.interrupt(job)
            await asyncio.wait([job.answer], timeout=_INTERRUPT_SECONDS)

    def _start(self, spec: TaskSpec) -> None:
        with self._lock:
            if self._closed:
                origin = Origin(spec.query, spec.stage, spec.task, spec.attempt)
                raise WorkerDied("the engine is closed", origin=origin)
            while len(self._workers) < self._slots:
                name = f"thread-{len(self._workers)}"
                folder = self._temp_directory / name
                self._workers.append(_Worker(name, self._jobs, self._store, folder, self._buckets))

    async def close(self) -> None:
        with self._lock:
            self._closed = True
            workers, self._workers = self._workers, []
        for _ in workers:
            self._jobs.put(None)
        deadline = time.monotonic() + _STOP_SECONDS
        for worker in workers:
            worker.join(deadline)
