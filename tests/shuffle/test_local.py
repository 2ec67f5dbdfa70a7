"""What only a directory can do wrong."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from starling_py.shuffle.errors import (
    ObjectExists,
    ObjectMissing,
    StoreDenied,
    StoreError,
    StoreFull,
)
from starling_py.shuffle.local import LocalStore
from starling_py.shuffle.objects import ByteRange

BIG = bytes(1 << 20)


def files(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*"))


WRITER = """
import sys
from pathlib import Path
from starling_py.shuffle.errors import ObjectExists
from starling_py.shuffle.local import LocalStore

store = LocalStore(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
for key in range(int(sys.argv[3])):
    try:
        store.put_if_absent(f"race/{key}", [sys.argv[2].encode(), b"-", bytes(100_000)])
        print(key, flush=True)
    except ObjectExists:
        pass
"""


@pytest.mark.parametrize("unnamed", [True, False], ids=["unnamed", "named"])
def test_of_many_processes_one_wins(tmp_path: Path, unnamed: bool) -> None:
    program = WRITER if unnamed else f"import os; del os.O_TMPFILE\n{WRITER}"
    keys = 40
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path), str(number), str(keys)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(6)
    ]
    try:
        for writer in writers:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "ready\n"
        for writer in writers:
            assert writer.stdin is not None
            writer.stdin.write("go\n")
            writer.stdin.flush()
        won = [writer.communicate(timeout=60)[0].split() for writer in writers]
    finally:
        for writer in writers:
            writer.kill()
            writer.wait(10)
    assert sorted(int(key) for keys_of_one in won for key in keys_of_one) == list(range(keys))
    store = LocalStore(tmp_path)
    for number, keys_of_one in enumerate(won):
        for key in keys_of_one:
            assert bytes(store.get(f"race/{key}")) == b"%d-" % number + bytes(100_000)
    assert len(files(tmp_path)) == 1 + keys


KILLED = """
import os, signal, sys
from pathlib import Path
from starling_py.shuffle.local import LocalStore

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

os.link = die
LocalStore(Path(sys.argv[1])).put_if_absent("q/k", [b"x" * 100_000])
"""


@pytest.mark.skipif(not hasattr(os, "O_TMPFILE"), reason="needs files without a name")
def test_a_killed_writer_leaves_no_file(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL
    assert files(tmp_path) == ["q"]


def test_where_unnamed_files_are_not_permitted_a_named_one_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = os.open

    def refuse(path: str | Path, flags: int, *rest: int) -> int:
        # What some systems say of a folder that was deleted a moment ago.
        if Path(path).is_dir():
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), str(path))
        return opened(path, flags, *rest)

    store = LocalStore(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        store.put_if_absent("q/k", [b"x"])
    assert bytes(store.get("q/k")) == b"x"
    assert files(tmp_path) == ["q", "q/k"]


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (errno.ENOSPC, StoreFull),
        (errno.EDQUOT, StoreFull),
        (errno.EACCES, StoreDenied),
        (errno.EPERM, StoreDenied),
        (errno.EIO, StoreError),
    ],
)
@pytest.mark.parametrize("unnamed", [True, False], ids=["unnamed", "named"])
def test_a_failed_put_is_typed_and_leaves_nothing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    code: int,
    kind: type[StoreError],
    unnamed: bool,
) -> None:
    if not unnamed:
        monkeypatch.delattr(os, "O_TMPFILE")
    store = LocalStore(tmp_path)
    store.put_if_absent("q/before", [b"x"])
    open_files = set(Path("/proc/self/fd").iterdir())

    def fail(*_: object) -> int:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(os, "writev", fail)
        for put in (store.put, store.put_if_absent):
            with pytest.raises(StoreError, match=r"q/k: ") as raised:
                put("q/k", [b"x"])
            assert type(raised.value) is kind
    assert set(Path("/proc/self/fd").iterdir()) == open_files
    assert files(tmp_path) == ["q", "q/before"]
    store.put_if_absent("q/k", [b"x"])


def test_a_put_is_complete_when_the_system_writes_in_small_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = os.writev

    def short(handle: int, views: list[memoryview]) -> int:
        return whole(handle, [views[0][:7]])

    monkeypatch.setattr(os, "writev", short)
    store = LocalStore(tmp_path)
    parts = [b"0123456789" * n for n in range(5)]
    store.put("k", parts)
    assert bytes(store.get("k")) == b"".join(parts)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may do anything")
def test_folders_without_permission(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.put("q/k", [b"x"])
    (tmp_path / "q").chmod(0o000)
    try:
        with pytest.raises(StoreDenied, match="q/k"):
            store.get("q/k")
        with pytest.raises(StoreDenied, match="q/other"):
            store.put("q/other", [b"x"])
        with pytest.raises(StoreDenied, match="q"):
            list(store.list("q/"))
    finally:
        (tmp_path / "q").chmod(0o700)


def test_a_key_is_either_an_object_or_a_folder(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.put("a", [b"x"])
    for put in (store.put, store.put_if_absent):
        with pytest.raises(StoreError, match="a part of the key is an object") as raised:
            put("a/b", [b"x"])
        assert not isinstance(raised.value, ObjectExists | ObjectMissing)
    assert bytes(store.get("a")) == b"x"


def test_empty_folders_go_with_their_last_object(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "root")
    store.put("q/stage-1/a", [b"x"])
    store.put("q/stage-2/b", [b"x"])
    store.delete(["q/stage-1/a"])
    assert files(tmp_path) == ["root", "root/q", "root/q/stage-2", "root/q/stage-2/b"]
    store.delete(["q/stage-2/b"])
    assert files(tmp_path) == ["root"]


def test_stray_files_are_no_objects(tmp_path: Path) -> None:
    (tmp_path / ".temporary").write_bytes(b"x")
    assert list(LocalStore(tmp_path).list("")) == []


def test_reads_hold_no_descriptor_and_survive_deletion(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.put("k", [BIG])
    before = set(Path("/proc/self/fd").iterdir())
    reads = [store.get_range("k", ByteRange(n, len(BIG) - n)) for n in range(50)]
    assert set(Path("/proc/self/fd").iterdir()) == before
    store.delete(["k"])
    assert all(bytes(data) == bytes(len(BIG) - n) for n, data in enumerate(reads))
    assert _mapped(tmp_path)
    del reads
    assert not _mapped(tmp_path)


def _mapped(folder: Path) -> bool:
    with open("/proc/self/maps", encoding="utf-8") as maps:  # noqa: PTH123 - not a path of ours
        return str(folder) in maps.read()


def test_two_stores_share_a_directory(tmp_path: Path) -> None:
    LocalStore(tmp_path).put("k", [b"x"])
    other = LocalStore(tmp_path)
    assert bytes(other.get("k")) == b"x"
    with pytest.raises(ObjectExists):
        other.put_if_absent("k", [b"y"])
