"""``starling lambda``: what has to do with functions on AWS Lambda, loaded when it is used."""

from __future__ import annotations

from importlib import import_module

import click

__all__ = ["lambda_"]

_COMMANDS = {
    "build": "starling_py.cli.build:build",
    "local": "starling_py.cli.lambda_local:local",
}


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *_COMMANDS})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return super().get_command(ctx, cmd_name)
        module, name = _COMMANDS[cmd_name].split(":")
        command = getattr(import_module(module), name)
        return command if isinstance(command, click.Command) else None


@click.group("lambda", cls=_Commands)
def lambda_() -> None:
    """Functions on AWS Lambda, and a Lambda on this machine."""
