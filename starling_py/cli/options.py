"""Options and arguments that several commands have."""

from __future__ import annotations

import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from starling_py.connection import Connection

__all__ = [
    "COORDINATOR",
    "Number",
    "connection",
    "data_options",
    "detached_options",
    "output_options",
    "plan_options",
    "platform_options",
    "read_sql",
    "sql_options",
]

_F = TypeVar("_F", bound=Callable[..., object])

COORDINATOR = "starling-coordinator"
"""As `starling deploy` calls it."""
_FORMATS = ("table", "csv", "json", "jsonl", "markdown")


class Number(click.IntRange):
    """An integer from ``min`` on, called a number in messages."""

    name = "number"


def data_options(command: _F) -> _F:
    """Add ``--data`` and ``--table``."""
    command = click.option(
        "--table",
        "tables",
        multiple=True,
        metavar="NAME=GLOB",
        callback=_tables,
        help="Call the files of a pattern NAME; may be given several times.",
    )(command)
    return click.option(
        "--data",
        metavar="DIR",
        help="A folder or s3://bucket/prefix; every sub-folder and Parquet file is a table.",
    )(command)


def plan_options(command: _F) -> _F:
    """Add what changes a plan: where tasks run, how many, and how they exchange rows."""
    command = click.option(
        "--prices",
        metavar="FILE",
        help="What requests and seconds cost, as TOML or JSON.  [default: $STARLING_PRICES]",
    )(command)
    command = click.option(
        "--function",
        metavar="NAME",
        help="The function for --target lambda, by name or ARN.  [default: starling-worker]",
    )(command)
    command = click.option(
        "--target",
        type=click.Choice(("local", "lambda")),
        default="local",
        show_default=True,
        help="Run tasks on this machine, or in a function on AWS Lambda.",
    )(command)
    command = click.option(
        "--shuffle",
        type=click.Choice(("auto", "direct", "combined")),
        default="auto",
        show_default=True,
        help="Whether combiner stages stand between stages that exchange rows.",
    )(command)
    command = click.option(
        "--scratch",
        metavar="URL",
        help="Exchange rows through S3, below s3://bucket/prefix.  [default: on this machine]",
    )(command)
    command = click.option(
        "--memory",
        metavar="SIZE",
        help="Memory for all workers and the data between them, such as 2GB.  "
        "[default: 80 % of what is free]",
    )(command)
    command = click.option(
        "--workers",
        type=Number(min=1),
        metavar="N",
        help="How many tasks run at once.  [default: the number of cores]",
    )(command)
    return click.option(
        "--tasks",
        default="auto",
        show_default=True,
        metavar="auto|N",
        callback=_task_count,
        help="How many tasks each stage has that can have several.",
    )(command)


def output_options(command: _F) -> _F:
    """Add what becomes of an answer."""
    command = click.option("--quiet", "-q", is_flag=True, help="Say nothing about what ran.")(
        command
    )
    command = click.option("--cost", is_flag=True, help="Say what the run cost, item by item.")(
        command
    )
    command = click.option(
        "--stats", is_flag=True, help="Say more about what ran, stage by stage."
    )(command)
    command = click.option(
        "--max-rows",
        type=Number(min=0),
        default=100,
        show_default=True,
        metavar="N",
        help="How many rows a terminal shows of a table; a pipe or file gets all.",
    )(command)
    command = click.option(
        "--output",
        "-o",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Write the answer to a .parquet, .csv, .json, .jsonl or .arrow file instead.",
    )(command)
    return click.option(
        "--format",
        "format_",
        type=click.Choice(_FORMATS),
        default="table",
        show_default=True,
        help="How standard output shows the answer.",
    )(command)


def detached_options(command: _F) -> _F:
    """Add which detached query is meant: its id, its scratch and its coordinator."""
    command = click.option(
        "--coordinator",
        metavar="NAME",
        default=COORDINATOR,
        show_default=True,
        help="The function that coordinates, by name or ARN.",
    )(command)
    command = click.option(
        "--scratch", required=True, metavar="URL", help="As for query: s3://bucket/prefix."
    )(command)
    return click.argument("query", metavar="ID")(command)


def platform_options(command: _F) -> _F:
    """Add what a function on AWS Lambda runs on: ``--arch`` and ``--python``."""
    command = click.option(
        "--python", default="3.13", show_default=True, metavar="VERSION", help="Of the function."
    )(command)
    return click.option(
        "--arch",
        type=click.Choice(("arm64", "x86_64")),
        default="arm64",
        show_default=True,
        help="Of the function.",
    )(command)


def sql_options(command: _F) -> _F:
    """Add the statement, an argument or ``--file``, its dialect and ``--param``."""
    command = click.option(
        "--dialect",
        default="duckdb",
        show_default=True,
        metavar="NAME",
        help="The dialect of the SQL: trino, spark, snowflake, bigquery, postgres …",
    )(command)
    command = click.option(
        "--param",
        "-p",
        "parameters",
        multiple=True,
        metavar="NAME=TEXT|NAME:=JSON",
        callback=_parameters,
        help="The value of $NAME, or of $1 or ?; may be given several times.",
    )(command)
    command = click.option(
        "--file",
        "-f",
        "file",
        type=click.Path(dir_okay=False, path_type=Path),
        help="Read the SQL from a file.",
    )(command)
    return click.argument("sql", required=False)(command)


def read_sql(sql: str | None, file: Path | None) -> str:
    """Return the statement: from the argument, from a file, or from standard input for ``-``."""
    if sql is not None and file is not None:
        raise click.UsageError("give the SQL or --file, not both")
    try:
        if file is not None:
            text = file.read_text(encoding="utf-8")
        elif sql == "-" or (sql is None and not sys.stdin.isatty()):
            text = sys.stdin.buffer.read().decode("utf-8")
        elif sql is None:
            raise click.UsageError("give some SQL, - for standard input, or --file")
        else:
            text = sql
    except UnicodeDecodeError as error:
        raise click.UsageError("the SQL is not UTF-8 text") from error
    except OSError as error:
        raise click.UsageError(f"cannot read {file}: {error.strerror}") from error
    if not text.strip():
        raise click.UsageError("the SQL is empty")
    return text


def connection(
    data: str | None,
    tables: dict[str, str],
    tasks: int | None = None,
    workers: int | None = None,
    memory: str | None = None,
    scratch: str | None = None,
    shuffle: str = "auto",
    isolation: str = "thread",
    *,
    doublewrite: bool = False,
    target: str = "local",
    function: str | None = None,
    stage_workers: int | None = None,
    dialect: str = "duckdb",
    prices: str | None = None,
) -> Connection:
    """Return the connection that a command's options describe."""
    from starling_py.connection import connect
    from starling_py.interruption import held

    with held():
        import duckdb  # noqa: F401
        import pyarrow.parquet  # noqa: F401

    return connect(
        data,
        tables=tables,
        tasks=tasks,
        workers=workers,
        memory=memory,
        scratch=scratch,
        shuffle=shuffle,
        isolation=isolation,
        doublewrite=doublewrite,
        target=target,
        function=function,
        stage_workers=stage_workers,
        dialect=dialect,
        prices=prices,
    )


def _task_count(_: click.Context, __: click.Parameter, value: str) -> int | None:
    if value == "auto":
        return None
    if not value.isascii() or not value.isdecimal() or int(value) < 1:
        raise click.BadParameter(f"{value!r} is neither 'auto' nor a number from 1.")
    return int(value)


def _parameters(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> dict[str, Any]:
    import json

    found: dict[str, Any] = {}
    for given in values:
        name, equals, text = given.partition("=")
        typed = name.endswith(":")
        name = name.removesuffix(":").removeprefix("$")
        if not (name and equals):
            raise click.BadParameter(f"{given!r} is not of the form NAME=TEXT or NAME:=JSON.")
        if name in found:
            raise click.BadParameter(f"there are two values for ${name}.")
        try:
            # A number is what the same digits are in SQL.
            found[name] = json.loads(text, parse_float=Decimal) if typed else text
        except ValueError:
            raise click.BadParameter(f"{text!r} is not JSON.") from None
    return found


def _tables(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    for value in values:
        name, equals, pattern = value.partition("=")
        if not (name and equals and pattern):
            raise click.BadParameter(f"{value!r} is not of the form NAME=GLOB.")
        if name in found:
            raise click.BadParameter(f"there are two tables called {name!r}.")
        found[name] = pattern
    return found
