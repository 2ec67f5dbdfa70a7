"""Answers as Arrow data, data frames and files; and the end of a query that others ask for."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import starling_py
from starling_py.errors import Cancelled, StarlingError
from starling_py.operators.plan import ResultColumn
from starling_py.results import Results
from starling_py.shuffle.memory import MemoryStore
from starling_py.shuffle.rows import MemoryShare, collect

PLAIN = "SELECT i, k, s, i / 8 AS x, (i % 7)::DECIMAL(9,2) AS d, DATE '2020-01-01' AS day FROM t"
ODD = """SELECT i::HUGEINT AS h, uuid_v.u AS u, INTERVAL (i) DAY AS span, [i, NULL] AS l,
    'a'::ENUM ('a', 'b') AS e, TIMESTAMPTZ '2020-01-01 00:00:00+02' AS z, MAP {'k': i} AS m
    FROM t, (SELECT '00000000-0000-0000-0000-000000000007'::UUID AS u) uuid_v WHERE i < 3000"""
ENDLESS = "SELECT count(*) FROM range(1_000_000_000_000) r(x) WHERE x % 7 = 3"


@pytest.fixture(scope="module")
def connection(data):
    with starling_py.connect(data, tasks=2, workers=2) as connected:
        yield connected


@pytest.fixture(scope="module")
def oracle(data):
    with duckdb.connect() as connected:
        connected.execute(f"CREATE VIEW t AS FROM '{data}/t/*.parquet'")
        yield connected


@pytest.mark.parametrize("sql", [PLAIN, ODD], ids=["plain", "odd"])
@pytest.mark.parametrize("order", ["", " ORDER BY ALL"], ids=["files", "sorted"])
def test_every_form_is_duckdb_s(connection, oracle, tmp_path, sql, order):
    sql = f"SELECT * FROM ({sql}){order}" if sql is PLAIN else sql
    cursor = connection.execute(sql)
    want = oracle.sql(sql).to_arrow_table()
    assert cursor.arrow().equals(want)
    assert cursor.arrow().schema.equals(want.schema, check_metadata=True)
    with cursor.fetch_record_batch_reader(1000) as reader:
        batches = list(reader)
    assert max(batch.num_rows for batch in batches) <= 1000
    assert pa.Table.from_batches(batches).equals(want)
    assert pa.table(cursor).equals(want)
    pd.testing.assert_frame_equal(cursor.df(), oracle.sql(sql).df())
    if sql.startswith("SELECT * "):
        assert cursor.pl().equals(oracle.sql(sql).pl())
        assert pl.DataFrame(cursor).equals(oracle.sql(sql).pl())
    cursor.to_parquet(tmp_path / "got")
    oracle.sql(sql).write_parquet(str(tmp_path / "want"))
    got, expected = (pq.read_table(tmp_path / name) for name in ("got", "want"))
    assert got.column_names == expected.column_names
    assert got.columns == expected.columns
    rows = oracle.execute(sql).fetchall()
    assert repr([*cursor.fetchmany(3), *cursor.fetchall()]) == repr(rows)


def test_polars_does_not_know_intervals(connection):
    with pytest.raises(starling_py.NotSupportedError, match="Polars cannot take the answer"):
        connection.execute("SELECT INTERVAL 1 DAY").pl()


@pytest.mark.parametrize("isolation", ["thread", "process"])
def test_an_answer_that_does_not_fit_into_memory(data, tmp_path, oracle, isolation, monkeypatch):
    monkeypatch.setattr("starling_py.coordinator.answers._HELD_BYTES", 100_000)
    small = partial(MemoryStore, rows_budget=100_000)
    monkeypatch.setattr("starling_py.invokers.chosen.MemoryStore", small)
    with starling_py.connect(data, tasks=2, workers=2, isolation=isolation) as connected:
        for sql in (f"{PLAIN} WHERE i < 5000", ODD.replace("3000", "5000")):
            cursor = connected.execute(sql)
            want = oracle.sql(sql).to_arrow_table()
            assert cursor.rowcount == 10_000
            assert cursor.arrow().equals(want)
            assert pa.Table.from_batches(cursor.fetch_record_batch_reader(500)).equals(want)
            assert cursor.fetchmany(5) == oracle.execute(sql).fetchall()[:5]
            assert len(cursor.fetchall()) == 9_995
            cursor.to_parquet(tmp_path / "all.parquet")
            assert pq.read_metadata(tmp_path / "all.parquet").num_rows == 10_000
            assert len(cursor.df()) == 10_000


def test_a_stream_outlives_its_cursor_and_connection(data):
    with starling_py.connect(data, tasks=2, workers=2) as connection:
        cursor = connection.execute(PLAIN)
        want = cursor.arrow()
        begun, other = (
            cursor.fetch_record_batch_reader(1000),
            pa.RecordBatchReader.from_stream(cursor),
        )
        first = begun.read_next_batch()
        cursor.close()
        with pytest.raises(starling_py.InterfaceError):
            cursor.fetch_record_batch_reader()
    assert pa.Table.from_batches([first, *begun]).equals(want)
    assert other.read_all().equals(want)


def test_a_stream_ends_with_its_query(connection):
    cursor = connection.execute(PLAIN)
    reader = cursor.fetch_record_batch_reader(1000)
    reader.read_next_batch()
    cursor.cancel()
    with pytest.raises(Cancelled):
        reader.read_all()


def test_a_reader_shows_one_batch_at_a_time():
    """Batches of the file are let go of as the reader goes on."""
    schema = pa.schema([("c0", pa.int64())])
    size = 1 << 20

    def batches():
        for number in range(40):
            yield pa.record_batch([pa.array(range(number, number + size // 8))], schema=schema)

    rows, _ = collect(schema, batches(), MemoryShare(0), None)
    columns = (ResultColumn("n", "BIGINT"),)
    result = Results(1).open([rows], columns, ())
    reader = result.reader(1 << 20)
    before = mapped()
    most = 0
    for _ in reader:
        most = max(most, mapped() - before)
    assert most < 8 * size


def mapped() -> int:
    """Bytes of files that are mapped and resident."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssFile"))


def running(connection, sql=ENDLESS):
    """Run a query in a thread; return its cursor, the thread, and what becomes of it."""
    cursor = connection.cursor()
    outcome = []

    def run():
        try:
            outcome.append(cursor.execute(sql))
        except StarlingError as error:
            outcome.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return cursor, thread, outcome


def wait_for_tasks(started, count=1):
    deadline = time.monotonic() + 60
    while len(started) < count and time.monotonic() < deadline:
        time.sleep(0.01)


@pytest.fixture
def watched(data):
    started = []

    def listen(event):
        if type(event).__name__ == "TaskStarted":
            started.append(event)

    with starling_py.connect(data, workers=2, listeners=[listen]) as connected:
        yield connected, started


def test_cancel(watched):
    connection, started = watched
    cursor, thread, outcome = running(connection)
    wait_for_tasks(started)
    cursor.cancel()
    thread.join(60)
    assert isinstance(outcome[0], Cancelled)
    assert isinstance(outcome[0], starling_py.OperationalError)
    assert cursor.description is None
    assert cursor.execute("SELECT 1").fetchall() == [(1,)]
    cursor.cancel()
    with pytest.raises(Cancelled):
        cursor.fetchall()
    assert cursor.execute("SELECT 2").fetchall() == [(2,)]


@pytest.mark.parametrize("end", ["cursor", "connection"])
def test_closing_stops_what_runs(watched, end):
    connection, started = watched
    cursor, thread, outcome = running(connection)
    wait_for_tasks(started)
    (cursor if end == "cursor" else connection).close()
    thread.join(60)
    assert isinstance(outcome[0], starling_py.Error)
    assert outcome[0].code in ("CANCELLED", "CLOSED")
    with pytest.raises(starling_py.InterfaceError, match="closed"):
        cursor.execute("SELECT 1")


def test_aexecute(data):
    async def main():
        with starling_py.connect(data, workers=2) as connection:
            cursors = await asyncio.gather(
                *(connection.aexecute("SELECT count(*) + ? FROM t", [n]) for n in range(5))
            )
            assert [cursor.fetchall() for cursor in cursors] == [[(60_000 + n,)] for n in range(5)]
            with pytest.raises(starling_py.ProgrammingError, match="nothing"):
                await connection.aexecute("SELECT nothing")

    asyncio.run(main())


def test_a_cancelled_await_cancels_the_query(watched):
    connection, started = watched

    async def main():
        task = asyncio.create_task(connection.aexecute(ENDLESS))
        await asyncio.to_thread(wait_for_tasks, started)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(connection.aexecute(ENDLESS), 0.2)
        assert (await connection.aexecute("SELECT 1")).fetchall() == [(1,)]

    asyncio.run(main())
    assert not [t for t in threading.enumerate() if t.name == "starling-query"]


VALUES = """
import sys
for name in ("numpy", "pandas", "polars"):
    sys.modules[name] = None
import starling_py
SQL = '''SELECT 170141183460469231731687303715884105727::HUGEINT, 1.50, TIMESTAMPTZ '2020-01-01',
    uuid(), INTERVAL 1 DAY, 'a'::BLOB, [1], {'a': 1}, MAP {'k': 'v'}, TIME '10:00', ?'''
with starling_py.connect() as connection:
    cursor = connection.execute(SQL, [{"b": [1]}])
    print(*(type(value).__name__ for value in cursor.fetchone()))
    try:
        cursor.df()
    except starling_py.Error as error:
        print(error, "|", error.hint)
"""


def test_values_need_no_further_packages():
    done = subprocess.run(
        [sys.executable, "-c", VALUES], check=True, capture_output=True, text=True, timeout=120
    )
    kinds, error = done.stdout.splitlines()
    assert kinds == "int Decimal datetime UUID timedelta bytes list dict dict time dict"
    assert error == "pandas is not installed | pip install 'starling-py[pandas]'"
