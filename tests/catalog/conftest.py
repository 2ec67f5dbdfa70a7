"""Parquet files written for one test, and DuckDB's own reading of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import duckdb
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Write = Callable[[str, str], Path]


@pytest.fixture
def oracle() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(":memory:", config={"threads": 1}) as connection:
        yield connection


@pytest.fixture
def write(tmp_path: Path, oracle: duckdb.DuckDBPyConnection) -> Write:
    """Write the rows of a SELECT to a Parquet file below ``tmp_path``."""

    def write(name: str, sql: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        escaped = str(path).replace("'", "''")
        oracle.execute(f"COPY ({sql}) TO '{escaped}' (FORMAT parquet)")
        return path

    return write
