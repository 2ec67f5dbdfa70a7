"""When a read counts as slow, and what is done then.

A read of b bytes beside c - 1 others is expected to take l + b·c/t seconds: the latency of the
store, and a share of the worker's bandwidth.
"""

from __future__ import annotations

import msgspec

__all__ = ["HedgePolicy", "expected_seconds"]


class HedgePolicy(msgspec.Struct, frozen=True):
    """When a read is asked for a second time.

    Attributes
    ----------
    enabled
        Whether it ever is.
    latency, bandwidth
        Seconds until the first byte, and bytes a second of the whole worker: what a good read
        takes (l and t).
    multiple
        Times the expected seconds after which the second request is sent.
    adaptive
        Expect more where the median of the store's reads takes longer than latency and bandwidth
        say; never less. Else a slow store, or a busy machine, would be asked twice for everything.
    in_flight
        Second requests that a store has under way at once.
    share
        Second requests per read, in the long run; the first ``in_flight`` are beyond it.
    quiet
        Seconds without second requests after the store has answered 503 or 429.
    """

    enabled: bool = True
    latency: float = 0.015
    bandwidth: float = 150e6
    multiple: float = 3.0
    adaptive: bool = True
    in_flight: int = 4
    share: float = 0.05
    quiet: float = 1.0

    def __post_init__(self) -> None:
        if min(self.latency, self.bandwidth) <= 0 or self.multiple < 1:
            raise ValueError("a read takes time, and is not too slow before it has taken it")
        if self.in_flight < 1 or not 0 <= self.share <= 1 or self.quiet < 0:
            raise ValueError("hedges in flight are at least one, their share is 0 to 1")


def expected_seconds(policy: HedgePolicy, size: int, concurrent: int) -> float:
    """Return what a good read of ``size`` bytes takes, one of ``concurrent`` (l + b·c/t)."""
    return policy.latency + size * max(1, concurrent) / policy.bandwidth
