"""Asking for the end of what another thread waits for."""

from __future__ import annotations

import asyncio
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from starling_py.operators.errors import Cancelled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Cancellation", "in_thread"]

_T = TypeVar("_T")
_STOP_SECONDS = 60.0
_JOIN_SECONDS = 1.0


class Cancellation:
    """One query's end, which any thread may ask for at any time.

    The thread of the query says by :meth:`stopped_by` what stops it at the moment.
    """

    def __init__(self) -> None:
        # A signal handler may cancel what its own thread is about to register.
        self._lock = threading.RLock()
        self._asked = False
        self._ended = False
        self._stops: dict[object, Callable[[], object]] = {}

    def cancel(self) -> None:
        """Ask; what runs ends soon, what comes later does not begin."""
        with self._lock:
            self._asked = True
            for stop in tuple(self._stops.values()):
                stop()

    def end(self) -> None:
        """Cancel, but let those go on who have been handed something that lasts."""
        self._ended = True
        self.cancel()

    def check_lasting(self) -> None:
        """Raise ``Cancelled`` if somebody has asked, but not for the end of everything else."""
        if not self._ended:
            self.check()

    def check(self) -> None:
        """Raise ``Cancelled`` if somebody has asked."""
        if self._asked:
            raise Cancelled("the query was cancelled")

    @contextmanager
    def stopped_by(self, stop: Callable[[], object]) -> Iterator[None]:
        """Call ``stop``, which must not wait, in the thread that asks while the block runs.

        Blocks may end in any order: streams of one answer do.
        """
        mine = object()
        try:
            with self._lock:
                self._stops[mine] = stop
                self.check()
            yield
        finally:
            with self._lock:
                self._stops.pop(mine, None)


async def in_thread(work: Callable[[], _T], cancel: Callable[[], None]) -> _T:
    """Return what ``work`` returns in a thread of its own.

    When the waiting task is cancelled, ``cancel`` is called, and the task ends when ``work`` has.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[_T] = loop.create_future()

    def settle(set_: Callable[[], None]) -> None:
        if not done.done():
            set_()

    def run() -> None:
        try:
            made = work()
        except BaseException as error:  # noqa: BLE001 - it is raised where it is waited for
            failed = error
            loop.call_soon_threadsafe(settle, lambda: done.set_exception(failed))
        else:
            loop.call_soon_threadsafe(settle, lambda: done.set_result(made))

    thread = threading.Thread(target=run, name="starling-query", daemon=True)
    thread.start()
    try:
        return await asyncio.shield(done)
    except asyncio.CancelledError:
        cancel()
        await asyncio.wait([done], timeout=_STOP_SECONDS)
        if not done.cancelled() and done.done():
            done.exception()  # it is known; nobody asks for it any more
        raise
    finally:
        thread.join(_JOIN_SECONDS)
