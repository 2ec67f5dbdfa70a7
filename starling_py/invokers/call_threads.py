"""Threads for calls that cannot be cut off."""

from __future__ import annotations

import queue
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["CallThreads"]


class CallThreads:
    """At most ``limit`` threads, started when there is work, which do not keep the interpreter.

    Parameters
    ----------
    name
        Of the threads.
    """

    def __init__(self, name: str, limit: int) -> None:
        self._name = name
        self._limit = limit
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._closed = False

    def submit(self, work: Callable[[], None]) -> None:
        """Call ``work`` in a thread as soon as one is free. It must not raise."""
        with self._lock:
            if self._closed:
                raise RuntimeError("the threads have ended")
            self._work.put(work)
            if not self._idle.acquire(blocking=False) and len(self._threads) < self._limit:
                # A thread that is no daemon would be waited for at the end of the interpreter.
                thread = threading.Thread(
                    target=self._run, name=f"{self._name}-{len(self._threads)}", daemon=True
                )
                self._threads.append(thread)
                thread.start()

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            work()
            del work
            self._idle.release()

    def close(self, seconds: float) -> None:
        """End the threads that are not in a call, and those that come out of one in time."""
        with self._lock:
            self._closed = True
            threads = list(self._threads)
        for _ in threads:
            self._work.put(None)
        deadline = time.monotonic() + seconds
        for thread in threads:
            thread.join(max(deadline - time.monotonic(), 0.0))
