"""Spelling of names and strings in SQL, and names that are unique in a plan."""

from __future__ import annotations

import re
from itertools import count

__all__ = ["Names", "literal", "quoted"]

_UNSAFE = re.compile(r"[^a-z0-9_]+")


def quoted(name: str) -> str:
    """Return an identifier in double quotes."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Return a string literal.

    A NUL cannot stand in the text of a statement, so it is put in by ``chr(0)``.
    """
    plain = "'" + text.replace("'", "''") + "'"
    if "\0" not in text:
        return plain
    return "(" + plain.replace("\0", "' || chr(0) || '") + ")"


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
