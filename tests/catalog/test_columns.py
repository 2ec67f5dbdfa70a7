"""Names and types are DuckDB's, for any files and any folders."""

from __future__ import annotations

from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from starling_py.catalog.catalog import FileCatalog
from starling_py.catalog.errors import HiveMismatch, SchemaMismatch, TableError, UsageError
from starling_py.planner.errors import Unsupported
from starling_py.planner.tables import ColumnSource

if TYPE_CHECKING:
    from pathlib import Path

    from starling_py.catalog.table import ParquetTable


def columns(table: ParquetTable) -> list[tuple[str, str]]:
    return [(column.name, column.type) for column in table.columns]


def described(oracle: duckdb.DuckDBPyConnection, relation: str) -> list[tuple[str, str]]:
    return [row[:2] for row in oracle.execute(f"DESCRIBE FROM {relation}").fetchall()]


def test_types_of_every_kind(write, oracle, tmp_path):
    write(
        "t/f.parquet",
        """SELECT 1::TINYINT a, 2::UBIGINT b, 1.5::DECIMAL(30,3) c, 1.5::FLOAT d, 'x' e, true f,
        DATE '2020-01-01' g, TIMESTAMP '2020-01-01' h, now() i, now()::TIMESTAMP_NS j, uuid() k,
        [1, 2] l, {'x': 1, 'y': ['z']} m, MAP {'k': 1} n, 'x'::BLOB o, TIME '10:00' p,
        '{}'::JSON q, 'a'::ENUM ('a', 'b') r, INTERVAL 1 DAY s, 1::HUGEINT t""",
    )
    table = FileCatalog(tmp_path).find("t")
    assert columns(table) == described(oracle, f"'{tmp_path}/t/f.parquet'")


def test_names_that_differ_only_by_case(oracle, tmp_path):
    (tmp_path / "t").mkdir()
    data = pa.table([pa.array([n]) for n in range(4)], names=["a", "A", "a_1", "A"])
    pq.write_table(data, tmp_path / "t/f.parquet")
    table = FileCatalog(tmp_path).find("t")
    assert columns(table) == described(oracle, f"'{tmp_path}/t/f.parquet'")
    # Each keeps its own statistics: the name stands for a position, not for a spelling.
    assert [table.column_ranges(c.name)[0].minimum for c in table.columns] == [0, 1, 2, 3]


def test_odd_names(tmp_path):
    folder = tmp_path / "my 'odd' \"table\" é"
    folder.mkdir()
    data = pa.table({"a b": [1], 'q"q': [2], "it's": [3], "π": [4], "x.y": [5]})
    pq.write_table(data, folder / "f[1]*?.parquet")
    pq.write_table(data, folder / "f1.parquet")
    table = FileCatalog(tmp_path).find(folder.name)
    assert columns(table) == [(n, "BIGINT") for n in ("a b", 'q"q', "it's", "π", "x.y")]
    assert [table.column_ranges(c.name)[0].minimum for c in table.columns] == [1, 2, 3, 4, 5]
    assert len(table.files) == 2


VALUES = st.sampled_from(
    [
        *("1", "2", "-5", "+5", "01", "0x10", "1_000", "1.5", "1e3", "99999999999999999999"),
        *("true", "NULL", "null", "x", "a%20b", "%31", "%zz", "é", "x=y"),
        *("2020-01-01", "2020-1-1", "20200101", "2020-01-01T00:00:00", "inf", "infinity"),
        "__HIVE_DEFAULT_PARTITION__",
    ]
) | st.text("0123456789abcXYZ -:.%", max_size=6)


@example(["null", "1"])
@example(["", "1"])
@example(["__HIVE_DEFAULT_PARTITION__", "2020-01-01"])
@example(["%80"])
@given(st.lists(VALUES, min_size=1, max_size=4, unique=True))
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_hive_types_and_values(tmp_path_factory, values):
    root = tmp_path_factory.mktemp("hive")
    for number, value in enumerate(values):
        folder = root / "t" / f"k={value}"
        folder.mkdir(parents=True)
        pq.write_table(pa.table({"x": [number]}), folder / "f.parquet")
    with duckdb.connect() as oracle:
        relation = f"read_parquet('{root}/t/**/*.parquet')"
        try:
            oracle.execute(f"FROM {relation}").fetchall()
        except duckdb.InvalidInputException:
            with pytest.raises(TableError, match="UTF-8"):
                FileCatalog(root).find("t")
            return
        table = FileCatalog(root).find("t")
        assert columns(table) == described(oracle, relation)
        hive = [c for c in table.columns if c.source is ColumnSource.HIVE]
        if not hive:
            return
        expected = oracle.execute(f"SELECT k FROM {relation} ORDER BY x").fetchall()
        texts: dict[int, str | None] = {}
        for file in table.files:
            x = pq.read_table(file.path, partitioning=None)["x"][0].as_py()
            texts[x] = file.hive[0]
        cast = f"SELECT CAST(? AS {hive[0].type})"
        assert [oracle.execute(cast, [texts[x]]).fetchone() for x in sorted(texts)] == expected


def test_hive_keys_come_last_in_order_of_name(write, oracle, tmp_path):
    for b in (1, 2):
        for a in "xy":
            write(f"t/b={b}/a={a}/f.parquet", "SELECT 1 z, 2 c")
    table = FileCatalog(tmp_path).find("t")
    assert columns(table) == described(oracle, f"read_parquet('{tmp_path}/t/**/*.parquet')")
    assert [name for name, _ in columns(table)] == ["z", "c", "a", "b"]
    assert [file.hive for file in table.files] == [("x", "1"), ("y", "1"), ("x", "2"), ("y", "2")]


def test_hive_key_takes_the_place_of_a_file_column(write, oracle, tmp_path):
    for k in (5, 6):
        write(f"t/K={k}/f.parquet", "SELECT 1 x, 'file' k, 2 y")
    table = FileCatalog(tmp_path).find("t")
    assert columns(table) == described(oracle, f"read_parquet('{tmp_path}/t/**/*.parquet')")
    assert table.columns[1].source is ColumnSource.HIVE
    without = FileCatalog().open_paths((f"{tmp_path}/t/*/*.parquet",), {"hive_partitioning": False})
    assert columns(without)[1] == ("k", "VARCHAR")
    assert without.columns[1].source is ColumnSource.FILE


def test_hive_keys_of_some_files_do_not_count(write, tmp_path):
    write("t/a=1/f.parquet", "SELECT 1 z")
    write("t/f.parquet", "SELECT 1 z")
    catalog = FileCatalog(tmp_path)
    assert columns(catalog.find("t")) == [("z", "INTEGER")]
    with pytest.raises(HiveMismatch, match="folder key a"):
        catalog.open_paths((f"{tmp_path}/t",), {"hive_partitioning": True})


def test_hive_keys_above_a_table_do_not_count(write, tmp_path):
    write("env=prod/t/f.parquet", "SELECT 1 z")
    assert columns(FileCatalog(tmp_path / "env=prod").find("t")) == [("z", "INTEGER")]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"hive_partitioning": False},
        {"hive_types_autocast": False},
        {"hive_types": {"k": "SMALLINT"}},
        {"filename": True},
        {"filename": "source"},
        {"filename": True, "hive_partitioning": False},
        {"filename": True, "file_row_number": True},
        {"union_by_name": True},
    ],
    ids=str,
)
def test_options(write, oracle, tmp_path, options):
    write("k=1/f.parquet", "SELECT 1 x")
    write("k=2/f.parquet", "SELECT 1 x")
    pattern = f"{tmp_path}/*/*.parquet"
    table = FileCatalog().open_paths((pattern,), options)
    text = "".join(f", {name} = {value!r}" for name, value in options.items())
    assert columns(table) == described(oracle, f"read_parquet('{pattern}'{text})")
    if options.get("filename") is True:
        name = oracle.execute(f"SELECT filename FROM read_parquet('{pattern}'{text})").fetchall()
        assert [file.hive[0] for file in table.files] == [row[0] for row in name]


def test_bad_options(write):
    path = (str(write("f.parquet", "SELECT 1 filename")),)
    catalog = FileCatalog()
    with pytest.raises(Unsupported, match="binary_as_string"):
        catalog.open_paths(path, {"binary_as_string": True})
    with pytest.raises(UsageError, match="hive_partitioning"):
        catalog.open_paths(path, {"hive_partitioning": "maybe"})
    with pytest.raises(TableError, match="filename"):
        catalog.open_paths(path, {"filename": True})
    assert columns(catalog.open_paths(path, {"filename": "other"}))[1] == ("other", "VARCHAR")


def test_files_that_differ(write, tmp_path):
    write("t/1.parquet", "SELECT 1 a, 'x' b")
    write("t/2.parquet", "SELECT 1::BIGINT a, 2 c")
    with pytest.raises(SchemaMismatch) as caught:
        FileCatalog(tmp_path).find("t")
    message = caught.value.message
    assert f"column a is INTEGER in {tmp_path}/t/1.parquet and BIGINT in {tmp_path}/t/2" in message
    assert f"column b is VARCHAR in {tmp_path}/t/1.parquet and not in {tmp_path}/t/2" in message
    assert f"column c is INTEGER in {tmp_path}/t/2.parquet and not in {tmp_path}/t/1" in message
    assert "\n" not in message


def test_files_that_differ_only_in_order_case_and_encoding(tmp_path):
    (tmp_path / "t").mkdir()
    stamp = pa.array([1_000_000], pa.timestamp("us"))
    pq.write_table(pa.table({"a": [1], "b": stamp}), tmp_path / "t/1.parquet")
    pq.write_table(
        pa.table({"B": stamp.cast(pa.timestamp("ms")), "a": [7]}), tmp_path / "t/2.parquet"
    )
    pq.write_table(
        pa.table({"a": [1], "b": stamp}),
        tmp_path / "t/3.parquet",
        use_deprecated_int96_timestamps=True,
    )
    table = FileCatalog(tmp_path).find("t")
    assert columns(table) == [("a", "BIGINT"), ("b", "TIMESTAMP")]
    assert [r.minimum for r in table.column_ranges("a")] == [1, 7, 1]
    assert [r.minimum for r in table.column_ranges("b")] == [1_000_000, 1_000_000, None]
    assert table.column_bytes("a") > 0


def test_a_table_path(write):
    path: Path = write("f.parquet", "SELECT 1 x")
    table = FileCatalog(None, {"One": str(path)}).find("ONE")
    assert table.name == "One"
    assert table.rows == 1
