"""When to ask a store again, and how long to wait before: nothing here knows of any store."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol, TypeVar

import msgspec

from starling_py.shuffle.errors import StarlingError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["Fault", "Retrier", "RetryBudget", "RetryPolicy", "Uniform", "backoff_ceiling"]

T = TypeVar("T")


class RetryPolicy(msgspec.Struct, frozen=True):
    """How often and for how long a request is repeated.

    ``attempts`` counts the first one. The n-th wait is drawn evenly from 0 to ``base · 2^(n-1)``
    seconds, at most ``cap`` ("full jitter"). No attempt begins ``deadline`` seconds or more after
    the first did; one that has begun is bounded by the request timeout of the client.

    All requests of a store share a budget, so that an outage does not multiply the load: ``burst``
    repetitions at first, then ``refill`` of them a second and one for every ``per_retry`` requests
    that succeed. Who finds the budget empty waits for it, no longer than the deadline.
    """

    attempts: int = 8
    base: float = 0.05
    cap: float = 5.0
    deadline: float = 60.0
    burst: int = 100
    refill: float = 10.0
    per_retry: int = 5

    def __post_init__(self) -> None:
        if min(self.attempts, self.burst, self.per_retry) < 1:
            raise ValueError("there is at least one attempt, and one in the budget")
        if min(self.base, self.cap, self.deadline) < 0 or self.refill <= 0:
            raise ValueError("times are not negative, and the budget is refilled")


class Fault(msgspec.Struct, frozen=True):
    """What went wrong: the error to raise when no attempt is left, and whether another may help.

    ``wait`` are seconds for which the store asked to be left alone.
    """

    error: StarlingError
    retry: bool
    wait: float = 0.0


class Uniform(Protocol):
    """The part of ``random.Random`` that is needed."""

    def uniform(self, a: float, b: float, /) -> float: ...


def backoff_ceiling(policy: RetryPolicy, failures: int) -> float:
    """Return the longest wait after ``failures`` failed attempts, in seconds."""
    return min(policy.cap, policy.base * 2.0 ** min(failures - 1, 60))


class RetryBudget:
    """A token bucket: every repetition takes one, time and successes bring them back."""

    __slots__ = ("_clock", "_policy", "_since", "_tokens")

    def __init__(self, policy: RetryPolicy, clock: Callable[[], float] = time.monotonic) -> None:
        self._policy = policy
        self._clock = clock
        self._tokens = float(policy.burst)
        self._since = clock()

    def succeeded(self) -> None:
        """A request went well."""
        self._tokens = min(self._policy.burst, self._tokens + 1 / self._policy.per_retry)

    def shortage(self) -> float:
        """Return the seconds until a repetition may begin that is asked for now."""
        now = self._clock()
        self._tokens = min(
            self._policy.burst, self._tokens + (now - self._since) * self._policy.refill
        )
        self._since = now
        return max(0.0, (1 - self._tokens) / self._policy.refill)

    def take(self) -> None:
        """Take one; below zero there is a queue, which the next ones join."""
        self._tokens -= 1


class Retrier:
    """Calls something until it succeeds, fails for good, or the policy is exhausted.

    Parameters
    ----------
    policy
        How often and how long.
    random
        Draws the waits. A seeded source makes a run repeatable.
    sleep, clock
        Seconds. Tests have a clock of their own.
    """

    __slots__ = ("_budget", "_clock", "_policy", "_random", "_sleep")

    def __init__(
        self,
        policy: RetryPolicy,
        random: Uniform,
        *,
        sleep: Callable[[float], Awaitable[object]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._policy = policy
        self._random = random
        self._sleep = sleep
        self._clock = clock
        self._budget = RetryBudget(policy, clock)

    async def call(
        self,
        action: Callable[[], Awaitable[T]],
        catch: tuple[type[Exception], ...],
        classify: Callable[[Exception], Awaitable[Fault]],
        repeated: Callable[[], object] = lambda: None,
    ) -> T:
        """Return what ``action`` returns; of the errors in ``catch``, ``classify`` decides.

        ``repeated`` is called before every attempt but the first.
        """
        begun = self._clock()
        failures = 0
        while True:
            try:
                result = await action()
            except catch as error:
                failures += 1
                fault = await classify(error)
                wait = self._wait(failures, begun, fault) if fault.retry else None
                if wait is None:
                    try:
                        raise fault.error from error
                    finally:
                        # Its traceback holds this frame: whatever the frames of a request hold
                        # would stay until the next garbage collection.
                        del fault
            else:
                self._budget.succeeded()
                return result
            await self._sleep(wait)
            repeated()

    def _wait(self, failures: int, begun: float, fault: Fault) -> float | None:
        """Return how long to wait before the next attempt, or None where there is none."""
        if failures >= self._policy.attempts:
            return None
        drawn = self._random.uniform(0, backoff_ceiling(self._policy, failures))
        wait = max(drawn, fault.wait, self._budget.shortage())
        if self._clock() - begun + wait >= self._policy.deadline:
            return None
        self._budget.take()
        return wait
