"""Runs plans: coordinator, workers, their store and everything that has to end with them."""

from __future__ import annotations

import asyncio
import os
import threading
import time
import weakref
from concurrent.futures import CancelledError, Future, wait
from contextlib import ExitStack
from typing import TYPE_CHECKING, TypeVar

from starling_py.cancelling import Cancellation
from starling_py.coordinator.driver import Driver
from starling_py.coordinator.scratch import Scratch, sweep
from starling_py.engine_options import EngineOptions
from starling_py.events import Events, Listener
from starling_py.invokers.chosen import chosen_invoker
from starling_py.loop_thread import LoopThread
from starling_py.operators.errors import Cancelled, TaskError, TaskTimedOut
from starling_py.run_results import RunResult, run_result

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starling_py.coordinator.answers import Answer
    from starling_py.invokers.protocol import Invoker
    from starling_py.operators.plan import StagePlan

__all__ = ["Engine", "EngineOptions"]

_T = TypeVar("_T")
_STOP_SECONDS = 60.0
_POLL_SECONDS = 0.01
_SLICE_SECONDS = 0.1


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
        self._loop: LoopThread | None = None
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

    def _wait(self, running: Future[_T], loop: LoopThread) -> _T:
        deadline = time.monotonic() + self._options.seconds + _STOP_SECONDS
        while time.monotonic() < deadline:
            # In slices: a signal that comes just before a wait is noticed only after it.
            if wait([running], _SLICE_SECONDS).done:
                return running.result()
            if loop.has_ended and not running.done():
                raise CancelledError
        raise TaskTimedOut("the query does not come to its end")

    def _started(self) -> tuple[Invoker, LoopThread]:
        with self._lock:
            if self._owner != os.getpid():
                raise TaskError("the engine belongs to the process that this one was forked from")
            if self._closed:
                raise Cancelled("the engine is closed")
            if self._scratch is None:
                sweep(self._options.scratch)
                self._scratch = Scratch(self._options.scratch, owned=True)
            if self._invoker is None:
                self._invoker = chosen_invoker(self._options, self._scratch.path)
            if self._loop is None:
                self._loop = LoopThread("starling-coordinator")
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
