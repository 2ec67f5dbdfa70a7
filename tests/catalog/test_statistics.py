"""Footer statistics in the form that compares like SQL."""

from __future__ import annotations

from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from starling_py.catalog.catalog import FileCatalog
from starling_py.planner.tables import ColumnRange

NOTHING = ColumnRange(None, None, 1)


@pytest.mark.parametrize(
    ("type_", "low", "high", "expected"),
    [
        ("TINYINT", "-3", "5", (-3, 5)),
        ("BIGINT", "-9223372036854775808", "9223372036854775807", (-(2**63), 2**63 - 1)),
        ("UTINYINT", "3", "255", (3, 255)),
        ("UINTEGER", "3", "4294967295", (3, 2**32 - 1)),
        ("UBIGINT", "3", "18446744073709551615", (3, 2**64 - 1)),
        ("DECIMAL(4,2)", "-12.34", "9.9", (Decimal("-12.34"), Decimal("9.90"))),
        ("DECIMAL(18,3)", "-12.345", "9.9", (Decimal("-12.345"), Decimal("9.900"))),
        (
            "DECIMAL(38,2)",
            "-123456789012345678901234567890123456.78",
            "1.5",
            (Decimal("-123456789012345678901234567890123456.78"), Decimal("1.50")),
        ),
        ("DATE", "1969-12-31", "1970-01-11", (-1, 10)),
        ("TIMESTAMP", "1969-12-31 23:59:59.5", "1970-01-01 00:00:01", (-500_000, 1_000_000)),
        ("TIMESTAMP_MS", "1969-12-31 23:59:59.5", "1970-01-01 00:00:01", (-500_000, 1_000_000)),
        ("TIMESTAMPTZ", "1970-01-01 00:00:00+00", "1970-01-01 00:00:01+00", (0, 1_000_000)),
        ("TIMESTAMP_NS", "1970-01-01", "1970-01-02", (None, None)),
        ("VARCHAR", "a", "é€", ("a", "é€")),
        ("VARCHAR", "a", "b" * 59, ("a", "b" * 59)),
        ("VARCHAR", "a", "b" * 64, ("a", None)),
        ("DOUBLE", "1", "2", (None, None)),
        ("FLOAT", "1", "2", (None, None)),
        ("BOOLEAN", "false", "true", (None, None)),
        ("BLOB", "a", "b", (None, None)),
        ("TIME", "10:00", "11:00", (None, None)),
        ("UUID", "0" * 32, "f" * 32, (None, None)),
        ("HUGEINT", "1", "2", (None, None)),
    ],
)
def test_forms(write, tmp_path, type_, low, high, expected):
    rows = ", ".join(f"(CAST({v} AS {type_}))" for v in (f"'{high}'", "NULL", f"'{low}'"))
    write("t.parquet", f"SELECT x FROM (VALUES {rows}) v(x)")
    found = FileCatalog(tmp_path).find("t").column_ranges("x")
    assert found == (ColumnRange(*expected, 1),)
    assert [type(value) for value in (found[0].minimum, found[0].maximum)] == [
        type(value) for value in expected
    ]


def test_all_null(write, tmp_path):
    write("t.parquet", "SELECT NULL::INT x FROM range(7)")
    assert FileCatalog(tmp_path).find("t").column_ranges("x") == (ColumnRange(None, None, 7),)


def test_without_statistics(tmp_path):
    pq.write_table(pa.table({"x": [1]}), tmp_path / "t.parquet", write_statistics=False)
    assert FileCatalog(tmp_path).find("t").column_ranges("x") == (ColumnRange(None, None, None),)


def test_int96(tmp_path):
    data = pa.table({"x": pa.array([1], pa.timestamp("ns"))})
    pq.write_table(data, tmp_path / "t.parquet", use_deprecated_int96_timestamps=True)
    found = FileCatalog(tmp_path).find("t").column_ranges("x")
    assert (found[0].minimum, found[0].maximum) == (None, None)


def test_nested_columns_have_none(write, tmp_path):
    write("t.parquet", "SELECT {'a': 1} s, [1, 2] l, {'a': 1, 'b': 2} p, 7 x, MAP {1: 2} m")
    table = FileCatalog(tmp_path).find("t")
    for name in "slpm":
        assert table.column_ranges(name) == (ColumnRange(None, None, None),)
    assert table.column_ranges("X")[0].minimum == 7
    assert table.column_bytes("p") > table.column_bytes("x") > 0


def test_unknown_writers_order_strings_in_unknown_ways(tmp_path, write):
    path = write("t.parquet", "SELECT 'a' s, 7::UINTEGER u, -3 i")
    data = path.read_bytes()
    assert data.count(b"DuckDB version") == 1
    path.write_bytes(data.replace(b"DuckDB version", b"Ancient writer"))
    table = FileCatalog(tmp_path).find("t")
    assert [table.column_ranges(name)[0].minimum for name in "sui"] == [None, None, -3]


def test_row_groups(tmp_path):
    data = pa.table({"x": list(range(25)), "s": [f"{n:03}" for n in range(25)]})
    pq.write_table(data.slice(0, 20), tmp_path / "t.parquet", row_group_size=10)
    pq.write_table(data.slice(20), tmp_path / "u.parquet", row_group_size=10)
    table = FileCatalog(None, {"t": f"{tmp_path}/*.parquet"}).find("t")
    assert [(g.first_row, g.rows) for f in table.files for g in f.row_groups] == [
        (0, 10),
        (10, 10),
        (0, 5),
    ]
    assert [(r.minimum, r.maximum) for r in table.column_ranges("x")] == [
        (0, 9),
        (10, 19),
        (20, 24),
    ]
    footers = [pq.read_metadata(f.path) for f in table.files]
    assert table.column_bytes("x") == sum(
        m.row_group(g).column(0).total_uncompressed_size
        for m in footers
        for g in range(m.num_row_groups)
    )
    for file in table.files:
        assert 0 < sum(group.bytes for group in file.row_groups) < file.size


def test_hive_columns_have_exact_ranges(write, tmp_path):
    for day, n, word in (("1970-01-02", "0x10", "b%20c"), ("1970-01-03", "7", "a")):
        write(f"t/d={day}/n={n}/w={word}/f.parquet", "SELECT 1 x")
    write("t/d=__HIVE_DEFAULT_PARTITION__/n=1/w=z/f.parquet", "SELECT 1 x FROM range(3)")
    table = FileCatalog(tmp_path).find("t")
    assert [r.minimum for r in table.column_ranges("d")] == [1, 2, None]
    assert [r.nulls for r in table.column_ranges("d")] == [0, 0, 3]
    assert [r.maximum for r in table.column_ranges("n")] == [16, 7, 1]
    assert [r.maximum for r in table.column_ranges("w")] == ["b c", "a", "z"]
    assert table.column_bytes("d") == 0


def test_a_hive_timestamp(write, tmp_path):
    write("t/ts=1970-01-01T00:00:01/f.parquet", "SELECT 1 x")
    table = FileCatalog(tmp_path).find("t")
    assert table.columns[1].type == "TIMESTAMP"
    assert table.column_ranges("ts")[0].minimum == 1_000_000
