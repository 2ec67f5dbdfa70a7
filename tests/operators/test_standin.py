"""Scans of files on S3 give what DuckDB gives on the same files here, for the bytes of the scan."""

from __future__ import annotations

import base64
import datetime
import os
import threading
from contextlib import closing
from pathlib import Path

import duckdb
import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow.parquet import encryption
from s3_servers import BUCKET, credentials

from starling_py.operators.errors import BadParquet, Cancelled
from starling_py.operators.footers import Footer
from starling_py.operators.quoting import encode_path, literal
from starling_py.operators.run import run_task
from starling_py.operators.standin import stand_ins
from starling_py.operators.task import FileRange, ScanColumn, ScanInput, ScanSource
from starling_py.shuffle.buckets import Buckets
from starling_py.shuffle.errors import ObjectChanged, ObjectMissing, StarlingError, StoreError
from starling_py.shuffle.hedge_policy import HedgePolicy
from starling_py.shuffle.objects import ByteRange
from starling_py.shuffle.ranges import merge_ranges

FIELD, CONSTANT, ROW = ScanSource.FIELD, ScanSource.CONSTANT, ScanSource.ROW_NUMBER
GAP = 1 << 20


class Remote:
    """Files in a bucket, and tasks over them."""

    def __init__(self, server, room, plans, folder: Path, gap: int) -> None:
        self.room, self.plans, self.folder = room, plans, folder
        self.prefix = server.new_prefix()
        self.store = server.data_store("")
        # A busy machine would be asked twice for some ranges.
        self.buckets = Buckets(
            server.options(gap=gap, hedge=HedgePolicy(enabled=False)), credentials
        )

    def close(self) -> None:
        self.store.close()
        self.buckets.close()

    def put(self, name: str, data: bytes, rows: int, footer: int) -> FileRange:
        key = f"{self.prefix}/{name}"
        self.store.put(key, [data])
        url = encode_path(f"s3://{BUCKET}/{key}")
        return FileRange(url, len(data), 0, rows, 0, rows, (), self.store.head(key).etag, footer)

    def upload(self, path: Path) -> FileRange:
        data = path.read_bytes()
        rows = pq.ParquetFile(path).metadata.num_rows
        footer = int.from_bytes(data[-8:-4], "little") + 8
        return self.put(path.name, data, rows, footer)

    def parquet(self, name: str, sql: str, options: str = "") -> FileRange:
        self.plans.parquet(name, sql, options)
        return self.upload(self.plans.folder / name)

    def arrow(self, name: str, table: pa.Table, **options) -> FileRange:
        pq.write_table(table, self.folder / name, **options)
        return self.upload(self.folder / name)

    def spec(self, statement, types, scans=(), **changes):
        return self.plans.spec(statement, types, scans, roots=(), **changes)

    def report(self, spec, **options):
        return run_task(
            spec, self.room.store, self.room.instance, buckets=lambda: self.buckets, **options
        )

    def table(self, spec):
        report = self.report(spec)
        if report.error is not None:
            raise StarlingError.from_record(report.error)
        return self.room.read(spec, 0, len(report.index.partitions)), report.metrics.requests

    def rows(self, spec) -> list[tuple]:
        return [tuple(row.values()) for row in self.table(spec)[0].to_pylist()]

    def error(self, spec):
        return self.report(spec).error

    def leftovers(self) -> list[Path]:
        return list(self.room.instance.files.iterdir())


@pytest.fixture
def remote(ministack, room, plans, tmp_path):
    with closing(Remote(ministack, room, plans, tmp_path, 0)) as made:
        yield made


@pytest.fixture
def remote_on_each(s3_server, room, plans, tmp_path):
    with closing(Remote(s3_server, room, plans, tmp_path, GAP)) as made:
        yield made


def cut(file, first, last):
    return msgspec.structs.replace(file, first_row=first, last_row=last)


def field(name, type_):
    return ScanColumn(name, type_, FIELD, name)


def scan(columns, *files, condition=""):
    return ScanInput("input_0", tuple(columns), files, condition)


def memory_files() -> list[str]:
    """Return what this process has open of memory files."""
    found = []
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            found.append(str(descriptor.readlink()))
        except OSError:  # the one that lists the folder
            continue
    return [name for name in found if "memfd" in name]


def nested(rows: int, first: int = 0) -> pa.Table:
    """Return columns of many shapes, with repeated and with distinct values."""
    numbers = range(first, first + rows)
    return pa.table(
        {
            "id": pa.array(numbers, pa.int64()),
            "tag": pa.array([f"tag {n % 7}" for n in numbers]),
            "text": pa.array([None if n % 11 == 0 else f"{n * 7919:x}" * 3 for n in numbers]),
            "list": pa.array([[n] * (n % 4) for n in numbers], pa.list_(pa.int32())),
            "struct": pa.array(
                [{"a": n, "b": {"c": str(n), "d": [float(n)]}} for n in numbers],
                pa.struct(
                    [
                        ("a", pa.int64()),
                        ("b", pa.struct([("c", pa.string()), ("d", pa.list_(pa.float64()))])),
                    ]
                ),
            ),
            "map": pa.array(
                [[(f"k{n % 3}", n)] for n in numbers], pa.map_(pa.string(), pa.int64())
            ),
            "a.b": pa.array([n % 100 for n in numbers], pa.int16()),
            "amount": pa.array([n * 0.25 for n in numbers], pa.float64()),
        }
    )


ARROW_FILES = {
    "many row groups": {"row_group_size": 100},
    "one row group of many pages": {"data_page_size": 512, "row_group_size": 10_000},
    "page index": {"write_page_index": True, "row_group_size": 500},
    "bloom filters": {
        "row_group_size": 400,
        "bloom_filter_options": {"id": {"ndv": 400}, "tag": {"ndv": 10}, "text": True},
    },
    "no dictionary": {"use_dictionary": False, "row_group_size": 700},
    "pages of version 2": {"data_page_version": "2.0", "row_group_size": 700},
    "gzip": {"compression": "gzip", "row_group_size": 700},
    "zstd": {"compression": "zstd", "row_group_size": 700},
    "not compressed": {"compression": "none", "row_group_size": 700},
    "no rows": {},
}
DUCKDB_SQL = (
    "SELECT range AS id, 'tag ' || range % 7 AS tag, (range * 7919)::VARCHAR AS text,"
    " [range, range + 1] AS list, {'a': range, 'b': {'c': range::VARCHAR}} AS struct,"
    " MAP {'k': range} AS map, range % 100 AS \"a.b\", range * 0.25::DOUBLE AS amount"
    " FROM range(7000)"
)
DUCKDB_FILES = {
    "duckdb": ", ROW_GROUP_SIZE 2048",
    "duckdb, version 2": ", ROW_GROUP_SIZE 2048, PARQUET_VERSION v2, COMPRESSION zstd",
}
FILES = [*ARROW_FILES, *DUCKDB_FILES]


def write(folder: Path, kind: str) -> Path:
    path = folder / f"{kind}.parquet"
    if kind in DUCKDB_FILES:
        with duckdb.connect(":memory:", config={"threads": 1}) as connection:
            connection.execute(
                f"COPY ({DUCKDB_SQL}) TO {literal(str(path))} (FORMAT parquet{DUCKDB_FILES[kind]})"
            ).fetchall()
    else:
        pq.write_table(nested(0 if kind == "no rows" else 2000), path, **ARROW_FILES[kind])
    return path


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("written")
    return {kind: write(folder, kind) for kind in FILES}


def columns_of(path: Path) -> list[ScanColumn]:
    with duckdb.connect() as connection:
        rows = connection.execute(f"DESCRIBE FROM read_parquet({literal(str(path))})").fetchall()
    return [field(str(name), str(type_)) for name, type_, *_ in rows]


def here(path: Path, columns, ranges, where: str = "true") -> list[tuple]:
    """Return what DuckDB finds in the file itself."""
    names = ", ".join(f'"{column.name}"' for column in columns)
    rows = " OR ".join(f"file_row_number BETWEEN {a} AND {b - 1}" for a, b in ranges) or "false"
    with duckdb.connect(":memory:", config={"threads": 1}) as connection:
        found = connection.sql(
            f"SELECT {names} FROM read_parquet({literal(str(path))}, file_row_number = true)"
            f" WHERE ({rows}) AND ({where}) ORDER BY file_row_number"
        ).to_arrow_table()
        return [tuple(row.values()) for row in found.to_pylist()]


def told_by_footer(path: Path, names, ranges, *, gap: int = 0) -> tuple[int, int]:
    """Return requests and bytes of a scan beyond the footer, from pyarrow's view of the file."""
    metadata = pq.ParquetFile(path).metadata
    tops = pq.ParquetFile(path).schema_arrow.names
    spans: list[ByteRange] = []
    start = 0
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        end = start + group.num_rows
        for leaf in range(group.num_columns):
            chunk = group.column(leaf)
            name = max((top for top in tops if chunk.path_in_schema.startswith(top)), key=len)
            if name not in names:
                continue
            if chunk.bloom_filter_offset is not None:
                spans.append(ByteRange(chunk.bloom_filter_offset, chunk.bloom_filter_length))
            if any(a < end and start < b for a, b in ranges):
                first = chunk.data_page_offset
                if chunk.has_dictionary_page:
                    first = min(first, chunk.dictionary_page_offset)
                spans.append(ByteRange(first, chunk.total_compressed_size))
        start = end
    fetches = merge_ranges(spans, gap)
    return len(fetches), sum(one.span.length for one in fetches)


@pytest.mark.parametrize("kind", FILES)
def test_whole_files_are_read_as_they_are(remote_on_each, written, kind):
    path = written[kind]
    columns = columns_of(path)
    file = remote_on_each.upload(path)
    types = [column.type for column in columns]
    spec = remote_on_each.spec("FROM input_0", types, [scan(columns, file)])
    assert remote_on_each.rows(spec) == here(path, columns, [(0, file.rows)])


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_requests_and_bytes_are_those_of_the_footer(remote, written, data):
    path = written[data.draw(st.sampled_from([kind for kind in FILES if kind != "no rows"]))]
    metadata = pq.ParquetFile(path).metadata
    bounds = [0]
    for number in range(metadata.num_row_groups):
        bounds.append(bounds[-1] + metadata.row_group(number).num_rows)
    columns = data.draw(st.lists(st.sampled_from(columns_of(path)), unique=True, min_size=1))
    ends = data.draw(st.lists(st.sampled_from(bounds), min_size=2, max_size=4, unique=True))
    ranges = list(zip(sorted(ends)[::2], sorted(ends)[1::2], strict=False))
    file = remote.upload(path)
    files = [cut(file, first, last) for first, last in ranges]
    types = [column.type for column in columns]
    spec = remote.spec("FROM input_0", types, [scan(columns, *files)])
    remote.room.instance.footers.forget()
    table, counts = remote.table(spec)
    found = [tuple(row.values()) for row in table.to_pylist()]
    assert found == here(path, columns, ranges)
    requests, size = told_by_footer(path, {column.field for column in columns}, ranges)
    assert (counts.get, counts.bytes_in) == (requests + 1, size + file.footer)
    again, counts = remote.table(msgspec.structs.replace(spec, key=spec.key + "/again"))
    assert again.equals(table)
    assert (counts.get, counts.bytes_in) == (requests, size)
    assert (counts.head, counts.list, counts.put) == (0, 0, 0)


def test_near_ranges_come_together(ministack, room, plans, tmp_path, written):
    path = written["many row groups"]
    columns = [column for column in columns_of(path) if column.name in ("id", "amount")]
    for gap in (0, 500, GAP):
        with closing(Remote(ministack, room, plans, tmp_path, gap)) as remote:
            file = remote.upload(path)
            spec = remote.spec("FROM input_0", ["BIGINT", "DOUBLE"], [scan(columns, file)])
            table, counts = remote.table(spec)
        assert table.num_rows == 2000
        requests, size = told_by_footer(path, {"id", "amount"}, [(0, 2000)], gap=gap)
        assert (counts.get, counts.bytes_in) == (requests + 1, size + file.footer)
    assert requests == 1


@pytest.mark.parametrize("kind", ["bloom filters", "duckdb", "page index"])
@pytest.mark.parametrize("where", ["tag = 'tag 3'", "id = 1234", "text = 'absent'", "id > 1900"])
def test_filters_find_what_they_look_at(remote, written, kind, where):
    path = written[kind]
    columns = [column for column in columns_of(path) if column.name in ("id", "tag", "text")]
    types = [column.type for column in columns]
    file = remote.upload(path)
    for first, last in ((0, file.rows), (400, 1200)):
        spec = remote.spec(
            f"FROM input_0 WHERE {where}", types, [scan(columns, cut(file, first, last))]
        )
        assert remote.rows(spec) == here(path, columns, [(first, last)], where)


def test_joins_and_orders_look_at_no_other_row_group(remote, written):
    path = written["many row groups"]
    columns = columns_of(path)
    types = [column.type for column in columns]
    file = cut(remote.upload(path), 700, 1300)
    order = remote.spec(
        "FROM input_0 ORDER BY amount DESC LIMIT 3", types, [scan(columns, file)], composed=False
    )
    assert [row[0] for row in remote.rows(order)] == [1299, 1298, 1297]
    other = ScanInput("other", (field("id", "BIGINT"),), (cut(file, 1200, 1300),))
    join = remote.spec(
        "SELECT count(*), max(input_0.id) FROM input_0 JOIN other USING (id)",
        ["BIGINT", "BIGINT"],
        [scan(columns, file), other],
        threads=2,
    )
    assert remote.rows(join) == [(100, 1299)]


def test_a_condition_takes_rows_of_the_range_only(remote, written):
    path = written["many row groups"]
    column = field("id", "BIGINT")
    file = remote.upload(path)
    files = [cut(file, 100, 300), cut(file, 500, 600)]
    spec = remote.spec("FROM input_0", ["BIGINT"], [scan([column], *files, condition="id >= 250")])
    table, counts = remote.table(spec)
    assert table.column(0).to_pylist() == [*range(250, 300), *range(500, 600)]
    assert counts.bytes_in < told_by_footer(path, {"id"}, [(0, 2000)])[1] / 2 + file.footer


def test_several_files_with_constants_and_row_numbers(remote, plans):
    files = [
        remote.parquet(f"{name}.parquet", f"SELECT range + {first} AS x FROM range(5000)", GROUPS)
        for name, first in (("a", 0), ("b", 5000), ("c", 10000))
    ]
    files = [
        msgspec.structs.replace(file, constants=(day,))
        for file, day in zip(files, ["2024-02-29", None, "2024-03-01"], strict=True)
    ]
    local = plans.parquet("d.parquet", "SELECT 99999::BIGINT AS x")
    local = msgspec.structs.replace(local, constants=("2025-01-01",))
    columns = [
        ScanColumn("day", "DATE", CONSTANT),
        field("x", "BIGINT"),
        ScanColumn("row", "BIGINT", ROW),
    ]
    files = [files[0], files[1], cut(files[2], 2048, 4096), local]
    wanted = scan(columns, *files)
    spec = plans.spec("FROM input_0", ["DATE", "BIGINT", "BIGINT"], [wanted])
    a, c, d = datetime.date(2024, 2, 29), datetime.date(2024, 3, 1), datetime.date(2025, 1, 1)
    assert remote.rows(spec) == [
        *((a, n, n) for n in range(5000)),
        *((None, n + 5000, n) for n in range(5000)),
        *((c, n + 10000, n) for n in range(2048, 4096)),
        (d, 99999, 0),
    ]


GROUPS = ", ROW_GROUP_SIZE 2048"


@pytest.mark.parametrize("composed", [False, True])
def test_a_file_may_have_columns_named_like_the_virtual_ones(remote, composed):
    sql = (
        "SELECT range + {0} AS x, 7::UBIGINT AS file_index, 8::BIGINT AS file_row_number"
        " FROM range(6000)"
    )
    files = []
    for name, first in (("a", 0), ("b", 6000)):
        file = remote.parquet(f"{name}.parquet", sql.format(first), GROUPS)
        files.append(msgspec.structs.replace(file, constants=(name,)))
    columns = [
        field("x", "BIGINT"),
        ScanColumn("k", "VARCHAR", CONSTANT),
        field("file_index", "UBIGINT"),
        ScanColumn("own", "BIGINT", FIELD, "file_row_number"),
        ScanColumn("row", "BIGINT", ROW),
    ]
    types = [column.type for column in columns]
    wanted = scan(columns, *files, cut(files[0], 2048, 4096))
    spec = remote.spec("SELECT * FROM input_0", types, [wanted], composed=composed)
    table, counts = remote.table(spec)
    assert [tuple(row.values()) for row in table.to_pylist()] == [
        *((n, "a", 7, 8, n) for n in range(6000)),
        *((n + 6000, "b", 7, 8, n) for n in range(6000)),
        *((n, "a", 7, 8, n) for n in range(2048, 4096)),
    ]
    assert counts.bytes_in < sum(file.size for file in files) + files[0].footer
    spec = remote.spec(
        "SELECT * FROM input_0",
        types,
        [scan(columns, cut(files[1], 2048, 4096))],
        composed=composed,
    )
    assert remote.rows(spec) == [(n + 6000, "b", 7, 8, n) for n in range(2048, 4096)]


def test_rows_are_counted_without_their_data(remote):
    file = remote.parquet("a.parquet", "SELECT range AS x FROM range(5000)", GROUPS)
    empty = remote.parquet("none.parquet", "SELECT 1 AS x WHERE false")
    for files, count, footers in (
        ((file,), 5000, 1),
        ((cut(file, 10, 3000), empty), 2990, 0),
        ((cut(file, 7, 7),), 0, 0),
        ((empty,), 0, 0),
        ((file, file), 10000, 0),
    ):
        spec = remote.spec("SELECT count(*) FROM input_0", ["BIGINT"], [scan([], *files)])
        table, counts = remote.table(spec)
        assert table.column(0).to_pylist() == [count]
        assert counts.get == footers


def test_names_that_duckdb_changes_mean_the_same_columns(remote):
    names = ["a", "A", "a.b", "a", "B"]
    arrays = [pa.array(range(n, n + 3000), pa.int64()) for n in range(len(names))]
    file = remote.arrow("a.parquet", pa.Table.from_arrays(arrays, names), row_group_size=1000)
    path = remote.folder / "a.parquet"
    for position, column in enumerate(columns_of(path)):
        spec = remote.spec("FROM input_0", ["BIGINT"], [scan([column], cut(file, 1000, 2000))])
        expected = [(position + row,) for row in range(1000, 2000)]
        assert remote.rows(spec) == expected


def test_two_scans_of_a_file_share_its_stand_in(remote, written):
    path = written["many row groups"]
    file = remote.upload(path)
    inputs = [
        scan([field("id", "BIGINT")], cut(file, 0, 100)),
        ScanInput("other", (field("amount", "DOUBLE"),), (cut(file, 100, 200),)),
    ]
    spec = remote.spec(
        "SELECT (SELECT sum(id) FROM input_0)::BIGINT, (SELECT sum(amount) FROM other)",
        ["BIGINT", "DOUBLE"],
        inputs,
    )
    table, counts = remote.table(spec)
    assert table.to_pylist() == [{"c0": sum(range(100)), "c1": sum(range(100, 200)) * 0.25}]
    assert counts.bytes_in - file.footer == told_by_footer(path, {"id", "amount"}, [(0, 200)])[1]


def test_a_byte_that_was_not_fetched_is_an_error(remote, written, monkeypatch):
    whole = Footer.ranges
    for kind, lost, where in (
        ("many row groups", 3, "true"),
        ("duckdb", 0, "true"),
        ("no dictionary", 1, "true"),
        ("bloom filters", -1, "text = 'ee'"),
    ):
        path = written[kind]
        file = remote.upload(path)

        def leave_one_out(footer, fields, rows, lost=lost):
            ranges = whole(footer, fields, rows)
            del ranges[lost]
            return ranges

        spec = remote.spec(
            f"SELECT max(md5(text)) FROM input_0 WHERE {where}",
            ["VARCHAR"],
            [scan([field("text", "VARCHAR")], file)],
        )
        assert remote.error(spec) is None
        with monkeypatch.context() as patch:
            patch.setattr(Footer, "ranges", leave_one_out)
            error = remote.error(msgspec.structs.replace(spec, key="q/holes"))
        assert error.code == BadParquet.code
        assert f"s3://{BUCKET}/{remote.prefix}/{path.name}" in error.message
        assert remote.leftovers() == []


def test_a_replaced_file_is_a_typed_error(remote):
    file = remote.parquet("a.parquet", "SELECT range AS x FROM range(5000)", GROUPS)
    spec = remote.spec("FROM input_0", ["BIGINT"], [scan([field("x", "BIGINT")], file)])
    assert remote.error(spec) is None
    remote.parquet("a.parquet", "SELECT range + 1 AS x FROM range(5000)", GROUPS)
    # The footer is known, so the data is what changed.
    error = remote.error(msgspec.structs.replace(spec, key="q/again"))
    assert error.code == ObjectChanged.code
    assert "a.parquet" in error.message
    remote.room.instance.footers.forget()
    assert remote.error(msgspec.structs.replace(spec, key="q/more")).code == ObjectChanged.code
    remote.store.delete([f"{remote.prefix}/a.parquet"])
    assert remote.error(msgspec.structs.replace(spec, key="q/gone")).code == ObjectMissing.code
    assert remote.leftovers() == []


DAMAGE = {
    "not parquet": (lambda data: b"x" * len(data), "not a Parquet file"),
    "no end": (lambda data: data[:-4] + b"\0\0\0\0", "end is missing"),
    "encrypted": (lambda data: data[:-4] + b"PARE", "encrypted"),
    "footer of noise": (lambda data: data[:-400] + b"\x99" * 392 + data[-8:], "damaged footer"),
    "footer of zeros": (lambda data: data[:-400] + bytes(392) + data[-8:], "damaged footer"),
    "footer longer than the file": (
        lambda data: data[:-8] + b"\xff\xff\xff\x7f" + data[-4:],
        "longer than the file",
    ),
    "short": (lambda data: data[:4], "not a Parquet file"),
}


@pytest.mark.parametrize("kind", DAMAGE)
@pytest.mark.parametrize("told", [True, False])
def test_bad_footers_are_typed_errors(remote, kind, told):
    damage, message = DAMAGE[kind]
    good = remote.parquet("a.parquet", "SELECT range AS x FROM range(50)")
    data = damage((remote.plans.folder / "a.parquet").read_bytes())
    file = remote.put("b.parquet", data, 50, min(good.footer, len(data)) if told else 0)
    if not told:
        file = msgspec.structs.replace(file, footer=1)
    spec = remote.spec("FROM input_0", ["BIGINT"], [scan([field("x", "BIGINT")], file)])
    error = remote.error(spec)
    assert error.code == BadParquet.code
    assert message in error.message
    assert f"s3://{BUCKET}/{remote.prefix}/b.parquet" in error.message


class KeyService(encryption.KmsClient):
    def __init__(self, _configuration):
        super().__init__()

    def wrap_key(self, key, _name):
        return base64.b64encode(key)


@pytest.mark.parametrize("footer", [True, False])
def test_encrypted_files_are_typed_errors(remote, footer):
    path = remote.folder / "a.parquet"
    made = encryption.CryptoFactory(KeyService).file_encryption_properties(
        encryption.KmsConnectionConfig(),
        encryption.EncryptionConfiguration(
            footer_key="f", column_keys={"c": ["x"]}, plaintext_footer=not footer
        ),
    )
    pq.write_table(pa.table({"x": [1], "y": [2]}), path, encryption_properties=made)
    data = path.read_bytes()
    file = remote.put("a.parquet", data, 1, int.from_bytes(data[-8:-4], "little") + 8)
    spec = remote.spec("FROM input_0", ["BIGINT"], [scan([field("x", "BIGINT")], file)])
    error = remote.error(spec)
    assert error.code == BadParquet.code
    assert error.message.endswith("/a.parquet is encrypted")


def test_errors_name_the_file_as_the_user_does(remote):
    a = remote.parquet("a.parquet", "SELECT 1::BIGINT AS x, 2::BIGINT AS y")
    b = remote.parquet("b.parquet", "SELECT 1::BIGINT AS x")
    wanted = scan([field("x", "BIGINT"), field("y", "BIGINT")], a, b)
    error = remote.error(remote.spec("FROM input_0", ["BIGINT", "BIGINT"], [wanted]))
    assert f"s3://{BUCKET}/{remote.prefix}/b.parquet" in error.message
    assert str(remote.room.instance.files) not in error.message


def test_a_footer_of_unknown_length_is_found(remote):
    file = remote.parquet("a.parquet", "SELECT range AS x FROM range(50)")
    file = msgspec.structs.replace(file, footer=8)
    wanted = scan([field("x", "BIGINT")], file)
    spec = remote.spec("SELECT count(x) FROM input_0", ["BIGINT"], [wanted])
    assert remote.rows(spec) == [(50,)]


@pytest.mark.parametrize("compression", ["snappy", "zstd", "gzip", "uncompressed"])
def test_damaged_pages_are_bad_parquet(remote, compression):
    good = remote.parquet(
        "a.parquet",
        "SELECT hash(range)::VARCHAR AS x FROM range(10000)",
        f", COMPRESSION {compression}",
    )
    data = bytearray((remote.plans.folder / "a.parquet").read_bytes())
    data[4:3000] = b"\xff" * 2996
    file = remote.put("b.parquet", bytes(data), good.rows, good.footer)
    wanted = scan([field("x", "VARCHAR")], file)
    error = remote.error(remote.spec("SELECT max(md5(x)) FROM input_0", ["VARCHAR"], [wanted]))
    assert error.code == BadParquet.code
    assert f"s3://{BUCKET}/{remote.prefix}/b.parquet" in error.message
    assert str(remote.room.instance.files) not in error.message


@pytest.mark.parametrize("in_memory", [True, False])
def test_files_of_one_size_are_not_taken_for_each_other(remote, monkeypatch, in_memory):
    """Stand-ins follow one another under one path, and DuckDB keeps footers by path."""
    if not in_memory:
        monkeypatch.delattr(os, "memfd_create")
    tables = [
        pa.table({"x": pa.array(range(n, n + 3000), pa.int64()), f"y{n}": range(3000)})
        for n in range(8)
    ]
    files = [
        remote.arrow(f"{n}.parquet", table, compression="none", use_dictionary=False)
        for n, table in enumerate(tables)
    ]
    assert len({file.size for file in files}) == 1
    for n, file in [*enumerate(files), *enumerate(files)]:
        columns = [field("x", "BIGINT"), field(f"y{n}", "BIGINT")]
        spec = remote.spec(
            f"SELECT min(x), max(y{n}) FROM input_0", ["BIGINT", "BIGINT"], [scan(columns, file)]
        )
        assert remote.rows(spec) == [(n, 2999)]


def test_nothing_is_left_of_stand_ins(remote, written, monkeypatch):
    path = written["many row groups"]
    file = remote.upload(path)
    before = memory_files()
    spec = remote.spec("FROM input_0", ["BIGINT"], [scan([field("id", "BIGINT")], file)])
    with remote.room.instance.prepared(spec):
        seen: list[str] = []
        with stand_ins(spec, remote.room.instance, lambda: remote.buckets, lambda: None) as local:
            seen += memory_files()
            assert local.inputs[0].files[0].path != file.path
        assert len(seen) == len(before) + 1
    assert memory_files() == before
    assert remote.rows(spec) == [(n,) for n in range(2000)]
    failing = remote.spec("SELECT error(id::VARCHAR) FROM input_0", ["INTEGER"], spec.inputs)
    assert remote.error(failing) is not None
    cancelled = threading.Event()
    whole = Footer.ranges

    def cancel(*arguments):
        cancelled.set()
        return whole(*arguments)

    monkeypatch.setattr(Footer, "ranges", cancel)
    report = remote.report(msgspec.structs.replace(spec, key="q/stop"), cancelled=cancelled)
    assert report.error.code == Cancelled.code
    assert report.metrics.requests.get == 0
    assert memory_files() == before
    assert remote.leftovers() == []


def test_without_memory_files_there_are_files(remote, written, monkeypatch):
    monkeypatch.delattr(os, "memfd_create")
    path = written["many row groups"]
    for kind in ("duckdb", "many row groups"):
        path = written[kind]
        columns = columns_of(path)
        types = [column.type for column in columns]
        file = remote.upload(path)
        spec = remote.spec("FROM input_0", types, [scan(columns, cut(file, 100, 300))])
        assert remote.rows(spec) == here(path, columns, [(100, 300)])
        assert remote.leftovers() == []


def test_stand_ins_count_as_memory_of_the_task(remote):
    sql = "SELECT hash(range)::VARCHAR AS x FROM range(200000)"
    file = remote.parquet("a.parquet", sql, ", COMPRESSION uncompressed")
    wanted = scan([field("x", "VARCHAR")], file)
    statement = "SELECT current_setting('memory_limit') FROM input_0 LIMIT 1"
    spec = remote.spec(statement, ["VARCHAR"], [wanted], memory_limit=256 << 20)
    [(limit,)] = remote.rows(spec)
    size = float(limit.removesuffix(" MiB"))
    assert 256 - 1.1 * file.size / (1 << 20) < size < 256 - 0.9 * file.size / (1 << 20)
    small = remote.spec(statement, ["VARCHAR"], [wanted], memory_limit=65 << 20)
    assert remote.rows(small) == [("64.0 MiB",)]
    without = remote.spec("SELECT current_setting('memory_limit')", ["VARCHAR"])
    assert remote.rows(without) == [("256.0 MiB",)]


def test_files_on_s3_need_a_way_there(remote):
    file = remote.parquet("a.parquet", "SELECT range AS x FROM range(50)")
    spec = remote.spec("FROM input_0", ["BIGINT"], [scan([field("x", "BIGINT")], file)])
    assert remote.room.report(spec).error.code == StoreError.code
