"""Scratch directories end with their owner, however that ends."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

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
    count = "(tmp := Path(sys.argv[1])).joinpath('n').write_text(str(len(list(tmp.iterdir()))))"
    leave(tmp_path, f"pid = os.fork()\nif pid == 0: sys.exit()\nos.waitpid(pid, 0)\n{count}")
    assert (tmp_path / "n").read_text() == "1"
    assert [path.name for path in tmp_path.iterdir()] == ["n"]


def test_an_owned_one_waits_for_its_owner_at_the_end(tmp_path):
    code = """
import atexit, sys
from pathlib import Path
tmp = Path(sys.argv[1])
atexit.register(lambda: tmp.joinpath("n").write_text(str(len(list(tmp.iterdir())))))
from starling_py.coordinator.scratch import Scratch
scratch = Scratch(tmp, owned=True)
"""
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, timeout=60)
    assert (tmp_path / "n").read_text() == "1"
    deadline = time.monotonic() + 30
    while len(list(tmp_path.iterdir())) > 1 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert [path.name for path in tmp_path.iterdir()] == ["n"]


def test_it_ends_with_a_killed_process(tmp_path):
    leave(tmp_path, "os.kill(os.getpid(), 9)")
    deadline = time.monotonic() + 30
    while list(tmp_path.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert list(tmp_path.iterdir()) == []


def test_nobody_watches_over_what_is_closed(tmp_path):
    scratch = Scratch(tmp_path)
    deadline = time.monotonic() + 30
    while not watchers(scratch.path):
        assert time.monotonic() < deadline
    scratch.close()
    assert watchers(scratch.path) == []


def watchers(path):
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if os.fsencode(path) in command:
            found.append(process.name)
    return found


def test_the_next_start_sweeps_what_a_killed_process_left(tmp_path):
    end = "_watch.kill(); _watch.wait(); os.kill(os.getpid(), 9)"
    leave(tmp_path, f"_watch = scratch._remove.peek()[2][2]\n{end}")
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
