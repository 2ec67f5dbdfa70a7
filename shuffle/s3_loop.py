"""The event loop that drives all requests to S3: one thread a process, while a store is open."""

from __future__ import annotations

import asyncio
import os
import threading
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from starling_py.shuffle.errors import StarlingError, StoreError
from starling_py.shuffle.stopping import look_up

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

__all__ = ["LOOP_THREAD", "SLICE", "Lease", "Pending"]

T = TypeVar("T")

LOOP_THREAD = "starling-s3"
# A waiting thread looks up this often: a signal may have been delivered to another thread, or the
# query be over.
SLICE = 0.25
_DRAIN = 30.0  # seconds for cancelled requests to end


class _ProcessLoop:
    """A loop and its thread, which live while somebody holds them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._holders = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def acquire(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(
                    target=_serve, args=(self._loop,), name=LOOP_THREAD, daemon=True
                )
                self._thread.start()
            self._holders += 1
            return self._loop

    def release(self) -> None:
        with self._lock:
            self._holders -= 1
            if self._holders or self._loop is None or self._thread is None:
                return
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(_DRAIN)
            self._loop = self._thread = None


# By process id, because a forked child inherits the entry of its parent and not the thread.
_LOOPS: dict[int, _ProcessLoop] = {}


def _loop_of_this_process() -> _ProcessLoop:
    process = os.getpid()
    found = _LOOPS.get(process)
    if found is None:
        if _LOOPS:
            # The threads of obstore are gone too, and its requests would wait for ever.
            raise StoreError(
                "a process that was forked from one that uses S3 cannot use S3",
                hint="start it anew, with multiprocessing's 'spawn' or 'forkserver'",
            )
        found = _LOOPS.setdefault(process, _ProcessLoop())
    return found


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    try:
        loop.run_forever()
    finally:
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


class Pending(Generic[T]):
    """What a coroutine on the loop will return, waited for by another thread."""

    __slots__ = ("_future", "_lease", "task")

    def __init__(self, lease: Lease) -> None:
        self._lease = lease
        self._future: Future[T] = Future()
        self.task: asyncio.Task[T] | None = None

    def done(self) -> bool:
        return self._future.done()

    def result(self, *, stops: bool = True) -> T:
        """Wait for it; an interrupted wait cancels the coroutine.

        With ``stops`` the wait ends too when what it is for is over.
        """
        try:
            while True:
                try:
                    return self._future.result(SLICE)
                except TimeoutError:
                    if self._future.done():
                        raise
                    if stops:
                        look_up()
        except CancelledError as error:
            raise StoreError("the store was closed while it was used") from error
        except BaseException:
            if not self._future.done():
                self.cancel()
            raise
        finally:
            # An error's traceback holds this frame, and the future holds the error.
            del self

    def settle(self) -> None:
        """Wait for a coroutine that was cancelled to end."""
        # For concurrent.futures.wait a future that was cancelled before it began never ends.
        with suppress(CancelledError, TimeoutError, StarlingError):
            self._future.result(_DRAIN)

    def cancel(self) -> None:
        """Ask the coroutine to end, if it has not; does not wait."""
        if not self._future.done():
            self._lease.call(self._cancel)

    def _cancel(self) -> None:
        # The loop keeps the order of what it is handed: the task has been made.
        if self.task is not None:
            self.task.cancel()

    def finish(self, task: asyncio.Task[T]) -> None:
        """Pass on how the coroutine ended; called on the loop."""
        if task.cancelled():
            self._future.cancel()
            return
        error = task.exception()
        if error is not None:
            self._future.set_exception(error)
        else:
            self._future.set_result(task.result())


class Lease:
    """One store's share of the loop: starts with its first coroutine, ends with ``close``."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process = os.getpid()
        self._owner: _ProcessLoop | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False
        self._tasks: set[asyncio.Task[Any]] = set()

    def run(self, coroutine: Coroutine[Any, Any, T], *, stops: bool = True) -> T:
        """Run it on the loop, in a copy of the caller's context, and wait for what it returns.

        With ``stops`` the wait ends, and the coroutine with it, when what it is for is over.

        Raises
        ------
        StoreError
            If the lease ends before the coroutine does, or has ended.
        """
        return self.start(coroutine).result(stops=stops)

    def start(self, coroutine: Coroutine[Any, Any, T]) -> Pending[T]:
        """As ``run``, without waiting."""
        pending: Pending[T] = Pending(self)
        try:
            with self._lock:
                self._loop_to_use().call_soon_threadsafe(self._begin, coroutine, pending)
        except BaseException:
            coroutine.close()
            raise
        return pending

    def call(self, function: Callable[[], object]) -> None:
        """Call it on the loop, unless the lease has ended; does not wait."""
        with self._lock:
            if self._loop is not None and self._process == os.getpid():
                self._loop.call_soon_threadsafe(function)

    def close(self) -> None:
        """Cancel everything that runs, and let go of the loop."""
        with self._lock:
            self._closed = True
            owner, self._owner = self._owner, None
            loop, self._loop = self._loop, None
        if owner is None or loop is None or self._process != os.getpid():
            return
        try:
            asyncio.run_coroutine_threadsafe(self._drain(), loop).result(_DRAIN + 1)
        finally:
            owner.release()

    def check(self) -> None:
        """Raise ``StoreError`` if the lease has ended."""
        with self._lock:
            if self._closed:
                raise StoreError("the store is closed")

    def adopt(self, task: asyncio.Task[Any]) -> None:
        """Cancel and wait for this task of the loop too when the lease ends."""
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _loop_to_use(self) -> asyncio.AbstractEventLoop:
        if self._process != os.getpid():
            raise StoreError(
                "a store cannot be used in a process forked from the one that opened it",
                hint="open stores in the process that uses them",
            )
        if self._closed:
            raise StoreError("the store is closed")
        if self._loop is None:
            self._owner = _loop_of_this_process()
            self._loop = self._owner.acquire()
        return self._loop

    def _begin(self, coroutine: Coroutine[Any, Any, T], pending: Pending[T]) -> None:
        pending.task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(pending.task)
        pending.task.add_done_callback(self._tasks.discard)
        pending.task.add_done_callback(pending.finish)

    async def _drain(self) -> None:
        # A cancelled task may have started another just before.
        while self._tasks:
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(self._tasks, timeout=_DRAIN)
