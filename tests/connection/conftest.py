"""A folder of tables."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    with duckdb.connect() as connection:
        for name in ("t/1", "t/2"):
            (root / name).parent.mkdir(exist_ok=True)
            connection.execute(
                f"""COPY (SELECT range AS i, range % 10 AS k, 'v' || range AS s
                FROM range(30_000)) TO '{root}/{name}.parquet'"""
            )
    return root
