"""Queries that run by themselves: ``query --detach``, ``attach``, ``result`` and ``cancel``."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from starling_py.cli.options import COORDINATOR, detached_options, output_options
from starling_py.cli.query import check_output, give
from starling_py.cli.report import count, note

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from starling_py.detached.client import DetachedQueries
    from starling_py.events import Event
    from starling_py.invokers.function_client import FunctionClient

__all__ = ["attach", "begin", "cancel", "result"]


def begin(
    sql: str,
    data: str | None,
    tables: dict[str, str],
    tasks: int | None,
    workers: int | None,
    scratch: str | None,
    shuffle: str,
    *,
    doublewrite: bool,
    target: str,
    function: str | None,
    stage_workers: int | None,
    coordinator: str | None,
    dialect: str,
    parameters: dict[str, Any],
    quiet: bool,
    useless: Sequence[str],
) -> None:
    """Start a detached query and show its id."""
    if target != "lambda" or scratch is None:
        raise click.UsageError("--detach is for --target lambda with a --scratch")
    if useless:
        name = useless[0].strip("_").replace("_", "-")
        raise click.UsageError(
            f"--{name} means nothing with --detach; starling result has options for the answer"
        )
    from starling_py.config import resolve
    from starling_py.detached.planning import check_remote
    from starling_py.detached.state import Request, encode_parameters
    from starling_py.session import SECONDS

    config = resolve(
        tasks,
        workers,
        scratch=scratch,
        shuffle=shuffle,
        doublewrite=doublewrite,
        target=target,
        function=function,
        stage_workers=stage_workers,
        dialect=dialect,
    )
    check_remote(filter(None, (data, *tables.values())))
    with _queries(scratch, coordinator or COORDINATOR) as queries:
        query = queries.detach(
            Request(
                sql=sql,
                data=data,
                tables=tuple(tables.items()),
                tasks=config.tasks,
                workers=config.workers,
                shuffle=config.shuffle,
                doublewrite=config.doublewrite,
                function=config.function,
                options=queries.options,
                deadline=time.time() + SECONDS,
                stage_workers=config.stage_workers,
                dialect=config.dialect,
                parameters=encode_parameters(parameters),
            )
        )
    click.echo(query)
    if not quiet:
        note(f"starling attach {query} --scratch {scratch} waits for it and shows the answer")


@click.command()
@detached_options
@output_options
@click.pass_context
def attach(
    context: click.Context,
    query: str,
    scratch: str,
    coordinator: str,
    format_: str,
    output: Path | None,
    max_rows: int,
    stats: bool,
    cost: bool,
    quiet: bool,
) -> None:
    """Wait for a detached query, and show its answer as `starling query` would.

    Ctrl-C ends the waiting and not the query. Where its coordinator has died, another one is
    started.
    """
    check_output(context, output, stats=stats, cost=cost, quiet=quiet)
    with _queries(scratch, coordinator) as queries:
        try:
            ending = queries.wait(query, () if quiet else (_tell,))
        except KeyboardInterrupt:
            note(f"the query goes on: starling attach {query} --scratch {scratch}")
            note(f"to end it: starling cancel {query} --scratch {scratch}")
            raise
        answer, run = queries.answer(query, ending)
        give(answer, run, format_, output, max_rows, stats=stats, cost=cost, quiet=quiet)


@click.command()
@detached_options
@output_options
@click.pass_context
def result(
    context: click.Context,
    query: str,
    scratch: str,
    coordinator: str,
    format_: str,
    output: Path | None,
    max_rows: int,
    stats: bool,
    cost: bool,
    quiet: bool,
) -> None:
    """Show or save the answer of a detached query that has ended."""
    check_output(context, output, stats=stats, cost=cost, quiet=quiet)
    with _queries(scratch, coordinator) as queries:
        answer, run = queries.answer(query, queries.ending(query))
        give(answer, run, format_, output, max_rows, stats=stats, cost=cost, quiet=quiet)


@click.command()
@detached_options
def cancel(query: str, scratch: str, coordinator: str) -> None:
    """End a detached query, and remove what it has left.

    Tasks that run in functions go on for as long as they take, and nobody reads what they write.
    """
    with _queries(scratch, coordinator) as queries:
        is_cancelled = queries.cancel(query)
    click.echo(f"{query} is cancelled" if is_cancelled else f"{query} had ended before")


@contextmanager
def _queries(scratch: str, coordinator: str) -> Iterator[DetachedQueries]:
    from starling_py.access import S3Access
    from starling_py.detached.client import DetachedQueries
    from starling_py.interruption import held

    with held():
        import duckdb  # noqa: F401
        import pyarrow.parquet  # noqa: F401

    access = S3Access()

    def client() -> FunctionClient:
        from starling_py.invokers.function_client import FunctionClient

        options = access.options
        return FunctionClient(
            coordinator, connections=1, region=options.region, profile=options.profile
        )

    queries = DetachedQueries(scratch, access, client)
    try:
        yield queries
    finally:
        queries.close()


def _tell(event: Event) -> None:
    from starling_py.events import QueryPlanned, StageFinished, StageStarted

    match event:
        case QueryPlanned(plan=plan):
            note(f"planned: {count(len(plan.stages), 'stage')}, {count(plan.tasks, 'task')}")
        case StageStarted(stage=stage):
            note(f"stage {stage.id} ({stage.label}) has begun: {count(stage.tasks, 'task')}")
        case StageFinished(stage=stage):
            note(f"stage {stage.id} is done")
