"""Many requests at once: reads whose results are taken one after the other, and copies."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Generic, TypeVar

from starling_py.shuffle.errors import StarlingError
from starling_py.shuffle.s3_loop import SLICE
from starling_py.shuffle.stopping import look_up

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

    from starling_py.shuffle.s3_loop import Lease

__all__ = ["all_ended", "all_of", "in_order"]

T = TypeVar("T")


async def all_of(count: int, read: Callable[[int], Awaitable[T]], parallel: int) -> list[T]:
    """Return what ``read`` returns for 0, 1 … ``count - 1``; the first error ends the others."""
    if count <= 1:
        return [await read(number) for number in range(count)]
    found: dict[int, T] = {}
    numbers = iter(range(count))

    async def work() -> None:
        for number in numbers:
            found[number] = await read(number)

    await _together(work, min(count, parallel))
    return [found[number] for number in range(count)]


async def all_ended(count: int, act: Callable[[int], Awaitable[None]], parallel: int) -> None:
    """Call ``act`` for 0, 1 … ``count - 1``, and raise the first error once nothing runs any more.

    After an error, or when this is cancelled, no more calls begin.
    """
    numbers = iter(range(count))
    stopped = False

    async def work() -> None:
        nonlocal stopped
        try:
            for number in numbers:
                if stopped:
                    return
                await act(number)
        except BaseException:
            stopped = True
            raise

    workers = asyncio.gather(*(work() for _ in range(min(count, parallel))), return_exceptions=True)
    try:
        outcomes = await asyncio.shield(workers)
    except asyncio.CancelledError:
        stopped = True
        await workers  # whoever cancels this again ends them
        raise
    failure = next((one for one in outcomes if one is not None), None)
    try:
        if failure is not None:
            raise failure
    finally:
        del failure, outcomes, workers  # hold the error whose traceback holds this frame


def in_order(
    lease: Lease,
    sizes: Sequence[int],
    read: Callable[[int], Awaitable[T]],
    parallel: int,
    ahead: int,
) -> Iterator[T]:
    """Yield what ``read`` returns for 0, 1 …, while later ones are being read.

    Nothing begins before the first is taken, and what runs is cancelled when nobody goes on. An
    error is raised where its result would have been; nothing more begins after it.

    Parameters
    ----------
    sizes
        Bytes of each.
    ahead
        Bytes that may have been read, or be under way, and not taken; one read always may.
    """
    if not sizes:
        return
    shelf: _Shelf[T] = _Shelf(sizes, read, ahead)
    pending = lease.start(shelf.fill(min(len(sizes), parallel)))
    try:
        for number in range(len(sizes)):
            while not shelf.wait_for(number):
                if shelf.ended or pending.done():
                    pending.result()  # raises what went wrong
                look_up()
            data, room = shelf.take(number)
            if room:
                lease.call(shelf.make_room)
            yield data
    finally:
        pending.cancel()
        del pending  # holds the error whose traceback holds this frame


async def _together(work: Callable[[], Awaitable[None]], count: int) -> None:
    workers = [asyncio.ensure_future(work()) for _ in range(count)]
    try:
        await asyncio.gather(*workers)
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
        workers.clear()  # an error's traceback holds this frame, and the worker holds the error


class _Failed:
    """An error in place of a result."""

    __slots__ = ("error",)

    def __init__(self, error: StarlingError) -> None:
        self.error = error


class _Shelf(Generic[T]):
    """Where the loop puts what has been read, and another thread takes it from."""

    def __init__(
        self, sizes: Sequence[int], read: Callable[[int], Awaitable[T]], ahead: int
    ) -> None:
        self._sizes = sizes
        self._read = read
        self._ahead = ahead
        self._next = 0
        self._room: asyncio.Event | None = None
        # Both threads use what follows, and hold this meanwhile.
        self._changed = threading.Condition()
        self._found: dict[int, T | _Failed] = {}
        self._awaited = 0
        self._outside = 0  # bytes that are under way or here
        self._full = False
        self.ended = False

    async def fill(self, workers: int) -> None:
        """Read everything, as long as there is room."""
        self._room = asyncio.Event()
        try:
            if workers == 1:
                await self._work(self._room)
            else:
                room = self._room
                await _together(lambda: self._work(room), workers)
        finally:
            with self._changed:
                self.ended = True
                self._changed.notify()

    def make_room(self) -> None:
        """Go on; called on the loop."""
        if self._room is not None:
            self._room.set()

    def wait_for(self, number: int) -> bool:
        """Wait a while for a result; return whether it is here."""
        with self._changed:
            self._awaited = number
            if number not in self._found and not self.ended:
                self._changed.wait(SLICE)
            return number in self._found

    def take(self, number: int) -> tuple[T, bool]:
        """Return a result that is here, and whether somebody waits for the room."""
        with self._changed:
            self._outside -= self._sizes[number]
            # A reader that goes on for every byte would wake the loop for every result.
            room = self._full and self._outside <= self._ahead // 2
            self._full = self._full and not room
            outcome = self._found.pop(number)
        if isinstance(outcome, _Failed):
            try:
                raise outcome.error
            finally:
                del outcome  # holds the error whose traceback holds this frame
        return outcome, room

    async def _work(self, room: asyncio.Event) -> None:
        while self._next < len(self._sizes):
            number = self._next
            if not self._begin(self._sizes[number]):
                room.clear()
                await room.wait()
                continue
            self._next += 1
            try:
                outcome: T | _Failed = await self._read(number)
            except StarlingError as error:
                self._next = len(self._sizes)
                outcome = _Failed(error)
            with self._changed:
                self._found[number] = outcome
                if number == self._awaited:
                    self._changed.notify()

    def _begin(self, size: int) -> bool:
        with self._changed:
            self._full = self._outside > 0 and self._outside + size > self._ahead
            if not self._full:
                self._outside += size
            return not self._full
