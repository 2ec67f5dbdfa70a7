"""``starling explain``: the stages of a statement, without running it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from starling_py.cli.options import connection, data_options, plan_options, read_sql, sql_options

if TYPE_CHECKING:
    from pathlib import Path

    from starling_py.analysis import StageAnalysis
    from starling_py.operators.plan import StagePlan
    from starling_py.runs import QueryRun

__all__ = ["explain"]


@click.command()
@sql_options
@data_options
@plan_options
@click.option(
    "--format",
    "format_",
    type=click.Choice(("text", "json")),
    default="text",
    show_default=True,
    help="For people, or the whole plan as JSON.",
)
@click.option(
    "--analyze",
    is_flag=True,
    help="Run it too, and compare each stage with what was expected of it.",
)
def explain(
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
    target: str,
    function: str | None,
    prices: str | None,
    format_: str,
    analyze: bool,
) -> None:
    """Show the plan of SQL, stage by stage, before anything runs.

    Each stage with its tasks, inputs, exchanges, statement, the rows and bytes expected of it, and
    what it would cost on functions over S3. No data is read but the footers of Parquet files. With
    --analyze it runs, and each stage is compared with what was expected of it.
    """
    text = read_sql(sql, file)
    with connection(
        *(data, tables, tasks, workers, memory, scratch, shuffle),
        target=target,
        function=function,
        dialect=dialect,
        prices=prices,
    ) as connected:
        run = connected.execute(text, parameters).run if analyze else None
        plan = connected.explain(text, parameters) if run is None else run.plan
        paid = connected.config.prices
    stages = () if run is None else _analysed(run)
    if format_ == "json":
        click.echo(_json(plan if run is None else {"plan": plan, "stages": stages}))
        return
    from starling_py.cli.stages import show_plan

    show_plan(plan, paid)
    if run is not None:
        from starling_py.cli.analysis import show_analysis

        click.echo()
        show_analysis(stages, run.run_seconds)


def _analysed(run: QueryRun) -> tuple[StageAnalysis, ...]:
    from starling_py.analysis import analysed

    return analysed(run.plan, run.reports)


def _json(shown: StagePlan | dict[str, object]) -> str:
    import msgspec

    return msgspec.json.format(msgspec.json.encode(shown), indent=2).decode()
