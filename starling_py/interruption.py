"""Ctrl-C while DuckDB works for this thread, and where it must wait."""

from __future__ import annotations

import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["held", "told"]

_INTERRUPTED = "Query interrupted"
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def told() -> Iterator[None]:
    """Raise ``KeyboardInterrupt`` where DuckDB makes another exception of it."""
    try:
        yield
    except RuntimeError as error:
        if str(error) == _INTERRUPTED:
            raise KeyboardInterrupt from None
        raise


@contextmanager
def held() -> Iterator[None]:
    """Let signals wait: an exception in the middle of loading DuckDB or Arrow is an abort."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
