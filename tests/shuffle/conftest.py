"""Stores to run the same tests on: a further store only needs a line in ``STORES``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

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


@pytest.fixture(params=STORES)
def store(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ObjectStore]:
    if request.param == "local-named":  # a file system without unnamed files
        monkeypatch.delattr(os, "O_TMPFILE")
    made = STORES[request.param](tmp_path / "store")
    (tmp_path / "store").mkdir(exist_ok=True)
    before = set(Path("/proc/self/fd").iterdir())
    yield made
    assert set(Path("/proc/self/fd").iterdir()) <= before
    made.close()
