"""Rows that do not fit into memory lie in a file without a name, and come back as they were."""

from __future__ import annotations

import gc
from pathlib import Path

import pyarrow as pa
import pytest

from starling_py.shuffle.errors import StoreError
from starling_py.shuffle.memory import MemoryStore
from starling_py.shuffle.objects import RowStore
from starling_py.shuffle.rows import MemoryShare, collect, whole

SCHEMA = pa.schema([("n", pa.int64()), ("s", pa.string())])


def batches(count: int, rows: int = 1000):
    for number in range(count):
        yield pa.record_batch(
            [range(number * rows, (number + 1) * rows), [f"text {number}"] * rows], schema=SCHEMA
        )


def table(count: int) -> pa.Table:
    return pa.Table.from_batches(batches(count), schema=SCHEMA)


@pytest.mark.parametrize("budget", [0, 30_000, 1 << 30])
def test_rows_come_back(tmp_path: Path, budget: int) -> None:
    share = MemoryShare(budget)
    rows, taken = collect(SCHEMA, batches(9), share, tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert rows.held is (budget == 1 << 30)
    assert rows.rows == 9000
    assert taken <= budget
    for _ in range(2):
        assert rows.table().equals(table(9))
        assert pa.Table.from_batches(rows.batches()).equals(table(9))
    kept = list(rows.batches())
    assert kept[0].equals(next(batches(1)))  # although the file's memory was let go of
    share.give(taken)
    assert share.take(budget)


def test_what_was_handed_out_outlives_the_rows(tmp_path: Path) -> None:
    rows, _ = collect(SCHEMA, batches(3), MemoryShare(0), tmp_path)
    got, one = rows.table(), next(rows.batches())
    del rows
    gc.collect()
    assert got.equals(table(3))
    assert one.equals(next(batches(1)))


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_no_file_stays_open(tmp_path: Path) -> None:
    before = open_files()
    rows = [collect(SCHEMA, batches(3), MemoryShare(0), tmp_path)[0] for _ in range(5)]
    assert whole(rows).num_rows == 15_000
    assert open_files() <= before + len(rows)
    del rows
    gc.collect()
    assert open_files() == before


def test_no_batches_at_all() -> None:
    rows, taken = collect(SCHEMA, (), MemoryShare(10), None)
    assert (rows.rows, rows.size, taken) == (0, 0, 0)
    assert rows.table().equals(SCHEMA.empty_table())


def test_what_fails_gives_its_share_back(tmp_path: Path) -> None:
    share = MemoryShare(1 << 20)

    def broken():
        yield from batches(2)
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        collect(SCHEMA, broken(), share, tmp_path)
    assert share.take(1 << 20)
    with pytest.raises(ValueError, match="no more"):
        collect(SCHEMA, broken(), share, tmp_path)  # in the file


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="the rows of an answer"):
        collect(SCHEMA, batches(1), MemoryShare(0), tmp_path / "nowhere")


def test_the_memory_store_keeps_them_apart(tmp_path: Path) -> None:
    store = MemoryStore(budget=1 << 20, spill_directory=tmp_path, rows_budget=60_000)
    assert isinstance(store, RowStore)
    seen = []
    index = store.put_rows("q/1", "n", SCHEMA, batches(5), lambda: seen.append(1))
    assert len(seen) >= 5
    assert index.rows == 5000
    assert store.get_index("q/1") == index
    assert store.held_bytes == 0
    assert store.get_rows("q/1").table().equals(table(5))
    assert store.get_partitions("q/1", 0, 1)[0].equals(table(5))
    assert len(store.get("q/1")) > index.bytes / 2
    store.delete(["q/1"])
    again = store.put_rows("q/2", "n", SCHEMA, batches(1), lambda: None)
    assert store.get_rows("q/2").held
    assert again.rows == 1000
    store.close()
