"""Functions that have too little memory: queries are planned with more tasks, or told why not."""

from __future__ import annotations

import duckdb
import pytest
from s3_servers import BUCKET

import starling_py
from starling_py.errors import OutOfMemory

# Needs more memory than the function has for tasks that scan more rows than it is told.
GREEDY = """
import os
from starling_py.operators.task import ScanInput
from starling_py.worker.handler import handle as answer
from starling_py.worker.payload import from_text, unpack_spec

def handle(event, context):
    spec = unpack_spec(from_text(event["spec"]))
    scans = [scan for scan in spec.inputs if isinstance(scan, ScanInput)]
    rows = sum(file.last_row - file.first_row for scan in scans for file in scan.files)
    held = []
    while rows > int(os.environ["ROWS"]):
        held.append(b"x" * (1 << 25))
    return answer(event, context)
"""


@pytest.fixture
def quarters(place, tmp_path, monkeypatch) -> str:
    """A table of four files: k = 0 … 3999."""
    monkeypatch.setenv("STARLING_CACHE_DIR", str(tmp_path / "cache"))
    store = place.server.store(f"functions/{place.prefix}/quarters")
    path = tmp_path / "part.parquet"
    with duckdb.connect() as connection:
        for part in range(4):
            connection.execute(
                f"COPY (SELECT range AS k FROM range({part * 1000}, {part * 1000 + 1000})) "
                f"TO '{path}' (FORMAT parquet)"
            ).fetchall()
            store.put(f"{part}.parquet", [path.read_bytes()])
    store.close()
    return f"s3://{BUCKET}/functions/{place.prefix}"


@pytest.fixture
def greedy(place, tmp_path, monkeypatch):
    """Serve a function that scans ``rows`` rows at most."""
    folder = tmp_path / "greedy"
    folder.mkdir()
    (folder / "greedy.py").write_text(GREEDY)

    def serve(rows: int):
        monkeypatch.setenv("PYTHONPATH", str(folder))
        lamb = place.serve(handler="greedy.handle", environment={"ROWS": str(rows)}, memory=512)
        monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", lamb.endpoint)
        return lamb

    return serve


def connected(place, quarters, **options):
    scratch = f"s3://{BUCKET}/{place.prefix}"
    return starling_py.connect(quarters, target="lambda", scratch=scratch, workers=2, **options)


SQL = "SELECT k % 3 AS g, sum(k) AS s FROM quarters GROUP BY g ORDER BY g"


def test_a_query_that_runs_out_of_memory_gets_more_tasks(place, quarters, greedy):
    lamb = greedy(1500)
    with connected(place, quarters) as connection:
        assert connection.explain(SQL).tasks == 1
        cursor = connection.execute(SQL)
        assert cursor.fetchall() == [(g, sum(range(g, 4000, 3))) for g in range(3)]
        # With one task, with two, and then with four.
        assert cursor.run.out_of_memory == 2
        assert max(stage.tasks for stage in cursor.run.plan.stages) == 4
        assert lamb.statistics().failed >= 2


def test_there_is_an_end_to_more_tasks(place, quarters, greedy):
    lamb = greedy(500)
    with (
        connected(place, quarters) as connection,
        pytest.raises(OutOfMemory, match="used more memory than it has") as caught,
    ):
        connection.execute(SQL)
    assert "starling deploy --memory" in caught.value.hint
    # One task, two and four: a file of one row group is not divided.
    assert lamb.statistics().failed <= 7


def test_tasks_that_were_asked_for_are_kept_to(place, quarters, greedy):
    lamb = greedy(1500)
    with connected(place, quarters, tasks=1) as connection, pytest.raises(OutOfMemory):
        connection.execute(SQL)
    assert lamb.statistics().calls == 1
