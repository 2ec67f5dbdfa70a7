"""Which files a table has, in which order, and what is said of those that cannot be read."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from starling_py.catalog.catalog import FileCatalog
from starling_py.catalog.errors import (
    AmbiguousTable,
    EmptyTable,
    EncryptedFile,
    NoFiles,
    NotParquet,
    TruncatedFile,
    UnreadableFile,
    UsageError,
)


def shown(files) -> list[str]:
    return [file.path for file in files]


@pytest.mark.parametrize("count", [1, 2, 3, 5, 9, 60])
def test_order_is_duckdb_s(oracle, tmp_path, count):
    rng = random.Random(count)
    names = ["a", "b", "B", "a-", "a+", "a b", "ab", "Z", "é", "1", "10", "2"]
    data = pa.table({"x": [1]})
    for _ in range(count):
        folder = (tmp_path / "t").joinpath(*(rng.choice(names) for _ in range(rng.randint(0, 3))))
        folder.mkdir(parents=True, exist_ok=True)
        pq.write_table(data, folder / f"{rng.choice(names)}.parquet")
    pattern = f"{tmp_path}/t/**/*.parquet"
    expected = [row[0] for row in oracle.execute(f"FROM glob('{pattern}')").fetchall()]
    catalog = FileCatalog(tmp_path, {"u": pattern, "v": f"{tmp_path}/t"})
    assert expected
    for name in "tuv":
        assert shown(catalog.find(name).files) == expected
    assert shown(catalog.open_paths((pattern,), {}).files) == expected
    assert shown(catalog.open_paths((f"{tmp_path}/t",), {}).files) == expected


def test_hidden_and_other_files_are_skipped(write, tmp_path):
    write("t/f.parquet", "SELECT 1 x")
    for name in ("t/_meta/f.parquet", "t/.tmp/f.parquet", "t/_f.parquet", ".u/f.parquet"):
        write(name, "SELECT 'other' y")
    (tmp_path / "t/_SUCCESS").touch()
    (tmp_path / "t/README.txt").write_text("text")
    (tmp_path / "notes.txt").write_text("text")
    catalog = FileCatalog(tmp_path)
    assert catalog.names() == ("t",)
    assert len(catalog.find("t").files) == 1


def test_names(write, tmp_path):
    write("Orders.parquet", "SELECT 1 x")
    write("lines.parquet/part-0.parquet", "SELECT 1 x")
    write("lines.parquet/part-1.parquet", "SELECT 1 x")
    write("a.b.parquet", "SELECT 1 x")
    catalog = FileCatalog(tmp_path)
    assert catalog.names() == ("a.b", "lines", "Orders")
    assert catalog.find("oRDERS").name == "Orders"
    assert len(catalog.find("lines").files) == 2
    assert catalog.find("nothing") is None


def test_patterns(write, tmp_path, monkeypatch):
    for name in ("x/1.parquet", "x/2.parquet", "y/1.parquet"):
        write(name, "SELECT 1 x")
    monkeypatch.chdir(tmp_path)
    catalog = FileCatalog(None, {"all": "**/*.parquet", "one": "?/1.parquet", "x": "x"})
    monkeypatch.chdir("/")
    assert shown(catalog.find("all").files) == [
        f"{tmp_path}/{name}" for name in ("x/1.parquet", "x/2.parquet", "y/1.parquet")
    ]
    assert catalog.find("one").filenames == ("x/1.parquet", "y/1.parquet")
    assert len(catalog.find("x").files) == 2
    assert catalog.roots() == (str(tmp_path),)
    twice = catalog.open_paths((f"{tmp_path}/y/1.parquet", f"{tmp_path}/?/1.parquet"), {})
    assert shown(twice.files) == [f"{tmp_path}/{n}/1.parquet" for n in "yxy"]
    assert str(tmp_path / "y") in catalog.roots()


def test_a_pattern_goes_before_a_folder(write, tmp_path):
    write("t/f.parquet", "SELECT 1 x")
    other = write("other/f.parquet", "SELECT 1 y")
    table = FileCatalog(tmp_path, {"T": str(other)}).find("t")
    assert [column.name for column in table.columns] == ["y"]


def test_two_sources_of_one_name(write, tmp_path):
    write("t/f.parquet", "SELECT 1 x")
    write("t.parquet", "SELECT 1 x")
    catalog = FileCatalog(tmp_path)
    assert catalog.names() == ("t",)
    with pytest.raises(AmbiguousTable, match=r"t/? and .*t\.parquet|t\.parquet and"):
        catalog.find("t")


def test_links(write, tmp_path):
    write("real/f.parquet", "SELECT 1 x")
    data = tmp_path / "data"
    (data / "t").mkdir(parents=True)
    (data / "t/loop").symlink_to(data / "t")
    (data / "t/linked").symlink_to(tmp_path / "real")
    (data / "u.parquet").symlink_to(tmp_path / "gone.parquet")
    catalog = FileCatalog(data)
    assert shown(catalog.find("t").files) == [f"{data}/t/linked/f.parquet"]
    with pytest.raises(NoFiles, match=r"u\.parquet"):
        catalog.find("u")


def test_zero_rows_and_zero_row_groups(write, tmp_path):
    write("t/1.parquet", "SELECT 1 x WHERE false")
    with pq.ParquetWriter(tmp_path / "t/2.parquet", pa.schema([("x", pa.int32())])):
        pass
    write("t/3.parquet", "SELECT 5 x")
    table = FileCatalog(tmp_path).find("t")
    assert [file.rows for file in table.files] == [0, 0, 1]
    assert table.files[1].row_groups == ()
    assert table.column_ranges("x")[-1].minimum == 5
    assert len(table.column_ranges("x")) == sum(len(file.row_groups) for file in table.files)


def test_refresh_sees_changes(write, tmp_path):
    write("t/1.parquet", "SELECT 1 x")
    catalog = FileCatalog(tmp_path)
    before = catalog.find("t")
    write("t/2.parquet", "SELECT 2 x")
    assert catalog.find("t") is before
    catalog.refresh()
    after = catalog.find("t")
    assert len(after.files) == 2
    catalog.refresh()
    assert catalog.find("t") is after
    path = write("t/1.parquet", "SELECT range x FROM range(10)")
    os.utime(path, ns=(1, 1))
    with pytest.raises(Exception, match="differ"):
        catalog.refresh() or catalog.find("t")
    path = write("t/1.parquet", "SELECT range::INT x FROM range(10)")
    catalog.refresh()
    assert catalog.find("t").rows == 11
    path.unlink()
    catalog.refresh()
    assert catalog.find("t").rows == 1
    write("u/1.parquet", "SELECT 1 x")
    catalog.refresh()
    assert catalog.names() == ("t", "u")


def test_unchanged_footers_are_not_read_again(write, tmp_path, monkeypatch):
    write("t/1.parquet", "SELECT 1 x")
    catalog = FileCatalog(tmp_path)
    catalog.find("t")
    write("t/2.parquet", "SELECT 1 x")
    read: list[str] = []
    actual = pq.read_metadata
    monkeypatch.setattr(pq, "read_metadata", lambda path: read.append(path) or actual(path))
    catalog.refresh()
    catalog.find("t")
    assert read == [f"{tmp_path}/t/2.parquet"]


def test_missing_folder(tmp_path):
    with pytest.raises(UsageError, match="no such folder"):
        FileCatalog(tmp_path / "gone")
    path = tmp_path / "f"
    path.touch()
    with pytest.raises(UsageError, match="not a folder"):
        FileCatalog(path)


def test_empty_folders(write, tmp_path):
    assert FileCatalog(tmp_path).names() == ()
    assert FileCatalog(tmp_path).find("t") is None
    write("good/f.parquet", "SELECT 1 x")
    (tmp_path / "empty").mkdir()
    catalog = FileCatalog(tmp_path)
    assert catalog.names() == ("empty", "good")
    assert catalog.find("good").rows == 1
    with pytest.raises(EmptyTable, match="empty"):
        catalog.find("empty")


def test_no_files(tmp_path):
    catalog = FileCatalog(None, {"t": f"{tmp_path}/*.parquet"})
    with pytest.raises(NoFiles, match="table t"):
        catalog.find("t")
    for pattern in (f"{tmp_path}/x.parquet", f"{tmp_path}/gone/*.parquet", str(tmp_path)):
        with pytest.raises(NoFiles):
            catalog.open_paths((pattern,), {})
    with pytest.raises(NoFiles, match="only local"):
        catalog.open_paths(("s3://bucket/x.parquet",), {})


def test_files_that_are_not_parquet(write, tmp_path):
    good = write("good/f.parquet", "SELECT range x FROM range(1000)").read_bytes()
    for name, data, error in (
        ("empty", b"", NotParquet),
        ("short", b"PAR1", TruncatedFile),
        ("text", b"id,name\n1,x\n" * 10, NotParquet),
        ("cut", good[:-20], TruncatedFile),
        ("half", good[: len(good) // 2], TruncatedFile),
        ("footer", good[:-40] + b"\xff" * 32 + good[-8:], UnreadableFile),
        ("length", good[:-8] + b"\xff\xff\xff\x7f" + good[-4:], UnreadableFile),
        ("encrypted", b"PARE" + good[4:-4] + b"PARE", EncryptedFile),
    ):
        path = tmp_path / name / "f.parquet"
        path.parent.mkdir()
        path.write_bytes(data)
        catalog = FileCatalog(tmp_path)
        with pytest.raises(error) as caught:
            catalog.find(name)
        assert type(caught.value) is error, name
        assert f"{name}/f.parquet" in caught.value.message
        assert "\n" not in caught.value.message
        # One broken table is no hindrance to the others.
        assert name in catalog.names()
        assert catalog.find("good").rows == 1000


SCRIPT = """
import os, sys
import duckdb, pyarrow.parquet
from starling_py.catalog.catalog import FileCatalog
from starling_py.catalog.errors import AccessDenied
os.setgid(65534) if os.geteuid() == 0 else None
os.setuid(65534) if os.geteuid() == 0 else None
for name in ("file", "folder"):
    try:
        FileCatalog(sys.argv[1]).find(name)
    except AccessDenied as error:
        sys.stdout.write(error.message + chr(10))
try:
    FileCatalog(None, {"t": sys.argv[1] + "/folder/*.parquet"}).find("t")
except AccessDenied as error:
    sys.stdout.write(error.message + chr(10))
"""


def test_permission_denied(oracle):
    # Not below pytest's own folder, which other users cannot reach: the child may become nobody.
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        root.chmod(0o755)
        for name in ("file", "folder"):
            (root / name).mkdir()
            oracle.execute(f"COPY (SELECT 1 x) TO '{root}/{name}/f.parquet'")
        (root / "file/f.parquet").chmod(0)
        (root / "folder").chmod(0)
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, folder],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            cwd="/",
        )
        (root / "folder").chmod(0o755)
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        f"cannot read {root}/file/f.parquet: permission denied",
        f"cannot list the folder {root}/folder: permission denied",
        f"cannot list the folder {root}/folder: permission denied",
    ]
