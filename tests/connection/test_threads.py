"""Fifty threads on one connection: every answer is right, and nothing stays."""

from __future__ import annotations

import gc
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb
import pytest

import starling_py
from starling_py.shuffle.memory import MemoryStore

QUERIES = [
    ("SELECT ? + 1", lambda n: [n]),
    ("SELECT count(*) FROM t WHERE i < $n", lambda n: {"n": n}),
    ("SELECT k, sum(i) FROM t WHERE i % 50 = ? GROUP BY k ORDER BY k", lambda n: [n % 50]),
    ("SELECT s, i FROM t WHERE i BETWEEN ? AND ? ORDER BY ALL", lambda n: [n, n + 3]),
    ("SELECT count(*) FROM t a JOIN t b ON a.i = b.i WHERE a.i < ?", lambda n: [n]),
    ("SELECT i, row_number() OVER (ORDER BY i, k) FROM t WHERE i < ? LIMIT 9", lambda n: [n]),
    ("SELECT nothing FROM t", lambda _: []),
    ("SELECT CAST(s AS INTEGER) FROM t", lambda _: []),
    ("SELECT ?", lambda _: []),
]


def answer(connection, number):
    sql, parameters = QUERIES[number % len(QUERIES)]
    try:
        cursor = connection.execute(sql, parameters(number % 11))
        if number % 3 == 0 and isinstance(cursor, starling_py.Cursor):
            return [tuple(row.values()) for row in cursor.arrow().to_pylist()]
        rows = cursor.fetchall()
    except (duckdb.Error, starling_py.Error) as error:
        return "InvalidInput" if "arameter" in str(error) else "error"
    if isinstance(cursor, starling_py.Cursor) and number % 2:
        cursor.close()
    return rows


@pytest.mark.parametrize("count", [300, pytest.param(1000, marks=pytest.mark.long)])
def test_fifty_threads_one_connection(data, tmp_path, monkeypatch, count):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    stores = []

    def kept(**options):
        stores.append(MemoryStore(**options))
        return stores[-1]

    monkeypatch.setattr("starling_py.invokers.chosen.MemoryStore", kept)
    with duckdb.connect() as oracle:
        oracle.execute(f"CREATE VIEW t AS FROM '{data}/t/*.parquet'")
        want = [answer(oracle, number) for number in range(9 * 11)]
    connection = starling_py.connect(data, workers=2)
    with ThreadPoolExecutor(50) as pool:
        list(pool.map(lambda n: answer(connection, n), range(50)))  # starts what there is to start
    threads, files = lasting_threads(), open_files()
    order = list(range(count))
    random.Random(3).shuffle(order)
    with ThreadPoolExecutor(50) as pool:
        got = dict(zip(order, pool.map(lambda n: answer(connection, n), order), strict=True))
    wrong = [n for n in order if got[n] != want[n % len(want)]]
    assert wrong == []
    gc.collect()
    assert lasting_threads() == threads
    assert open_files() <= files
    assert all(store.held_bytes == 0 and list(store.list("")) == [] for store in stores)
    connection.close()
    assert list(tmp_path.iterdir()) == []


def lasting_threads() -> set[str]:
    """Names of the threads that run, without the event loop's helpers, of which there are few."""
    return {t.name for t in threading.enumerate() if not t.name.startswith("asyncio")}


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))
