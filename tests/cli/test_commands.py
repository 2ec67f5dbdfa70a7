"""Which commands there are, without loading any of them."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys

import pytest
from click.testing import CliRunner

from starling_py.cli.entry_points import entry_points
from starling_py.cli.main import _COMMANDS, _load, main


@pytest.mark.parametrize("name", _COMMANDS)
def test_a_list_says_of_commands_what_they_say(name):
    place, text = _COMMANDS[name]
    assert _load(place).get_short_help_str(1000) == text


def test_help_loads_no_command():
    code = (
        "import sys\n"
        "from starling_py.cli.main import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'starling_py.cli.query', 'importlib.metadata', 'msgspec'}\n"
        "sys.stderr.write(str(sorted(heavy & set(sys.modules))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60, check=True)
    assert done.stderr == b"[]"


@pytest.mark.parametrize("group", ["starling_py.commands", "console_scripts", "pytest11", "none"])
def test_entry_points_are_those_of_the_library(group):
    found = importlib.metadata.entry_points(group=group)
    assert entry_points(group) == {each.name: each.value for each in found}


def test_what_another_package_adds(tmp_path, monkeypatch):
    package = tmp_path / "other-1.0.dist-info"
    package.mkdir()
    (package / "entry_points.txt").write_text(
        "[console_scripts]\nother = other:main\n\n"
        "[starling_py.commands]\nbroken=not_there:command\nquery = other:query\n\n[last]\nx = y:z\n"
    )
    (tmp_path / "unread-1.0.dist-info").write_text("a file")
    monkeypatch.syspath_prepend(str(tmp_path))
    main_added = sys.modules["starling_py.cli.main"]._added  # noqa: SLF001
    main_added.cache_clear()
    try:
        listed = CliRunner().invoke(main, ["--help"])
        assert "(cannot be loaded: ModuleNotFoundError" in listed.output
        # Nobody takes the place of one of the engine's own.
        assert "Run SQL and show the answer." in listed.output
        used = CliRunner().invoke(main, ["broken", "x"])
        assert used.exit_code != 0
        assert "cannot be loaded" in used.output
    finally:
        main_added.cache_clear()
