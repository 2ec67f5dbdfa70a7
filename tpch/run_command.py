"""``starling tpch run``: measure the 22 queries."""

from __future__ import annotations

import time
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from starling_py.tpch.options import EngineOptions, engine_options, queries_option

if TYPE_CHECKING:
    from starling_py.tpch.engines import Engine
    from starling_py.tpch.measurements import Execution, Settings

__all__ = ["run"]


@click.command()
@click.option(
    "--data",
    required=True,
    metavar="DIR",
    help="Folder that `starling tpch generate` wrote; for the engine alone also s3://bucket/prefix.",
)
@click.option(
    "--engine",
    type=click.Choice(["starling", "duckdb"]),
    default="starling",
    show_default=True,
    help="What runs the queries.",
)
@click.option(
    "--vs",
    type=click.Choice(["duckdb"]),
    help="Run the reference too, in turns query by query, and compare answers and times.",
)
@queries_option
@click.option(
    "--warm-up",
    type=click.IntRange(min=0),
    default=1,
    show_default=True,
    help="How often each query runs before it counts.",
)
@click.option(
    "--repeat",
    type=click.IntRange(min=1),
    default=3,
    show_default=True,
    help="How often each query runs and counts.",
)
@click.option(
    "--streams",
    type=click.IntRange(min=1, max=1000),
    help="A throughput run instead: so many streams at once, each with an order of its own.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    help="Draw the parameters of the queries  [default: the specification's for validation]",
)
@engine_options
@click.option(
    "--output",
    "-o",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write everything that was measured, as JSON.",
)
@click.pass_context
def run(
    context: click.Context,
    data: str,
    engine: str,
    vs: str | None,
    queries: tuple[int, ...],
    warm_up: int,
    repeat: int,
    streams: int | None,
    seed: int | None,
    options: EngineOptions,
    output: Path | None,
) -> None:
    """Measure the queries: times, memory, requests, bytes and dollars.

    A power run has one query after the other; --streams makes it a throughput run. The exit code
    is 1 when a query fails or is answered differently than by --vs.
    """
    if vs == engine:
        raise click.UsageError(f"--vs compares another engine with {engine}")
    if vs and streams:
        raise click.UsageError("--vs is for a power run, without --streams")
    engines = (engine, *([vs] if vs else ()))
    if "duckdb" in engines:
        _check_local(data)

    from starling_py.prices import load_prices
    from starling_py.tpch import summary
    from starling_py.tpch.machine import machine, versions
    from starling_py.tpch.measurements import Measurements, Settings, save

    settings = Settings(
        data=data,
        queries=queries,
        engines=engines,
        warm_up=0 if streams else warm_up,
        repeat=1 if streams else repeat,
        streams=streams or 0,
        seed=seed,
        **options.keywords() | {"prices": load_prices(options.prices)},
    )
    before = machine()
    started = datetime.now(UTC).isoformat(timespec="seconds")
    with ExitStack() as stack:
        opened = _open(settings, options, stack)
        scale = opened[0].scale()
        begun = time.perf_counter()
        executions = _throughput(opened[0], settings) if streams else _power(opened, settings)
        seconds = time.perf_counter() - begun
    measured = Measurements(
        kind="throughput" if streams else "power",
        started=started,
        scale=scale,
        machine=before,
        versions=versions(),
        settings=settings,
        seconds=seconds,
        executions=executions,
    )
    for line in summary.totals(measured):
        click.echo(line)
    if output is not None:
        save(measured, output)
        click.echo(f"written to {output}", err=True)
    if measured.failures():
        context.exit(1)


def _check_local(data: str) -> None:
    from starling_py.tpch.errors import TpchError
    from starling_py.tpch.verify import check_folder

    if data.startswith("s3://"):
        raise click.UsageError("DuckDB reads a local folder; --copy names it for the engine")
    try:
        check_folder(Path(data))
    except TpchError as error:
        raise click.BadParameter(error.message, param_hint="'--data'") from None


def _open(settings: Settings, options: EngineOptions, stack: ExitStack) -> list[Engine]:
    from starling_py.tpch.engines import DuckEngine, StarlingEngine
    from starling_py.tpch.machine import machine

    opened: list[Engine] = []
    for name in settings.engines:
        made: Engine
        if name == "starling":
            made = StarlingEngine(options.connect(settings.data))
        else:
            threads = options.workers or machine().cores
            made = DuckEngine(Path(settings.data), threads=threads)
        stack.callback(made.close)
        opened.append(made)
    return opened


def _power(engines: list[Engine], settings: Settings) -> tuple[Execution, ...]:
    from starling_py.tpch import summary
    from starling_py.tpch.bench import power

    found: list[Execution] = []
    click.echo(summary.header(settings.engines))
    for executions in power(
        engines,
        settings.queries,
        warm_up=settings.warm_up,
        repeat=settings.repeat,
        seed=settings.seed,
    ):
        found += executions
        click.echo(summary.line(executions, settings.engines))
    return tuple(found)


def _throughput(engine: Engine, settings: Settings) -> tuple[Execution, ...]:
    from starling_py.tpch import summary
    from starling_py.tpch.bench import throughput

    return throughput(
        engine,
        settings.queries,
        settings.streams,
        seed=settings.seed,
        done=lambda execution: click.echo(summary.event(execution)),
    )
