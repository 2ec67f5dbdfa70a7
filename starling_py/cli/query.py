"""``starling query``: run a statement and show or save the answer."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from starling_py.cli.options import (
    Number,
    connection,
    data_options,
    plan_options,
    read_sql,
    sql_options,
)
from starling_py.cli.report import bill, count, dollars, note, requests, seconds, size
from starling_py.shuffle.meter import RequestCounts

if TYPE_CHECKING:
    from starling_py.connection import QueryRun
    from starling_py.results import Result

__all__ = ["query"]

_FORMATS = ("table", "csv", "json", "jsonl", "markdown")


@click.command()
@sql_options
@data_options
@plan_options
@click.option(
    "--isolation",
    type=click.Choice(("thread", "process")),
    default="thread",
    show_default=True,
    help="Run tasks in threads of this process, or in processes of their own.",
)
@click.option(
    "--doublewrite", is_flag=True, help="Write what is exchanged through S3 twice, for slow reads."
)
@click.option(
    "--format",
    "format_",
    type=click.Choice(_FORMATS),
    default="table",
    show_default=True,
    help="How standard output shows the answer.",
)
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write the answer to a .parquet, .csv, .json, .jsonl or .arrow file instead.",
)
@click.option(
    "--max-rows",
    type=Number(min=0),
    default=100,
    show_default=True,
    metavar="N",
    help="How many rows a terminal shows of a table; a pipe or file gets all.",
)
@click.option("--stats", is_flag=True, help="Say more about what ran, stage by stage.")
@click.option("--cost", is_flag=True, help="Say what the run cost, item by item.")
@click.option("--quiet", "-q", is_flag=True, help="Say nothing about what ran.")
@click.pass_context
def query(
    context: click.Context,
    sql: str | None,
    file: Path | None,
    data: str | None,
    tables: dict[str, str],
    tasks: int | None,
    workers: int | None,
    memory: str | None,
    scratch: str | None,
    shuffle: str,
    isolation: str,
    doublewrite: bool,
    target: str,
    function: str | None,
    prices: str | None,
    format_: str,
    output: Path | None,
    max_rows: int,
    stats: bool,
    cost: bool,
    quiet: bool,
) -> None:
    """Run SQL and show the answer.

    The statement is an argument, comes from --file, or from standard input when it is a dash.
    Beside the tables of --data and --table it may name files: FROM 'path/*.parquet'.
    """
    if quiet and (stats or cost):
        raise click.UsageError(f"--{'stats' if stats else 'cost'} and --quiet exclude each other")
    text = read_sql(sql, file)
    if output is not None:
        from starling_py.output import check_target

        if context.get_parameter_source("format_") is not click.core.ParameterSource.DEFAULT:
            raise click.UsageError("--format is for standard output; --output goes by its suffix")
        check_target(output)
    with connection(
        data,
        tables,
        tasks,
        workers,
        memory,
        scratch,
        shuffle,
        isolation,
        doublewrite=doublewrite,
        target=target,
        function=function,
        prices=prices,
    ) as connected:
        cursor = connected.execute(text)
        if output is not None:
            from starling_py.output import save

            save(cursor.result, output)
        else:
            _show(cursor.result, format_, max_rows)
        if not quiet:
            _say(cursor.run, output)
        if stats:
            _say_more(cursor.run)
        if cost:
            for line in bill(cursor.run.price):
                note(line)


def _show(result: Result, format_: str, max_rows: int) -> None:
    from starling_py.output import STREAMED, markdown, stream

    if format_ in STREAMED:
        sys.stdout.flush()
        stream(result, format_, sys.stdout.buffer)
        sys.stdout.buffer.flush()
    elif format_ == "markdown":
        sys.stdout.writelines(markdown(result))
    elif sys.stdout.isatty():
        from starling_py.cli.grid import show_some

        show_some(result, max_rows)
        if result.rows > max_rows:
            note(
                f"the first {max_rows:,} of {count(result.rows, 'row')}; "
                "--max-rows, --format csv or --output gives more"
            )
    else:
        from starling_py.cli.grid import write_all

        write_all(result)


def _say(run: QueryRun, output: Path | None) -> None:
    sys.stdout.flush()
    took = run.bind_seconds + run.plan_seconds + run.run_seconds
    what = count(run.rows, "row") + (f" to {output}" if output is not None else "")
    cost = ""
    if run.requests.requests:
        paid = dollars(run.price.paid)
        cost = f", {count(run.requests.requests, 'request')}, {paid}"
    note(
        f"{what} from {count(run.stages, 'stage')}, {count(run.tasks, 'task')}, "
        f"{size(run.shuffled_bytes)} shuffled, {seconds(took)}{cost}"
    )


def _say_more(run: QueryRun) -> None:
    note(
        f"query {run.query}: bind {seconds(run.bind_seconds)}, plan {seconds(run.plan_seconds)}, "
        f"run {seconds(run.run_seconds)}, CPU {seconds(run.cpu_seconds)}"
    )
    if run.requests.requests:
        note(f"S3, planning: {requests(run.planning_requests)}")
        note(f"S3, run: {requests(run.requests - run.planning_requests)}")
    for stage in run.plan.stages:
        metrics = [report.metrics for report in run.reports if report.stage == stage.id]
        rows_in, rows_out = sum(m.rows_in for m in metrics), sum(m.rows_out for m in metrics)
        slowest = max((m.seconds for m in metrics), default=0.0)
        note(
            f"stage {stage.id} ({stage.label}): {count(len(metrics), 'task')}, "
            f"{rows_in:,} to {count(rows_out, 'row')}, "
            f"{size(sum(m.bytes_out for m in metrics))}, slowest {seconds(slowest)}"
        )
        asked = sum((m.requests for m in metrics), RequestCounts())
        if asked.requests:
            note(f"  {requests(asked)}")
    peaks = ", ".join(f"{worker} {size(peak)}" for worker, peak in run.peak_rss)
    if peaks:
        note(f"peak memory: {peaks}")
