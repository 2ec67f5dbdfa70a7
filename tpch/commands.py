"""``starling tpch …``, which the engine's command line finds through its entry-point group."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from starling_py.tpch.texts import numbers

if TYPE_CHECKING:
    from starling_py.tpch.verify import Outcome, Totals

__all__ = ["tpch"]

MEBIBYTE = 1 << 20

SMALLEST_SCALE = 0.001
LARGEST_SCALE = 100_000.0


@click.group()
def tpch() -> None:
    """TPC-H: make its tables, check the 22 queries."""


def _queries(_: click.Context, __: click.Parameter, value: str) -> tuple[int, ...]:
    try:
        return numbers(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def _scale(_: click.Context, __: click.Parameter, value: float) -> float:
    # Not a click.FloatRange: a NaN is within any range.
    if not SMALLEST_SCALE <= value <= LARGEST_SCALE:
        raise click.BadParameter(f"{value:g} is not from {SMALLEST_SCALE:g} to {LARGEST_SCALE:g}.")
    return value


def _tasks(_: click.Context, __: click.Parameter, value: str) -> int | None:
    if value == "auto":
        return None
    if not value.isdecimal() or int(value) < 1:
        raise click.BadParameter(f"{value!r} is neither a number of tasks nor 'auto'.")
    return int(value)


@tpch.command()
@click.option(
    "--scale",
    type=float,
    callback=_scale,
    required=True,
    help="TPC-H scale factor; 1 is about 350 MB of Parquet.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder to write; it appears when everything is written, or not at all.",
)
@click.option(
    "--parts",
    type=click.IntRange(min=1, max=10_000),
    help="Files per large table  [default: 8, and more from scale 4 on]",
)
@click.option("--overwrite", is_flag=True, help="Replace TPC-H tables that are there already.")
def generate(scale: float, output: Path, parts: int | None, overwrite: bool) -> None:
    """Write the eight tables as Parquet files.

    Large tables are several files each.
    """
    from starling_py.tpch.generate import generate as write_tables

    made = write_tables(output, scale, parts=parts, overwrite=overwrite)
    if not made.fresh:
        click.echo(f"{output} already holds TPC-H at scale {scale:g}; nothing to do.")
        return
    for table in made.tables:
        files = f"{table.files} file{'s' if table.files != 1 else ''}"
        size = f"{table.bytes / MEBIBYTE:.1f} MiB"
        click.echo(f"{table.name:<9} {table.rows:>13,} rows  {files:>9}  {size:>12}")
    click.echo(f"TPC-H at scale {scale:g} is in {output}.")


@tpch.command()
@click.option(
    "--data",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    required=True,
    help="Folder that `starling tpch generate` wrote.",
)
@click.option(
    "--tasks",
    metavar="N|auto",
    callback=_tasks,
    default="auto",
    show_default=True,
    help="Tasks in every stage that can have them.",
)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    help="Workers of the engine, and threads of DuckDB  [default: the machine's cores]",
)
@click.option(
    "--isolation",
    type=click.Choice(["thread", "process"]),
    default="thread",
    show_default=True,
    help="Run workers as threads or as processes of their own.",
)
@click.option(
    "--memory",
    metavar="SIZE",
    help="Memory of all workers together, such as 1536MiB  [default: 80 % of what is free]",
)
@click.option(
    "--copy",
    metavar="URL",
    help="Where the engine finds the same files, such as s3://bucket/prefix.",
)
@click.option("--scratch", metavar="URL", help="As for `starling query`.")
@click.option(
    "--shuffle",
    type=click.Choice(["auto", "direct", "combined"]),
    default="auto",
    show_default=True,
    help="As for `starling query`.",
)
@click.option("--doublewrite", is_flag=True, help="As for `starling query`.")
@click.option(
    "--target",
    type=click.Choice(["local", "lambda"]),
    default="local",
    show_default=True,
    help="As for `starling query`.",
)
@click.option("--function", metavar="NAME", help="As for `starling query`.")
@click.option(
    "--queries",
    metavar="NUMBERS",
    callback=_queries,
    default="1-22",
    show_default=True,
    help="Which queries, such as 1,5-7.",
)
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
    tasks: int | None,
    workers: int | None,
    isolation: str,
    memory: str | None,
    copy: str | None,
    scratch: str | None,
    shuffle: str,
    doublewrite: bool,
    target: str,
    function: str | None,
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
        tasks=tasks,
        workers=workers,
        isolation=isolation,
        memory=memory,
        copy=copy,
        scratch=scratch,
        shuffle=shuffle,
        doublewrite=doublewrite,
        target=target,
        function=function,
        repeat=repeat,
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
