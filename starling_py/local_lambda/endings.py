"""What Lambda says of calls that ended without an answer of the function."""

from __future__ import annotations

import json
import signal
from dataclasses import dataclass

__all__ = ["Ended", "exited", "timed_out", "too_large"]


@dataclass(frozen=True, slots=True)
class Ended:
    """How a call ended: the payload, and whether it is an error. ``gone``: so is the instance."""

    payload: bytes
    failed: bool = False
    gone: bool = False


def exited(request: str, code: int) -> Ended:
    """Return the end of a call whose process ended; a negative code is a signal."""
    if code < 0:
        how = f"with error: signal: {(signal.strsignal(-code) or str(-code)).lower()}"
    elif code:
        how = f"with error: exit status {code}"
    else:
        how = "without providing a reason"
    return _ended("Runtime.ExitError", f"RequestId: {request} Error: Runtime exited {how}")


def timed_out(request: str, seconds: float) -> Ended:
    """Return the end of a call that took longer than it may."""
    text = f"RequestId: {request} Error: Task timed out after {seconds:.2f} seconds"
    return _ended("Sandbox.Timedout", text)


def too_large(size: int, limit: int) -> Ended:
    """Return the end of a call whose answer is longer than Lambda passes on."""
    text = (
        f"Response payload size ({size} bytes) exceeded maximum allowed payload size "
        f"({limit} bytes)."
    )
    # The runtime client ends when its answer is refused.
    return _ended("Function.ResponseSizeTooLarge", text)


def _ended(kind: str, text: str) -> Ended:
    payload = json.dumps({"errorType": kind, "errorMessage": text}).encode()
    return Ended(payload, failed=True, gone=True)
