"""Options that several commands of the harness have."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, TypeVar

import click

from starling_py.tpch.texts import numbers

if TYPE_CHECKING:
    from pathlib import Path

    from starling_py import Connection

__all__ = ["EngineOptions", "engine_options", "queries_option", "scale_option"]

_F = TypeVar("_F", bound=Callable[..., object])

SMALLEST_SCALE = 0.001
LARGEST_SCALE = 100_000.0


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """How the engine runs, in the words of ``starling_py.connect``.

    ``copy`` is where it finds the files that DuckDB reads in a local folder.
    """

    tasks: int | None = None
    workers: int | None = None
    isolation: str = "thread"
    memory: str | None = None
    copy: str | None = None
    scratch: str | None = None
    shuffle: str = "auto"
    doublewrite: bool = False
    target: str = "local"
    function: str | None = None
    prices: str | None = None

    def keywords(self) -> dict[str, Any]:
        """Return all of them by name."""
        return asdict(self)

    def connect(self, data: str | Path) -> Connection:
        """Return a connection to the tables."""
        import starling_py

        given = self.keywords()
        copy = given.pop("copy")
        return starling_py.connect(copy or data, **given)


def engine_options(command: _F) -> Callable[..., object]:
    """Add the options of the engine; the command gets them together, as ``options``."""
    names = [field.name for field in fields(EngineOptions)]

    @functools.wraps(command)
    def collected(*args: Any, **given: Any) -> object:
        options = EngineOptions(**{name: given.pop(name) for name in names})
        return command(*args, options=options, **given)

    result: Callable[..., object] = collected
    for option in reversed(_engine_options()):
        result = option(result)
    return result


def _engine_options() -> list[Callable[[Callable[..., object]], Callable[..., object]]]:
    as_for_query = "As for `starling query`."
    return [
        click.option(
            "--tasks",
            metavar="N|auto",
            callback=_tasks,
            default="auto",
            show_default=True,
            help="Tasks in every stage that can have them.",
        ),
        click.option(
            "--workers",
            type=click.IntRange(min=1),
            help="Workers of the engine, and threads of DuckDB  [default: the machine's cores]",
        ),
        click.option(
            "--isolation",
            type=click.Choice(["thread", "process"]),
            default="thread",
            show_default=True,
            help="Run workers as threads or as processes of their own.",
        ),
        click.option(
            "--memory",
            metavar="SIZE",
            help="Memory of all workers together, such as 1536MiB  [default: 80 % of what is free]",
        ),
        click.option(
            "--copy",
            metavar="URL",
            help="Where the engine finds the same files, such as s3://bucket/prefix.",
        ),
        click.option("--scratch", metavar="URL", help=as_for_query),
        click.option(
            "--shuffle",
            type=click.Choice(["auto", "direct", "combined"]),
            default="auto",
            show_default=True,
            help=as_for_query,
        ),
        click.option("--doublewrite", is_flag=True, help=as_for_query),
        click.option(
            "--target",
            type=click.Choice(["local", "lambda"]),
            default="local",
            show_default=True,
            help=as_for_query,
        ),
        click.option("--function", metavar="NAME", help=as_for_query),
        click.option("--prices", metavar="FILE", help=as_for_query),
    ]


def queries_option(command: _F) -> _F:
    """Add ``--queries``."""
    return click.option(
        "--queries",
        metavar="NUMBERS",
        callback=_queries,
        default="1-22",
        show_default=True,
        help="Which queries, such as 1,5-7.",
    )(command)


def scale_option(_: click.Context, __: click.Parameter, value: float) -> float:
    """Return a scale factor that there is."""
    # Not a click.FloatRange: a NaN is within any range.
    if not SMALLEST_SCALE <= value <= LARGEST_SCALE:
        raise click.BadParameter(f"{value:g} is not from {SMALLEST_SCALE:g} to {LARGEST_SCALE:g}.")
    return value


def _queries(_: click.Context, __: click.Parameter, value: str) -> tuple[int, ...]:
    try:
        return numbers(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def _tasks(_: click.Context, __: click.Parameter, value: str) -> int | None:
    if value == "auto":
        return None
    if not value.isdecimal() or int(value) < 1:
        raise click.BadParameter(f"{value!r} is neither a number of tasks nor 'auto'.")
    return int(value)
