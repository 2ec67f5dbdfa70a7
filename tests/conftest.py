"""Plans written by hand, and the Parquet files that they scan."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import TYPE_CHECKING

import duckdb
import pyarrow.parquet as pq
import pytest

from starling_py.operators.plan import (
    Delivery,
    Estimate,
    ExchangeRead,
    ResultColumn,
    ScanRead,
    Stage,
    StagePlan,
)
from starling_py.operators.quoting import encode_path, literal
from starling_py.operators.task import (
    FileRange,
    InputColumn,
    ScanColumn,
    Setting,
    SinglePartition,
    TaskSpec,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytest_plugins = ["s3_servers", "s3_proxy", "bundles"]

MEBIBYTE = 1 << 20


@pytest.fixture(autouse=True, scope="session")
def _interruptible() -> None:
    """Let the tests' children hear SIGINT, which a shell's background jobs are born deaf to."""
    deaf = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    if deaf and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep footers of files on S3 away from the user's own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STARLING_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        yield


class Plans:
    """Makes files, stages, plans and task specs with as few words as possible."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def parquet(self, name: str, sql: str, options: str = "") -> FileRange:
        """Write the rows of a SELECT to a file and return the whole of it."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with duckdb.connect(":memory:", config={"threads": 1}) as connection:
            connection.execute(
                f"COPY ({sql}) TO {literal(str(path))} (FORMAT parquet{options})"
            ).fetchall()
        return self.file(path)

    def file(self, path: Path) -> FileRange:
        status = path.stat()
        rows = pq.ParquetFile(path).metadata.num_rows
        return FileRange(encode_path(str(path)), status.st_size, status.st_mtime_ns, rows, 0, rows)

    def columns(self, *types: str) -> tuple[InputColumn, ...]:
        return tuple(InputColumn(f"c{number}", type_) for number, type_ in enumerate(types))

    def scan(self, columns: dict[str, str], *splits: tuple[FileRange, ...]) -> ScanRead:
        return ScanRead(
            "input_0",
            "t",
            tuple(ScanColumn(name, type_, field=name) for name, type_ in columns.items()),
            splits,
        )

    def read(
        self,
        stage: int,
        *types: str,
        delivery: Delivery = Delivery.PARTITIONED,
        output: int = 0,
        name: str = "input_0",
    ) -> ExchangeRead:
        return ExchangeRead(name, stage, output, delivery, self.columns(*types))

    def stage(self, number, statement, types, inputs=(), outputs=None, tasks=1, threads=1) -> Stage:
        return Stage(
            number,
            "a stage",
            statement,
            self.columns(*types),
            tuple(inputs),
            outputs or (SinglePartition(),),
            tasks,
            threads,
            Estimate(1.0, 1.0),
        )

    def plan(self, *stages: Stage, query: str = "q", settings: dict[str, str] | None = None):
        return StagePlan(
            query,
            "",
            stages,
            tuple(ResultColumn(column.name, column.type) for column in stages[-1].columns),
            tuple(Setting(name, value) for name, value in (settings or {}).items()),
            (encode_path(str(self.folder)),),
        )

    def spec(self, statement, types, inputs=(), outputs=None, **changes) -> TaskSpec:
        """Return a task of its own."""
        values = {
            "query": "q",
            "stage": 0,
            "task": 0,
            "attempt": 1,
            "nonce": os.urandom(4).hex(),
            "key": f"q/{os.urandom(4).hex()}",
            "statement": statement,
            "columns": self.columns(*types),
            "inputs": tuple(inputs),
            "outputs": outputs or (SinglePartition(),),
            "settings": (),
            "roots": (encode_path(str(self.folder)),),
            "threads": 1,
            "memory_limit": 256 * MEBIBYTE,
            "deadline": time.time() + 100,
        }
        return TaskSpec(**(values | changes))


@pytest.fixture
def plans(tmp_path: Path) -> Plans:
    folder = tmp_path / "data"
    folder.mkdir()
    return Plans(folder)
