"""What only S3 has: pages, bulk deletes, prefixes; on two independent servers."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from starling_py.shuffle.errors import (
    BucketMissing,
    CorruptObject,
    ObjectChanged,
    ObjectExists,
    ObjectMissing,
    StoreError,
)
from starling_py.shuffle.meter import RequestCounts
from starling_py.shuffle.objects import ByteRange
from starling_py.shuffle.s3 import S3Store
from starling_py.shuffle.s3_credentials import Credentials
from starling_py.shuffle.s3_options import S3Options

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def s3(s3_server) -> Iterator[S3Store]:
    store = s3_server.store()
    yield store
    store.close()


def test_pages_and_bulk_deletes(ministack) -> None:
    """One request per page of a listing, and per thousand deleted objects."""
    s3 = ministack.exact_store()
    keys = [f"q/{number:05d}" for number in range(2001)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: s3.put(key, []), keys))
    before = s3.meter.snapshot()
    assert before == RequestCounts(put=2001)
    assert [info.key for info in s3.list("q/")] == keys
    assert s3.meter.snapshot() - before == RequestCounts(list=3)
    s3.delete(keys[2000:])
    assert [info.key for info in s3.list("q/")] == keys[:2000]
    assert s3.meter.snapshot() - before == RequestCounts(list=5, delete=1)
    s3.delete(iter(keys))
    assert list(s3.list("")) == []
    assert s3.meter.snapshot() - before == RequestCounts(list=6, delete=4)
    s3.delete([])
    assert s3.meter.snapshot() - before == RequestCounts(list=6, delete=4)
    s3.close()


def test_prefixes_keep_apart(s3_server) -> None:
    stores = {name: s3_server.store(f"apart/{name}") for name in ("a", "ab", "a/b")}
    for name, store in stores.items():
        store.put("k", [name.encode()])
    assert [info.key for info in stores["a"].list("")] == ["b/k", "k"]
    assert [info.key for info in stores["ab"].list("")] == ["k"]
    assert bytes(stores["a"].get("b/k")) == b"a/b"
    for store in stores.values():
        store.delete([info.key for info in store.list("")])
        assert list(store.list("")) == []
        store.close()


def test_copies_stay_within_s3(s3: S3Store) -> None:
    for number in range(5):
        s3.put(f"a/{number}", [bytes([number]) * 10])
    before = s3.meter.snapshot()
    s3.copy_all([(f"a/{number}", f"b/{4 - number}") for number in range(5)])
    assert s3.meter.snapshot() - before == RequestCounts(put=5)
    assert bytes(s3.get("b/0")) == bytes([4]) * 10
    s3.copy_all([("a/0", "b/0")])
    assert bytes(s3.get("b/0")) == bytes(10)
    s3.copy_all([])
    with pytest.raises(ObjectMissing):
        s3.copy_all([("a/none", "b/none")])


def test_of_16_writers_one_wins(s3: S3Store) -> None:
    barrier = threading.Barrier(16)

    def write(number: int) -> list[bool]:
        won = []
        for turn in range(5):
            barrier.wait(30)
            try:
                s3.put_if_absent(f"race/{turn}", [bytes([number]) * 10_000])
                won.append(True)
            except ObjectExists:
                won.append(False)
        return won

    with ThreadPoolExecutor(16) as pool:
        outcomes = list(pool.map(write, range(16)))
    for turn in range(5):
        (winner,) = [number for number, won in enumerate(outcomes) if won[turn]]
        assert bytes(s3.get(f"race/{turn}")) == bytes([winner]) * 10_000


def test_a_replaced_object_is_noticed(s3: S3Store) -> None:
    s3.put("k", [b"before"])
    etag = s3.head("k").etag
    assert bytes(s3.get_range("k", ByteRange(0, 6), etag=etag)) == b"before"
    s3.put("k", [b"after!"])
    with pytest.raises(ObjectChanged, match="has been replaced"):
        s3.get_range("k", ByteRange(0, 6), etag=etag)


def test_a_range_past_the_end_says_so(s3: S3Store) -> None:
    s3.put("k", [b"12345"])
    with pytest.raises(CorruptObject, match="has 5 bytes: too few for 4 from 3"):
        s3.get_range("k", ByteRange(3, 4))
    with pytest.raises(CorruptObject, match="ends before"):
        s3.get_range("k", ByteRange(5, 1))
    assert bytes(s3.get("k")) == b"12345"


def test_many_ranges_of_a_large_object(s3_server) -> None:
    data = bytes(range(256)) * 2000
    wanted = [ByteRange(start, 100) for start in range(0, 500_000, 10_000)]
    for gap, requests in ((0, 50), (9_899, 50), (9_900, 1)):
        store = s3_server.exact_store(gap=gap)
        store.put("k", [data])
        got = store.get_ranges("k", wanted)
        assert [bytes(part) for part in got] == [data[p.offset : p.offset + 100] for p in wanted]
        assert store.meter.snapshot().get == requests
        store.close()


def test_the_start_of_an_object(s3: S3Store) -> None:
    s3.put("k", [b"0123456789"])
    before = s3.meter.snapshot()
    assert [bytes(s3.get_start("k", most)) for most in (3, 10, 1000)] == [
        b"012",
        b"0123456789",
        b"0123456789",
    ]
    assert s3.meter.snapshot() - before == RequestCounts(get=3, bytes_in=23)
    with pytest.raises(ObjectMissing, match="none"):
        s3.get_start("none", 5)
    with pytest.raises(ValueError, match="at least one"):
        s3.get_start("k", 0)


def test_one_folder(s3: S3Store) -> None:
    for key in ("a/1", "a/x=1/1", "a/x=1/y/2", "a/x=2/1", "ab/1", "top"):
        s3.put(key, [b"12"])
    before = s3.meter.snapshot()
    folders, objects = s3.list_folder("a")
    assert folders == ("a/x=1", "a/x=2")
    assert [(info.key, info.size) for info in objects] == [("a/1", 2)]
    assert objects == (s3.head("a/1"),)
    assert s3.list_folder() == (("a", "ab"), (s3.head("top"),))
    assert s3.list_folder("none") == ((), ())
    assert (s3.meter.snapshot() - before).list == 3


def test_a_folder_of_several_pages(ministack) -> None:
    s3 = ministack.store()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: s3.put(f"f/{number:04d}/x", []), range(1001)))
    folders, objects = s3.list_folder("f")
    assert folders == tuple(f"f/{number:04d}" for number in range(1001))
    assert not objects
    assert s3.meter.snapshot().list == 2
    s3.close()


CALLS: dict[str, Callable[[S3Store], object]] = {
    "get": lambda store: store.get("k"),
    "put": lambda store: store.put("k", [b"1"]),
    "create": lambda store: store.put_if_absent("k", [b"1"]),
    "list": lambda store: list(store.list("")),
    "delete": lambda store: store.delete(["k"]),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_no_bucket(s3_server, call: Callable[[S3Store], object]) -> None:
    store = S3Store(
        "no-such-bucket",
        options=S3Options(endpoint=s3_server.endpoint),
        credentials=lambda: Credentials("testing", "testing"),
    )
    with pytest.raises(BucketMissing, match="there is no bucket no-such-bucket"):
        call(store)
    store.close()


@pytest.mark.parametrize("prefix", ["a/", "/a", "a//b", "../a", "a\tb"])
def test_what_cannot_be_a_prefix(prefix: str) -> None:
    with pytest.raises(StoreError, match="cannot be a key"):
        S3Store("b", prefix, credentials=lambda: Credentials("testing", "testing"))
