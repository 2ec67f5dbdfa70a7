"""What was kept on disk comes back, or nothing does; it never hurts."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from starling_py.catalog.disk_cache import DiskCache, cache_folder
from starling_py.shuffle.meter import metered

KEY = b"k" * 32


def database(folder: Path) -> Path:
    (found,) = folder.glob("*.db")
    return found


@pytest.fixture
def cache(tmp_path):
    with contextlib.closing(DiskCache(tmp_path / "deep/cache")) as made:
        yield made


def test_where(monkeypatch):
    home = {"HOME": "/home/somebody"}
    monkeypatch.setenv("HOME", "/home/somebody")
    assert cache_folder(home) == Path("/home/somebody/.cache/starling/footers")
    assert cache_folder({"XDG_CACHE_HOME": "/c"}) == Path("/c/starling/footers")
    assert cache_folder({"XDG_CACHE_HOME": "relative"}) == cache_folder({})
    both = {"XDG_CACHE_HOME": "/c", "STARLING_CACHE_DIR": "/d"}
    assert cache_folder(both) == Path("/d/footers")
    assert cache_folder({"STARLING_CACHE_DIR": ""}) == cache_folder({})


def test_nobody_has_a_home(monkeypatch):
    def homeless() -> Path:
        raise RuntimeError

    monkeypatch.setattr(Path, "home", homeless)
    assert cache_folder({}) is None
    nowhere = DiskCache(None)
    nowhere.put({KEY: b"data"})
    assert nowhere.get([KEY]) == {}


@settings(max_examples=25, deadline=None)
@given(st.dictionaries(st.binary(min_size=1, max_size=64), st.binary(max_size=9000)))
def test_what_was_put_comes_back(tmp_path_factory, items):
    folder = tmp_path_factory.mktemp("cache")
    with contextlib.closing(DiskCache(folder)) as cache:
        cache.put(items)
        assert cache.get(list(items)) == items
    with contextlib.closing(DiskCache(folder)) as cache:
        assert cache.get([*items, b"\0" * 65]) == items


def test_nothing_is_made_by_asking(cache, tmp_path):
    assert cache.get([KEY]) == {}
    cache.put({})
    assert list(tmp_path.iterdir()) == []
    cache.put({KEY: b"data"})
    assert database(tmp_path / "deep/cache").parent.stat().st_mode & 0o077 == 0


def test_many(cache):
    items = {number.to_bytes(32): os.urandom(10) for number in range(2345)}
    cache.put(items)
    assert cache.get(list(items)) == items


def test_the_oldest_go(tmp_path):
    items = {number.to_bytes(32): os.urandom(1000) for number in range(100)}
    with contextlib.closing(DiskCache(tmp_path, limit=50_000)) as cache:
        for key, data in items.items():
            cache.put({key: data})
        assert list(cache.get(list(items))) == list(items)[50:]
        large = {b"large": bytes(60_000)}
        cache.put(large)
        assert cache.get([*items, b"large"]) == {}
    assert database(tmp_path).stat().st_size < 250_000


def test_what_is_used_stays(tmp_path, monkeypatch):
    clock = 1e9
    monkeypatch.setattr("time.time", lambda: clock)
    with contextlib.closing(DiskCache(tmp_path, limit=2000)) as cache:
        cache.put({b"a": bytes(1000)})
        clock += 1
        cache.put({b"b": bytes(1000)})
        clock += 200_000
        assert cache.get([b"a"])
        cache.put({b"c": bytes(1000)})
        assert set(cache.get([b"a", b"b", b"c"])) == {b"a", b"c"}


def test_other_bytes_are_not_believed(cache, tmp_path):
    cache.put({KEY: b"data", b"other": b"more"})
    with contextlib.closing(sqlite3.connect(database(tmp_path / "deep/cache"))) as direct:
        direct.execute("UPDATE footers SET data = ? WHERE key = ?", (b"dato", KEY))
        direct.commit()
    assert cache.get([KEY, b"other"]) == {b"other": b"more"}
    cache.put({KEY: b"data"})
    assert cache.get([KEY]) == {KEY: b"data"}


@pytest.mark.parametrize("damage", ["text", "empty", "cut", "zeros"])
def test_a_damaged_database_is_made_anew(tmp_path, damage):
    items = {number.to_bytes(32): os.urandom(3000) for number in range(50)}
    with contextlib.closing(DiskCache(tmp_path)) as cache:
        cache.put(items)
    path = database(tmp_path)
    data = path.read_bytes()
    path.write_bytes(
        {
            "text": b"not a database, but a text" * 1000,
            "empty": b"",
            "cut": data[: len(data) // 2],
            "zeros": data[:4096] + bytes(len(data) - 4096),
        }[damage]
    )
    with contextlib.closing(DiskCache(tmp_path)) as cache:
        assert cache.get(list(items)).items() <= items.items()
        cache.put(items)
        cache.put(items)
        assert cache.get(list(items)) == items


def test_a_folder_that_is_none(tmp_path):
    (tmp_path / "file").write_text("text")
    with contextlib.closing(DiskCache(tmp_path / "file/cache")) as cache:
        cache.put({KEY: b"data"})
        assert cache.get([KEY]) == {}
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache/footers-1.db").mkdir()
    with contextlib.closing(DiskCache(tmp_path / "cache")) as cache:
        cache.put({KEY: b"data"})
        assert cache.get([KEY]) == {}


READ_ONLY = """
import os, sqlite3, sys
from pathlib import Path
from starling_py.catalog.disk_cache import DiskCache
if os.geteuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
cache = DiskCache(Path(sys.argv[1]))
assert cache.get([b"k"]) == ({b"k": b"data"} if sys.argv[2] == "readable" else {})
cache.put({b"l": b"more"})
assert cache.get([b"l"]) == {}
"""


@pytest.mark.parametrize("mode", ["readable", "closed"])
def test_a_folder_that_may_not_be_written(mode):
    # Not below pytest's own folder, which other users cannot reach: the child may become nobody.
    with tempfile.TemporaryDirectory() as top:
        folder = Path(top, "cache")
        with contextlib.closing(DiskCache(folder)) as cache:
            cache.put({b"k": b"data"})
        Path(top).chmod(0o755)
        database(folder).chmod(0o444)
        folder.chmod(0o555 if mode == "readable" else 0)
        done = subprocess.run(
            [sys.executable, "-c", READ_ONLY, str(folder), mode],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            cwd="/",
        )
        folder.chmod(0o755)
        assert done.stderr == ""


def test_somebody_else_holds_it(tmp_path):
    cache = DiskCache(tmp_path, patience=0.01)
    cache.put({KEY: b"data"})
    with contextlib.closing(sqlite3.connect(database(tmp_path))) as direct:
        direct.execute("BEGIN EXCLUSIVE")
        assert cache.get([KEY]) == {}
        cache.put({b"x": b"y"})
        direct.rollback()
    assert cache.get([KEY, b"x"]) == {KEY: b"data"}
    cache.close()


FILL = """
import sys
from pathlib import Path
from starling_py.catalog.disk_cache import DiskCache
cache = DiskCache(Path(sys.argv[1]))
for number in range(30):
    cache.put({f"{sys.argv[2]}-{number}".encode(): bytes(100)})
cache.close()
"""


def test_processes_share_it(tmp_path):
    children = [
        subprocess.Popen([sys.executable, "-c", FILL, str(tmp_path), str(seed)])
        for seed in range(3)
    ]
    assert [child.wait(60) for child in children] == [0, 0, 0]
    with contextlib.closing(DiskCache(tmp_path)) as cache:
        keys = [f"{seed}-{number}".encode() for seed in range(3) for number in range(30)]
        assert len(cache.get(keys)) == 90


def test_a_footer_is_known_by_the_state_of_its_file(write, ministack_cloud):
    cloud = ministack_cloud
    first = write("f.parquet", "SELECT 1 AS x").read_bytes()
    cloud.put("t/f.parquet", first)
    assert cloud.catalog(cloud.url).find("t").column_ranges("x")[0].minimum == 1
    cloud.put("t/f.parquet", write("f.parquet", "SELECT 2 AS x").read_bytes())
    with metered() as meter:
        assert cloud.catalog(cloud.url).find("t").column_ranges("x")[0].minimum == 2
    assert meter.snapshot().get == 1
    cloud.put("t/f.parquet", first)
    with metered() as meter:
        assert cloud.catalog(cloud.url).find("t").column_ranges("x")[0].minimum == 1
    assert meter.snapshot().get == 0


def test_a_cache_of_nonsense_costs_a_request(write, ministack_cloud):
    cloud = ministack_cloud
    cloud.put("t/f.parquet", write("f.parquet", "SELECT 1 AS x").read_bytes())
    cloud.catalog(cloud.url).find("t")
    database(cloud.cache).write_bytes(b"nonsense" * 1000)
    for expected in (1, 0):
        with metered() as meter:
            assert cloud.catalog(cloud.url).find("t").rows == 1
        assert meter.snapshot().get == expected


def test_the_environment_says_where(write, ministack_cloud, tmp_path, monkeypatch):
    monkeypatch.setenv("STARLING_CACHE_DIR", str(tmp_path / "there"))
    cloud = ministack_cloud
    cloud.put("t/f.parquet", write("f.parquet", "SELECT 1 AS x").read_bytes())
    cloud.catalog(cloud.url, cache=None).find("t")
    assert database(tmp_path / "there/footers").stat().st_size
    assert not cloud.cache.exists()
