"""Tables of a small shop, and a command line in this process."""

from __future__ import annotations

from typing import TYPE_CHECKING

import duckdb
import pytest
from click.testing import CliRunner

from starling_py.cli.main import main

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from click.testing import Result

    Starling = Callable[..., Result]


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("shop")
    (root / "orders").mkdir()
    with duckdb.connect() as connection:
        for part in range(3):
            connection.execute(
                f"""COPY (SELECT range + {part * 10_000} AS id, range % 7 AS customer,
                CAST(range / 4 AS DECIMAL(9,2)) AS price, 'note ' || range AS note
                FROM range(10_000)) TO '{root}/orders/{part}.parquet'"""
            )
        connection.execute(
            f"""COPY (SELECT * FROM (VALUES (0, 'Ann'), (1, 'Béa'), (2, NULL)) v(id, name))
            TO '{root}/customers.parquet'"""
        )
    return root


@pytest.fixture
def starling() -> Starling:
    """Run ``starling`` with the given arguments."""

    def run(*args: object, **extra: object) -> Result:
        return CliRunner().invoke(main, [str(arg) for arg in args], **extra)

    return run
