"""``starling tpch report``: runs as a page with charts."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["report"]


@click.command()
@click.argument(
    "runs",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
)
@click.option(
    "--output",
    "-o",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="The file to write: .html, or .md for tables alone.",
)
def report(runs: tuple[Path, ...], output: Path) -> None:
    """Make a page of runs that `starling tpch run --output` wrote.

    One HTML file with latencies, ratios, costs, the point at which a machine that is always on
    costs as much, and where the time went; or a Markdown file with the tables. Runs go by the
    names of their files.
    """
    from starling_py.tpch.errors import TpchError
    from starling_py.tpch.measurements import load
    from starling_py.tpch.report import markdown
    from starling_py.tpch.report import report as page

    names = [path.stem if len({p.stem for p in runs}) == len(runs) else str(path) for path in runs]
    named = {name: load(path) for name, path in zip(names, runs, strict=True)}
    text = markdown(named) if output.suffix == ".md" else page(named)
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise TpchError(f"cannot write {output}: {error.strerror}") from error
    click.echo(f"written to {output}")
