"""When a write counts as slow: by what is known of the store, and by what has been seen of it."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["WritePolicy", "WriteTimes"]

_SEEN = 15
# Before anything has been seen, a store is taken to be this much slower than the policy says:
# the first requests open connections.
_FIRST_GUESS = 3.0
# The pace of smaller objects says more of the store than of the way there.
_LARGE = 1 << 20


class WritePolicy(msgspec.Struct, frozen=True):
    """When an object is put a second time, on another connection; the first success counts.

    A good PUT of b bytes beside c - 1 others takes l + b·c/t seconds. Two timers run: one for the
    whole request, and one from the moment the body has been sent, since all that the store has to
    do then is to commit, which depends little on the size.

    Attributes
    ----------
    enabled
        Whether anything is ever put a second time.
    latency, bandwidth
        Seconds until the store has committed, and bytes a second of the whole worker (l and t).
    multiple
        Times the expected seconds after which the first timer fires.
    commit_multiple
        Times the latency after which the second one does.
    adaptive
        Expect more where the median of the last PUTs took longer than latency and bandwidth say;
        never less. Else a slow network, store or machine would be asked twice for everything.
    in_flight
        Second PUTs that a store has under way at once.
    quiet
        Seconds without second PUTs after the store has answered 503 or 429.
    settle
        Seconds that a PUT is waited for when its sibling has found that there is an object: most
        likely the one that is waited for, whose answer is late or lost.
    """

    enabled: bool = True
    latency: float = 0.04
    bandwidth: float = 150e6
    multiple: float = 3.0
    commit_multiple: float = 5.0
    adaptive: bool = True
    in_flight: int = 4
    quiet: float = 1.0
    settle: float = 0.5

    def __post_init__(self) -> None:
        if min(self.latency, self.bandwidth) <= 0:
            raise ValueError("a write takes time")
        if min(self.multiple, self.commit_multiple) < 1:
            raise ValueError("a write is not too slow before it has taken its time")
        if self.in_flight < 1 or min(self.quiet, self.settle) < 0:
            raise ValueError("hedges in flight are at least one, and times are not negative")


class WriteTimes:
    """The timers of one store. Any number of threads may use them."""

    def __init__(self, policy: WritePolicy) -> None:
        self._policy = policy
        self._lock = threading.Lock()
        self._commits: deque[float] = deque(maxlen=_SEEN)
        self._paces: deque[float] = deque(maxlen=_SEEN)

    def whole(self, size: int, beside: int) -> float:
        """Return the seconds after which a PUT is too slow, one of ``beside``."""
        policy = self._policy
        guess = 1.0 if self._commits or not policy.adaptive else _FIRST_GUESS
        with self._lock:
            latency = max(policy.latency, _median(self._commits))
            pace = max(1 / policy.bandwidth, _median(self._paces))
        return policy.multiple * guess * (latency + size * max(1, beside) * pace)

    def commit(self) -> float:
        """Return the seconds after the body after which a PUT is too slow."""
        policy = self._policy
        guess = 1.0 if self._commits or not policy.adaptive else _FIRST_GUESS
        with self._lock:
            return policy.commit_multiple * guess * max(policy.latency, _median(self._commits))

    def observe(self, size: int, beside: int, sending: float, committing: float) -> None:
        """Take note of the seconds of a PUT until and since its body was sent."""
        if not self._policy.adaptive:
            return
        with self._lock:
            self._commits.append(committing)
            if size >= _LARGE:
                # A slow way there holds bytes that count as sent: the seconds of both parts.
                seconds = max(0.0, sending + committing - self._policy.latency)
                self._paces.append(seconds / size / max(1, beside))


def _median(seen: Iterable[float]) -> float:
    ordered = sorted(seen)
    return ordered[len(ordered) // 2] if ordered else 0.0
