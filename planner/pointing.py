"""Errors that point into the user's text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starling_py.planner.errors import SqlError, SqlSyntaxError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["point_at", "pointed", "syntax_error"]

_ADVICE = ' Use "SET '
"""What follows is about settings that a user does not have."""


def syntax_error(text: str, error: Mapping[str, Any]) -> SqlError:
    """Return DuckDB's parser error, pointing into the text."""
    message = str(error.get("error_message", "syntax error")).partition(_ADVICE)[0]
    return SqlSyntaxError(point_at(text, message, error.get("position")))


def point_at(text: str, message: str, position: str | int | None) -> str:
    """Return a message with line, column and a caret below the place.

    Parameters
    ----------
    position
        Bytes from the start of the text, or ``None`` when unknown.
    """
    if position is None:
        return message
    before = text.encode()[: int(position)].decode(errors="ignore")
    line = before.count("\n") + 1
    column = len(before) - (before.rfind("\n") + 1) + 1
    return pointed(text, message, line, column)


def pointed(text: str, message: str, line: int, column: int) -> str:
    """Return a message with line, column (from 1) and a caret below the place."""
    lines = text.splitlines() or [""]
    shown = lines[min(line, len(lines)) - 1]
    start = max(0, column - 60)
    cut = shown[start : start + 76].replace("\t", " ")
    first, *rest = message.splitlines() or [""]
    caret = " " * (column - 1 - start) + "^"
    return "\n".join([f"{first} (line {line}, column {column})", *rest, f"  {cut}", f"  {caret}"])
