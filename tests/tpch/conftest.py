"""TPC-H at scale 0.01, made once a test run (and once a worker of pytest-xdist)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from starling_py.tpch.generate import generate
from starling_py.tpch.verify import Oracle

SCALE = 0.01


@pytest.fixture(scope="session")
def tpch_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tpch") / "tables"
    generate(folder, SCALE, parts=4)
    return folder


@pytest.fixture(scope="session")
def oracle(tpch_folder: Path) -> Iterator[Oracle]:
    with Oracle(tpch_folder, threads=1) as connection:
        yield connection
