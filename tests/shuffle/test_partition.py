from __future__ import annotations

import math
import struct
import subprocess
import sys
from collections import Counter
from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from starling_py.shuffle.partition import (
    MAX_PARTITIONS,
    PARTITION_FUNCTION,
    partition_expression,
    partition_type,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        yield connection


def numbers(
    con: duckdb.DuckDBPyConnection, source: str, *keys: str, count: int = 1 << 20
) -> list[int]:
    expression = partition_expression(keys, count)
    return [row[0] for row in con.sql(f"SELECT {expression} FROM {source}").fetchall()]


def test_the_function_has_not_changed(con: duckdb.DuckDBPyConnection) -> None:
    """Numbers of known keys: if they change, the function needs a new name."""
    assert PARTITION_FUNCTION == "duckdb-hash-high-1"
    integers = numbers(con, "(VALUES (0), (1), (-1), (NULL), (2147483647)) AS t(k)", "k::BIGINT")
    assert integers == [0, 96688, 298537, 1005639, 540485]
    texts = numbers(con, "(VALUES ('a'), (''), ('naïve'), (NULL)) AS t(k)", "k")
    assert texts == [939156, 448601, 820570, 1005639]
    assert numbers(con, "(VALUES (1, 'a'), (NULL, 'b')) AS t(k, s)", "k", "s") == [552933, 5776]


@pytest.mark.parametrize(
    ("count", "kind"),
    [
        (1, "UTINYINT"),
        (2, "UTINYINT"),
        (256, "UTINYINT"),
        (257, "USMALLINT"),
        (65536, "USMALLINT"),
        (65537, "UINTEGER"),
        (MAX_PARTITIONS, "UINTEGER"),
    ],
)
@pytest.mark.parametrize("spread", [True, False])
def test_numbers_fit_their_type_and_count(
    con: duckdb.DuckDBPyConnection, count: int, kind: str, spread: bool
) -> None:
    assert partition_type(count) == kind
    expression = partition_expression(["i"], count, spread_nulls=spread)
    found = con.sql(
        f"SELECT typeof(any_value(p)), min(p), max(p), count(DISTINCT p) "
        f"FROM (SELECT {expression} AS p FROM range(20 * {min(count, 5000)}) AS t(i))"
    ).fetchall()[0]
    assert found[0] == kind
    assert 0 <= found[1] <= found[2] < count
    assert found[3] == count or count > 5000


@pytest.mark.parametrize("count", [0, -1, MAX_PARTITIONS + 1])
def test_impossible_counts_are_refused(count: int) -> None:
    with pytest.raises(ValueError, match="partitions"):
        partition_expression(["k"], count)


def test_no_keys_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one key"):
        partition_expression([], 4)


def test_partitions_fill_evenly(con: duckdb.DuckDBPyConnection) -> None:
    for source, key in (
        ("range(100000) AS t(k)", "k"),
        ("range(100000) AS t(k)", "k * 1000"),
        ("range(100000) AS t(k)", "'key ' || k"),
        ("range(100000) AS t(k)", "DATE '1970-01-01' + k::INTEGER"),
        ("range(100000) AS t(k)", "k::DECIMAL(18, 2) / 100"),
    ):
        sizes = Counter(numbers(con, source, key, count=50))
        assert len(sizes) == 50
        assert max(sizes.values()) < 2 * 100_000 / 50


# Values of one SQL type that are equal in SQL, in different representations.
NAN_64 = [0x7FF8000000000000, 0xFFF8000000000000, 0x7FF0000000000001, 0x7FF80000DEADBEEF]
NAN_32 = [0x7FC00000, 0xFFC00000, 0x7F800001, 0x7FC0BEEF]


def doubles() -> pa.Array:
    bits = [*NAN_64, 0, 1 << 63]
    return pa.Array.from_buffers(pa.float64(), 6, [None, pa.py_buffer(struct.pack("<6Q", *bits))])


def floats() -> pa.Array:
    bits = [*NAN_32, 0, 1 << 31]
    return pa.Array.from_buffers(pa.float32(), 6, [None, pa.py_buffer(struct.pack("<6I", *bits))])


@pytest.mark.parametrize("values", [doubles(), floats()], ids=["DOUBLE", "FLOAT"])
def test_zeros_and_nans_meet(con: duckdb.DuckDBPyConnection, values: pa.Array) -> None:
    offsets = pa.array(range(7), pa.int32())
    keys = pa.table(
        {
            "plain": values,
            "list": pa.ListArray.from_arrays(offsets, values),
            "fixed": pa.FixedSizeListArray.from_arrays(values, 1),
            "struct": pa.StructArray.from_arrays([values], ["f"]),
            "deep": pa.StructArray.from_arrays([pa.ListArray.from_arrays(offsets, values)], ["l"]),
        }
    )
    con.register("keys", keys)
    try:
        for column in keys.column_names:
            found = numbers(con, "keys", column)
            assert len(set(found[:4])) == 1, column
            assert len(set(found[4:])) == 1, column
        found = numbers(con, "keys", "MAP {plain: plain}")
        assert (len(set(found[:4])), len(set(found[4:]))) == (1, 1)
    finally:
        con.unregister("keys")


@pytest.mark.parametrize(
    "values",
    [
        ["INTERVAL 1 month", "INTERVAL 30 days", "INTERVAL 720 hours"],
        ["1::DECIMAL(38, 2)", "1.00::DECIMAL(38, 2)", "(0.5 + 0.5)::DECIMAL(38, 2)"],
        ["TIMESTAMPTZ '2020-01-01 12:00:00+00'", "TIMESTAMPTZ '2020-01-01 14:00:00+02'"],
        ["'\\x41'::BLOB", "'A'::BLOB"],
    ],
)
def test_equal_values_meet(con: duckdb.DuckDBPyConnection, values: list[str]) -> None:
    source = "(" + " UNION ALL ".join(f"SELECT {value} AS k" for value in values) + ")"
    assert con.sql(f"SELECT count(DISTINCT k) FROM {source}").fetchall() == [(1,)]
    assert len(set(numbers(con, source, "k"))) == 1


def test_how_duckdb_holds_a_value_does_not_matter(con: duckdb.DuckDBPyConnection) -> None:
    """Constant, dictionary, flat and sliced vectors; from Arrow, Parquet's encodings, a literal."""
    texts = ["a", "a string of more than twelve bytes", "", "ü"] * 500
    arrow = pa.table({"k": pa.array(texts).dictionary_encode(), "v": pa.array(texts)})
    con.register("arrow", arrow)
    con.execute("CREATE OR REPLACE TEMP TABLE held AS SELECT v AS k FROM arrow")
    try:
        flat = numbers(con, "arrow", "v")
        assert numbers(con, "arrow", "k") == flat
        assert numbers(con, "held", "k") == flat
        assert numbers(con, "(SELECT * FROM arrow OFFSET 1)", "k") == flat[1:]
        constants = [numbers(con, "range(1)", f"'{text}'")[0] for text in texts[:4]]
        assert constants == flat[:4]
        assert numbers(con, "arrow", "v", "7") == numbers(con, "arrow", "k", "length('1234567')")
    finally:
        con.unregister("arrow")


KEY = st.tuples(
    st.integers(-(2**31), 2**31 - 1) | st.none(),
    st.text(max_size=30).filter(lambda text: "\x00" not in text) | st.none(),
    st.floats(allow_nan=True) | st.none(),
)


@settings(deadline=None, max_examples=50)
@given(st.lists(KEY, min_size=1, max_size=40), st.integers(1, 300))
def test_equal_keys_meet_in_one_partition_of_any_exchange(
    con: duckdb.DuckDBPyConnection,
    keys: list[tuple[int | None, str | None, float | None]],
    count: int,
) -> None:
    """One side holds the keys as INTEGER and in order, the other as BIGINT and reversed."""
    columns = {"i": [k[0] for k in keys], "s": [k[1] for k in keys], "d": [k[2] for k in keys]}
    kinds = {"i": pa.int32(), "s": pa.string(), "d": pa.float64()}
    left = pa.table({name: pa.array(values, kinds[name]) for name, values in columns.items()})
    right = left.take(list(reversed(range(left.num_rows))))
    right = right.set_column(0, "i", right.column("i").cast(pa.int64()))
    con.register("l", left)
    con.register("r", right)
    try:
        expressions = ["i::BIGINT", "s", "d"]
        of_left = numbers(con, "l", *expressions, count=count)
        of_right = numbers(con, "r", *expressions, count=count)
    finally:
        con.unregister("l")
        con.unregister("r")
    assert of_left == of_right[::-1]
    seen: dict[object, int] = {}
    for (i, s, d), number in zip(keys, of_left, strict=True):
        same = (i, s, "nan" if d is not None and math.isnan(d) else d)  # 0.0 == -0.0 in a dict
        assert seen.setdefault(same, number) == number


def test_nulls_are_spread_only_when_asked(con: duckdb.DuckDBPyConnection) -> None:
    source = "(VALUES (1, 'a'), (NULL, 'a'), (1, NULL), (NULL, NULL)) AS t(i, s)"
    spread = partition_expression(["i", "s"], 8, spread_nulls=True)
    found = [row[0] for row in con.sql(f"SELECT {spread} FROM {source}").fetchall()]
    together = numbers(con, source, "i", "s", count=8)
    assert found == [together[0], None, None, None]
    assert None not in together
    one = partition_expression(["i"], 1, spread_nulls=True)
    assert con.sql(f"SELECT {one} FROM {source}").fetchall() == [(0,), (None,), (0,), (None,)]
    nested = partition_expression(["struct_pack(a := i)"], 8, spread_nulls=True)
    assert None not in [row[0] for row in con.sql(f"SELECT {nested} FROM {source}").fetchall()]


def test_keys_are_whole_expressions(con: duckdb.DuckDBPyConnection) -> None:
    source = "range(100) AS t(k)"
    assert numbers(con, source, "k = 1 OR k = 2") == numbers(con, source, "(k = 1 OR k = 2)")
    spread = partition_expression(["CASE WHEN k > 5 THEN k END"], 4, spread_nulls=True)
    assert con.sql(f"SELECT count({spread}) FROM {source}").fetchall() == [(94,)]


def test_the_function_is_the_same_in_every_process(con: duckdb.DuckDBPyConnection) -> None:
    query = f"SELECT {partition_expression(['k', 'k::VARCHAR'], 1000)} FROM range(100) AS t(k)"
    program = f"import duckdb; print([row[0] for row in duckdb.sql({query!r}).fetchall()])"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == str([row[0] for row in con.sql(query).fetchall()])
