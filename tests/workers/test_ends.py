"""Programs that are interrupted or killed leave no process and no file."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

_PROGRAM = """
import sys, os
from pathlib import Path
import msgspec
from starling_py.engine import Engine, EngineOptions
from starling_py.events import TaskStarted
from starling_py.operators.plan import StagePlan

plan = msgspec.json.decode(sys.stdin.buffer.read(), type=StagePlan)
started = []

def listen(event):
    if isinstance(event, TaskStarted):
        started.append(event)
        if len(started) == 2:
            print("started", flush=True)

options = EngineOptions(
    workers=2, isolation=sys.argv[1], memory=1 << 30, scratch=Path(sys.argv[2])
)
engine = Engine(options, [listen])
try:
    engine.run(plan)
except KeyboardInterrupt:
    left = list(engine._parts._invoker.store.list(""))
    print("interrupted", len(left), flush=True)
    {after}
"""


@pytest.fixture
def program(slow, isolation, scratch):
    """Start a program that runs a query without end."""
    running = []

    def start(after: str = "raise SystemExit(3)"):
        process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM.format(after=after), isolation, str(scratch)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        running.append(process)
        process.stdin.write(msgspec.json.encode(slow(tasks=2)))
        process.stdin.close()
        assert process.stdout.readline() == b"started\n"
        return process

    yield start
    for process in running:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()


def wait_for_workers(isolation, workers, count):
    if isolation == "process":
        wait_until(lambda: len(workers()) == count)


def wait_until(condition):
    import time

    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_ctrl_c_stops_the_query_and_goes_on(program, isolation, scratch, workers):
    process = program()
    wait_for_workers(isolation, workers, 2)
    process.send_signal(signal.SIGINT)
    assert process.stdout.read() == b"interrupted 0\n"
    assert process.wait(30) == 3
    assert process.stderr.read() == b""
    assert workers() == []
    assert list(scratch.iterdir()) == []


def test_after_ctrl_c_the_engine_still_works(program, isolation, workers):
    after = (
        "stage = msgspec.structs.replace(plan.stages[0], statement='SELECT 42::BIGINT', tasks=1)\n"
        "    plan = msgspec.structs.replace(plan, stages=(stage,), query='next')\n"
        "    print(engine.run(plan).table['c0'].to_pylist())"
    )
    process = program(after)
    wait_for_workers(isolation, workers, 2)
    process.send_signal(signal.SIGINT)
    assert process.stdout.read() == b"interrupted 0\n[42]\n"
    assert process.wait(30) == 0


def test_a_terminated_program_leaves_no_worker(program, isolation, scratch, workers):
    process = program()
    wait_for_workers(isolation, workers, 2)
    process.terminate()
    process.wait(30)
    wait_until(lambda: workers() == [])
    if isolation == "process":
        wait_until(lambda: list(scratch.iterdir()) == [])


def test_a_killed_program_leaves_nothing(program, isolation, scratch, workers):
    process = program()
    wait_for_workers(isolation, workers, 2)
    process.kill()
    process.wait(30)
    wait_until(lambda: workers() == [])
    wait_until(lambda: list(scratch.iterdir()) == [])


def test_a_program_that_ends_while_a_thread_waits_leaves_nothing(isolation, scratch, slow, workers):
    code = _PROGRAM.format(after="pass").replace(
        "    engine.run(plan)\n",
        "    import threading, time\n"
        "    threading.Thread(target=lambda: engine.run(plan), daemon=True).start()\n"
        "    while len(started) < 2: time.sleep(0.01)\n"
        "    time.sleep(1)\n",
    )
    done = subprocess.run(
        [sys.executable, "-c", code, isolation, str(scratch)],
        input=msgspec.json.encode(slow(tasks=2)),
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0
    assert b"Fatal" not in done.stderr
    assert workers() == []
    assert list(scratch.iterdir()) == []


def test_the_worker_imports_no_planner():
    code = (
        "import sys, starling_py.worker.serve\n"
        "print(sorted({'sqlglot', 'rich', 'click', 'asyncio', 'boto3'} & set(sys.modules)))"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, timeout=60
    )
    assert found.stdout == b"[]\n"


def test_the_worker_is_found_from_any_folder(make_engine, plans, tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    # A module of the user's own must not take the place of ours.
    (tmp_path / "elsewhere" / "duckdb.py").write_text("raise ImportError('not this one')")
    monkeypatch.chdir(tmp_path / "elsewhere")
    engine = make_engine("process")
    plan = plans.plan(plans.stage(0, "SELECT 1", ["INTEGER"]))
    assert engine.run(plan).table.num_rows == 1
    assert Path.cwd() == tmp_path / "elsewhere"
