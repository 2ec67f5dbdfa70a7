"""docs/tpch.md names every command of the harness and every option, and no others."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import click
import pytest

from starling_py.tpch.commands import tpch
from starling_py.tpch.options import EngineOptions

DOCS = (Path(__file__).parents[2] / "docs/tpch.md").read_text(encoding="utf-8")
ENGINE = {f"--{field.name.replace('_', '-')}" for field in fields(EngineOptions)}


def section(title: str) -> str:
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", DOCS, re.DOTALL | re.MULTILINE)
    assert found, f"docs/tpch.md has no section {title!r}"
    return found[1]


def described(text: str) -> set[str]:
    """Return the options that list items are about."""
    items = re.findall(r"^- (.*?)(?=^- |^\w|\Z)", text, re.DOTALL | re.MULTILINE)
    return {flag for item in items for flag in re.findall(r"`(--?[a-z][a-z-]*)", item)}


def test_every_command_has_a_section():
    assert sorted(re.findall(r"^## `starling tpch (\w+)`$", DOCS, re.MULTILINE)) == sorted(
        tpch.commands
    )


@pytest.mark.parametrize("name", sorted(tpch.commands))
def test_every_option_is_described(name: str):
    command = tpch.commands[name]
    assert command.help
    options = [each for each in command.params if isinstance(each, click.Option)]
    assert all(option.help for option in options)
    flags = {flag for option in options for flag in option.opts}
    text = section(f"`starling tpch {name}`")
    if "options of the engine" in text:
        assert flags >= ENGINE
        flags -= ENGINE
    assert flags == described(text)
    for option in options:
        if isinstance(option.type, click.Choice):
            choices = f"`{option.opts[0]} {'|'.join(option.type.choices)}`"
            assert choices in text + section("Options of the engine")


def test_the_options_of_the_engine():
    assert described(section("Options of the engine")) == ENGINE
