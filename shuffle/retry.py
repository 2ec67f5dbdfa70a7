"""When to ask a store again, and how long to wait before: nothing here knows of any store."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol, TypeVar

import msgspec

from starling_py.shuffle.errors import StarlingError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Fault", "Retrier", "RetryPolicy", "backoff_ceiling"]

T = TypeVar("T")


class RetryPolicy(msgspec.Struct, frozen=True):
    """How often and for how long a request is repeated.

    ``attempts`` counts the first one. The n-th wait is drawn evenly from 0 to ``base · 2^(n-1)``
    seconds, at most ``cap`` ("full jitter"). No attempt begins ``deadline`` seconds or more after
    the first did; one that has begun is bounded by the request timeout of the client.
    """

    attempts: int = 8
    base: float = 0.05
    cap: float = 5.0
    deadline: float = 60.0

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise ValueError("there is at least one attempt")
        if min(self.base, self.cap, self.deadline) < 0:
            raise ValueError("times are not negative")


class Fault(msgspec.Struct, frozen=True):
    """What went wrong: the error to raise when no attempt is left, and whether another may help."""

    error: StarlingError
    retry: bool


class Uniform(Protocol):
    """The part of ``random.Random`` that is needed."""

    def uniform(self, a: float, b: float, /) -> float: ...


def backoff_ceiling(policy: RetryPolicy, failures: int) -> float:
    """Return the longest wait after ``failures`` failed attempts, in seconds."""
    return min(policy.cap, policy.base * 2.0 ** min(failures - 1, 60))


class Retrier:
    """Calls something until it succeeds, fails for good, or the policy is exhausted.

    Parameters
    ----------
    policy
        The budget.
    random
        Draws the waits. A seeded source makes a run repeatable.
    sleep, clock
        Seconds; injected by tests. ``sleep`` may raise to end the waiting.
    """

    __slots__ = ("_clock", "_policy", "_random", "_sleep")

    def __init__(
        self,
        policy: RetryPolicy,
        random: Uniform,
        *,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._policy = policy
        self._random = random
        self._sleep = sleep
        self._clock = clock

    def call(
        self,
        action: Callable[[], T],
        catch: tuple[type[Exception], ...],
        classify: Callable[[Exception], Fault],
    ) -> T:
        """Return what ``action`` returns; of the errors in ``catch``, ``classify`` decides."""
        begun = self._clock()
        failures = 0
        while True:
            try:
                return action()
            except catch as error:
                failures += 1
                fault = classify(error)
                wait = self._wait(failures, begun) if fault.retry else None
                if wait is None:
                    raise fault.error from error
            self._sleep(wait)

    def _wait(self, failures: int, begun: float) -> float | None:
        """Return how long to wait before the next attempt, or None where there is none."""
        if failures >= self._policy.attempts:
            return None
        wait = self._random.uniform(0, backoff_ceiling(self._policy, failures))
        if self._clock() - begun + wait >= self._policy.deadline:
            return None
        return wait
