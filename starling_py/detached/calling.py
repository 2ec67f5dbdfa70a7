"""Calls of the coordinator's function for which nobody waits."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

import msgspec

from starling_py.invokers.function_client import CallRefused
from starling_py.shuffle.retry import RetryPolicy, backoff_ceiling

if TYPE_CHECKING:
    from starling_py.detached.state import Start
    from starling_py.invokers.function_client import FunctionClient

__all__ = ["start"]

_RETRY = RetryPolicy(attempts=20, base=0.1, cap=2.0, deadline=20.0)


def start(client: FunctionClient, call: Start, seconds: float = _RETRY.deadline) -> None:
    """Start a coordinator, which may take some attempts.

    Raises
    ------
    StarlingError
        If Lambda does not accept the call.
    """
    body = msgspec.json.encode(call)
    deadline = time.monotonic() + seconds
    failures = 0
    while True:
        try:
            client.start(body)
        except CallRefused as refused:
            failures += 1
            wait = random.SystemRandom().uniform(0, backoff_ceiling(_RETRY, failures))
            is_over = failures >= _RETRY.attempts or time.monotonic() + wait > deadline
            if refused.refusal.again == "no" or is_over:
                raise refused.refusal.error from None
            time.sleep(wait)
        else:
            return
