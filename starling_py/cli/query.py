"""``starling query``: run a statement and show or save the answer."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from starling_py.cli.options import (
    COORDINATOR,
    Number,
    connection,
    data_options,
    output_options,
    plan_options,
    read_sql,
    sql_options,
)
from starling_py.cli.report import bill, count, dollars, note, requests, seconds, size, skew

if TYPE_CHECKING:
    from pathlib import Path

    from starling_py.connection import QueryRun
    from starling_py.results import Result

__all__ = ["check_output", "give", "query"]

_DEFAULT = click.core.ParameterSource.DEFAULT
_NOT_DETACHED = (
    *("memory", "isolation", "prices"),
    *("format_", "output", "max_rows", "stats", "cost"),
)
"""Options that mean nothing to a query that runs elsewhere, or that are for its answer."""


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
@output_options
@click.option(
    "--stage-workers",
    type=Number(min=1),
    metavar="N",
    help="How many tasks of one stage run at once.  [default: as many as of all stages]",
)
@click.option(
    "--detach",
    is_flag=True,
    help="Let a function on AWS Lambda coordinate the query; show its id and return.",
)
@click.option(
    "--coordinator",
    metavar="NAME",
    help=f"That function, by name or ARN.  [default: {COORDINATOR}]",
)
@click.pass_context
def query(
    context: click.Context,
    sql: str | None,
    file: Path | None,
    parameters: dict[str, Any],
    dialect: str,
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
    detach: bool,
    stage_workers: int | None,
    coordinator: str | None,
) -> None:
    """Run SQL and show the answer.

    The statement is an argument, comes from --file, or from standard input when it is a dash.
    Beside the tables of --data and --table it may name files: FROM 'path/*.parquet'.
    """
    check_output(context, output, stats=stats, cost=cost, quiet=quiet)
    text = read_sql(sql, file)
    if detach:
        from starling_py.cli.detached import begin

        given = {name: context.get_parameter_source(name) for name in _NOT_DETACHED}
        begin(
            text,
            data,
            tables,
            tasks,
            workers,
            scratch,
            shuffle,
            doublewrite=doublewrite,
            target=target,
            function=function,
            stage_workers=stage_workers,
            coordinator=coordinator,
            dialect=dialect,
            parameters=parameters,
            quiet=quiet,
            useless=[name for name, source in given.items() if source is not _DEFAULT],
        )
        return
    if coordinator is not None:
        raise click.UsageError("--coordinator is for --detach")
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
        stage_workers=stage_workers,
        dialect=dialect,
        prices=prices,
    ) as connected:
        cursor = connected.execute(text, parameters)
        give(
            cursor.result,
            cursor.run,
            format_,
            output,
            max_rows,
            stats=stats,
            cost=cost,
            quiet=quiet,
        )


def check_output(
    context: click.Context, output: Path | None, *, stats: bool, cost: bool, quiet: bool
) -> None:
    """Refuse options of :func:`output_options` that contradict one another, or an unfit file."""
    if quiet and (stats or cost):
        raise click.UsageError(f"--{'stats' if stats else 'cost'} and --quiet exclude each other")
    if output is not None:
        from starling_py.output import check_target

        if context.get_parameter_source("format_") is not _DEFAULT:
            raise click.UsageError("--format is for standard output; --output goes by its suffix")
        check_target(output)


def give(
    result: Result,
    run: QueryRun,
    format_: str,
    output: Path | None,
    max_rows: int,
    *,
    stats: bool,
    cost: bool,
    quiet: bool,
) -> None:
    """Show or save an answer as :func:`output_options` ask for it, and say what ran."""
    if output is not None:
        from starling_py.output import save

        save(result, output)
    else:
        _show(result, format_, max_rows)
    if not quiet:
        _say(run, output)
    if stats:
        _say_more(run)
    if cost:
        for line in bill(run.price):
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
    asked = run.requests
    if not run.stages:
        note(what)
        return
    cost = ""
    if asked.requests:
        cost = f", {count(asked.requests, 'request')}, {dollars(run.price.paid)}"
    if run.out_of_memory:
        note(
            f"the functions ran out of memory {count(run.out_of_memory, 'time')} before that, "
            "with fewer tasks"
        )
    note(
        f"{what} from {count(run.stages, 'stage')}, {count(run.tasks, 'task')}, "
        f"{size(run.shuffled_bytes)} shuffled, {seconds(took)}{cost}"
    )


def _say_more(run: QueryRun) -> None:
    from starling_py.shuffle.meter import RequestCounts
    from starling_py.skew import skewed

    note(
        f"query {run.query}: bind {seconds(run.bind_seconds)}, plan {seconds(run.plan_seconds)}, "
        f"run {seconds(run.run_seconds)}, CPU {seconds(run.cpu_seconds)}"
    )
    if run.requests.requests:
        note(f"S3, planning: {requests(run.planning_requests)}")
        note(f"S3, run: {requests(run.requests - run.planning_requests)}")
    for stage in run.plan.stages:
        reports = [report for report in run.reports if report.stage == stage.id]
        metrics = [report.metrics for report in reports]
        rows_in, rows_out = sum(m.rows_in for m in metrics), sum(m.rows_out for m in metrics)
        slowest = max((m.seconds for m in metrics), default=0.0)
        note(
            f"stage {stage.id} ({stage.label}): {count(len(metrics), 'task')}, "
            f"{rows_in:,} to {count(rows_out, 'row')}, "
            f"{size(sum(m.bytes_out for m in metrics))}, slowest {seconds(slowest)}"
        )
        busiest = skewed(reports, run.plan.balance_rows)
        if busiest is not None:
            note(f"  {skew(busiest)}")
        asked = sum((m.requests for m in metrics), RequestCounts())
        if asked.requests:
            note(f"  {requests(asked)}")
    peaks = ", ".join(f"{worker} {size(peak)}" for worker, peak in run.peak_rss)
    if peaks:
        note(f"peak memory: {peaks}")
