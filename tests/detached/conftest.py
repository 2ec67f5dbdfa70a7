"""A worker and a coordinator on a local Lambda, and tables for them on S3."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pytest
from click.testing import CliRunner, Result
from lambda_processes import processes_of
from s3_servers import BUCKET, KEY_ID, SECRET, S3Server

from starling_py.access import S3Access
from starling_py.cli.main import main
from starling_py.detached.client import DetachedQueries
from starling_py.invokers.function_client import FunctionClient
from starling_py.local_lambda.server import LocalLambda
from starling_py.local_lambda.settings import Faults, FunctionSettings, Limits
from starling_py.operators.quoting import encode_path
from starling_py.operators.task import FileRange

WORKER, COORDINATOR = "starling-worker", "starling-coordinator"
HANDLER = "starling_py.detached.handler.handle"


@dataclass
class Cloud:
    """A prefix of a bucket, and the Lambdas that have been there."""

    server: S3Server
    folder: Path
    stack: contextlib.ExitStack
    patch: pytest.MonkeyPatch
    prefix: str
    open: list[DetachedQueries] = field(default_factory=list)

    @property
    def scratch(self) -> str:
        return f"s3://{BUCKET}/{self.prefix}"

    @property
    def data(self) -> str:
        return f"s3://{BUCKET}/detached/{self.prefix}"

    def serve(
        self,
        *,
        coordinator: dict[str, Any] | None = None,
        worker: dict[str, Any] | None = None,
        environment: dict[str, str] | None = None,
        limits: dict[str, Any] | None = None,
        faults: dict[str, Any] | None = None,
    ) -> LocalLambda:
        """Serve both functions, and let the environment lead there."""
        keys = {"AWS_ACCESS_KEY_ID": KEY_ID, "AWS_SECRET_ACCESS_KEY": SECRET}
        told = keys | {"STARLING_SCRATCH": self.scratch} | (environment or {})
        functions = [
            FunctionSettings(WORKER, environment=told, **(worker or {})),
            FunctionSettings(
                COORDINATOR, **({"handler": HANDLER} | (coordinator or {})), environment=told
            ),
        ]
        limit = Limits(**({"init_seconds": 100.0, "retry_seconds": 0.01} | (limits or {})))
        server = LocalLambda(
            functions, limits=limit, faults=Faults(**(faults or {})), folder=self.folder
        )
        self.stack.enter_context(server)
        self.patch.setenv("AWS_ENDPOINT_URL_LAMBDA", server.endpoint)
        return server

    def queries(self, **options: Any) -> DetachedQueries:
        """Return the client's side; it is closed in the end."""
        access = S3Access()

        def client() -> FunctionClient:
            return FunctionClient(COORDINATOR, connections=1, region="us-east-1")

        made = DetachedQueries(self.scratch, access, client, **options)
        self.stack.callback(made.close)
        return made

    def starling(self, *words: object) -> Result:
        return CliRunner().invoke(main, [str(word) for word in words])

    def detach(self, sql: str, *words: object) -> str:
        """Begin a query from the command line and return its id."""
        place = ["--data", self.data, "--scratch", self.scratch, "--target", "lambda"]
        done = self.starling("query", sql, *place, "--workers", "2", "--detach", "-q", *words)
        assert done.exit_code == 0, done.output
        return done.stdout.strip()

    def table(self, name: str, sql: str, parts: int = 2, options: str = "") -> None:
        """Put the rows of a SELECT over ``part`` on S3 as files, one for each part."""
        store = self.server.store(f"detached/{self.prefix}/{name}")
        with duckdb.connect() as connection:
            for part in range(parts):
                path = self.folder / "part.parquet"
                text = sql.replace("part", str(part))
                connection.execute(f"COPY ({text}) TO '{path}' (FORMAT parquet{options})")
                store.put(f"{part}.parquet", [path.read_bytes()])
                path.unlink()
        store.close()

    def upload(self, name: str, data: bytes, file: FileRange) -> FileRange:
        """Put the bytes of a file on S3 and return it there."""
        store = self.server.store(f"detached/{self.prefix}")
        store.put(name, [data])
        etag = store.head(name).etag
        store.close()
        return msgspec.structs.replace(
            file,
            path=encode_path(f"{self.data}/{name}"),
            mtime_ns=0,
            etag=etag,
            footer=int.from_bytes(data[-8:-4], "little") + 8,
        )

    def left(self) -> list[str]:
        """Return the keys below the scratch prefix, without the query's id."""
        store = self.server.store(self.prefix)
        keys = [info.key.partition("/")[2] for info in store.list("")]
        store.close()
        return keys


@pytest.fixture
def server(request: pytest.FixtureRequest) -> S3Server:
    found: S3Server = request.getfixturevalue(getattr(request, "param", "ministack"))
    return found


@pytest.fixture
def cloud(server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    """No process and no file is left in the end, and of objects what `starling cleanup` finds."""
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    folder = tmp_path / "lambda"
    folder.mkdir()
    with contextlib.ExitStack() as stack:
        made = Cloud(server, folder, stack, monkeypatch, server.new_prefix())
        yield made
    assert processes_of(folder) == []
    assert list(folder.iterdir()) == []
    assert made.starling("cleanup", "--scratch", made.scratch, "--older-than", "0s").exit_code == 0
    assert made.left() == []


@pytest.fixture
def numbers(cloud: Cloud) -> Cloud:
    """A table of two files: k = 0 … 9999."""
    cloud.table("numbers", "SELECT range AS k FROM range(part * 5000, part * 5000 + 5000)")
    return cloud
