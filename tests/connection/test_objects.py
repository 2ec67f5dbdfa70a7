"""The caller's own data frames and Arrow tables answer as DuckDB answers over them."""

from __future__ import annotations

import datetime as dt
import gc
import uuid
from decimal import Decimal
from pathlib import Path

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import starling_py

ROWS = 50


def pandas_frame() -> pd.DataFrame:
    days = pd.date_range("2020-01-01", periods=ROWS)
    return pd.DataFrame(
        {
            "i": range(ROWS),
            "u": pd.array([None, *range(1, ROWS)], dtype="UInt8"),
            "x": [float("nan"), *(n / 8 for n in range(1, ROWS))],
            "s": [None, *(f"it's {n}" for n in range(1, ROWS))],
            "c": pd.Categorical(["b", "a"] * (ROWS // 2), categories=["z", "b", "a"]),
            "day": days,
            "ms": days.astype("datetime64[ms]"),
            "zoned": days.tz_localize("Europe/Berlin"),
            "delta": pd.to_timedelta([-(10**6) - 1, *range(1, ROWS)], unit="us"),
            "flag": [True, False] * (ROWS // 2),
            "dec": [Decimal("1.50"), None] * (ROWS // 2),
            "date": [dt.date(2020, 1, 1)] * ROWS,
            "time": [dt.time(1, 2, 3)] * ROWS,
            "id": [uuid.UUID(int=n) for n in range(ROWS)],
            "listed": [[n, None] for n in range(ROWS)],
            "with space": [b"a\\0", None] * (ROWS // 2),
        }
    )


def arrow_table() -> pa.Table:
    return pa.table(
        {
            "i": pa.array(range(ROWS), pa.uint16()),
            "d": pa.array([Decimal(n) / 4 for n in range(ROWS)], pa.decimal128(38, 2)),
            "t": pa.array([0] * ROWS, pa.timestamp("s")),
            "ns": pa.array(range(ROWS), pa.timestamp("ns")),
            "span": pa.array([(1, -2, 3000)] * ROWS, pa.month_day_nano_interval()),
            "words": pa.array(["a", "b"] * (ROWS // 2)).dictionary_encode(),
            "st": pa.array([{"a": n, "b": [str(n)]} for n in range(ROWS)]),
            "m": pa.array([[("k", 1)]] * ROWS, pa.map_(pa.string(), pa.int32())),
            "fixed": pa.array([[1, 2]] * ROWS, pa.list_(pa.int8(), 2)),
            "view": pa.array(["x" * 20] * ROWS, pa.string_view()),
            "nothing": pa.nulls(ROWS),
            "half": pa.array([1.5] * ROWS, pa.float32()),
        }
    )


OBJECTS = {
    "pandas": pandas_frame,
    "polars": lambda: pl.from_arrow(arrow_table().drop(["span", "fixed", "view", "m"])),
    "arrow": arrow_table,
    "batches": lambda: arrow_table().to_reader(max_chunksize=7),
    "relation": lambda: duckdb.connect().sql("SELECT 2::HUGEINT ** 100 AS h, i FROM range(9) t(i)"),
    "empty": lambda: arrow_table().slice(0, 0),
}


@pytest.mark.parametrize("name", OBJECTS)
@pytest.mark.parametrize("tasks", [None, 2])
def test_names_types_and_values_are_duckdb_s(name, tasks):
    given = OBJECTS[name]()
    known = given if isinstance(given, pd.DataFrame) else pa.table(OBJECTS[name]())
    with (
        duckdb.connect() as oracle,
        starling_py.connect(tables={"it": given}, tasks=tasks, workers=2) as connection,
    ):
        oracle.register("it", known)
        cursor = connection.execute("FROM it")
        described = oracle.execute("DESCRIBE FROM it").fetchall()
        assert [column[:2] for column in cursor.description] == [row[:2] for row in described]
        assert repr(cursor.fetchall()) == repr(oracle.execute("FROM it").fetchall())
        (table,) = connection.tables()
        assert (table.name, table.rows) == ("it", cursor.rowcount)


def test_they_join_each_other_and_files(data):
    frame = pd.DataFrame({"k": [1, 2, 2, 77], "name": list("abcd")})
    tables = {"f": frame, "files": str(data / "t"), "path": data / "t"}
    sql = """SELECT name, count(*), min(files.i), max(path.i) FROM f JOIN files USING (k)
        JOIN path ON path.i = files.i GROUP BY ALL ORDER BY 1"""
    with (
        starling_py.connect(tables=tables, tasks=2) as connection,
        duckdb.connect() as oracle,
    ):
        oracle.register("f", frame)
        for name in ("files", "path"):
            oracle.execute(f"CREATE VIEW {name} AS FROM '{data}/t/*.parquet'")
        assert connection.execute(sql).fetchall() == oracle.execute(sql).fetchall()


@pytest.mark.parametrize("isolation", ["thread", "process"])
def test_workers_of_any_kind_read_them(isolation):
    frame = pl.DataFrame({"a": [1, 2, 3]})
    with starling_py.connect(tables={"f": frame}, isolation=isolation, workers=1) as connection:
        assert connection.execute("SELECT sum(a) FROM f").fetchall() == [(6,)]


def test_the_text_of_a_value_is_a_value():
    frame = pd.DataFrame({"s": ["'); DROP TABLE f; --", "NULL", ""]})
    with starling_py.connect(tables={"f": frame}) as connection:
        assert [s for (s,) in connection.execute("FROM f")] == list(frame["s"])


def test_nothing_is_left(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    frame = pd.DataFrame({"a": [1]})
    with starling_py.connect(tables={"f": frame}) as connection:
        connection.execute("FROM f")
    assert list(tmp_path.iterdir()) == []
    forgotten = starling_py.connect(tables={"f": frame})
    assert len(list(tmp_path.iterdir())) == 1
    del forgotten
    gc.collect()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(starling_py.UsageError):
        starling_py.connect(tables={"f": frame, "g": 5})
    with pytest.raises(starling_py.UsageError):
        starling_py.connect(Path("nowhere"), tables={"f": frame})
    assert list(tmp_path.iterdir()) == []


WRONG = [
    (5, starling_py.UsageError, "an? int is no table"),
    ([{"a": 1}], starling_py.UsageError, "an? list is no table"),
    (pd.DataFrame(), starling_py.DataError, "table f: the object cannot be read"),
]


@pytest.mark.parametrize(("given", "kind", "message"), WRONG)
def test_what_is_no_table(given, kind, message):
    with pytest.raises(kind, match=message):
        starling_py.connect(tables={"f": given})


def test_functions_cannot_read_them():
    with pytest.raises(starling_py.UsageError, match="f is an object of this process"):
        starling_py.connect(
            tables={"f": pd.DataFrame({"a": [1]})}, target="lambda", scratch="s3://bucket/tmp"
        )
