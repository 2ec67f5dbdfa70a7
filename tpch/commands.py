"""``starling tpch …``, which the engine's command line finds through its entry-point group."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from starling_py.tpch.compare_command import compare
from starling_py.tpch.options import EngineOptions, engine_options, queries_option, scale_option
from starling_py.tpch.report_command import report
from starling_py.tpch.run_command import run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from starling_py.tpch.generate import Progress
    from starling_py.tpch.verify import Outcome, Totals

__all__ = ["tpch"]

MEBIBYTE = 1 << 20


@click.group(commands=[compare, report, run])
def tpch() -> None:
    """TPC-H: make its tables, check the 22 queries, measure them."""


@tpch.command("generate")
@click.option(
    "--scale",
    type=float,
    callback=scale_option,
    required=True,
    help="TPC-H scale factor; 1 is about 350 MB of Parquet.",
)
@click.option(
    "--output",
    required=True,
    metavar="DIR",
    help="Folder to write, which appears when everything is written, or s3://bucket/prefix.",
)
@click.option(
    "--parts",
    type=click.IntRange(min=1, max=10_000),
    help="Files per large table  [default: 8, and more from scale 4 on]",
)
@click.option("--overwrite", is_flag=True, help="Replace TPC-H tables that are there already.")
def generate_command(scale: float, output: str, parts: int | None, overwrite: bool) -> None:
    """Write the eight tables as Parquet files.

    Large tables are several files each. What was interrupted goes on where it stopped.
    """
    from starling_py.tpch.generate import generate, generate_on_s3

    with _shown() as progress:
        if output.startswith("s3://"):
            from starling_py.tpch.upload import Prefix

            made = generate_on_s3(
                Prefix(output), scale, parts=parts, overwrite=overwrite, progress=progress
            )
        else:
            made = generate(
                Path(output), scale, parts=parts, overwrite=overwrite, progress=progress
            )
    if not made.fresh:
        click.echo(f"{output} already holds TPC-H at scale {scale:g}; nothing to do.")
        return
    for table in made.tables:
        files = f"{table.files} file{'s' if table.files != 1 else ''}"
        size = f"{table.bytes / MEBIBYTE:.1f} MiB"
        click.echo(f"{table.name:<9} {table.rows:>13,} rows  {files:>9}  {size:>12}")
    click.echo(f"TPC-H at scale {scale:g} is in {output}.")


@contextmanager
def _shown() -> Iterator[Callable[[Progress], None]]:
    """Show progress on standard error: a bar on a terminal, else a line for each piece."""
    if not sys.stderr.isatty():
        yield lambda progress: click.echo(
            f"{progress.done} of {progress.pieces}: {progress.piece}", err=True
        )
        return
    with click.progressbar(length=1, label="generating", file=sys.stderr) as bar:

        def show(progress: Progress) -> None:
            bar.length = progress.pieces
            bar.label = progress.piece
            bar.update(progress.done - bar.pos)

        yield show


@tpch.command()
@click.option(
    "--data",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    required=True,
    help="Folder that `starling tpch generate` wrote.",
)
@queries_option
@engine_options
@click.option(
    "--repeat",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Run each query so often; the best time counts.",
)
@click.pass_context
def verify(
    context: click.Context,
    data: Path,
    options: EngineOptions,
    queries: tuple[int, ...],
    repeat: int,
) -> None:
    """Compare the answers to the 22 queries with DuckDB's.

    They run through the engine and through plain DuckDB on the same files. Rows, column names and
    types must be the same. The exit code is 1 when any query differs.
    """
    # Imports both engines: not for `generate`, nor for --help.
    from starling_py import RequestCounts
    from starling_py.prices import request_dollars
    from starling_py.tpch.errors import TpchError
    from starling_py.tpch.verify import check_folder, totals, verify

    try:
        check_folder(data)
    except TpchError as error:
        raise click.BadParameter(error.message, param_hint="'--data'") from None
    outcomes: list[Outcome] = []
    for outcome in verify(
        data,
        queries=queries,
        repeat=repeat,
        **options.keywords(),
    ):
        if not outcomes:
            click.echo(HEADER)
        outcomes.append(outcome)
        click.echo(_line(outcome))
    total = totals(outcomes)
    click.echo(_summary(total))
    asked = sum((outcome.requests for outcome in outcomes), RequestCounts())
    if asked.requests:
        click.echo(
            f"S3: {asked.requests:,} requests, {asked.bytes_in / 1e6:,.1f} MB in, "
            f"{asked.bytes_out / 1e6:,.1f} MB out, {asked.retries:,} retries, "
            f"{asked.hedges:,} second requests, ${request_dollars(asked):.6f}"
        )
    if total.different:
        context.exit(1)


HEADER = (
    f"{'query':<5}  {'stages':>6}  {'tasks':>5}  {'shuffled':>12}  {'rows':>7}  {'plan':>7}"
    f"  {'engine':>8}  {'duckdb':>8}  {'ratio':>6}  result"
)


def _line(outcome: Outcome) -> str:
    result = "ok" if outcome.difference is None else f"DIFFERENT: {outcome.difference}"
    return (
        f"Q{outcome.query:<4}  {outcome.stages:>6}  {outcome.tasks:>5}"
        f"  {outcome.shuffled_bytes:>10,} B  {outcome.rows:>7,}"
        f"  {outcome.plan_seconds * 1000:>4.1f} ms"
        f"  {outcome.engine_seconds:>6.3f} s  {outcome.duckdb_seconds:>6.3f} s"
        f"  {outcome.ratio:>6.2f}  {result}"
    )


def _summary(total: Totals) -> str:
    lines = [
        f"{total.queries - total.different} of {total.queries} queries equal; "
        f"engine {total.engine_seconds:.3f} s, DuckDB {total.duckdb_seconds:.3f} s, "
        f"ratio of totals {total.ratio:.2f}, geometric mean of ratios {total.geometric_mean:.2f}"
    ]
    if total.peak_rss:
        peaks = ", ".join(f"{name} {peak / MEBIBYTE:.0f} MiB" for name, peak in total.peak_rss)
        lines.append(f"peak resident memory: {peaks}")
    return "\n".join(lines)
