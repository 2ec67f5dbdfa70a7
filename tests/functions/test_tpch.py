"""TPC-H through boto3, the local Lambda, AWS's runtime client and S3: the answers of DuckDB."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from s3_servers import BUCKET

from starling_py import engine
from starling_py.coordinator.driver import Driver
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
    store = place.server.store(prefix)
    for path in sorted(tpch_folder.rglob("*.parquet")):
        store.put(str(path.relative_to(tpch_folder)), [path.read_bytes()])
    store.close()
    return f"s3://{BUCKET}/{prefix}"


@pytest.fixture
def on_functions(place, monkeypatch, tmp_path):
    """Let the engine run its tasks on functions."""
    monkeypatch.setenv("STARLING_CACHE_DIR", str(tmp_path / "cache"))

    def use(lamb):
        monkeypatch.setattr(engine, "_invoker", lambda *_: place.invoker(lamb, WORKERS))
        patient = {"max_attempts": 6}
        monkeypatch.setattr(
            engine, "Driver", lambda *args, **options: Driver(*args, **(options | patient))
        )

    return use


@pytest.mark.parametrize("faults", [False, True], ids=["well", "faults"])
def test_tpch(place, on_functions, tpch_folder, tpch_url, monkeypatch, request, faults):
    """Once with the code that is installed, and once with a bundle as it would be uploaded."""
    bundle = None if faults else request.getfixturevalue("built").path
    if not faults:
        # At this scale nearly everything would travel in the reports.
        monkeypatch.setattr(Transport, "inline_limit", lambda *_: 0)
    chosen = {"seed": SEED, "throttle": 0.1, "crash": 0.03, "timeout": 0.02} if faults else {}
    lamb = place.serve(faults=chosen, bundle=bundle)
    on_functions(lamb)
    outcomes = list(
        verify(
            tpch_folder,
            tasks=4,
            workers=WORKERS,
            copy=tpch_url,
            scratch=f"s3://{BUCKET}/{place.prefix}",
        )
    )
    different = {each.query: each.difference for each in outcomes if each.difference}
    assert different == {}, f"seed {SEED}"
    assert [outcome.query for outcome in outcomes] == list(NUMBERS)
    statistics = lamb.statistics()
    assert statistics.most_in_flight == WORKERS
    assert statistics.calls >= sum(outcome.tasks for outcome in outcomes)
    assert bool(statistics.failed) == bool(statistics.throttled) == faults
