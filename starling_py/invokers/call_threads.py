"""Threads for calls that cannot be cut off, and how many calls there may be."""

from __future__ import annotations

import queue
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["CallThreads", "Permits"]

_LOOK_SECONDS = 0.1


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

    def submit(self, work: Callable[[], None]) -> bool:
        """Call ``work``, which must not raise, in a thread as soon as one is free.

        Return whether that will be: not when the threads have been told to end, or there is none
        and the system gives none.
        """
        with self._lock:
            if self._closed:
                return False
            if not self._idle.acquire(blocking=False) and len(self._threads) < self._limit:
                # A thread that is no daemon would be waited for at the end of the interpreter.
                thread = threading.Thread(
                    target=self._run, name=f"{self._name}-{len(self._threads)}", daemon=True
                )
                try:
                    thread.start()
                except RuntimeError:  # there are as many as the system allows: those do it
                    if not self._threads:
                        return False
                else:
                    self._threads.append(thread)
            self._work.put(work)
            return True

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


class Permits:
    """A number of things that may be had at once; several are taken all together."""

    def __init__(self, count: int) -> None:
        self._free = count
        self._changed = threading.Condition()

    def take(self, count: int, given_up: Callable[[], bool]) -> bool:
        """Wait for ``count`` of them and take them; return whether they were there in time."""
        with self._changed:
            while self._free < count:
                if given_up():
                    return False
                self._changed.wait(_LOOK_SECONDS)
            self._free -= count
            return True

    def give(self, count: int) -> None:
        """Give ``count`` of them back."""
        with self._changed:
            self._free += count
            self._changed.notify_all()
