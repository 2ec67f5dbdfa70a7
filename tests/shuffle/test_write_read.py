"""From a producer's tables to a consumer's, over every store."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from starling_py.shuffle.errors import CorruptObject, ObjectMissing
from starling_py.shuffle.format import Codec, Producer, encode_object
from starling_py.shuffle.index import ObjectIndex, PartitionRun
from starling_py.shuffle.local import LocalStore
from starling_py.shuffle.memory import MemoryStore
from starling_py.shuffle.objects import ArrowStore, ByteRange, ObjectStore, copy_key, task_key
from starling_py.shuffle.read import iter_runs, read_header, read_index, read_runs
from starling_py.shuffle.s3 import S3Store
from starling_py.shuffle.write import Committed, commit_output, commit_partitions

if TYPE_CHECKING:
    from pathlib import Path

SCHEMA = pa.schema([("task", pa.int32()), ("part", pa.int32()), ("text", pa.string())])


def tables(task: int, rows: tuple[int, ...] = (3, 0, 1, 50_000, 0)) -> list[pa.Table]:
    return [
        pa.table(
            [[task] * n, [part] * n, [f"{task}/{part}/{row}" for row in range(n)]], schema=SCHEMA
        )
        for part, n in enumerate(rows)
    ]


def producer(task: int, nonce: str = "first") -> Producer:
    return Producer("q", 1, task, nonce)


def key(task: int) -> str:
    return task_key("q", 1, task)


def run(task: int, index: ObjectIndex, first: int, last: int, *, told: bool) -> PartitionRun:
    entries = index.partitions[first:last] if told else ()
    return PartitionRun(key(task), index.nonce, first, last, entries)


@pytest.mark.parametrize("codec", ["none", "lz4"])
@pytest.mark.parametrize("told", [True, False], ids=["entries", "header"])
def test_every_consumer_gets_its_partitions(store: ObjectStore, codec: Codec, told: bool) -> None:
    written = {task: tables(task) for task in range(4)}
    indexes = [
        commit_partitions(store, key(task), producer(task), parts, codec=codec)
        for task, parts in written.items()
    ]
    for index in indexes:
        assert [entry.rows for entry in index.partitions] == [3, 0, 1, 50_000, 0]
    for first in range(5):
        for last in range(first + 1, 6):
            runs = [run(task, indexes[task], first, last, told=told) for task in range(4)]
            read = read_runs(store, runs)
            expected = pa.concat_tables(
                [part for task in range(4) for part in written[task][first:last]]
            )
            assert read.equals(expected)
            assert all(table.num_rows for table in iter_runs(store, runs))


def test_requests(tmp_path: Path) -> None:
    """One ranged request per run when its entries are told, one more to learn them."""
    store = LocalStore(tmp_path)
    index = commit_partitions(store, key(0), producer(0), tables(0))
    before = store.meter.snapshot()
    read_runs(store, [run(0, index, 0, 5, told=True)])
    counts = store.meter.snapshot() - before
    assert (counts.get, counts.requests, counts.bytes_in) == (1, 1, index.bytes)

    before = store.meter.snapshot()
    read_runs(store, [run(0, index, 2, 4, told=False)])
    counts = store.meter.snapshot() - before
    assert (counts.get, counts.requests) == (2, 2)

    before = store.meter.snapshot()
    assert read_runs(store, [run(0, index, 1, 2, told=True)], SCHEMA).num_rows == 0
    assert (store.meter.snapshot() - before).requests == 0


def test_nothing_to_read_still_has_a_schema(store: ObjectStore) -> None:
    index = commit_partitions(store, key(0), producer(0), tables(0))
    for told in (True, False):
        read = read_runs(store, [run(0, index, 1, 2, told=told)])
        assert (read.num_rows, read.schema) == (0, SCHEMA)
    assert read_runs(store, [], SCHEMA).schema == SCHEMA
    with pytest.raises(ValueError, match="schema must be given"):
        read_runs(store, [])


def test_the_first_attempt_wins_and_both_learn_of_it(store: ObjectStore) -> None:
    won = commit_partitions(store, key(0), producer(0, "first"), tables(0))
    lost = commit_partitions(store, key(0), producer(0, "second"), tables(7, (1, 1, 1, 1, 1)))
    assert won.nonce == "first"
    assert lost == won == read_index(store, key(0))
    read = read_runs(store, [run(0, lost, 0, 5, told=True)])
    assert read.equals(pa.concat_tables(tables(0)))


def test_a_put_whose_answer_was_lost_is_a_success(store: ObjectStore) -> None:
    index = commit_partitions(store, key(0), producer(0, "mine"), tables(0))
    again = commit_partitions(store, key(0), producer(0, "mine"), tables(0))
    assert again == index
    assert again.nonce == "mine"


def test_of_many_attempts_all_report_one_winner(store: ObjectStore) -> None:
    barrier = threading.Barrier(16)

    def attempt(number: int) -> ObjectIndex:
        barrier.wait(30)
        return commit_partitions(
            store, key(0), producer(0, f"n{number}"), tables(number, (number + 1, 2))
        )

    with ThreadPoolExecutor(16) as pool:
        indexes = list(pool.map(attempt, range(16)))
    assert len(set(indexes)) == 1
    winner = int(indexes[0].nonce[1:])
    read = read_runs(store, [run(0, indexes[0], 0, 2, told=True)])
    assert read.equals(pa.concat_tables(tables(winner, (winner + 1, 2))))


def test_a_run_of_another_attempt_is_refused(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    index = commit_partitions(store, key(0), producer(0, "first"), tables(0))
    wrong = PartitionRun(key(0), "second", 0, 5)
    with pytest.raises(CorruptObject, match="written by attempt first, not by second"):
        read_runs(store, [wrong])
    other = encode_object(producer(0, "second"), tables(0, (5, 5, 5, 5, 5))).index
    with pytest.raises(CorruptObject, match=key(0)):
        read_runs(store, [run(0, other, 0, 5, told=True)])
    assert read_runs(store, [run(0, index, 0, 5, told=True)]).num_rows == 50_004


def test_partitions_that_are_not_there(store: ObjectStore) -> None:
    commit_partitions(store, key(0), producer(0), tables(0))
    with pytest.raises(CorruptObject, match=key(0)):
        read_runs(store, [PartitionRun(key(0), "first", 4, 6)])
    with pytest.raises(ObjectMissing, match=key(1)):
        read_runs(store, [PartitionRun(key(1), "first", 0, 1)])
    with pytest.raises(ObjectMissing, match=key(1)):
        read_index(store, key(1))


def test_damage_is_found_by_whoever_reads_it(store: ObjectStore) -> None:
    good = encode_object(producer(0), tables(0, (3, 0, 2)))
    data = b"".join(good.parts)
    start = good.index.partitions[0].offset
    # Each position costs a server some requests.
    step = 31 if isinstance(store, S3Store) else 7
    for position in range(0, len(data), step):
        bad = bytearray(data)
        bad[position] ^= 0x10
        store.put(key(0), [bad])
        with pytest.raises(CorruptObject, match=key(0)):
            read_runs(store, [PartitionRun(key(0), "first", 0, 3)])
        if position < start:
            with pytest.raises(CorruptObject, match=key(0)):
                read_index(store, key(0))
        elif not isinstance(store, ArrowStore):
            with pytest.raises(CorruptObject, match=key(0)):
                read_runs(store, [run(0, good.index, 0, 3, told=True)])
    for length in range(0, len(data), step):
        store.put(key(0), [data[:length]])
        with pytest.raises(CorruptObject, match=key(0)):
            read_runs(store, [PartitionRun(key(0), "first", 0, 3)])


def test_producers_that_disagree_are_found(store: ObjectStore) -> None:
    commit_partitions(store, key(0), producer(0), tables(0))
    commit_partitions(store, key(1), producer(1), [pa.table({"other": [1]})] * 5)
    runs = [PartitionRun(key(task), "first", 0, 3) for task in range(2)]
    with pytest.raises(CorruptObject, match="do not agree"):
        read_runs(store, runs)


def test_the_header_tells_who_wrote_it(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    index = commit_partitions(store, key(5), producer(5), tables(5), codec="lz4")
    header = read_header(store, key(5))
    assert header.producer == producer(5)
    assert (header.codec, header.schema, header.index) == ("lz4", SCHEMA, index)


def test_reading_stops_where_the_consumer_stops(store: ObjectStore) -> None:
    index = commit_partitions(store, key(0), producer(0), tables(0))
    runs = [run(0, index, 0, 5, told=True), PartitionRun("missing", "n", 0, 1)]
    stream = iter_runs(store, runs)
    assert next(stream).num_rows == 3
    assert [table.num_rows for table in (next(stream), next(stream))] == [1, 50_000]
    with pytest.raises(ObjectMissing, match="missing"):
        next(stream)


def test_extension_types_and_no_columns(store: ObjectStore) -> None:
    kind = pa.opaque(pa.binary(16), "hugeint", "DuckDB")
    array = pa.ExtensionArray.from_storage(kind, pa.array([b"0" * 16, None], pa.binary(16)))
    given = pa.table({"h": array, "u": pa.nulls(2)})
    index = commit_partitions(store, key(0), producer(0), [given])
    assert read_runs(store, [run(0, index, 0, 1, told=True)]).equals(given)
    rows = pa.table({"a": [1, 2, 3]}).select([])
    index = commit_partitions(store, key(1), producer(1), [rows])
    assert read_runs(store, [run(1, index, 0, 1, told=True)]).num_rows == 3


def test_bytes_of_tables_are_dealt_out_by_rows() -> None:
    """Each buffer counts once, also where partitions are slices of one table."""
    store = MemoryStore()
    whole = pa.table({"a": pa.array(range(1000), pa.int64())})
    parts = [whole.slice(0, 300), whole.slice(0, 0), whole.slice(300, 1), whole.slice(301)]
    index = commit_partitions(store, key(0), producer(0), parts)
    assert [entry.length for entry in index.partitions] == [2400, 0, 8, 5592]
    assert index.bytes == store.held_bytes == store.meter.snapshot().bytes_out == 8000
    empty = commit_partitions(store, key(1), producer(1), [whole.slice(0, 0)] * 2)
    assert [(entry.length, entry.rows) for entry in empty.partitions] == [(0, 0), (0, 0)]


def commit(store: ObjectStore, task: int = 0, nonce: str = "first", **options: object) -> Committed:
    return commit_output(
        store, key(task), producer(task, nonce), tables(task), codec="lz4", **options
    )


def test_a_small_output_is_returned_and_not_stored(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    size = sum(map(len, encode_object(producer(0), tables(0), codec="lz4").parts))
    stored = commit(store, 1, inline_limit=size - 1)
    assert (stored.inline, [info.key for info in store.list("")]) == (b"", [key(1)])
    carried = commit(store, inline_limit=size)
    assert (len(carried.inline), [info.key for info in store.list("")]) == (size, [key(1)])
    entries = carried.index.partitions[2:4]
    end = entries[-1].offset + entries[-1].length
    data = carried.inline[entries[0].offset : end]
    before = store.meter.snapshot()
    runs = [PartitionRun(key(0), "first", 2, 4, entries, data)]
    assert read_runs(store, runs).equals(pa.concat_tables(tables(0)[2:4]))
    assert store.meter.snapshot() == before


def test_the_winner_alone_writes_a_copy(store: ObjectStore) -> None:
    commit(store, nonce="first", doublewrite=True)
    commit(store, nonce="second", doublewrite=True)
    keys = [info.key for info in store.list("")]
    if isinstance(store, ArrowStore):  # has nothing to wait for
        assert keys == [key(0)]
        return
    assert sorted(keys) == sorted([key(0), copy_key(key(0))])
    assert store.get(key(0)) == store.get(copy_key(key(0)))


def test_every_other_consumer_reads_the_copy(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    runs = []
    for task in range(4):
        made = commit(store, task, doublewrite=True)
        runs.append(PartitionRun(key(task), "first", 0, 5, made.index.partitions, copied=True))
        store.delete([key(task) if task % 2 else copy_key(key(task))])
    expected = pa.concat_tables([table for task in range(4) for table in tables(task)])
    # Reader 0 turns to what is there each time, reader 1 finds none of its first choices.
    for reader, requests in ((0, 4), (1, 8)):
        before = store.meter.snapshot()
        assert read_runs(store, runs, reader=reader).equals(expected)
        assert (store.meter.snapshot() - before).get == requests


def test_damaged_bytes_are_fetched_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = LocalStore(tmp_path)
    index = commit_partitions(store, key(0), producer(0), tables(0))
    right = store.get_range
    damaged = [2]

    def flip(wanted_key: str, wanted: ByteRange) -> bytes:
        data = bytearray(right(wanted_key, wanted))
        if damaged[0]:
            damaged[0] -= 1
            data[len(data) // 2] ^= 1
        return bytes(data)

    monkeypatch.setattr(store, "get_range", flip)
    runs = [run(0, index, 0, 5, told=True)]
    assert read_runs(store, runs).equals(pa.concat_tables(tables(0)))
    assert store.meter.snapshot().retries == 2
    damaged[0] = 3
    with pytest.raises(CorruptObject, match="checksum"):
        read_runs(store, runs)


def test_a_missing_object_is_waited_for(store: ObjectStore) -> None:
    unknown = [PartitionRun(key(0), "", 0, 5)]
    with pytest.raises(ObjectMissing):
        read_runs(store, unknown, deadline=time.monotonic() + 0.1)
    late = threading.Timer(0.3, lambda: commit(store))
    late.start()
    read = read_runs(store, unknown, deadline=time.monotonic() + 30)
    late.join()
    assert read.equals(pa.concat_tables(tables(0)))


def test_a_header_that_is_unusually_long(store: ObjectStore) -> None:
    wide = pa.table({f"column number {at:05}": [at] for at in range(2000)})
    commit_partitions(store, key(0), producer(0), [wide, wide])
    assert len(read_header(store, key(0)).index.partitions) == 2
    assert read_runs(store, [PartitionRun(key(0), "first", 1, 2)]).equals(wide)


def test_a_damaged_header_is_fetched_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = LocalStore(tmp_path)
    index = commit_partitions(store, key(0), producer(0), tables(0))
    right = store.get_start
    damaged = [2]

    def flip(wanted: str, most: int) -> bytes:
        data = bytearray(right(wanted, most))
        damaged[0] -= 1
        data[40] ^= damaged[0] >= 0
        return bytes(data)

    monkeypatch.setattr(store, "get_start", flip)
    assert read_index(store, key(0)) == index
    assert store.meter.snapshot().retries == 2
    damaged[0] = 3
    with pytest.raises(CorruptObject, match="checksum"):
        read_index(store, key(0))
