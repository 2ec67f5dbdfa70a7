"""``starling tpch compare``: two runs side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from starling_py.tpch.versus import Change

__all__ = ["compare"]

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.argument("before", type=_FILE)
@click.argument("after", type=_FILE)
def compare(before: Path, after: Path) -> None:
    """Compare two runs that `starling tpch run --output` wrote.

    Ratios are times of the second over times of the first. A tilde marks what may be noise: times
    that overlap or differ by less than 5 %. A question mark is for what ran only once.
    """
    from starling_py.tpch.measurements import load
    from starling_py.tpch.versus import changes, overall, unlike

    one, other = load(before), load(after)
    for line in unlike(one, other):
        click.echo(f"different {line}", err=True)
    found = changes(one, other)
    if not found:
        raise click.UsageError("the two runs have no engine and query in common")
    for engine in dict.fromkeys(change.engine for change in found):
        click.echo(f"{engine:<9} {'before':>9} {'after':>9} {'ratio':>8} {'dollars':>9}  requests")
        for change in found:
            if change.engine == engine:
                click.echo(_line(change))
        total, mean, paid = overall(found, engine)
        click.echo(
            f"ratio of totals {total:.2f}, geometric mean of ratios {mean:.2f}"
            + (f", of dollars {paid:.2f}" if paid == paid else "")
        )


def _line(change: Change) -> str:
    mark = {True: "~", False: " ", None: "?"}[change.noise]
    paid = ""
    if change.dollars_before:
        paid = f"{change.dollars_after / change.dollars_before:>9.2f}"
    requests = ""
    if change.requests_before or change.requests_after:
        requests = f"{change.requests_before:,} to {change.requests_after:,}"
    return (
        f"Q{change.query:<8} {change.before:>7.3f} s {change.after:>7.3f} s "
        f"{change.ratio:>7.2f}{mark} {paid:>9}  {requests}"
    ).rstrip()
