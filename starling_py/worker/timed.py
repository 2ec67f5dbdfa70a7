"""A task that is stopped in time: before whoever runs it would be killed."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from msgspec import structs

from starling_py.operators.errors import Cancelled, TaskTimedOut
from starling_py.operators.run import run_task
from starling_py.shuffle.errors import Origin

if TYPE_CHECKING:
    from collections.abc import Callable

    from starling_py.operators.instance import Instance
    from starling_py.operators.task import TaskReport, TaskSpec
    from starling_py.shuffle.buckets import Buckets
    from starling_py.shuffle.objects import ObjectStore

__all__ = ["TimedTask", "out_of_time"]

_INTERRUPT_SECONDS = 0.02


class TimedTask:
    """One attempt, in a thread of its own.

    Parameters
    ----------
    worker
        The name of the worker, for the report.
    """

    def __init__(
        self,
        spec: TaskSpec,
        store: ObjectStore,
        instance: Instance,
        buckets: Callable[[], Buckets],
        worker: str,
    ) -> None:
        self._spec = spec
        self._store = store
        self._instance = instance
        self._buckets = buckets
        self._worker = worker
        self._cancelled = threading.Event()
        self._ended = threading.Event()
        self._report: TaskReport | None = None

    def run(self, stop_at: float, leave_at: float) -> TaskReport | None:
        """Run the task and return its report.

        Parameters
        ----------
        stop_at
            When the task is stopped, in seconds since the epoch.
        leave_at
            When one that does not stop is left to itself. ``None`` is returned then, and nothing
            that the task was given may be used again.
        """
        threading.Thread(target=self._work, name="task", daemon=True).start()
        self._ended.wait(max(stop_at - time.time(), 0.0))
        # Again and again: an interrupt between two statements is lost.
        while not self._ended.is_set() and time.time() < leave_at:
            self._cancelled.set()
            self._instance.interrupt()
            self._ended.wait(_INTERRUPT_SECONDS)
        report = self._report
        error = None if report is None else report.error
        if report is not None and error is not None and error.code == Cancelled.code:
            return structs.replace(report, error=out_of_time(self._spec).record())
        return report

    def _work(self) -> None:
        try:
            self._report = run_task(
                self._spec,
                self._store,
                self._instance,
                worker=self._worker,
                isolated=True,
                cancelled=self._cancelled,
                buckets=self._buckets,
            )
        finally:
            self._ended.set()


def out_of_time(spec: TaskSpec) -> TaskTimedOut:
    """Return the error of a task that was stopped because its time was up."""
    return TaskTimedOut(
        "the task ran out of time",
        hint="give the function more time or memory, or run more tasks",
        origin=Origin(spec.query, spec.stage, spec.task, spec.attempt),
    )
