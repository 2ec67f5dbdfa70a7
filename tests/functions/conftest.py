"""Functions on a local Lambda, with their data and objects on a server that speaks S3."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Any

import msgspec
import pytest
from lambda_processes import processes_of
from s3_servers import BUCKET, KEY_ID, SECRET, S3Server

from starling_py.access import S3Access
from starling_py.coordinator.driver import Driver
from starling_py.coordinator.transport import Transport
from starling_py.events import Events
from starling_py.invokers.function_client import FunctionClient
from starling_py.invokers.functions import LambdaInvoker
from starling_py.local_lambda.server import LocalLambda
from starling_py.local_lambda.settings import Faults, FunctionSettings, Limits
from starling_py.operators.plan import Delivery
from starling_py.operators.quoting import decode_path, encode_path
from starling_py.operators.task import FileRange, HashPartitioning
from starling_py.shuffle.locations import S3Location
from starling_py.shuffle.write_policy import WritePolicy


class Place:
    """A prefix of a bucket, local Lambdas beside it, and invokers that use both."""

    def __init__(self, server: S3Server, folder: Path, stack: contextlib.ExitStack) -> None:
        self.server = server
        self.folder = folder
        self.stack = stack
        self.prefix = server.new_prefix()
        # A put that is cut off for a quicker one may be done by ministack when all is over.
        options = server.options(write=WritePolicy(enabled=False))
        self.location = S3Location(BUCKET, self.prefix, options)
        self.access = S3Access(options)

    def serve(
        self,
        *,
        limits: dict[str, Any] | None = None,
        faults: dict[str, Any] | None = None,
        environment: dict[str, str] | None = None,
        **settings: Any,
    ) -> LocalLambda:
        keys = {"AWS_ACCESS_KEY_ID": KEY_ID, "AWS_SECRET_ACCESS_KEY": SECRET}
        function = FunctionSettings(environment=keys | (environment or {}), **settings)
        limit = Limits(**({"init_seconds": 100.0, "retry_seconds": 0.01} | (limits or {})))
        server = LocalLambda(
            [function], limits=limit, faults=Faults(**(faults or {})), folder=self.folder
        )
        return self.stack.enter_context(server)

    def client(
        self, lamb: LocalLambda, name: str = "starling-worker", **options: Any
    ) -> FunctionClient:
        values = {"connections": 4, "endpoint": lamb.endpoint, "region": "us-east-1"} | options
        return FunctionClient(name, **values)

    def invoker(
        self, lamb: LocalLambda, workers: int = 2, name: str = "starling-worker", **options: Any
    ) -> LambdaInvoker:
        return LambdaInvoker(
            self.client(lamb, name, connections=workers),
            workers,
            location=self.location,
            access=self.access,
            **options,
        )

    def run(self, lamb: LocalLambda, plan, *, workers: int = 2, payload: int = 0, **options: Any):
        """Run a plan on functions and return the driver's answer."""
        listeners = options.pop("listeners", ())
        attempts = options.pop("attempts", 2)
        seconds = options.pop("seconds", 100.0)
        invoker = self.invoker(lamb, workers, **options)

        async def drive():
            driver = Driver(
                plan,
                invoker,
                Events(listeners),
                seconds=seconds,
                max_attempts=attempts,
                transport=Transport("lz4", payload),
            )
            try:
                return await driver.run()
            finally:
                await invoker.close()

        try:
            return asyncio.run(drive())
        finally:
            invoker.store.close()

    def ask(self, invoker: LambdaInvoker, *specs):
        """Invoke specs, all at once, and return their reports."""

        async def asking():
            try:
                return await asyncio.gather(*(invoker.invoke(spec) for spec in specs))
            finally:
                await invoker.close()

        try:
            return asyncio.run(asking())
        finally:
            invoker.store.close()

    def upload(self, file: FileRange) -> FileRange:
        """Put a file of this machine beside the scratch prefix and return it there."""
        path = Path(decode_path(file.path))
        data = path.read_bytes()
        store = self.server.data_store("functions")
        key = f"{self.prefix}/{path.name}"
        store.put(key, [data])
        etag = store.head(key).etag
        store.close()
        return msgspec.structs.replace(
            file,
            path=encode_path(f"s3://{BUCKET}/functions/{key}"),
            mtime_ns=0,
            etag=etag,
            footer=int.from_bytes(data[-8:-4], "little") + 8,
        )

    def left(self) -> list[str]:
        """Return the keys below the scratch prefix."""
        store = self.server.store(self.prefix)
        keys = [info.key for info in store.list("")]
        store.close()
        return keys


@pytest.fixture
def server(ministack: S3Server) -> S3Server:
    return ministack


@pytest.fixture
def place(server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Nothing of it may be left in the end: no process, no file, no object."""
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    folder = tmp_path / "lambda"
    folder.mkdir()
    with contextlib.ExitStack() as stack:
        made = Place(server, folder, stack)
        yield made
    made.access.close()
    assert processes_of(folder) == []
    assert list(folder.iterdir()) == []
    assert made.left() == []


@pytest.fixture
def grouped(plans, place):
    """Make a plan of three stages that groups ``rows`` numbers on S3 by ``range % 7``."""

    def make(rows: int = 10_000, tasks: int = 3, query: str = "q"):
        file = place.upload(
            plans.parquet(f"{rows}.parquet", f"SELECT range AS x FROM range({rows})")
        )
        bounds = [rows * task // tasks for task in range(tasks + 1)]
        splits = [
            (msgspec.structs.replace(file, first_row=bounds[task], last_row=bounds[task + 1]),)
            for task in range(tasks)
        ]
        return plans.plan(
            plans.stage(
                0,
                "SELECT x % 7 AS c0, x AS c1 FROM input_0",
                ["BIGINT", "BIGINT"],
                [plans.scan({"x": "BIGINT"}, *splits)],
                (HashPartitioning(("c0",), 8),),
                tasks=tasks,
            ),
            plans.stage(
                1,
                "SELECT c0, sum(c1)::BIGINT AS c1 FROM input_0 GROUP BY c0",
                ["BIGINT", "BIGINT"],
                [plans.read(0, "BIGINT", "BIGINT")],
                tasks=2,
            ),
            plans.stage(
                2,
                "SELECT c0, c1 FROM input_0 ORDER BY c0",
                ["BIGINT", "BIGINT"],
                [plans.read(1, "BIGINT", "BIGINT", delivery=Delivery.EVERYTHING)],
            ),
            query=query,
        )

    def expected(rows: int = 10_000):
        return [{"c0": k, "c1": sum(range(k, rows, 7))} for k in range(7)]

    make.expected = expected
    return make
