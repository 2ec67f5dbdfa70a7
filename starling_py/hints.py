"""Hints of errors, where a traceback shows them."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from starling_py.shuffle.errors import StarlingError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["hinted"]


@contextmanager
def hinted() -> Iterator[None]:
    """Let tracebacks show the hints of errors."""
    try:
        yield
    except StarlingError as error:
        if error.hint:
            error.add_note(f"hint: {error.hint}")
        raise
