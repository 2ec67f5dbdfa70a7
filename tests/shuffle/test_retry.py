"""How often a request is repeated, and how long is waited in between: no clock, no store."""

from __future__ import annotations

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
        assert retrier(policy, clock, seed).call(action, (Hiccup,), transient) == "done"
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
    assert retrier(policy, clock, seed).call(action, (Hiccup,), transient) == "done"


def test_waits_are_drawn_from_all_of_the_interval() -> None:
    policy = RetryPolicy(attempts=6, base=1.0, cap=4.0, deadline=1e9)
    assert [backoff_ceiling(policy, n) for n in range(1, 6)] == [1, 2, 4, 4, 4]
    assert backoff_ceiling(policy, 100_000) == 4
    drawn = []
    for seed in range(200):
        clock = Clock()
        retrier(policy, clock, seed).call(Action(3, clock), (Hiccup,), transient)
        drawn.append(clock.waits[2])
    assert min(drawn) < 0.4
    assert max(drawn) > 3.6


def test_a_seed_repeats_the_waits() -> None:
    def waits(seed: int) -> list[float]:
        clock = Clock()
        retrier(RetryPolicy(), clock, seed).call(Action(5, clock), (Hiccup,), transient)
        return clock.waits

    assert waits(3) == waits(3) != waits(4)


def test_what_is_final_is_raised_at_once() -> None:
    clock = Clock()
    action = Action(3, clock)
    with pytest.raises(StoreError, match="no hope"):
        retrier(RetryPolicy(), clock).call(
            action, (Hiccup,), lambda _: Fault(StoreError("no hope"), retry=False)
        )
    assert len(action.begun) == 1
    assert clock.waits == []


def test_other_errors_pass() -> None:
    clock = Clock()
    action = Action(1, clock)
    with pytest.raises(Hiccup):
        retrier(RetryPolicy(), clock).call(action, (ValueError,), transient)


@pytest.mark.parametrize("wrong", [{"attempts": 0}, {"base": -1.0}, {"deadline": -0.1}])
def test_a_policy_makes_sense(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"attempt|negative"):
        RetryPolicy(**wrong)
