"""What only memory can do wrong: budgets, files past them, tables shared with their producer."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from starling_py.shuffle.errors import (
    CorruptObject,
    ObjectExists,
    ObjectMissing,
    StoreError,
    StoreFull,
)
from starling_py.shuffle.format import decode_object
from starling_py.shuffle.index import ObjectIndex, PartitionEntry
from starling_py.shuffle.memory import MemoryStore
from starling_py.shuffle.meter import RequestCounts
from starling_py.shuffle.objects import ArrowStore, ByteRange, task_key

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

KEY = task_key("query", 2, 7)


def index(tables: Sequence[pa.Table], nonce: str = "n") -> ObjectIndex:
    return ObjectIndex(nonce, tuple(PartitionEntry(0, t.nbytes, t.num_rows, 0) for t in tables))


def tables(count: int = 3, rows: int = 10) -> list[pa.Table]:
    return [
        pa.table({"n": pa.array([number] * rows, pa.int64()), "s": [f"text {number}"] * rows})
        for number in range(count)
    ]


def test_tables_are_handed_over_as_they_are() -> None:
    store = MemoryStore()
    assert isinstance(store, ArrowStore)
    given = tables()
    store.put_partitions(KEY, index(given), given)
    assert all(a is b for a, b in zip(store.get_partitions(KEY, 0, 3), given, strict=True))
    assert store.get_partitions(KEY, 1, 2) == [given[1]]
    assert store.get_partitions(KEY, 2, 2) == []
    assert store.get_index(KEY) == index(given)


@pytest.mark.parametrize("budget", [None, 0], ids=["memory", "file"])
class TestTables:
    def test_kept_and_found(self, budget: int | None, tmp_path: Path) -> None:
        store = MemoryStore(budget=budget, spill_directory=tmp_path)
        given = [*tables(), tables()[0].slice(0, 0)]
        store.put_partitions(KEY, index(given), given)
        assert store.get_partitions(KEY, 0, 4) == given
        assert store.get_partitions(KEY, 2, 4) == given[2:]
        assert store.get_index(KEY) == index(given)
        assert store.head(KEY).size == index(given).bytes
        assert [info.key for info in store.list("query/")] == [KEY]
        store.close()

    def test_read_as_bytes(self, budget: int | None, tmp_path: Path) -> None:
        store = MemoryStore(budget=budget, spill_directory=tmp_path)
        given = tables()
        store.put_partitions(KEY, index(given), given)
        data = store.get(KEY)
        header, read = decode_object(KEY, data)
        assert read == given
        assert (header.producer.query, header.producer.stage, header.producer.task) == (
            "query",
            2,
            7,
        )
        assert header.producer.nonce == "n"
        assert bytes(store.get_range(KEY, ByteRange(3, 50))) == bytes(data)[3:53]
        store.close()

    def test_one_keyspace(self, budget: int | None, tmp_path: Path) -> None:
        store = MemoryStore(budget=budget, spill_directory=tmp_path)
        given = tables()
        store.put_partitions(KEY, index(given), given)
        with pytest.raises(ObjectExists):
            store.put_if_absent(KEY, [b"x"])
        with pytest.raises(ObjectExists):
            store.put_partitions(KEY, index(given, "other"), given)
        assert store.get_index(KEY).nonce == "n"
        whole = bytes(store.get(KEY))
        store.put(KEY, [whole])
        assert store.get_partitions(KEY, 0, 3) == given
        assert store.get_index(KEY) == decode_object(KEY, whole)[0].index
        with pytest.raises(ObjectExists):
            store.put_partitions(KEY, index(given), given)
        store.delete([KEY])
        with pytest.raises(ObjectMissing):
            store.get_partitions(KEY, 0, 1)
        with pytest.raises(ObjectMissing):
            store.get_index(KEY)
        store.close()

    def test_partitions_that_are_not_there(self, budget: int | None, tmp_path: Path) -> None:
        store = MemoryStore(budget=budget, spill_directory=tmp_path)
        given = tables()
        store.put_partitions(KEY, index(given), given)
        with pytest.raises(CorruptObject, match=KEY):
            store.get_partitions(KEY, 2, 4)
        store.put("bytes", [b"no shuffle object, but long enough for one"])
        with pytest.raises(CorruptObject, match="bytes is not a shuffle object"):
            store.get_partitions("bytes", 0, 1)
        store.close()

    def test_of_32_producers_one_wins(self, budget: int | None, tmp_path: Path) -> None:
        store = MemoryStore(budget=budget, spill_directory=tmp_path)
        barrier = threading.Barrier(32)
        given = tables()

        def put(number: int) -> bool:
            barrier.wait(30)
            try:
                if number % 2:
                    store.put_partitions(KEY, index(given, str(number)), given)
                else:
                    store.put_if_absent(KEY, [b"bytes"])
            except ObjectExists:
                return False
            return True

        with ThreadPoolExecutor(32) as pool:
            won = [number for number, wins in enumerate(pool.map(put, range(32))) if wins]
        assert len(won) == 1
        if won[0] % 2:
            assert store.get_index(KEY).nonce == str(won[0])
        else:
            assert bytes(store.get(KEY)) == b"bytes"
        used = store.held_bytes
        store.delete([KEY])
        assert store.held_bytes == 0
        assert used == 0 or budget is None
        assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
        store.close()

    def test_requests_are_counted(self, budget: int | None, tmp_path: Path) -> None:
        store = MemoryStore(budget=budget, spill_directory=tmp_path)
        given = tables()
        store.put_partitions(KEY, index(given), given)
        assert store.meter.snapshot() == RequestCounts(put=1, bytes_out=index(given).bytes)
        store.get_index(KEY)
        store.get_partitions(KEY, 0, 0)
        with pytest.raises(ObjectExists):
            store.put_partitions(KEY, index(given), given)
        assert store.meter.snapshot() == RequestCounts(
            put=2, get=1, head=1, bytes_out=index(given).bytes
        )
        store.close()


def test_memory_that_partitions_share_is_counted_once() -> None:
    whole = pa.table({"a": pa.array(range(1000), pa.int64())})
    parts = [whole.slice(n, 10) for n in range(0, 1000, 10)]
    store = MemoryStore()
    store.put_partitions(KEY, index(parts), parts)
    assert store.held_bytes == 8000
    store.put("other", [bytes(100)])
    assert store.held_bytes == 8100
    store.put("other", [bytes(50)])
    assert store.held_bytes == 8050
    store.delete([KEY, "other"])
    assert store.held_bytes == 0


def test_only_what_exceeds_the_budget_goes_to_files(tmp_path: Path) -> None:
    store = MemoryStore(budget=1000, spill_directory=tmp_path)
    store.put("a", [bytes(600)])
    assert list(tmp_path.iterdir()) == []
    store.put("b", [bytes(500)])
    store.put("c", [bytes(400)])
    assert (store.held_bytes, store.spilled_bytes) == (1000, 500)
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 1
    store.delete(["a", "b"])
    assert (store.held_bytes, store.spilled_bytes) == (400, 500)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    store.put("d", [bytes(600)])
    assert (store.held_bytes, store.spilled_bytes) == (1000, 500)
    store.close()


def test_a_put_that_lost_gives_its_budget_back(tmp_path: Path) -> None:
    store = MemoryStore(budget=1000, spill_directory=tmp_path)
    store.put("a", [bytes(300)])
    for _ in range(10):
        with pytest.raises(ObjectExists):
            store.put_if_absent("a", [bytes(300)])
    assert store.held_bytes == 300


def test_close_removes_the_files_and_keeps_what_was_handed_out(tmp_path: Path) -> None:
    store = MemoryStore(budget=0, spill_directory=tmp_path)
    given = tables(rows=100_000)
    store.put_partitions(KEY, index(given), given)
    store.put("bytes", [bytes(1 << 20)])
    read, data = store.get_partitions(KEY, 0, 3), store.get("bytes")
    store.close()
    store.close()
    assert list(tmp_path.iterdir()) == []
    assert read == given
    assert bytes(data) == bytes(1 << 20)
    with pytest.raises(ObjectMissing):
        store.get("bytes")
    for put in (store.put, store.put_if_absent):
        with pytest.raises(StoreError, match="closed"):
            put("k", [b"x"])
    with pytest.raises(StoreError, match="closed"):
        store.put_partitions(KEY, index(given), given)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("last_words", ["", "raise SystemExit(3)", "1 / 0", "del store"])
def test_no_file_outlives_the_interpreter(tmp_path: Path, last_words: str) -> None:
    program = (
        "import sys; from pathlib import Path; from starling_py.shuffle.memory import MemoryStore\n"
        "store = MemoryStore(budget=0, spill_directory=Path(sys.argv[1]))\n"
        "store.put('k', [b'x'])\n"
        "print(len(list(Path(sys.argv[1]).iterdir())))\n"
        f"{last_words}\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        timeout=60,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.stdout == "1\n"
    assert list(tmp_path.iterdir()) == []


def test_a_fork_leaves_its_parents_files(tmp_path: Path) -> None:
    program = (
        "import os, sys; from pathlib import Path\n"
        "from starling_py.shuffle.memory import MemoryStore\n"
        "store = MemoryStore(budget=0, spill_directory=Path(sys.argv[1]))\n"
        "store.put('k', [b'x'])\n"
        "child = os.fork()\n"
        "if child == 0: sys.exit(0)\n"
        "assert os.waitpid(child, 0)[1] == 0\n"
        "assert bytes(store.get('k')) == b'x'\n"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], timeout=60, check=True)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_typed_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = MemoryStore(budget=0, spill_directory=tmp_path)
    given = tables()

    def fail(*_: object) -> int:
        raise OSError(28, os.strerror(28))

    with monkeypatch.context() as patch:
        patch.setattr(os, "writev", fail)
        with pytest.raises(StoreFull, match=KEY):
            store.put_partitions(KEY, index(given), given)
        with pytest.raises(StoreFull, match="other"):
            store.put("other", [b"x"])
    assert list(store.list("")) == []
    store.put_partitions(KEY, index(given), given)
    assert store.get_partitions(KEY, 0, 3) == given
    store.close()


def test_a_missing_spill_directory_is_typed(tmp_path: Path) -> None:
    store = MemoryStore(budget=0, spill_directory=tmp_path / "none")
    with pytest.raises(StoreError, match="k"):
        store.put("k", [b"x"])
