"""``starling``: finds commands, and turns every way in which one can end into an exit code."""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

from starling_py.cli.entry_points import entry_points
from starling_py.cli.report import FAILED, INTERRUPTED, USAGE, show_error
from starling_py.shuffle.dbapi import Error

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import FrameType

__all__ = ["main"]

_COMMANDS = {
    "attach": (
        "starling_py.cli.detached:attach",
        "Wait for a detached query, and show its answer as `starling query` would.",
    ),
    "cancel": (
        "starling_py.cli.detached:cancel",
        "End a detached query, and remove what it has left.",
    ),
    "cleanup": (
        "starling_py.cli.cleanup:cleanup",
        "Remove what queries left in a scratch prefix on S3, or where they wrote.",
    ),
    "deploy": (
        "starling_py.cli.deploy:deploy",
        "Put workers on AWS Lambda, or change those that are there.",
    ),
    "explain": (
        "starling_py.cli.explain:explain",
        "Show the plan of SQL, stage by stage, before anything runs.",
    ),
    "lambda": (
        "starling_py.cli.lambda_:lambda_",
        "Functions on AWS Lambda, and a Lambda on this machine.",
    ),
    "prices": (
        "starling_py.cli.prices:prices",
        "Show the prices that queries are priced with.",
    ),
    "query": (
        "starling_py.cli.query:query",
        "Run SQL and show the answer.",
    ),
    "result": (
        "starling_py.cli.detached:result",
        "Show or save the answer of a detached query that has ended.",
    ),
    "status": (
        "starling_py.cli.deploy:status",
        "Show what is deployed on AWS Lambda, and whether this version can use it.",
    ),
    "tables": (
        "starling_py.cli.tables:tables",
        "List tables with columns, types, rows, files and bytes.",
    ),
    "undeploy": (
        "starling_py.cli.deploy:undeploy",
        "Remove workers from AWS Lambda, with their role, logs, code and scratch objects.",
    ),
}
"""Where each command is, and the first sentence of its help: to list them loads none of them."""
_ENTRY_POINTS = "starling_py.commands"


class _Commands(click.Group):
    """The engine's own commands, and those that other packages add by an entry point."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *_COMMANDS, *_added()})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in _COMMANDS:
            return _load(_COMMANDS[cmd_name][0])
        added = _added()
        if cmd_name in added:
            return added[cmd_name]()
        return super().get_command(ctx, cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        commands = {name: click.Command(name, help=text) for name, (_, text) in _COMMANDS.items()}
        commands |= {name: load() for name, load in _added().items() if name not in commands}
        limit = formatter.width - 6 - max(map(len, commands))
        with formatter.section("Commands"):
            formatter.write_dl(
                [(name, commands[name].get_short_help_str(limit)) for name in sorted(commands)]
            )

    def main(self, args: Sequence[str] | None = None, **extra: Any) -> Any:  # type: ignore[override]
        """Run, and exit: 0, 1 for a query that failed, 2 for wrong usage, 130 after Ctrl-C."""
        extra["standalone_mode"] = False
        _open_streams()
        with _signals():
            code = self._run(args, extra)
        sys.exit(code)

    def _run(self, args: Sequence[str] | None, extra: dict[str, Any]) -> int:
        try:
            code = super().main(args, **extra)
            sys.stdout.flush()
        except click.exceptions.NoArgsIsHelpError as error:
            click.echo(error.ctx.get_help() if error.ctx else "")
            return USAGE
        except click.ClickException as error:
            command = (
                error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else ""
            )
            hint = f"{command} --help" if command else None
            show_error(error.format_message(), f"see {hint}" if hint else None)
            return error.exit_code
        except (click.Abort, KeyboardInterrupt):
            show_error("cancelled")
            return INTERRUPTED
        except Error as error:
            return _failed(error)
        except BrokenPipeError:
            _drop_output()
            return 0
        except OSError as error:
            show_error(f"{error.filename}: {error.strerror}" if error.filename else str(error))
            return FAILED
        except MemoryError:
            show_error("out of memory")
            return FAILED
        except Exception as error:
            if os.environ.get("STARLING_DEBUG"):
                raise
            show_error(
                f"internal error: {type(error).__name__}: {error}",
                "this is a bug; STARLING_DEBUG=1 shows where it arose",
            )
            return FAILED
        return code if isinstance(code, int) else 0

    def invoke(self, ctx: click.Context) -> Any:
        # click would turn a closed pipe into exit code 1 and a farewell into the closed pipe.
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            _drop_output()
            return 0
        return result


def _failed(error: Error) -> int:
    """Show an error that the engine has raised on purpose."""
    # Loaded already, and not before: it would slow down every --help.
    from starling_py.shuffle.errors import StarlingError

    if not isinstance(error, StarlingError):
        show_error(str(error))
        return FAILED
    show_error(str(error), error.hint)
    return USAGE if error.code == "USAGE" else FAILED


def _load(place: str) -> click.Command:
    module, name = place.split(":")
    command = getattr(import_module(module), name)
    if not isinstance(command, click.Command):
        raise TypeError(f"{place} is not a command")
    return command


@cache
def _added() -> dict[str, Callable[[], click.Command]]:
    """Return what other packages add: loaded when used, and harmless when it does not load."""

    def loader(name: str, value: str) -> Callable[[], click.Command]:
        def load() -> click.Command:
            try:
                return _load(value)
            except Exception as error:  # noqa: BLE001 - whatever a stranger's module raises
                return _broken(name, error)

        return load

    return {name: loader(name, value) for name, value in entry_points(_ENTRY_POINTS).items()}


def _broken(name: str, error: Exception) -> click.Command:
    reason = f"cannot be loaded: {type(error).__name__}: {error}"

    @click.command(name, help=f"({reason})", context_settings={"ignore_unknown_options": True})
    @click.argument("rest", nargs=-1)
    def command(rest: tuple[str, ...]) -> None:  # noqa: ARG001 - click hands it over
        raise click.ClickException(f"the command {name} {reason}")

    return command


class _signals:  # noqa: N801 - used as a function
    """While it lasts, a request to end runs the same clean-up as an error does."""

    def __enter__(self) -> None:
        self._before: dict[int, Any] = {}
        if threading.current_thread() is not threading.main_thread():
            return
        for name in ("SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) is signal.SIG_DFL:
                self._before[number] = signal.signal(number, _end)

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)


def _end(number: int, _: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _open_streams() -> None:
    """See to it that anything can be written to standard output and standard error."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by whoever started this
            nowhere = os.open(os.devnull, os.O_WRONLY)
            setattr(sys, name, os.fdopen(nowhere, "w", encoding="utf-8"))
        elif isinstance(stream, io.TextIOWrapper):
            # What the terminal's encoding does not have is shown as a question mark.
            stream.reconfigure(errors="replace")


def _drop_output() -> None:
    """Send what is still buffered for a closed pipe nowhere, so that Python's exit is quiet."""
    try:
        number = sys.stdout.fileno()
    except (OSError, ValueError):
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, number)
    os.close(nowhere)


@click.command(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="starling-py", prog_name="starling")
def main() -> None:
    """SQL over Parquet, with workers that exist only while the query runs."""
