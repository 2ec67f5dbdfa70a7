"""Ctrl-C while DuckDB works for this thread, and where it must wait."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from starling_py.operators.errors import INTERRUPTED

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["held", "told"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def told() -> Iterator[None]:
    """Raise ``KeyboardInterrupt`` where DuckDB makes another exception of it."""
    try:
        yield
    except RuntimeError as error:
        if str(error) == INTERRUPTED:
            raise KeyboardInterrupt from None
        raise


@contextmanager
def held() -> Iterator[None]:
    """Let signals wait: an exception in the middle of loading DuckDB or Arrow is an abort."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are the main thread's
        return
    came: list[int] = []
    # Not a mask, which is for one thread: another one would take the signal.
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    for number, handler in before.items():
        if handler is not None:
            signal.signal(number, lambda number, _: came.append(number))
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None:
                signal.signal(number, handler)
        for arrived in came:
            signal.raise_signal(arrived)
