"""How often a request is repeated, and how long is waited in between: no clock, no store."""

from __future__ import annotations

import asyncio
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from starling_py.shuffle.errors import StoreError, StoreUnavailable
from starling_py.shuffle.retry import Fault, Retrier, RetryPolicy, backoff_ceiling


class Hiccup(Exception):
    pass


class Clock:
    """Time passes in sleeps and in attempts."""

    def __init__(self, attempt: float = 0.0) -> None:
        self.now = 100.0
        self.attempt = attempt
        self.waits: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds


class Action:
    """Fails some times, then succeeds."""

    def __init__(self, failures: int, clock: Clock) -> None:
        self.failures = failures
        self.clock = clock
        self.begun: list[float] = []

    async def __call__(self) -> str:
        self.begun.append(self.clock.now)
        self.clock.now += self.clock.attempt
        if len(self.begun) <= self.failures:
            raise Hiccup(len(self.begun))
        return "done"


async def transient(error: Exception) -> Fault:
    return Fault(StoreUnavailable(f"hiccup {error}"), retry=True)


def retrier(policy: RetryPolicy, clock: Clock, seed: int = 1) -> Retrier:
    return Retrier(policy, random.Random(seed), sleep=clock.sleep, clock=lambda: clock.now)


def call(retrier: Retrier, action: Action, classify=transient) -> str:
    return asyncio.run(retrier.call(action, (Hiccup,), classify))


policies = st.builds(
    RetryPolicy,
    attempts=st.integers(1, 12),
    base=st.floats(0, 2),
    cap=st.floats(0, 10),
    deadline=st.floats(0, 60),
)


@given(policies, st.integers(0, 15), st.floats(0, 20), st.integers())
def test_the_budget_holds(policy: RetryPolicy, failures: int, attempt: float, seed: int) -> None:
    clock = Clock(attempt)
    action = Action(failures, clock)
    raised = None
    try:
        assert call(retrier(policy, clock, seed), action) == "done"
    except StoreUnavailable as error:
        raised = error
    if raised is None:
        assert len(action.begun) == failures + 1
    else:
        assert raised.message == f"hiccup {len(action.begun)}"
        assert isinstance(raised.__cause__, Hiccup)
    assert len(action.begun) <= policy.attempts
    assert len(clock.waits) == len(action.begun) - 1
    for begun in action.begun[1:]:
        assert begun - action.begun[0] < policy.deadline
    for number, wait in enumerate(clock.waits, 1):
        assert 0 <= wait <= backoff_ceiling(policy, number) <= policy.cap


@given(st.integers(0, 6), st.integers())
def test_within_the_budget_it_succeeds(failures: int, seed: int) -> None:
    clock = Clock()
    action = Action(failures, clock)
    policy = RetryPolicy(attempts=7, base=0.1, cap=1.0, deadline=10.0)
    assert call(retrier(policy, clock, seed), action) == "done"


def test_waits_are_drawn_from_all_of_the_interval() -> None:
    policy = RetryPolicy(attempts=6, base=1.0, cap=4.0, deadline=1e9)
    assert [backoff_ceiling(policy, n) for n in range(1, 6)] == [1, 2, 4, 4, 4]
    assert backoff_ceiling(policy, 100_000) == 4
    drawn = []
    for seed in range(200):
        clock = Clock()
        call(retrier(policy, clock, seed), Action(3, clock))
        drawn.append(clock.waits[2])
    assert min(drawn) < 0.4
    assert max(drawn) > 3.6


def test_a_seed_repeats_the_waits() -> None:
    def waits(seed: int) -> list[float]:
        clock = Clock()
        call(retrier(RetryPolicy(), clock, seed), Action(5, clock))
        return clock.waits

    assert waits(3) == waits(3) != waits(4)


def test_what_is_final_is_raised_at_once() -> None:
    clock = Clock()
    action = Action(3, clock)

    async def hopeless(_: Exception) -> Fault:
        return Fault(StoreError("no hope"), retry=False)

    with pytest.raises(StoreError, match="no hope"):
        call(retrier(RetryPolicy(), clock), action, hopeless)
    assert len(action.begun) == 1
    assert clock.waits == []


def test_other_errors_pass() -> None:
    clock = Clock()
    action = Action(1, clock)
    with pytest.raises(Hiccup):
        asyncio.run(retrier(RetryPolicy(), clock).call(action, (ValueError,), transient))


def test_the_store_says_how_long_to_wait() -> None:
    clock = Clock()

    async def throttled(_: Exception) -> Fault:
        return Fault(StoreUnavailable("later"), retry=True, wait=7.0)

    assert call(retrier(RetryPolicy(deadline=60.0), clock), Action(2, clock), throttled) == "done"
    assert clock.waits == [7.0, 7.0]
    with pytest.raises(StoreUnavailable, match="later"):
        call(retrier(RetryPolicy(deadline=7.0), clock), Action(1, clock), throttled)


def test_repetitions_are_told() -> None:
    clock = Clock()
    told: list[int] = []
    action = Action(2, clock)
    asyncio.run(
        retrier(RetryPolicy(), clock).call(
            action, (Hiccup,), transient, lambda: told.append(len(action.begun))
        )
    )
    assert told == [1, 2]


def test_an_outage_does_not_multiply_the_load() -> None:
    """With the budget gone, repetitions come at the pace at which it is refilled."""
    clock = Clock()
    policy = RetryPolicy(
        attempts=1000, base=0.0, cap=0.0, deadline=1e9, burst=3, refill=2.0, per_retry=5
    )
    one = retrier(policy, clock)
    action = Action(9, clock)
    assert call(one, action) == "done"
    assert clock.waits == [0, 0, 0, *[0.5] * 6]
    for _ in range(5):
        call(one, Action(0, clock))
    clock.waits.clear()
    call(one, Action(2, clock))  # five that went well, and the one before, pay for one
    assert clock.waits[0] == 0
    assert clock.waits[1] > 0.2


def test_the_deadline_bounds_the_wait_for_the_budget() -> None:
    clock = Clock()
    policy = RetryPolicy(attempts=1000, base=0.0, cap=0.0, deadline=5.0, burst=1, refill=0.1)
    action = Action(5, clock)
    with pytest.raises(StoreUnavailable):
        call(retrier(policy, clock), action)
    assert len(action.begun) == 2


@pytest.mark.parametrize(
    "wrong",
    [{"attempts": 0}, {"base": -1.0}, {"deadline": -0.1}, {"burst": 0}, {"refill": 0.0}],
)
def test_a_policy_makes_sense(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"attempt|negative"):
        RetryPolicy(**wrong)
