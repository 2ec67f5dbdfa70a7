"""What commands say on standard error, and numbers as people read them."""

from __future__ import annotations

import os
import sys

import click

__all__ = [
    "FAILED",
    "INTERRUPTED",
    "USAGE",
    "count",
    "note",
    "seconds",
    "show_error",
    "size",
    "wants_colour",
]

FAILED = 1
USAGE = 2
INTERRUPTED = 130

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def wants_colour(stream: object) -> bool:
    """Return whether a stream is a terminal whose user has not asked for plain text."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return bool(getattr(stream, "isatty", bool)())


def show_error(message: str, hint: str | None = None) -> None:
    """Write ``error: …`` and, on a line of its own, ``hint: …``."""
    colour = wants_colour(sys.stderr)
    label = click.style("error:", fg="red", bold=True) if colour else "error:"
    click.echo(f"{label} {message}", err=True, color=colour)
    if hint:
        label = click.style("hint:", fg="cyan") if colour else "hint:"
        click.echo(f"{label} {hint}", err=True, color=colour)


def note(text: str) -> None:
    """Write a line about what happened."""
    colour = wants_colour(sys.stderr)
    click.echo(click.style(text, dim=True) if colour else text, err=True, color=colour)


def count(number: float, singular: str, plural: str | None = None) -> str:
    """Return ``1,234 rows`` or ``1 row``."""
    word = singular if number == 1 else plural or f"{singular}s"
    return f"{number:,.0f} {word}"


def size(bytes_: float) -> str:
    """Return bytes in decimal units: ``12.3 MB``."""
    value = float(bytes_)
    for unit in _UNITS:
        if abs(value) < 999.95 or unit == _UNITS[-1]:
            break
        value /= 1000
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"


def seconds(duration: float) -> str:
    """Return ``850 ms`` or ``12.34 s``."""
    return f"{duration * 1000:.0f} ms" if duration < 1 else f"{duration:.2f} s"
