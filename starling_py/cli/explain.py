"""``starling explain``: the stages of a statement, without running it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from starling_py.cli.options import connection, data_options, plan_options, read_sql, sql_options

if TYPE_CHECKING:
    from pathlib import Path

    from starling_py.operators.plan import StagePlan

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
) -> None:
    """Show the plan of SQL, stage by stage, before anything runs.

    Each stage with its tasks, inputs, exchanges, statement, the rows and bytes expected of it, and
    what it would cost on functions over S3. No data is read but the footers of Parquet files.
    """
    text = read_sql(sql, file)
    with connection(
        *(data, tables, tasks, workers, memory, scratch, shuffle),
        target=target,
        function=function,
        dialect=dialect,
        prices=prices,
    ) as connected:
        plan = connected.explain(text, parameters)
        paid = connected.config.prices
    if format_ == "json":
        click.echo(_json(plan))
    else:
        from starling_py.cli.stages import show_plan

        show_plan(plan, paid)


def _json(plan: StagePlan) -> str:
    import msgspec

    return msgspec.json.format(msgspec.json.encode(plan), indent=2).decode()
