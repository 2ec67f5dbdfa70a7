"""Tables in a folder that statements may write to, and DuckDB over the same files."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pytest

import starling_py

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class House:
    """A connection to a data folder, and DuckDB with the same tables."""

    folder: Path
    connection: starling_py.Connection
    oracle: duckdb.DuckDBPyConnection

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        return self.connection.execute(sql).fetchall()

    def check(self, sql: str) -> None:
        """Assert that a statement answers what DuckDB answers: names, types and rows in order."""
        cursor = self.connection.execute(sql)
        expected = self.oracle.sql(sql)
        assert [column[:2] for column in cursor.description] == [
            (name, str(type_)) for name, type_ in zip(expected.columns, expected.types, strict=True)
        ]
        assert cursor.fetchall() == expected.fetchall()

    def everything(self) -> list[str]:
        """Return the names of all files below the folder, hidden ones too."""
        return sorted(
            str(path.relative_to(self.folder)) for path in self.folder.rglob("*") if path.is_file()
        )


def fill(folder: Path) -> None:
    with duckdb.connect() as connection:
        for part in range(4):
            (folder / "numbers").mkdir(exist_ok=True)
            connection.execute(
                f"""COPY (SELECT range AS k, range % 7 AS g, CASE WHEN range % 5 > 0
                THEN 'v' || range END AS s FROM range({part * 500}, {part * 500 + 500}))
                TO '{folder}/numbers/{part}.parquet'"""
            )


@contextmanager
def opened(folder: Path) -> Iterator[House]:
    folder.mkdir()
    fill(folder)
    with (
        duckdb.connect() as oracle,
        starling_py.connect(folder, tasks=3, workers=2) as connection,
    ):
        oracle.execute(f"CREATE VIEW numbers AS FROM '{folder}/numbers/*.parquet'")
        yield House(folder, connection, oracle)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with opened(tmp_path / "data") as made:
        yield made


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A house in which nobody writes."""
    with opened(tmp_path_factory.mktemp("quiet") / "data") as made:
        yield made
