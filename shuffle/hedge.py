"""A second request for a read that takes too long: the race of the two, and its bounds."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from starling_py.shuffle.hedge_policy import expected_seconds
from starling_py.shuffle.meter import RequestCounts

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from starling_py.shuffle.hedge_policy import HedgePolicy
    from starling_py.shuffle.meter import Meter

__all__ = ["Hedger"]

T = TypeVar("T")

# Before anything has been seen, a store is taken to be this much slower than the policy says:
# the first requests open connections.
_FIRST_GUESS = 3.0
_SMALLEST_STEP = 0.02
_QUICKEST = 0.5
_CLOSE = 0.001  # seconds that a timer may come early


class Hedger:
    """The hedges of one store, on one event loop.

    Parameters
    ----------
    policy
        When to send a second request.
    meter
        Counts hedges, and those that won. The requests are counted by whoever sends them.
    adopt
        Told of every task that is started, so that somebody can end it.
    """

    def __init__(
        self, policy: HedgePolicy, meter: Meter, adopt: Callable[[asyncio.Task[Any]], None]
    ) -> None:
        self._policy = policy
        self._meter = meter
        self._adopt = adopt
        self._in_flight = 0
        self._allowance = float(policy.in_flight)
        self._quiet_until = float("-inf")
        self._slowness = _FIRST_GUESS if policy.adaptive else 1.0
        self._seen = 0
        self.reading = 0

    async def read(
        self,
        size: int,
        first: Callable[[], Awaitable[T]],
        second: Callable[[], Coroutine[Any, Any, T]],
    ) -> T:
        """Return what ``first`` returns, or ``second`` where that was sent and came earlier.

        Where ``first`` fails, a second that is under way is waited for; where that fails too, the
        error is that of ``first``.
        """
        if not self._policy.enabled:
            return await first()
        self.reading += 1
        self._allowance = min(self._policy.in_flight, self._allowance + self._policy.share)
        race = _Race(self, size, second)
        try:
            result = await race.run(first)
        finally:
            race.end()
            self.reading -= 1
        self._observe(race.seconds() / expected_seconds(self._policy, size, race.beside))
        return result

    def delay(self, size: int, concurrent: int) -> float:
        """Return the seconds after which a read is too slow."""
        expected = expected_seconds(self._policy, size, concurrent)
        return self._policy.multiple * max(1.0, self._slowness) * expected

    def throttled(self) -> None:
        """Send nothing twice for a while: the store asked for less load."""
        self._quiet_until = asyncio.get_running_loop().time() + self._policy.quiet

    def not_before(self, now: float) -> float:
        """Return from when on a second request may be sent, at best ``now``."""
        if now < self._quiet_until:
            return self._quiet_until
        if self._in_flight >= self._policy.in_flight or self._allowance < 1:
            return now + self._policy.latency
        return now

    def launch(self, second: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Send a second request."""
        self._in_flight += 1
        self._allowance -= 1
        task = asyncio.get_running_loop().create_task(second)
        self._adopt(task)
        task.add_done_callback(self._landed)
        return task

    def launched(self) -> None:
        """Count a second request."""
        self._meter.add(RequestCounts(hedges=1))

    def decided(self, size: int, *, won: bool) -> None:
        """Count how a race of two ended."""
        self._meter.add(RequestCounts(hedges_won=int(won), hedge_bytes=size))

    def _landed(self, task: asyncio.Task[Any]) -> None:
        self._in_flight -= 1
        if not task.cancelled():
            task.exception()  # the loop complains of errors that nobody looks at

    def _observe(self, slowness: float) -> None:
        """Move the estimate of the median by a step, up or down; the first steps are larger."""
        if not self._policy.adaptive:
            return
        self._seen += 1
        step = 1 + max(_SMALLEST_STEP, 1 / (self._seen + 2))
        moved = self._slowness * step if slowness > self._slowness else self._slowness / step
        # Below 1 it has no effect, and should not take long to come back.
        self._slowness = max(_QUICKEST, moved)


class _Race(Generic[T]):
    """One read, and the second request for it if there is one.

    The first runs in the task that wants the answer, and is cancelled there if it loses: a task
    of its own would cost every read as much again as the timer.
    """

    __slots__ = (
        "_begun",
        "_cancelling",
        "_hedge",
        "_hedger",
        "_loop",
        "_open",
        "_second",
        "_sent",
        "_size",
        "_task",
        "_timer",
        "_won",
        "beside",
    )

    def __init__(
        self, hedger: Hedger, size: int, second: Callable[[], Coroutine[Any, Any, T]]
    ) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a read runs in a task")
        self._hedger = hedger
        self._size = size
        self._second = second
        self._task: asyncio.Task[Any] | None = task
        self._cancelling = task.cancelling()
        self._hedge: asyncio.Task[T] | None = None
        self._open = True
        self._sent = False
        self._won = False
        self._loop = asyncio.get_running_loop()
        self._begun = self._loop.time()
        self.beside = hedger.reading
        self._timer = self._loop.call_at(self._due(), self._late)

    async def run(self, first: Callable[[], Awaitable[T]]) -> T:
        try:
            result = await first()
        except asyncio.CancelledError:
            hedge = self._hedge
            task = self._task
            if hedge is None or not self._won or task is None:
                raise
            if task.uncancel() > self._cancelling:  # somebody else cancelled it too
                raise
            return self._taken(hedge)
        except Exception:
            # However the first has failed, the second may have an answer. It is raised otherwise.
            self.end(give_up=False)
            hedge = self._hedge
            if hedge is None:
                raise
            await asyncio.wait((hedge,))
            if hedge.cancelled() or hedge.exception() is not None:
                raise
            return self._taken(hedge)
        if self._sent:
            self._hedger.decided(self._size, won=False)
        return result

    def end(self, *, give_up: bool = True) -> None:
        """Send no second request any more; ``give_up`` one that is under way."""
        self._open = False
        self._timer.cancel()
        if give_up:
            if self._hedge is not None:
                self._hedge.cancel()
            # The task holds its error, whose traceback holds this.
            self._task = self._hedge = None

    def seconds(self) -> float:
        """Return the seconds since the read began."""
        return self._loop.time() - self._begun

    def _due(self) -> float:
        return self._begun + self._hedger.delay(self._size, self.beside)

    def _late(self) -> None:
        # Reads that began later take their share of the bandwidth too.
        self.beside = max(self.beside, self._hedger.reading)
        now = self._loop.time()
        when = max(self._due(), self._hedger.not_before(now))
        if when > now + _CLOSE:
            self._timer = self._loop.call_at(when, self._late)
            return
        self._hedge = self._hedger.launch(self._run_second())
        self._hedge.add_done_callback(self._answered)

    async def _run_second(self) -> T:
        # Counted here: a task that is cancelled before it begins has sent nothing.
        self._sent = True
        self._hedger.launched()
        return await self._second()

    def _answered(self, hedge: asyncio.Task[T]) -> None:
        if self._open and not hedge.cancelled() and hedge.exception() is None:
            self._open = False
            self._won = True
            if self._task is not None:
                self._task.cancel()

    def _taken(self, hedge: asyncio.Task[T]) -> T:
        self._hedger.decided(self._size, won=True)
        return hedge.result()
