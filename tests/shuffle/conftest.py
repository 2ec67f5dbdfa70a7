"""Stores to run the same tests on: a further store only needs a line in ``STORES``."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from s3_servers import S3_SERVERS, SECONDS

from starling_py.shuffle.local import LocalStore
from starling_py.shuffle.memory import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from starling_py.shuffle.objects import ObjectStore

STORES: dict[str, Callable[[Path], ObjectStore]] = {
    "memory": lambda _: MemoryStore(),
    "memory-small": lambda folder: MemoryStore(budget=300, spill_directory=folder),
    "memory-spilling": lambda folder: MemoryStore(budget=0, spill_directory=folder),
    "local": LocalStore,
    "local-named": LocalStore,
}


@pytest.fixture(params=[*STORES, *S3_SERVERS])
def store(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ObjectStore]:
    if request.param in S3_SERVERS:
        server = request.getfixturevalue(request.param)
        before, running = open_files(), loop_runs()
        made = server.exact_store(gap=0)  # merges nothing that other stores do not merge
        yield made
        made.close()
        wait_until(lambda: open_files() <= before)
        assert loop_runs() <= running  # a fixture that lives longer may have an open store
        return
    if request.param == "local-named":  # a file system without unnamed files
        monkeypatch.delattr(os, "O_TMPFILE")
    made = STORES[request.param](tmp_path / "store")
    (tmp_path / "store").mkdir(exist_ok=True)
    before = open_files()
    yield made
    assert open_files() <= before
    made.close()


def loop_runs() -> bool:
    return any(thread.name == "starling-s3" for thread in threading.enumerate())


def open_files() -> set[Path]:
    return set(Path("/proc/self/fd").iterdir())


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
