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
    store = place.server.data_store(f"functions/{place.prefix}/quarters")
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
        # One task has failed, and then each of two, which were divided.
        assert cursor.run.out_of_memory == 1
        assert cursor.run.plan.stages[0].tasks == 2
        assert sum(report.stage == 0 for report in cursor.run.reports) == 4
        assert lamb.statistics().failed == 3


def test_there_is_an_end_to_more_tasks(place, quarters, greedy):
    lamb = greedy(100)
    with (
        connected(place, quarters) as connection,
        pytest.raises(OutOfMemory, match="used more memory than it has") as caught,
    ):
        connection.execute(SQL)
    assert "starling deploy --memory" in caught.value.hint
    # A half, a quarter, an eighth and a sixteenth of the table, if not more of some.
    assert 5 <= lamb.statistics().failed <= 1 + 2 * 15


def test_tasks_that_were_asked_for_are_not_fewer(place, quarters, greedy):
    """They are divided where one of them does not fit, and the query is not planned again."""
    greedy(1500)
    with connected(place, quarters, tasks=2) as connection:
        cursor = connection.execute(SQL)
        assert cursor.run.out_of_memory == 0
        assert cursor.fetchall() == [(g, sum(range(g, 4000, 3))) for g in range(3)]
