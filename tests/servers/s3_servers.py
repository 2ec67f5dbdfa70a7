"""Real servers that speak S3, for the tests of every room."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from starling_py.shuffle.hedge_policy import HedgePolicy
from starling_py.shuffle.s3 import S3Store
from starling_py.shuffle.s3_credentials import Credentials
from starling_py.shuffle.s3_options import S3Options
from starling_py.shuffle.write_policy import WritePolicy

S3_SERVERS = ("moto", "ministack")
BUCKET = "starling-tests"
KEY_ID = "testing"
SECRET = "testing"  # noqa: S105 - nobody checks it
SECONDS = 30.0  # for anything to start or end


def credentials() -> Credentials:
    """Return what the servers let in."""
    return Credentials(KEY_ID, SECRET)


@dataclass(frozen=True)
class S3Server:
    """A server that speaks S3, with one bucket, or a proxy before it."""

    endpoint: str

    def options(self, **options: Any) -> S3Options:
        """Return how to reach the server."""
        return S3Options(endpoint=self.endpoint, **options)

    def store(self, prefix: str | None = None, **options: Any) -> S3Store:
        """Return a store below a prefix that nobody else uses."""
        return S3Store(
            BUCKET,
            prefix if prefix is not None else self.new_prefix(),
            self.options(**options),
            credentials=credentials,
        )

    def data_store(self, prefix: str) -> S3Store:
        """Return a store for the files that a test reads.

        Of two puts of a file the slower is cut off, and ministack would keep what it has got.
        """
        return self.store(prefix, write=WritePolicy(enabled=False))

    def exact_options(self, **options: Any) -> S3Options:
        """Return how to reach the server and send nothing twice because it was slow."""
        exact = {"hedge": HedgePolicy(enabled=False), "write": WritePolicy(enabled=False)}
        return self.options(**exact, **options)

    def exact_store(self, **options: Any) -> S3Store:
        """Return a store of ``exact_options``, below a prefix that nobody else uses."""
        made = self.exact_options(**options)
        return S3Store(BUCKET, self.new_prefix(), made, credentials=credentials)

    def new_prefix(self) -> str:
        """Return a prefix that nobody else uses."""
        return f"test/{uuid.uuid4().hex}"

    def new_bucket(self) -> str:
        """Make a bucket that nobody else uses, and return its name."""
        name = f"starling-{uuid.uuid4().hex}"
        with contextlib.closing(self.client()) as client:
            client.create_bucket(Bucket=name)
        return name

    def client(self) -> Any:
        """Return a boto3 client, which the caller closes."""
        import boto3  # most tests need no client, and it takes half a second

        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id=KEY_ID,
            aws_secret_access_key=SECRET,
        )

    def environment(self) -> dict[str, str]:
        """Return the variables that send a process and its children here."""
        return {
            "AWS_ACCESS_KEY_ID": KEY_ID,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }


def free_port() -> int:
    """Return a port of the loopback that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def running_server(name: str, folder: Path) -> Iterator[S3Server]:
    """Run one of ``S3_SERVERS``, with its log in ``folder``."""
    log = folder / f"{name}.log"
    port = free_port()
    process = _start(name, port, log)
    try:
        deadline = time.monotonic() + SECONDS
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.02)
        server = S3Server(f"http://127.0.0.1:{port}")
        with contextlib.closing(server.client()) as client:
            client.create_bucket(Bucket=BUCKET)
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


def _start(name: str, port: int, log: Path) -> subprocess.Popen[bytes]:
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
