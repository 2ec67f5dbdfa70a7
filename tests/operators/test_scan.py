"""Scans give the rows of their files, whatever the files and columns are called."""

from __future__ import annotations

import datetime
import os
from dataclasses import dataclass

import msgspec
import pytest

from starling_py.operators.errors import BadParquet, FileChanged
from starling_py.operators.quoting import decode_path, encode_path
from starling_py.operators.task import ScanColumn, ScanInput, ScanSource

FIELD, CONSTANT, ROW = ScanSource.FIELD, ScanSource.CONSTANT, ScanSource.ROW_NUMBER


def cut(file, first, last):
    return msgspec.structs.replace(file, first_row=first, last_row=last)


def constant(file, *values):
    return msgspec.structs.replace(file, constants=values)


def scan(columns, *files, name="input_0"):
    return ScanInput(name, tuple(columns), files)


X = ScanColumn("x", "BIGINT", FIELD, "x")


@pytest.mark.parametrize(
    "name",
    [
        "a*b",
        "a?b",
        "a[xy]b",
        "[ab]",
        "**",
        "*/x",
        "it's",
        'double"quote',
        "two words",
        "Ünïcödé",
        "{1,2}",
        "back\\slash",
        "hash#1",
        "50%",
        "k=v",
        "-",
    ],
)
def test_a_file_name_means_that_file_only(plans, room, name):
    for number, other in enumerate(["axb", "a1b", "ab", "x", "1", "a", "b"]):
        plans.parquet(f"{other}.parquet", f"SELECT {number}::BIGINT AS x")
    file = plans.parquet(f"{name}.parquet", "SELECT 42::BIGINT AS x")
    assert room.rows(plans.spec("FROM input_0", ["BIGINT"], [scan([X], file)])) == [(42,)]


@pytest.mark.parametrize("name", ["x y", 'x"y', "select", "X", "é", "a.b", "input_0", "'", "x\ty"])
def test_column_and_relation_names_are_quoted(plans, room, name):
    quoted = '"' + name.replace('"', '""') + '"'
    file = plans.parquet("t.parquet", f"SELECT 1::BIGINT AS {quoted}")
    wanted = scan([ScanColumn(name, "BIGINT", FIELD, name)], file, name=name)
    spec = plans.spec(f"SELECT {quoted} FROM {quoted}", ["BIGINT"], [wanted])
    assert room.rows(spec) == [(1,)]


def test_row_ranges_cover_every_row_once_and_in_order(plans, room):
    first = plans.parquet(
        "1.parquet", "SELECT range AS x FROM range(5000)", ", ROW_GROUP_SIZE 2048"
    )
    second = plans.parquet("2.parquet", "SELECT range + 5000 AS x FROM range(3000)")
    third = plans.parquet("3.parquet", "SELECT range + 8000 AS x FROM range(10)")
    tasks = [
        (cut(first, 0, 1),),
        (cut(first, 1, 2048),),
        (cut(first, 2048, 5000), second, third),
    ]
    found = []
    for files in tasks:
        spec = plans.spec("FROM input_0", ["BIGINT"], [scan([X], *files)])
        found += [x for (x,) in room.rows(spec)]
    assert found == list(range(8010))


def test_whole_files_keep_their_order(plans, room):
    files = [plans.parquet(f"{9 - n}.parquet", f"SELECT {n}::BIGINT AS x") for n in range(5)]
    rows = room.rows(plans.spec("FROM input_0", ["BIGINT"], [scan([X], *files)]))
    assert rows == [(n,) for n in range(5)]


HIVE = [
    ScanColumn("d", "DATE", CONSTANT),
    X,
    ScanColumn("n", "INTEGER", CONSTANT),
    ScanColumn("s", "VARCHAR", CONSTANT),
]
HIVE_TYPES = ["DATE", "BIGINT", "INTEGER", "VARCHAR"]
DAY = datetime.date(2024, 2, 29)


def test_constants_of_each_file_are_typed(plans, room):
    a = constant(plans.parquet("n=1/a.parquet", "SELECT 1::BIGINT AS x"), "2024-02-29", "1", "it's")
    b = constant(plans.parquet("n=2/b.parquet", "SELECT 2::BIGINT AS x"), None, "2", "")
    c = constant(plans.parquet("n=3/c.parquet", "SELECT 3::BIGINT AS x"), "2024-02-29", None, None)
    expected = [(DAY, 1, 1, "it's"), (None, 2, 2, ""), (DAY, 3, None, None)]
    for files in ([a, b, c], [a], [b], [c]):
        rows = room.rows(plans.spec("FROM input_0", HIVE_TYPES, [scan(HIVE, *files)]))
        assert rows == [row for row in expected if row[1] in {_x(file) for file in files}]


def _x(file):
    return {"a": 1, "b": 2, "c": 3}[decode_path(file.path)[-9]]


def test_a_file_may_have_columns_named_like_the_virtual_ones(plans, room):
    sql = "SELECT {0}::BIGINT AS x, 7::UBIGINT AS file_index, 8::BIGINT AS file_row_number"
    a = constant(plans.parquet("a.parquet", sql.format("unnest([10, 11])")), "a")
    b = constant(plans.parquet("b.parquet", sql.format("unnest([20, 21])")), "b")
    columns = [
        X,
        ScanColumn("k", "VARCHAR", CONSTANT),
        ScanColumn("i", "UBIGINT", FIELD, "file_index"),
        ScanColumn("own", "BIGINT", FIELD, "file_row_number"),
        ScanColumn("row", "BIGINT", ROW),
    ]
    types = [column.type for column in columns]
    spec = plans.spec("FROM input_0", types, [scan(columns, a, b, cut(a, 1, 2))])
    assert room.rows(spec) == [
        (10, "a", 7, 8, 0),
        (11, "a", 7, 8, 1),
        (20, "b", 7, 8, 0),
        (21, "b", 7, 8, 1),
        (11, "a", 7, 8, 1),
    ]
    without_numbers = plans.spec(
        "FROM input_0", ["BIGINT", "VARCHAR"], [scan(columns[:2], a, b, cut(b, 0, 1))]
    )
    assert room.rows(without_numbers) == [(10, "a"), (11, "a"), (20, "b"), (21, "b"), (20, "b")]


def test_row_numbers_start_anew_in_every_file(plans, room):
    a = plans.parquet("a.parquet", "SELECT range AS x FROM range(3)")
    b = plans.parquet("b.parquet", "SELECT range AS x FROM range(2)")
    wanted = scan([ScanColumn("row", "BIGINT", ROW)], a, b, cut(a, 1, 3))
    rows = room.rows(plans.spec("FROM input_0", ["BIGINT"], [wanted]))
    assert rows == [(0,), (1,), (2,), (0,), (1,), (1,), (2,)]


def test_rows_count_without_columns(plans, room):
    a = plans.parquet("a.parquet", "SELECT range AS x FROM range(30)")
    statement = "SELECT count(*) FROM input_0"
    for files, count in (((a,), 30), ((cut(a, 3, 5), a), 32), ((), 0)):
        spec = plans.spec(statement, ["BIGINT"], [scan([], *files)])
        assert room.rows(spec) == [(count,)]


@pytest.mark.parametrize("kind", ["no file", "no row in the range", "no row in the file"])
def test_an_empty_scan_has_its_types(plans, room, kind):
    types = ["HUGEINT", "STRUCT(a INTEGER)", "ENUM('x', 'y')", "TIMESTAMP WITH TIME ZONE"]
    columns = [ScanColumn(f"k{number}", type_) for number, type_ in enumerate(types)]
    full = plans.parquet("full.parquet", "SELECT 1 AS x")
    files = {
        "no file": (),
        "no row in the range": (cut(full, 0, 0),),
        "no row in the file": (plans.parquet("none.parquet", "SELECT 1 AS x WHERE false"),),
    }[kind]
    assert room.rows(plans.spec("FROM input_0", types, [scan(columns, *files)])) == []
    count = plans.spec("SELECT count(*), sum(k0) FROM input_0", ["BIGINT", "HUGEINT"])
    count = msgspec.structs.replace(count, inputs=(scan(columns, *files),))
    assert room.rows(count) == [(0, None)]


def test_fields_are_cast_to_the_declared_type(plans, room):
    file = plans.parquet("a.parquet", "SELECT 1::INTEGER AS x")
    assert room.rows(plans.spec("FROM input_0", ["BIGINT"], [scan([X], file)])) == [(1,)]


@dataclass
class Change:
    name: str
    apply: object


CHANGES = [
    Change("vanished", lambda path: path.unlink()),
    Change("longer", lambda path: path.write_bytes(path.read_bytes() + b"x")),
    Change("touched", lambda path: os.utime(path, ns=(1, 1))),
    Change("truncated", lambda path: path.write_bytes(path.read_bytes()[:50])),
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.name)
def test_a_changed_file_is_a_typed_error(plans, room, change):
    file = plans.parquet("a.parquet", "SELECT range AS x FROM range(3)")
    spec = plans.spec("FROM input_0", ["BIGINT"], [scan([X], file)])
    assert room.report(spec).error is None
    change.apply(plans.folder / "a.parquet")
    spec = msgspec.structs.replace(spec, key="q/again")
    error = room.report(spec).error
    assert error.code == FileChanged.code
    assert "a.parquet" in error.message
    assert room.leftovers() == []


def test_a_file_that_changes_under_the_reader_is_a_typed_error(plans, room, monkeypatch):
    file = plans.parquet("a.parquet", "SELECT range AS x FROM range(3)")
    spec = plans.spec("FROM input_0", ["BIGINT"], [scan([X], file)])
    path = plans.folder / "a.parquet"
    opened = room.instance.type_name

    def type_name(declared):
        os.utime(path, ns=(1, 1))
        return opened(declared)

    # Called between the check of the inputs and that after the statement.
    monkeypatch.setattr(room.instance, "type_name", type_name)
    spec = msgspec.structs.replace(spec, columns=plans.columns("INT8"))
    assert room.report(spec).error.code == FileChanged.code


@pytest.mark.parametrize("compression", ["snappy", "zstd", "gzip", "uncompressed"])
def test_damaged_pages_are_bad_parquet(plans, room, compression):
    file = plans.parquet(
        "a.parquet",
        "SELECT hash(range)::VARCHAR AS x FROM range(10000)",
        f", COMPRESSION {compression}",
    )
    path = plans.folder / "a.parquet"
    data = bytearray(path.read_bytes())
    data[4:3000] = b"\xff" * 2996
    path.write_bytes(data)
    os.utime(path, ns=(file.mtime_ns, file.mtime_ns))
    column = ScanColumn("x", "VARCHAR", FIELD, "x")
    spec = plans.spec("SELECT max(md5(x)) FROM input_0", ["VARCHAR"], [scan([column], file)])
    error = room.report(spec).error
    assert error.code == BadParquet.code
    assert "a.parquet" in error.message


def test_paths_on_the_wire_keep_every_byte():
    path = os.fsdecode(b"/a b/%41\xff\xc3\xa9")
    assert encode_path(path).isascii()
    assert decode_path(encode_path(path)) == path
