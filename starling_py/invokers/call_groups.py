"""Which calls a client makes itself, and which it leaves to the functions that it calls."""

from __future__ import annotations

import itertools
import math

__all__ = ["call_groups"]


def call_groups(calls: int, threshold: int) -> list[range]:
    """Return the groups of ``calls`` calls; the first of each group makes the others.

    From ``threshold`` on there are as many groups as calls in each, so that neither the client nor
    any function has more than the square root of all to make. Fewer calls are alone.
    """
    if calls < max(threshold, 2):
        return [range(number, number + 1) for number in range(calls)]
    groups = math.ceil(math.sqrt(calls))
    bounds = [calls * number // groups for number in range(groups + 1)]
    return [range(first, last) for first, last in itertools.pairwise(bounds)]
