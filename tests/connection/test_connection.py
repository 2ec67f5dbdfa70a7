"""A connection answers as DuckDB does, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import duckdb
import pyarrow as pa
import pytest

import starling_py
from starling_py.engine import Engine
from starling_py.errors import NoFiles, SqlSyntaxError, StarlingError, UnknownTable, UsageError

EVERY_TYPE = """SELECT 1::TINYINT a, 2::UBIGINT b, 3::HUGEINT c, 4::UHUGEINT d, 1.5::DECIMAL(30,3)
e, 1.5::FLOAT f, 'nan'::DOUBLE g, 'x' h, true i, DATE '2020-01-01' j, TIMESTAMP '2020-01-01' k,
TIMESTAMP_NS '2020-01-01' l, TIMESTAMP_S '2020-01-01' m, TIME '10:00' n, INTERVAL '1 month' o,
'12345678-1234-1234-1234-123456789012'::UUID p, 'a'::BLOB q, [1, NULL] s,
{'x': 1, 'y': ['z']} t, MAP {'k': 1} u, '{"a": 1}'::JSON v, 'a'::ENUM ('a', 'b') w, NULL x,
union_value(num := 2) y, [1, 2]::INT[2] z, (1, 'a') aa,
TIMESTAMPTZ '2020-01-01 12:00:00+02' bb, TIMETZ '10:00:00+02' cc"""


@pytest.fixture(scope="module")
def connection(data):
    with starling_py.connect(data, tasks=2, workers=2) as connected:
        yield connected


@pytest.mark.parametrize(
    "sql",
    [
        EVERY_TYPE,
        "SELECT '101'::BIT",
        "SELECT 12::BIGNUM",
        "SELECT count(*) FROM range(7)",
        "SELECT 1 AS x, 2 AS x, 3 AS X",
        "SELECT 1 WHERE false",
        'SELECT 1 AS "a b", 2 AS "q""q", 3 AS "é"',
        "SELECT k, count(*), sum(i), avg(i), min(s) FROM t GROUP BY k ORDER BY k",
        "FROM t ORDER BY i, k LIMIT 5",
        "SELECT k, row_number() OVER (ORDER BY i, k, s) r FROM main.t ORDER BY r LIMIT 5",
        "SELECT main.t.k, count(*) OVER () FROM memory.main.t ORDER BY 1 LIMIT 5",
    ],
    ids=[
        "types",
        "bit",
        "bignum",
        "range",
        "duplicates",
        "nothing",
        "names",
        "groups",
        "top",
        "schema",
        "database",
    ],
)
def test_answers_are_duckdb_s(connection, data, sql):
    with duckdb.connect() as oracle:
        oracle.execute(f"CREATE VIEW t AS FROM '{data}/t/*.parquet'")
        expected = oracle.sql(sql).to_arrow_table()
        rows = oracle.execute(sql).fetchall()
        described = oracle.execute(f"DESCRIBE {sql}").fetchall()
    cursor = connection.execute(sql)
    assert [column[:2] for column in cursor.description] == [row[:2] for row in described]
    assert cursor.arrow().schema.equals(expected.schema, check_metadata=True)
    assert cursor.arrow().num_rows == expected.num_rows == cursor.rowcount
    found = cursor.fetchall()
    assert repr(found) == repr(rows)
    assert [type(v) for row in found for v in row] == [type(v) for row in rows for v in row]


def test_fetching(connection):
    cursor = connection.execute("SELECT i FROM t ORDER BY i, k LIMIT 10")
    assert cursor.fetchone() == (0,)
    assert cursor.fetchmany() == [(0,)]
    assert cursor.fetchmany(3) == [(1,), (1,), (2,)]
    assert cursor.arrow().num_rows == 10
    assert cursor.fetchall() == [(2,), (3,), (3,), (4,), (4,)]
    assert cursor.fetchall() == []
    assert cursor.fetchone() is None
    assert cursor.fetchmany(3) == []
    assert list(connection.execute("SELECT unnest([1, 2])")) == [(1,), (2,)]


def test_a_cursor_keeps_its_connection(data):
    cursor = starling_py.connect(data).execute("SELECT max(k) FROM t")
    gc.collect()
    assert cursor.fetchall() == [(9,)]
    assert cursor.connection.execute("SELECT 1").fetchall() == [(1,)]
    cursor.connection.close()


def test_what_a_query_took(connection):
    cursor = connection.execute("SELECT s, count(*) FROM t GROUP BY s")
    run = cursor.run
    assert run.rows == 30_000
    assert run.stages == len(run.plan.stages) > 1
    assert run.tasks == run.plan.tasks == len(run.reports)
    assert run.shuffled_bytes > 0
    assert run.plan_seconds > 0
    assert {worker for worker, _ in run.peak_rss} == {report.worker for report in run.reports}


def test_query_ids_are_unique_and_sort_by_time(connection):
    ids = [connection.explain("SELECT 1").query for _ in range(3)]
    assert len(set(ids)) == 3
    assert len({len(query) for query in ids}) == 1
    assert all(query.isalnum() for query in ids)


def test_explain_runs_nothing(data):
    before = threading.active_count()
    with starling_py.connect(data) as connected:
        assert connected.explain("SELECT count(*) FROM t").result[0].type == "BIGINT"
        assert threading.active_count() == before


def test_tables(connection, data):
    (table,) = connection.tables()
    assert (table.name, table.files, table.rows, table.error) == ("t", 2, 60_000, None)
    assert [(c.name, c.type) for c in table.columns] == [
        ("i", "BIGINT"),
        ("k", "BIGINT"),
        ("s", "VARCHAR"),
    ]
    with starling_py.connect(tables={"x": f"{data}/none/*"}) as connected:
        (broken,) = connected.tables()
        assert isinstance(broken.error, NoFiles)


def test_errors_are_pep_249_s(connection):
    assert issubclass(StarlingError, starling_py.Error)
    with pytest.raises(starling_py.Error) as caught:
        connection.execute("SELECT FROM WHERE")
    assert isinstance(caught.value, SqlSyntaxError)
    with pytest.raises(UnknownTable, match="nothing"):
        connection.execute("FROM nothing")
    with pytest.raises(starling_py.DatabaseError):
        connection.execute("FROM 'nothing.parquet'")
    # A failure leaves the connection as it was.
    assert connection.execute("SELECT 1").fetchall() == [(1,)]


def test_what_is_no_sql(connection):
    for sql in (None, 5, b"SELECT 1", "SELECT '\udcff'"):
        with pytest.raises(UsageError, match="the SQL"):
            connection.execute(sql)
    for sql in ("", " ;", "-- nothing"):
        with pytest.raises(SqlSyntaxError, match="empty"):
            connection.execute(sql)


def test_tracebacks_show_hints(connection):
    with pytest.raises(UnknownTable) as caught:
        connection.execute("FROM tt")
    assert caught.value.__notes__ == ["hint: did you mean t?"]


def test_inside_an_event_loop(connection):
    async def ask() -> list[tuple[int]]:
        return connection.execute("SELECT count(*) FROM t").fetchall()

    assert asyncio.run(ask()) == [(60_000,)]


def test_a_failed_statement_drops_the_earlier_answer(connection):
    cursor = connection.execute("SELECT 1")
    with pytest.raises(StarlingError):
        cursor.execute("FROM nothing")
    assert cursor.description is None
    with pytest.raises(UsageError, match="no query has run"):
        cursor.fetchall()


@pytest.mark.parametrize(
    "options",
    [
        {"tasks": 0},
        {"workers": -1},
        {"tasks": "3"},
        {"workers": 1.5},
        {"data": ""},
        {"isolation": "none"},
        {"memory": "much"},
        {"memory": 5},
        {"memory": 1e9},
        {"memory": True},
        {"data": "/nowhere"},
        {"tables": {"": "x"}},
    ],
    ids=str,
)
def test_wrong_options(options):
    with pytest.raises(UsageError):
        starling_py.connect(**options)
    with pytest.raises(starling_py.ProgrammingError):
        starling_py.connect(**options)


def test_closed(data):
    connected = starling_py.connect(data)
    cursor = connected.execute("SELECT 1")
    other = connected.execute("SELECT 2")
    other.close()
    with pytest.raises(UsageError, match="cursor is closed"):
        other.fetchall()
    with pytest.raises(UsageError, match="cursor is closed"):
        other.execute("SELECT 1")
    connected.close()
    connected.close()
    for use in (
        cursor.fetchall,
        connected.cursor,
        connected.tables,
        lambda: connected.execute("SELECT 1"),
        lambda: connected.explain("SELECT 1"),
    ):
        with pytest.raises(UsageError, match="closed"):
            use()


def test_files_may_change_between_queries(tmp_path):
    with duckdb.connect() as writer, starling_py.connect(tmp_path) as connected:
        for rows in (3, 5):
            writer.execute(f"COPY (FROM range({rows})) TO '{tmp_path}/t.parquet'")
            assert connected.execute("SELECT count(*) FROM t").fetchall() == [(rows,)]
        writer.execute(f"COPY (FROM range(7)) TO '{tmp_path}/u.parquet'")
        assert connected.execute("SELECT count(*) FROM t, u").fetchall() == [(35,)]


def test_threads_share_a_connection(connection):
    def ask(number: int) -> int:
        return connection.execute(f"SELECT count(*) FROM t WHERE k < {number}").fetchall()[0][0]

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(ask, range(10))) == [6000 * number for number in range(10)]


def test_events(data):
    events = []
    with starling_py.connect(data, listeners=[events.append]) as connected:
        connected.execute("SELECT count(*) FROM t")
    names = [type(event).__name__ for event in events]
    assert names[0] == "QueryPlanned"
    assert names[-1] == "QueryFinished"


@pytest.mark.parametrize("isolation", ["thread", "process"])
def test_nothing_is_left(data, tmp_path, monkeypatch, isolation):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.chdir(tmp_path)
    before = set(threading.enumerate())
    sql = "SELECT s, count(*) FROM t GROUP BY s"
    with starling_py.connect(data, tasks=2, workers=2, isolation=isolation) as connected:
        connected.execute(sql).fetchone()
    assert set(threading.enumerate()) - before == set()
    assert list(tmp_path.iterdir()) == []
    # Also when it is only forgotten.
    connected = starling_py.connect(data, tasks=2, workers=2, isolation=isolation)
    connected.execute(sql)
    del connected
    gc.collect()
    assert set(threading.enumerate()) - before == set()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("isolation", ["thread", "process"])
def test_nothing_is_left_at_the_interpreter_s_end(data, tmp_path, isolation):
    code = (
        "import starling_py, sys\n"
        f"c = starling_py.connect({str(data)!r}, tasks=2, workers=2, isolation={isolation!r})\n"
        "cursor = c.execute('SELECT s, count(*) FROM t GROUP BY s')\n"
        "cursor.fetchone()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=tmp_path,
        env={"TMPDIR": str(tmp_path), "PATH": ""},
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(tmp_path.iterdir()) == []


def test_everything_is_let_go_of_even_if_the_engine_cannot_be_closed(data, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    connection = starling_py.connect(data, tables={"x": pa.table({"a": [1]})}, workers=1)
    assert connection.execute("FROM x").fetchall() == [(1,)]
    engine = connection._session._engine  # noqa: SLF001

    def fail():
        Engine.close(engine)
        raise OSError("no")

    engine.close = fail
    with pytest.raises(OSError, match="no"):
        connection.close()
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_opened_after_the_end(data):
    connection = starling_py.connect(data, target="lambda", scratch="s3://bucket/prefix")
    connection.close()
    with pytest.raises(starling_py.InterfaceError, match="closed"):
        connection._session.function.client()  # noqa: SLF001
