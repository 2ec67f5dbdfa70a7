"""docs/cli.md names every command and option, and no others."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from starling_py.cli.build import build
from starling_py.cli.cleanup import cleanup
from starling_py.cli.deploy import deploy, status, undeploy
from starling_py.cli.detached import attach, cancel, result
from starling_py.cli.explain import explain
from starling_py.cli.lambda_local import local
from starling_py.cli.main import main
from starling_py.cli.prices import prices
from starling_py.cli.query import query
from starling_py.cli.tables import tables

DOCS = (Path(__file__).parents[2] / "docs/cli.md").read_text(encoding="utf-8")
COMMANDS = {
    "attach": attach,
    "cancel": cancel,
    "cleanup": cleanup,
    "deploy": deploy,
    "explain": explain,
    "lambda build": build,
    "lambda local": local,
    "prices": prices,
    "query": query,
    "result": result,
    "status": status,
    "tables": tables,
    "undeploy": undeploy,
}


def section(title: str) -> str:
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", DOCS, re.DOTALL | re.MULTILINE)
    assert found, f"docs/cli.md has no section {title!r}"
    return found[1]


def options(command: click.Command) -> list[click.Option]:
    return [p for p in command.params if isinstance(p, click.Option)]


def test_every_command_has_a_section():
    titles = re.findall(r"^## `starling (\w+(?: \w+)?)`$", DOCS, re.MULTILINE)
    assert sorted(titles) == sorted(COMMANDS)
    for name, command in COMMANDS.items():
        found: click.Command | None = main
        for word in name.split():
            assert isinstance(found, click.Group)
            found = found.get_command(click.Context(found), word)
        assert found is command


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_described(name):
    text = section(f"`starling {name}`") + section("Naming tables")
    described = set(re.findall(r"`(--?[a-z][a-z-]*)[^`]*`", text))
    expected = {flag for option in options(COMMANDS[name]) for flag in option.opts}
    assert expected <= described
    shared = set(re.findall(r"`(--?[a-z][a-z-]*)[^`]*`", section("Naming tables")))
    assert described - expected - shared == set()


@pytest.mark.parametrize("name", COMMANDS)
def test_choices_are_the_documented_ones(name):
    text = section(f"`starling {name}`")
    for option in options(COMMANDS[name]):
        if isinstance(option.type, click.Choice):
            assert f"`{option.opts[0]} {'|'.join(option.type.choices)}`" in text


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_has_help(name):
    command = COMMANDS[name]
    assert command.help
    for option in options(command):
        assert option.help, option.name


def test_exit_codes():
    from starling_py.cli.report import FAILED, INTERRUPTED, USAGE

    codes = re.findall(r"^\| (\d+) \|", DOCS, re.MULTILINE)
    assert codes == ["0", str(FAILED), str(USAGE), str(INTERRUPTED)]
