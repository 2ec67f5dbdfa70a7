"""Parquet files written for one test, DuckDB's own reading of them, and copies of them on S3."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import duckdb
import pytest
from s3_servers import BUCKET, S3Server, credentials

from starling_py.catalog.catalog import FileCatalog
from starling_py.shuffle.buckets import Buckets
from starling_py.shuffle.hedge_policy import HedgePolicy

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


class Cloud:
    """A prefix of a bucket, and catalogs that read it."""

    def __init__(self, server: S3Server, folder: Path) -> None:
        self.server = server
        self.prefix = server.new_prefix()
        self.url = f"s3://{BUCKET}/{self.prefix}"
        # Where requests are counted, a second one for what a busy machine answers late is wrong.
        self.buckets = Buckets(server.options(hedge=HedgePolicy(enabled=False)), credentials)
        self.store = self.buckets.store(BUCKET)
        self.cache = folder / "cache"
        self._made: list[FileCatalog] = []

    def put(self, name: str, data: bytes) -> str:
        self.store.put(f"{self.prefix}/{name}", [data])
        return f"{self.url}/{name}"

    def copy(self, folder: Path) -> str:
        """Copy the files below a folder and return its URL."""
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                self.put(path.relative_to(folder).as_posix(), path.read_bytes())
        return self.url

    def mark(self, name: str) -> None:
        """Put the empty object with which some tools mark a folder."""
        with contextlib.closing(self.server.client()) as client:
            client.put_object(Bucket=BUCKET, Key=f"{self.prefix}/{name}/", Body=b"")

    def catalog(self, data: str | None = None, tables: Any = None, **options: Any) -> FileCatalog:
        values = {"buckets": lambda: self.buckets, "cache": self.cache} | options
        made = FileCatalog(data, tables, **values)
        self._made.append(made)
        return made

    def close(self) -> None:
        for catalog in self._made:
            catalog.close()
        self.buckets.close()


@pytest.fixture
def make_cloud(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[[S3Server], Cloud]]:
    with contextlib.ExitStack() as stack:

        def make(server: S3Server) -> Cloud:
            made = Cloud(server, tmp_path_factory.mktemp("cloud"))
            stack.callback(made.close)
            return made

        yield make


@pytest.fixture
def cloud(s3_server: S3Server, make_cloud: Callable[[S3Server], Cloud]) -> Cloud:
    return make_cloud(s3_server)


@pytest.fixture
def ministack_cloud(ministack: S3Server, make_cloud: Callable[[S3Server], Cloud]) -> Cloud:
    return make_cloud(ministack)
