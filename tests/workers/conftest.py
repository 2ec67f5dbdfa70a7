"""Engines of both kinds, and what they may leave behind."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from starling_py.engine import Engine, EngineOptions
from starling_py.operators.plan import Delivery
from starling_py.operators.task import HashPartitioning

if TYPE_CHECKING:
    from collections.abc import Iterator

GIBIBYTE = 1 << 30


def worker_processes(folder: Path) -> list[int]:
    """Return the worker processes whose directory is below ``folder``."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            command = (entry / "cmdline").read_bytes()
            place = (entry / "cwd").readlink()
            zombie = (entry / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
        except OSError:
            continue
        if b"starling_py.worker" in command and place.is_relative_to(folder) and not zombie:
            found.append(int(entry.name))
    return found


def until(condition, seconds: float = 30.0):
    """Wait for a condition to hold and return what it gives."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it does not come true"
        time.sleep(0.01)
    return found


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    folder = tmp_path / "scratch"
    folder.mkdir()
    return folder


@pytest.fixture(params=["thread", "process"])
def isolation(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def make_engine(scratch: Path) -> Iterator:
    """Make engines of two workers; afterwards nothing of them may be there."""
    engines = []

    def make(isolation: str, listeners=(), **options) -> Engine:
        values = {"workers": 2, "memory": 2 * GIBIBYTE, "scratch": scratch} | options
        engines.append(Engine(EngineOptions(isolation=isolation, **values), listeners))
        return engines[-1]

    yield make
    for engine in engines:
        engine.close()
    assert list(scratch.iterdir()) == []
    assert worker_processes(scratch) == []


@pytest.fixture
def engine(make_engine, isolation: str) -> Engine:
    return make_engine(isolation)


@pytest.fixture
def grouped(plans):
    """Make a plan of three stages that groups ``rows`` numbers by ``range % 7``."""

    def make(rows: int = 10_000, tasks: int = 3, query: str = "q"):
        file = plans.parquet(f"{rows}.parquet", f"SELECT range AS x FROM range({rows})")
        bounds = [rows * task // tasks for task in range(tasks + 1)]
        splits = [(_cut(file, bounds[task], bounds[task + 1]),) for task in range(tasks)]
        return plans.plan(
            plans.stage(
                0,
                "SELECT x % 7 AS c0, x AS c1 FROM input_0",
                ["BIGINT", "BIGINT"],
                [plans.scan({"x": "BIGINT"}, *splits)],
                (HashPartitioning(("c0",), 8),),
                tasks=tasks,
            ),
            plans.stage(
                1,
                "SELECT c0, sum(c1)::BIGINT AS c1 FROM input_0 GROUP BY c0",
                ["BIGINT", "BIGINT"],
                [plans.read(0, "BIGINT", "BIGINT")],
                tasks=2,
            ),
            plans.stage(
                2,
                "SELECT c0, c1 FROM input_0 ORDER BY c0",
                ["BIGINT", "BIGINT"],
                [plans.read(1, "BIGINT", "BIGINT", delivery=Delivery.EVERYTHING)],
            ),
            query=query,
        )

    def expected(rows: int = 10_000):
        return [{"c0": k, "c1": sum(range(k, rows, 7))} for k in range(7)]

    make.expected = expected
    return make


def _cut(file, first: int, last: int):
    return msgspec.structs.replace(file, first_row=first, last_row=last)


@pytest.fixture
def slow(plans):
    """Make a plan of one task that does not end by itself."""

    def make(query: str = "slow", tasks: int = 1):
        statement = f"SELECT count(*) AS c0 FROM range(1000000000000) WHERE {os.getpid()} > 0"
        return plans.plan(plans.stage(0, statement, ["BIGINT"], tasks=tasks), query=query)

    return make


@pytest.fixture
def workers(scratch: Path):
    """Return the numbers of the worker processes there are."""
    return lambda: worker_processes(scratch)
