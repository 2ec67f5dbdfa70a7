"""Tables on S3 are those that the same files are on this machine."""

from __future__ import annotations

import contextlib
import itertools
import random
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from s3_servers import BUCKET, credentials

from starling_py.catalog.catalog import FileCatalog
from starling_py.catalog.errors import (
    AmbiguousTable,
    EmptyTable,
    EncryptedFile,
    HiveMismatch,
    NoFiles,
    NotParquet,
    TableError,
    TruncatedFile,
    UnreadableFile,
    UsageError,
)
from starling_py.catalog.footer import Footer
from starling_py.catalog.listing import Listed
from starling_py.catalog.options import ReadOptions
from starling_py.catalog.probe import Probe
from starling_py.catalog.schema import decide
from starling_py.catalog.standin import hive_stand_ins
from starling_py.catalog.tree import Tree
from starling_py.operators.errors import FileChanged
from starling_py.operators.quoting import decode_path
from starling_py.planner.errors import Unsupported
from starling_py.planner.footers import FactsByTable
from starling_py.planner.sizing import whole_row_groups
from starling_py.shuffle.buckets import Buckets
from starling_py.shuffle.errors import (
    BucketMissing,
    ObjectChanged,
    StoreDenied,
    StoreError,
    StoreUnavailable,
)
from starling_py.shuffle.meter import metered
from starling_py.shuffle.retry import RetryPolicy
from starling_py.shuffle.s3_options import S3Options

if TYPE_CHECKING:
    from collections.abc import Callable


def facts(table, root: str) -> tuple[object, ...]:
    """Return all that the planner asks of a table, with paths from ``root`` on."""
    files = [
        (file.path.removeprefix(root), file.size, file.rows, file.row_groups, file.hive)
        for file in table.files
    ]
    ranges = [table.column_ranges(column.name) for column in table.columns]
    sizes = [table.column_bytes(column.name) for column in table.columns]
    names = [name.removeprefix(root) for name in table.filenames]
    return table.columns, files, names, ranges, sizes, table.rows, table.bytes


def write_tables(write) -> None:
    write("Orders.parquet", "SELECT range AS id, range % 3 AS k FROM range(10)")
    write("lines.parquet/part-0.parquet", "SELECT 1 x, [1, 2] AS l, {'a': 1, 'b': 'c'} AS s")
    write("lines.parquet/part-1.parquet", "SELECT 2 x, [3] AS l, {'a': 2, 'b': NULL::VARCHAR} AS s")
    for number, day in enumerate(("2024-01-02", "2024-01-10", "__HIVE_DEFAULT_PARTITION__")):
        for code in ("07", "x%20y"):
            write(f"t/day={day}/code={code}/f.parquet", f"SELECT {number} AS a, 'n{number}' AS b")
    write("odd name/f[1]*?+é%41.parquet", "SELECT 1 AS a")


def test_tables_are_those_of_a_local_folder(write, tmp_path, cloud):
    write_tables(write)
    write("t/_meta/f.parquet", "SELECT 'other' AS y")
    write("t/.tmp/f.parquet", "SELECT 'other' AS y")
    write("_hidden/f.parquet", "SELECT 'other' AS y")
    url = cloud.copy(tmp_path)
    cloud.put("notes.txt", b"text")
    cloud.put("t/_SUCCESS", b"")
    local, remote = FileCatalog(tmp_path), cloud.catalog(url)
    assert remote.names() == local.names() == ("lines", "odd name", "Orders", "t")
    for name in local.names():
        table = remote.find(name)
        assert facts(table, url) == facts(local.find(name), str(tmp_path))
        for file in table.files:
            info = cloud.store.head(file.path.removeprefix(f"s3://{BUCKET}/"))
            assert (file.etag, file.mtime_ns) == (info.etag, 0)
    assert remote.roots() == ()
    assert remote.find("nothing") is None
    assert remote.folder == url


@pytest.mark.parametrize(
    ("pattern", "options"),
    [
        ("t/*/code=07/*.parquet", {"file_row_number": True}),
        ("t/**/f.parquet", {"hive_partitioning": False}),
        ("t/day=2024*/code=07/**", {"hive_types": {"day": "VARCHAR", "code": "INTEGER"}}),
        ("t/day=2024-01-0?/code=07/f.parquet", {"hive_types_autocast": False}),
        ("t", {"hive_partitioning": False}),
        ("[A-Z]rders.parquet", {"file_row_number": True}),
        ("odd name/f[[]1[]][*][?]+é%41.parquet", {}),
        ("odd name/f[1]*?+é%41.parquet", {}),
    ],
)
def test_options_and_patterns_give_the_same(write, tmp_path, ministack_cloud, pattern, options):
    write_tables(write)
    url = ministack_cloud.copy(tmp_path)
    mine = ministack_cloud.catalog().open_paths((f"{url}/{pattern}",), options)
    theirs = FileCatalog().open_paths((f"{tmp_path}/{pattern}",), options)
    assert facts(mine, url) == facts(theirs, str(tmp_path))


def test_the_column_filename_holds_urls(write, tmp_path, cloud):
    write_tables(write)
    url = cloud.copy(tmp_path)
    catalog = cloud.catalog()
    table = catalog.open_paths((f"{url}/t/**/f.parquet",), {"filename": "origin"})
    assert [(c.name, c.type) for c in table.columns][2] == ("origin", "VARCHAR")
    assert [file.hive[0] for file in table.files] == [file.path for file in table.files]
    assert table.column_ranges("origin")[0].minimum == table.files[0].path
    plain = cloud.put("f.parquet", (tmp_path / "t/day=2024-01-10/code=07/f.parquet").read_bytes())
    with pytest.raises(HiveMismatch, match=url):
        catalog.open_paths((f"{url}/t/**/f.parquet", plain), {"hive_partitioning": True})


def test_named_tables_and_mixing(write, tmp_path, cloud):
    write_tables(write)
    url = cloud.copy(tmp_path)
    tables = {
        "folder": f"{url}/t",
        "file": f"{url}/Orders.parquet",
        "pattern": f"{url}/lines.parquet/part-*.parquet",
        "slash": f"{url}/t/",
        "T": f"{tmp_path}/Orders.parquet",
    }
    catalog = cloud.catalog(url, tables)
    assert len(catalog.find("folder").files) == len(catalog.find("slash").files) == 6
    assert catalog.find("file").rows == 10
    assert len(catalog.find("pattern").files) == 2
    assert catalog.find("t").files[0].path == f"{tmp_path}/Orders.parquet"
    assert catalog.roots() == (str(tmp_path),)
    catalog.open_paths((f"{url}/Orders.parquet",), {})
    assert catalog.roots() == (str(tmp_path),)
    local = tmp_path / "t/day=2024-01-02/code=07/f.parquet"
    both = catalog.open_paths((f"{url}/t/**/*.parquet", str(local)), {})
    assert [column.type for column in both.columns] == ["INTEGER", "VARCHAR", "VARCHAR", "DATE"]
    assert [file.path for file in both.files][-1] == str(local)
    turned = catalog.open_paths((str(local), f"{url}/t/**/*.parquet"), {})
    assert turned.columns == both.columns
    assert [file.etag == "" for file in turned.files] == [True] + 6 * [False]
    local_catalog = cloud.catalog(str(tmp_path), {"far": f"{url}/Orders.parquet"})
    assert local_catalog.find("far").rows == local_catalog.find("Orders").rows


def test_ranges_carry_etag_and_footer(write, tmp_path, cloud):
    write("t/f.parquet", "SELECT range AS x FROM range(10)")
    data = (tmp_path / "t/f.parquet").read_bytes()
    table = cloud.catalog(cloud.copy(tmp_path)).find("t")
    (found,) = whole_row_groups(FactsByTable().row_groups(table))
    assert decode_path(found.path) == f"{cloud.url}/t/f.parquet"
    assert found.etag == cloud.store.head(f"{cloud.prefix}/t/f.parquet").etag
    assert found.footer == int.from_bytes(data[-8:-4], "little") + 8
    assert (found.size, found.mtime_ns, found.last_row) == (len(data), 0, 10)


def test_markers_of_folders_are_no_files(write, tmp_path, cloud):
    write("t/a=1/f.parquet", "SELECT 1 AS x")
    write("u.parquet/f.parquet", "SELECT 1 AS x")
    url = cloud.copy(tmp_path)
    for name in ("t", "t/a=1", "u.parquet", "t/v.parquet/w"):
        cloud.mark(name)
    catalog = cloud.catalog(url)
    assert catalog.names() == ("t", "u")
    assert len(catalog.find("t").files) == len(catalog.find("u").files) == 1
    assert len(catalog.open_paths((f"{url}/**/*.parquet",), {}).files) == 2
    # Not all tools put a slash behind the name; but what has bytes is a file.
    cloud.put("u.parquet", b"")
    catalog.refresh()
    assert len(catalog.find("u").files) == 1
    data = (tmp_path / "u.parquet/f.parquet").read_bytes()
    cloud.put("t/v.parquet", data)
    cloud.put("t/v.parquet/f.parquet", data)
    cloud.mark("t/v.parquet")
    paths = [file.path for file in catalog.open_paths((f"{url}/t/**/*.parquet",), {}).files]
    assert paths == [f"{url}/t/{name}.parquet" for name in ("a=1/f", "v", "v.parquet/f")]


def test_changes_are_seen(write, tmp_path, cloud):
    write("t/1.parquet", "SELECT 1 AS x")
    catalog = cloud.catalog(cloud.copy(tmp_path))
    before = catalog.find("t")
    other = write("other.parquet", "SELECT 2 AS x").read_bytes()
    cloud.put("t/1.parquet", other)
    cloud.put("u.parquet", other)
    assert catalog.find("t") is before
    assert catalog.names() == ("t",)
    catalog.refresh()
    assert catalog.find("t").column_ranges("x")[0].minimum == 2
    assert catalog.names() == ("t", "u")
    after = catalog.find("t")
    catalog.refresh()
    assert catalog.find("t") is after


def test_two_sources_of_one_name(write, tmp_path, cloud):
    data = write("t/f.parquet", "SELECT 1 AS x").read_bytes()
    url = cloud.copy(tmp_path)
    cloud.put("t.parquet", data)
    with pytest.raises(AmbiguousTable, match=rf"{url}/t and {url}/t\.parquet"):
        cloud.catalog(url).find("t")


def test_nothing_there(cloud):
    cloud.put("other/notes.txt", b"text")
    with pytest.raises(UsageError, match=rf"nothing below {cloud.url}/gone"):
        cloud.catalog(f"{cloud.url}/gone").names()
    with pytest.raises(EmptyTable, match=r"table other: .*/other"):
        cloud.catalog(cloud.url).find("other")
    catalog = cloud.catalog(None, {"t": f"{cloud.url}/x/*.parquet", "u": f"{cloud.url}/x"})
    with pytest.raises(NoFiles, match="table t: no files match") as caught:
        catalog.find("t")
    assert f"{cloud.url}/x/" in caught.value.hint
    with pytest.raises(EmptyTable, match="table u"):
        catalog.find("u")
    for path in (f"{cloud.url}/x.parquet", f"{cloud.url}/other/*.parquet", f"{cloud.url}/?/x"):
        with pytest.raises(NoFiles, match="no files match"):
            catalog.open_paths((path,), {})
    with pytest.raises(NoFiles, match=r"holds no \.parquet"):
        catalog.open_paths((f"{cloud.url}/other",), {})
    with pytest.raises(Unsupported, match="at most one"):
        catalog.open_paths((f"{cloud.url}/**/**/x",), {})


def test_no_such_bucket(cloud):
    gone = "s3://starling-there-is-no-such-bucket"
    catalog = cloud.catalog(f"{gone}/data", {"t": f"{gone}/*.parquet"})
    for ask in (
        catalog.names,
        lambda: catalog.open_paths((f"{gone}/*.parquet",), {}),
        lambda: catalog.open_paths((f"{gone}/x",), {}),
    ):
        with pytest.raises(BucketMissing, match="starling-there-is-no-such-bucket"):
            ask()


def test_urls_that_are_none():
    def never() -> Buckets:
        raise AssertionError

    for url in ("s3://", "s3:///key", "s3://buck*/key"):
        with pytest.raises(UsageError):
            FileCatalog(url, buckets=never)
        with pytest.raises(UsageError):
            FileCatalog(None, {"t": url}, buckets=never)
    with pytest.raises(NoFiles, match="only local"):
        FileCatalog("s3://bucket/key")
    with pytest.raises(NoFiles, match="S3"):
        FileCatalog(buckets=never).open_paths(("https://example.com/x.parquet",), {})
    # Nobody is asked before a table is.
    FileCatalog("s3://bucket/key", {"t": "s3://bucket/t"}, buckets=never).close()


def test_nobody_answers(cloud):
    options = cloud.server.options(retry=RetryPolicy(attempts=1))
    closed = options.__class__(endpoint="http://127.0.0.1:9", retry=options.retry)
    with contextlib.closing(Buckets(closed, lambda: None)) as buckets:
        catalog = cloud.catalog(cloud.url, buckets=lambda: buckets)
        with pytest.raises((StoreUnavailable, StoreDenied)):
            catalog.names()


DENIED = b"""<?xml version="1.0" encoding="UTF-8"?>
<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"""


class Denying(BaseHTTPRequestHandler):
    """Refuses everything, or everything but listings, as S3 does."""

    listing = b""

    def do_GET(self) -> None:
        listed = "list-type" in self.path and self.listing
        body = self.listing if listed else DENIED
        self.send_response(200 if listed else 403)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def do_HEAD(self) -> None:
        self.do_GET()

    def log_message(self, *_: object) -> None:
        return


class DenyingObjects(Denying):
    listing = b"""<?xml version="1.0" encoding="UTF-8"?>
<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>bucket</Name>
<IsTruncated>false</IsTruncated><Contents><Key>data/t.parquet</Key><Size>100</Size>
<LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>"e"</ETag></Contents>
</ListBucketResult>"""


@pytest.mark.parametrize("handler", [Denying, DenyingObjects])
def test_access_denied_says_which_action_on_which_resource(handler):
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        options = S3Options(endpoint=f"http://127.0.0.1:{server.server_port}")
        buckets = Buckets(options, credentials)
        catalog = FileCatalog("s3://bucket/data", buckets=lambda: buckets)
        try:
            if handler is Denying:
                with pytest.raises(StoreDenied, match=r"s3:ListBucket on s3://bucket is denied"):
                    catalog.names()
                with pytest.raises(StoreDenied, match=r"s3:ListBucket on s3://bucket is denied"):
                    catalog.open_paths(("s3://bucket/data/*.parquet",), {})
            else:
                assert catalog.names() == ("t",)
                with pytest.raises(
                    StoreDenied, match=r"s3:GetObject on s3://bucket/data/t\.parquet is denied"
                ):
                    catalog.find("t")
            with pytest.raises(StoreDenied, match=r"s3:GetObject on s3://bucket/x is denied"):
                catalog.open_paths(("s3://bucket/x",), {})
        finally:
            catalog.close()
            buckets.close()
            server.shutdown()
            thread.join()


def test_keys_that_cannot_be_listed_are_said(write, cloud):
    bucket = cloud.server.new_bucket()
    data = write("f.parquet", "SELECT 1 AS x").read_bytes()
    with contextlib.closing(cloud.server.client()) as client:
        client.put_object(Bucket=bucket, Key="t//f.parquet", Body=data)
    with pytest.raises(StoreError, match=r"t//f\.parquet"):
        cloud.catalog(f"s3://{bucket}").find("t")


def test_files_that_are_not_parquet(write, cloud):
    good = write("f.parquet", "SELECT range x FROM range(20000)").read_bytes()
    assert len(good) > 65536
    cases = (
        ("empty", b"", NotParquet),
        ("short", b"PAR1", TruncatedFile),
        ("tiny", b"x", NotParquet),
        ("text", b"id,name\n1,x\n" * 10, NotParquet),
        ("longtext", b"id,name\n1,x\n" * 10000, NotParquet),
        ("cut", good[:-20], TruncatedFile),
        ("half", good[: len(good) // 2], TruncatedFile),
        ("footer", good[:-40] + b"\xff" * 32 + good[-8:], UnreadableFile),
        ("length", good[:-8] + b"\xff\xff\xff\x7f" + good[-4:], UnreadableFile),
        ("zero", good[:-8] + b"\0\0\0\0" + good[-4:], UnreadableFile),
        ("encrypted", b"PARE" + good[4:-4] + b"PARE", EncryptedFile),
    )
    for name, data, _ in cases:
        cloud.put(f"{name}/f.parquet", data)
    cloud.put("good/f.parquet", good)
    catalog = cloud.catalog(cloud.url)
    for name, _, error in cases:
        with pytest.raises(error) as caught:
            catalog.find(name)
        assert type(caught.value) is error, name
        assert f"{cloud.url}/{name}/f.parquet" in caught.value.message
        assert "\n" not in caught.value.message
        assert catalog.find("good").rows == 20000


def test_a_footer_that_duckdb_refuses_is_told_by_url(write):
    path = write("f.parquet", "SELECT 1 AS x")
    url = "s3://bucket/k=1/f.parquet"
    file = Listed(url, url, url, path.stat().st_size, 0, "etag")
    for end, named in ((path.read_bytes()[-8:], False), (b"\xff" * 8, True)):
        footer = Footer(pq.read_metadata(path), b"\xff" * 100 + end)
        with contextlib.closing(Probe()) as probe, pytest.raises(TableError) as caught:
            decide("t", [file], [footer], probe, ReadOptions())
        assert caught.value.message.startswith(f"cannot read {url}: ")
        assert caught.value.message.count(url) == 1 + named
        assert "/proc" not in caught.value.message


def changing(cloud, change: Callable[[], object]) -> Callable[[], Buckets]:
    """Change what is there between the listing of a table and the reading of its footers."""
    start = cloud.buckets.meter.snapshot().list
    todo = [change]

    def buckets() -> Buckets:
        if todo and cloud.buckets.meter.snapshot().list == start + 2:
            todo.pop()()
        return cloud.buckets

    return buckets


def test_replaced_after_it_was_listed(write, tmp_path, cloud):
    write("t/f.parquet", "SELECT 1 AS x")
    write("t/g.parquet", "SELECT 1 AS x")
    url = cloud.copy(tmp_path)
    data = write("u.parquet", "SELECT 7 AS x").read_bytes()
    catalog = cloud.catalog(url, buckets=changing(cloud, lambda: cloud.put("t/g.parquet", data)))
    with pytest.raises(ObjectChanged, match=r"t/g\.parquet has been replaced"):
        catalog.find("t")
    catalog.refresh()
    assert catalog.find("t").column_ranges("x")[1].minimum == 7


def test_gone_after_it_was_listed(write, tmp_path, cloud):
    write("t/f.parquet", "SELECT 1 AS x")
    url = cloud.copy(tmp_path)
    key = f"{cloud.prefix}/t/f.parquet"
    catalog = cloud.catalog(url, buckets=changing(cloud, lambda: cloud.store.delete([key])))
    with pytest.raises(FileChanged, match=r"vanished .*t/f\.parquet"):
        catalog.find("t")


def test_long_footers_take_two_requests(cloud, tmp_path):
    wide = pa.table({f"column_{n}": pa.array([n]) for n in range(1500)})
    pq.write_table(wide, tmp_path / "f.parquet")
    data = (tmp_path / "f.parquet").read_bytes()
    assert int.from_bytes(data[-8:-4], "little") > 65536
    for number in range(3):
        cloud.put(f"wide/{number}.parquet", data)
    catalog = cloud.catalog(cloud.url)
    with metered() as meter:
        table = catalog.find("wide")
    assert meter.snapshot().get == 6
    assert facts(table, "")[0] == facts(FileCatalog(tmp_path).find("f"), "")[0]
    assert table.column_ranges("column_1499")[2].maximum == 1499


def test_requests_for_many_files(write, ministack, make_proxy, make_cloud):
    proxy = make_proxy(ministack)
    cloud = make_cloud(proxy.server)
    data = write("f.parquet", "SELECT range AS x FROM range(100)").read_bytes()
    for number in range(120):
        cloud.put(f"t/p={number}/f.parquet", data)
    for expected in (120, 0):
        catalog = cloud.catalog(cloud.url)
        proxy.reset()
        with metered() as meter:
            assert catalog.find("t").rows == 12000
        asked = meter.snapshot()
        assert (asked.get, asked.list, asked.requests) == (expected, 2, expected + 2)
        assert asked.bytes_in == expected * len(data)
        assert proxy.counts() == asked
    with metered() as meter:
        catalog.refresh()
        catalog.find("t")
    assert meter.snapshot().requests == 2
    with metered() as meter:
        catalog.find("t")
    assert meter.snapshot().requests == 0


def test_footers_are_read_in_parallel(write, ministack, make_proxy, make_cloud):
    proxy = make_proxy(ministack, latency=0.05)
    cloud = make_cloud(proxy.server)
    data = write("f.parquet", "SELECT 1 AS x").read_bytes()
    urls = [cloud.put(f"{number}.parquet", data) for number in range(64)]
    proxy.reset()
    cloud.catalog().open_paths((f"{cloud.url}/*.parquet",), {})
    assert proxy.most_in_flight("get") > 8
    cloud.catalog().open_paths(tuple(urls), {})
    assert proxy.most_in_flight("head") > 8


def test_several_patterns_are_counted(write, ministack_cloud):
    cloud = ministack_cloud
    data = write("f.parquet", "SELECT 1 AS x").read_bytes()
    urls = [cloud.put(f"{number}.parquet", data) for number in range(20)]
    with metered() as meter:
        table = cloud.catalog().open_paths((*reversed(urls), urls[3]), {})
    assert [file.path for file in table.files] == [*reversed(urls), urls[3]]
    assert (meter.snapshot().head, meter.snapshot().get) == (20, 20)


def test_nothing_of_s3_is_loaded_for_local_files(write, tmp_path):
    write("t/a=1/f.parquet", "SELECT 1 AS x")
    code = f"""
import sys
from starling_py.catalog.catalog import FileCatalog
catalog = FileCatalog({str(tmp_path)!r}, {{"far": "s3://bucket/far"}}, buckets=lambda: None)
assert catalog.find("t").rows == 1
catalog.close()
wrong = {{"obstore", "boto3", "botocore", "sqlite3"}} & set(sys.modules)
sys.exit(", ".join(wrong) or 0)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


NAMES = ["a", "b", "B", "a-", "a+", "a b", "ab", "Z", "é", "1", "10", ".h", "_x", "[1]"]
PARTS = ["*", "a*", "?", "[ab]", "[!a]*", "**", "a", "b", "*b", "[a-z]", "é", "[[]1]"]


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(st.lists(st.sampled_from(NAMES), min_size=1, max_size=4), min_size=1, max_size=12),
    st.lists(st.sampled_from(PARTS), min_size=1, max_size=4),
)
def test_patterns_match_and_order_as_duckdb(tmp_path_factory, keys, parts):
    folder = tmp_path_factory.mktemp("tree")
    every = {"/".join([*key[:-1], f"{key[-1]}.parquet"]) for key in keys}
    for key in every:
        path = folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    pattern = "/".join([*parts[:-1], parts[-1] + ("" if parts[-1] == "**" else "*")])
    if pattern.split("/").count("**") > 1:
        return
    with contextlib.closing(Probe()) as probe:
        expected = [
            path.removeprefix(f"{folder}/")
            for path in probe.glob(pattern, f"{folder}/")
            if Path(path).is_file()
        ]
        assert (
            Tree(dict.fromkeys(sorted(every), 1)).search(pattern.split("/"), probe.matching)
            == expected
        )


@pytest.mark.parametrize("count", [1, 2, 3, 9, 60])
def test_the_order_of_a_folder_is_that_of_a_local_one(tmp_path, ministack_cloud, count):
    cloud = ministack_cloud
    rng = random.Random(count)
    data = pa.BufferOutputStream()
    pq.write_table(pa.table({"x": [1]}), data)
    for _ in range(count):
        parts = [rng.choice(NAMES[:11]) for _ in range(rng.randint(0, 3))]
        path = tmp_path.joinpath("t", *parts, f"{rng.choice(NAMES[:11])}.parquet")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.getvalue())
    url = cloud.copy(tmp_path)
    local, remote = FileCatalog(tmp_path), cloud.catalog(url)
    expected = [file.path.removeprefix(str(tmp_path)) for file in local.find("t").files]
    assert [file.path.removeprefix(url) for file in remote.find("t").files] == expected


VALUES = ["1", "02", "x", "2020-01-01", "", "NULL", "1.5", "__HIVE_DEFAULT_PARTITION__", "%20"]


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.tuples(*[st.sampled_from(VALUES)] * 2), min_size=1, max_size=6))
def test_types_of_folders_are_those_of_all_files(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("hive")
    file = folder / "f.parquet"
    pq.write_table(pa.table({"x": [1]}), file)
    paths = []
    for number, (a, b) in enumerate(rows):
        path = folder / f"a={a}/b={b}/{number}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.hardlink_to(file)
        paths.append(str(path))
    keys = [{"a": a, "b": b} for a, b in rows]
    with contextlib.closing(Probe()) as probe:
        for types, autocast in itertools.product((None, {"a": "VARCHAR"}), (True, False)):
            expected = probe.describe_hive(paths, types, autocast=autocast)
            with hive_stand_ins(str(file), keys) as links:
                assert probe.describe_hive(links, types, autocast=autocast) == expected
        assert not Path(links[0]).exists()
