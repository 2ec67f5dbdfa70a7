"""Who waits for a store looks up now and then, and stops when what it works for is over."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["look_up", "stopping"]

_CHECK: ContextVar[Callable[[], None] | None] = ContextVar("_CHECK", default=None)


@contextmanager
def stopping(check: Callable[[], None]) -> Iterator[None]:
    """Call ``check`` while this context waits for a store; what it raises ends the waiting."""
    before = _CHECK.set(check)
    try:
        yield
    finally:
        _CHECK.reset(before)


def look_up() -> None:
    """Raise what the check of this context does, if there is one."""
    check = _CHECK.get()
    if check is not None:
        check()
