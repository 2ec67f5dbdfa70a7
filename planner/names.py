"""Column names that are unique in a plan."""

from __future__ import annotations

import re
from itertools import count

__all__ = ["Names"]

_UNSAFE = re.compile(r"[^a-z0-9_]+")


class Names:
    """Gives out column names that are unique in one plan, made from the names the user knows."""

    def __init__(self) -> None:
        self._numbers = count()

    def fresh(self, base: str) -> str:
        """Return a name that nobody has, which still shows where it comes from."""
        stem = _UNSAFE.sub("_", base.lower()).strip("_")[:24]
        if not stem or stem[0].isdigit():
            stem = "v"
        return f"{stem}_{next(self._numbers)}"
