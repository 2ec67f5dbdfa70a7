"""An event loop in a thread of its own: callers may be inside a loop themselves."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

__all__ = ["LoopThread"]

_T = TypeVar("_T")
_STOP_SECONDS = 60.0
_END_SECONDS = 30.0


class LoopThread:
    """An event loop, and the thread in which it runs until it is closed.

    Parameters
    ----------
    name
        Of the thread.
    """

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._lock = threading.Lock()
        self._ending = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
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
        """Whether nothing that was submitted goes on any more."""
        return not self._thread.is_alive()

    def call(self, work: Callable[[], object]) -> None:
        """Call a function in the loop, some time soon, unless that has ended."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(work)

    def close(self) -> None:
        """End the loop and whatever still runs in it."""
        with self._lock:
            self._ending = True
            self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_STOP_SECONDS)
