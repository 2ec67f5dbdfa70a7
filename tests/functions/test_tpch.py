"""TPC-H through boto3, the local Lambda, AWS's runtime client and S3: the answers of DuckDB."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from s3_servers import BUCKET

from starling_py.coordinator.transport import Transport
from starling_py.tpch.generate import generate
from starling_py.tpch.texts import NUMBERS
from starling_py.tpch.verify import verify

SCALE = float(os.environ.get("FUNCTIONS_SCALE", "0.01"))
SEED = int(os.environ.get("CHAOS_SEED", "3"))
WORKERS = 2


@pytest.fixture(scope="session")
def tpch_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tpch") / "tables"
    generate(folder, SCALE, parts=4)
    return folder


@pytest.fixture
def tpch_url(place, tpch_folder: Path) -> str:
    prefix = "functions-tpch"
    store = place.server.data_store(prefix)
    for path in sorted(tpch_folder.rglob("*.parquet")):
        store.put(str(path.relative_to(tpch_folder)), [path.read_bytes()])
    store.close()
    return f"s3://{BUCKET}/{prefix}"


@pytest.mark.parametrize("faults", [False, True], ids=["well", "faults"])
def test_tpch(place, tpch_folder, tpch_url, monkeypatch, tmp_path, built, faults):
    """From a bundle as it would be uploaded, with and without what goes wrong with functions."""
    monkeypatch.setenv("STARLING_CACHE_DIR", str(tmp_path / "cache"))
    if not faults:
        # At this scale nearly everything would travel in the reports.
        monkeypatch.setattr(Transport, "inline_limit", lambda *_: 0)
    chosen = {"seed": SEED, "throttle": 0.1, "crash": 0.03, "timeout": 0.02} if faults else {}
    lamb = place.serve(faults=chosen, bundle=built.path, limits={"concurrency": WORKERS})
    monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", lamb.endpoint)
    outcomes = list(
        verify(
            tpch_folder,
            tasks=4,
            copy=tpch_url,
            scratch=f"s3://{BUCKET}/{place.prefix}",
            target="lambda",
        )
    )
    different = {each.query: each.difference for each in outcomes if each.difference}
    assert different == {}, f"seed {SEED}"
    assert [outcome.query for outcome in outcomes] == list(NUMBERS)
    statistics = lamb.statistics()
    assert statistics.most_in_flight == WORKERS
    assert statistics.calls >= sum(outcome.tasks for outcome in outcomes)
    assert bool(statistics.failed) == bool(statistics.throttled) == faults
