"""Answers as a grid of text, for people."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from starling_py.cli.report import wants_colour
from starling_py.output import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from starling_py.results import Result

__all__ = ["console", "show_some", "write_all"]

_RIGHT = re.compile(r"(U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?|FLOAT|DOUBLE|DECIMAL\(.*\)|BIGNUM)$")
_GAP = "   "
_NULL = "NULL"
_UNLIMITED = 1_000_000
_LEAST = 10
"""Characters that a column needs, if it has so many, to be read."""


def console() -> Console:
    """Return a console for standard output: coloured on a terminal, never cut in a pipe."""
    return Console(
        file=sys.stdout,
        width=None if sys.stdout.isatty() else _UNLIMITED,
        no_color=not wants_colour(sys.stdout),
        highlight=False,
        markup=False,
        emoji=False,
    )


def show_some(result: Result, limit: int) -> None:
    """Print the first rows for a terminal: as a grid, or as records where that is too wide."""
    names = [printable(column.name) for column in result.columns]
    rows = [row for batch in result.texts(limit) for row in batch]
    widths = [cell_len(name) for name in names]
    for number, values in enumerate(zip(*rows, strict=True)):
        widths[number] = max(widths[number], *map(_width, values))
    screen = console()
    if sum(min(width, _LEAST) for width in widths) + len(_GAP) * (len(names) - 1) > screen.width:
        _show_records(screen, names, rows)
        return
    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name, right in zip(names, _numeric(result), strict=True):
        grid.add_column(Text(name), justify="right" if right else "left", overflow="fold")
    for row in rows:
        grid.add_row(*map(_cell, row))
    screen.print(grid)


def _show_records(
    screen: Console, names: Sequence[str], rows: Sequence[tuple[str | None, ...]]
) -> None:
    """Print a line for each value: nobody can read columns of a few characters."""
    if not rows:
        screen.print(Text(_GAP.join(names), "bold"))
    for number, row in enumerate(rows, 1):
        record = Table(box=None, show_header=False, pad_edge=False, padding=(0, len(_GAP), 0, 0))
        record.add_column(overflow="fold")
        record.add_column(overflow="fold")
        for name, value in zip(names, row, strict=True):
            record.add_row(Text(name, "bold"), _cell(value))
        screen.print(Text(f"{'' if number == 1 else chr(10)}row {number:,}", "dim"))
        screen.print(record)


def _cell(value: str | None) -> Text:
    return Text(_NULL, "dim") if value is None else Text(printable(value))


def write_all(result: Result) -> None:
    """Write all rows for a pipe or a file: as wide as they are, in two passes over the answer."""
    names = [printable(column.name) for column in result.columns]
    widths = [cell_len(name) for name in names]
    for rows in result.texts():
        for number, values in enumerate(zip(*rows, strict=True)):
            widths[number] = max(widths[number], *map(_width, values))
    right = _numeric(result)
    sys.stdout.write(_line(names, widths, right))
    sys.stdout.write(_rule() * (sum(widths) + len(_GAP) * (len(widths) - 1)) + "\n")
    for rows in result.texts():
        sys.stdout.write("".join(_line(map(_shown, row), widths, right) for row in rows))


def _rule() -> str:
    try:
        "─".encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return "-"
    return "─"


def _numeric(result: Result) -> list[bool]:
    return [bool(_RIGHT.match(column.type)) for column in result.columns]


def _line(cells: Iterable[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    padded: list[str] = []
    for cell, width, is_right in zip(cells, widths, right, strict=True):
        blanks = " " * (width - (len(cell) if cell.isascii() else cell_len(cell)))
        padded.append(blanks + cell if is_right else cell + blanks)
    return _GAP.join(padded).rstrip() + "\n"


def _shown(value: str | None) -> str:
    return _NULL if value is None else printable(value)


def _width(value: str | None) -> int:
    text = _shown(value)
    return len(text) if text.isascii() else cell_len(text)
