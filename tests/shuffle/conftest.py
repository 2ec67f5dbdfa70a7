"""Stores to run the same tests on: a further store only needs a line in ``STORES``."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
import pytest

from starling_py.shuffle.local import LocalStore
from starling_py.shuffle.memory import MemoryStore
from starling_py.shuffle.s3 import S3Store
from starling_py.shuffle.s3_credentials import Credentials
from starling_py.shuffle.s3_options import S3Options

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
S3_SERVERS = ("moto", "ministack")
BUCKET = "starling-tests"
SECONDS = 30.0  # for anything to start or end


@dataclass(frozen=True)
class S3Server:
    """A server that speaks S3, with one bucket."""

    endpoint: str

    def store(self, prefix: str | None = None, **options: object) -> S3Store:
        """Return a store below a prefix that nobody else uses."""
        return S3Store(
            BUCKET,
            prefix if prefix is not None else f"test/{uuid.uuid4().hex}",
            S3Options(endpoint=self.endpoint, **options),
            credentials=lambda: Credentials("testing", "testing"),
        )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start_server(name: str, port: int, log: Path) -> subprocess.Popen[bytes]:
    arguments = {
        "moto": ["moto.server", "-H", "127.0.0.1", "-p", str(port)],
        "ministack": ["ministack"],
    }[name]
    # ministack would serve the whole network if it were not told otherwise.
    environment = {**os.environ, "BIND_HOST": "127.0.0.1", "GATEWAY_PORT": str(port)}
    with log.open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-m", *arguments],
            env=environment,
            cwd=log.parent,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )


@contextlib.contextmanager
def running_server(name: str, folder: Path) -> Iterator[S3Server]:
    log = folder / f"{name}.log"
    port = free_port()
    process = start_server(name, port, log)
    try:
        deadline = time.monotonic() + SECONDS
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.02)
        server = S3Server(f"http://127.0.0.1:{port}")
        client = boto3.client(
            "s3",
            endpoint_url=server.endpoint,
            region_name="us-east-1",
            aws_access_key_id="testing",
            aws_secret_access_key="testing",  # noqa: S106 - nobody checks it
        )
        client.create_bucket(Bucket=BUCKET)
        client.close()
        # The first request of a process starts the threads of obstore, which stay.
        first = server.store()
        first.delete(["nothing"])
        first.close()
        yield server
    finally:
        process.terminate()
        try:
            process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(SECONDS)


@pytest.fixture(scope="session")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with running_server("moto", tmp_path_factory.mktemp("moto")) as server:
        yield server


@pytest.fixture(scope="session")
def ministack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with running_server("ministack", tmp_path_factory.mktemp("ministack")) as server:
        yield server


@pytest.fixture(params=S3_SERVERS)
def s3_server(request: pytest.FixtureRequest) -> S3Server:
    """Each of the servers in turn."""
    return request.getfixturevalue(request.param)


@pytest.fixture(params=[*STORES, *S3_SERVERS])
def store(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ObjectStore]:
    if request.param in S3_SERVERS:
        server = request.getfixturevalue(request.param)
        before = open_files()
        made = server.store(gap=0)  # merges nothing that other stores do not merge
        yield made
        made.close()
        wait_until(lambda: open_files() <= before)
        assert not [thread for thread in threading.enumerate() if "s3-read" in thread.name]
        return
    if request.param == "local-named":  # a file system without unnamed files
        monkeypatch.delattr(os, "O_TMPFILE")
    made = STORES[request.param](tmp_path / "store")
    (tmp_path / "store").mkdir(exist_ok=True)
    before = open_files()
    yield made
    assert open_files() <= before
    made.close()


def open_files() -> set[Path]:
    return set(Path("/proc/self/fd").iterdir())


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
