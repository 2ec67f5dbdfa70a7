"""Answers as a grid of text, for people."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from starling_py.cli.report import wants_colour
from starling_py.output import printable

if TYPE_CHECKING:
    from starling_py.results import Result

__all__ = ["console", "show_rows"]

_RIGHT = re.compile(r"(U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?|FLOAT|DOUBLE|DECIMAL\(.*\)|BIGNUM)$")
_PIPED_WIDTH = 1_000_000


def console() -> Console:
    """Return a console for standard output: coloured on a terminal, never cut in a pipe."""
    terminal = sys.stdout.isatty()
    return Console(
        file=sys.stdout,
        width=None if terminal else _PIPED_WIDTH,
        no_color=not wants_colour(sys.stdout),
        highlight=False,
        markup=False,
        emoji=False,
    )


def show_rows(result: Result, limit: int | None) -> None:
    """Print the first rows of an answer, or all: values as DuckDB writes them, NULL set apart."""
    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in result.columns:
        right = bool(_RIGHT.match(column.type))
        grid.add_column(Text(printable(column.name)), justify="right" if right else "left")
    for row in result.texts(limit):
        cells = (Text("NULL", "dim") if v is None else Text(printable(v)) for v in row)
        grid.add_row(*cells)
    shown = console()
    if shown.is_terminal:
        shown.print(grid)
        return
    # Without the blanks that fill the last column.
    with shown.capture() as captured:
        shown.print(grid)
    sys.stdout.write("".join(line.rstrip() + "\n" for line in captured.get().splitlines()))
