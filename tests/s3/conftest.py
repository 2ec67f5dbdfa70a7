"""TPC-H on real servers that speak S3, and connections that go to one of them."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
from s3_servers import BUCKET, S3Server

import starling_py
from starling_py.shuffle.retry import RetryPolicy
from starling_py.tpch.generate import generate

SCALE = float(os.environ.get("CHAOS_SCALE", "0.01"))
WORKERS = 2
TPCH = "tpch"
PATIENT = RetryPolicy(attempts=10, base=0.005, cap=0.1)


@pytest.fixture(scope="session")
def tpch_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tpch") / "tables"
    generate(folder, SCALE, parts=4)
    return folder


def upload(server: S3Server, folder: Path, prefix: str) -> str:
    """Copy a folder below a prefix of the server's bucket and return its URL."""
    store = server.data_store(prefix)
    for path in sorted(folder.rglob("*.parquet")):
        store.put(str(path.relative_to(folder)), [path.read_bytes()])
    store.close()
    return f"s3://{BUCKET}/{prefix}"


@pytest.fixture(scope="session")
def moto_tpch(moto: S3Server, tpch_folder: Path) -> str:
    return upload(moto, tpch_folder, TPCH)


@pytest.fixture(scope="session")
def ministack_tpch(ministack: S3Server, tpch_folder: Path) -> str:
    return upload(ministack, tpch_folder, TPCH)


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the footers of one test from the next, and from the user's own."""
    monkeypatch.setenv("STARLING_CACHE_DIR", str(tmp_path / "cache"))


class Reach:
    """Connections to a server, with scratch below a prefix that is theirs alone."""

    def __init__(self, server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
        self.server = server
        self.prefix = server.new_prefix()
        self.scratch = f"s3://{BUCKET}/{self.prefix}"
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        monkeypatch.delenv("AWS_PROFILE", raising=False)

    def connect(self, data: str | None = None, **options: Any) -> starling_py.Connection:
        options = {"scratch": self.scratch, "workers": WORKERS} | options
        s3 = options.pop("s3", {"retry": PATIENT})
        return starling_py.connect(data, s3=self.server.options(**s3), **options)

    def left(self) -> list[str]:
        """Return the keys that are in the scratch prefix."""
        store = self.server.store(self.prefix)
        keys = [info.key for info in store.list("")]
        store.close()
        return keys


SINGLE_PUTS = """
import sys
from starling_py.cli.main import main
from starling_py.shuffle.s3_race import Traffic

Traffic.may_hedge = lambda self: False
main(sys.argv[1:])
"""


@pytest.fixture
def command() -> list[str]:
    """How the command line is called where what is left is looked at.

    Of two puts of an object the slower is cut off, and ministack may put it all the same, after the
    clean-up.
    """
    return [sys.executable, "-c", SINGLE_PUTS]


@pytest.fixture
def reach(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Reach:
    return Reach(s3_server, monkeypatch)


@pytest.fixture
def tpch_url(request: pytest.FixtureRequest) -> str:
    """TPC-H on the server of the test."""
    return str(request.getfixturevalue(f"{request.node.callspec.params['s3_server']}_tpch"))


@pytest.fixture
def numbers(reach: Reach, tmp_path: Path) -> str:
    """A table of four files: k = 0 … 9999, g = k % 7, t = the text of k."""
    import duckdb

    folder = tmp_path / "data/numbers"
    folder.mkdir(parents=True)
    with duckdb.connect() as connection:
        for part in range(4):
            connection.execute(
                f"COPY (SELECT range AS k, range % 7 AS g, range::VARCHAR AS t "
                f"FROM range({part * 2500}, {(part + 1) * 2500})) "
                f"TO '{folder}/{part}.parquet' (FORMAT parquet)"
            ).fetchall()
    return upload(reach.server, tmp_path / "data", reach.server.new_prefix())
