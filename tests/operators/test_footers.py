"""Footers are kept by file and state, as many as there is room for."""

from __future__ import annotations

import io

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from starling_py.operators.errors import BadParquet
from starling_py.operators.footers import Footers, column_leaves, footer_length


def footer_of(table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink)
    data = sink.getvalue()
    return data[-footer_length("x", data) :]


def test_the_footers_used_last_are_kept():
    data = footer_of(pa.table({"x": [1]}))
    footers = Footers(budget=2 * len(data))
    for name in ("a", "b"):
        footers.add(name, "1", data)
    assert footers.get("a", "1").url == "a"
    assert footers.get("a", "2") is None
    footers.add("c", "1", data)
    assert footers.get("b", "1") is None
    assert footers.get("a", "1") is not None
    assert footers.get("c", "1") is not None
    numbers = {footers.get(name, "1").number for name in "ac"}
    assert footers.add("b", "1", data).number not in numbers


def test_one_footer_is_kept_however_large():
    data = footer_of(pa.table({"x": [1]}))
    footers = Footers(budget=1)
    for name in ("a", "b"):
        footers.add(name, "1", data)
    assert footers.get("a", "1") is None
    assert footers.get("b", "1") is not None


def test_what_cannot_be_read_is_not_kept():
    footers = Footers()
    with pytest.raises(BadParquet, match="s3://b/k"):
        footers.add("s3://b/k", "1", b"x" * 20)
    assert footers.get("s3://b/k", "1") is None


def test_leaves_are_counted_as_duckdb_names_columns(tmp_path):
    path = tmp_path / "it's [a] file.parquet"
    table = pa.table(
        {
            "a": pa.array([1]),
            "s": pa.array([{"x": 1, "y": {"z": [1]}}]),
            "m": pa.array([[("k", [1])]], pa.map_(pa.string(), pa.list_(pa.int64()))),
            "A": pa.array([2]),
            "s.x": pa.array([3]),
        }
    )
    pq.write_table(table, path)
    with duckdb.connect() as connection:
        assert column_leaves(connection, path) == {
            "a": (0,),
            "s": (1, 2),
            "m": (3, 4),
            "a_1": (5,),
            "s.x": (6,),
        }
