"""Scratch directories end with their owner, however that ends."""

from __future__ import annotations

import subprocess
import sys

from starling_py.coordinator.scratch import Scratch, sweep

_LEAVE = """
import os, sys
from pathlib import Path
from starling_py.coordinator.scratch import Scratch
scratch = Scratch(Path(sys.argv[1]))
(scratch.path / "file").write_text("x")
{end}
"""


def leave(folder, end):
    code = _LEAVE.format(end=end)
    subprocess.run([sys.executable, "-c", code, str(folder)], check=False, timeout=60)


def test_closing_removes_it(tmp_path):
    scratch = Scratch(tmp_path)
    (scratch.path / "a").mkdir()
    scratch.close()
    assert list(tmp_path.iterdir()) == []


def test_it_ends_with_the_interpreter(tmp_path):
    leave(tmp_path, "")
    assert list(tmp_path.iterdir()) == []


def test_a_fork_does_not_take_it_away(tmp_path):
    leave(tmp_path, "pid = os.fork()\nif pid == 0: sys.exit()\nos.waitpid(pid, 0); os._exit(0)")
    assert len(list(tmp_path.iterdir())) == 1


def test_the_next_start_sweeps_what_a_killed_process_left(tmp_path):
    leave(tmp_path, "os.kill(os.getpid(), 9)")
    assert len(list(tmp_path.iterdir())) == 1
    alive = Scratch(tmp_path)
    (tmp_path / "starling-notours").mkdir()
    assert sweep(tmp_path) == 1
    assert sorted(tmp_path.iterdir()) == sorted([alive.path, tmp_path / "starling-notours"])
    alive.close()


def test_another_process_of_the_same_number_is_not_the_owner(tmp_path):
    alive = Scratch(tmp_path)
    *parts, start, rest = alive.path.name.split("-", 4)
    (tmp_path / "-".join([*parts, str(int(start) - 1), rest])).mkdir()
    assert sweep(tmp_path) == 1
    assert list(tmp_path.iterdir()) == [alive.path]
    alive.close()
