"""What commands say on standard error, and numbers as people read them."""

from __future__ import annotations

import math
import os
import sys
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from starling_py.prices import RunPrice
    from starling_py.shuffle.meter import RequestCounts
    from starling_py.skew import Busiest

__all__ = [
    "FAILED",
    "INTERRUPTED",
    "USAGE",
    "bill",
    "count",
    "dollars",
    "note",
    "requests",
    "seconds",
    "show_error",
    "size",
    "skew",
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


def dollars(amount: float) -> str:
    """Return ``$1.23``, with as many decimals as it takes to show two digits."""
    if amount >= 1 or amount <= 0:
        return f"${amount:.2f}"
    decimals = 1 - math.floor(math.log10(amount))
    return f"${amount:.{max(decimals, 2)}f}"


def bill(price: RunPrice) -> list[str]:
    """Return what a run cost, a line for each item."""
    memory = f"{price.size.memory / (1 << 20):,.0f} MB on {price.size.architecture}"
    lines = [f"price in {price.region}, {price.date}, of functions with {memory}"]
    for item in price.items:
        mark = "  estimate" if item.estimated else ""
        quantity = f"{item.quantity:,.0f}" if item.unit != "GB s" else f"{item.quantity:,.2f}"
        if item.unit == "GB":
            quantity = f"{item.quantity:,.6f}"
        paid = f"{dollars(item.dollars):>12}{mark}"
        lines.append(f"  {item.name:<19} {quantity:>12} {item.unit:<8} {paid}")
    mark = ""
    if price.estimated:
        mark = f"  of which paid {dollars(price.paid)}"
    lines.append(f"  {'total':<41} {dollars(price.dollars):>12}{mark}")
    return lines


def requests(counts: RequestCounts) -> str:
    """Return requests by kind, bytes, and what went wrong or slowly."""
    named = {kind: getattr(counts, kind) for kind in ("get", "put", "head", "list", "delete")}
    parts = [f"{number:,} {kind.upper()}" for kind, number in named.items() if number]
    text = ", ".join(parts) or "no request"
    text += f"; {size(counts.bytes_in)} in, {size(counts.bytes_out)} out"
    if counts.retries:
        text += f"; {count(counts.retries, 'retry', 'retries')}"
    if counts.hedges:
        text += (
            f"; {count(counts.hedges, 'second request')} for slow ones, "
            f"{counts.hedges_won:,} of them faster, {size(counts.hedge_bytes)} for nothing"
        )
    return text


def skew(busiest: Busiest) -> str:
    """Return which task had more to do than the others."""
    return f"skewed: task {busiest.task} read {busiest.share:.0%} of the rows"


def seconds(duration: float) -> str:
    """Return ``850 ms`` or ``12.34 s``."""
    return f"{duration * 1000:.0f} ms" if duration < 1 else f"{duration:.2f} s"
