"""A directory of this process's own for files that nobody needs after it."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import weakref
from contextlib import suppress
from pathlib import Path

__all__ = ["Scratch", "sweep"]

_NAME = re.compile(r"starling-(?P<machine>[0-9a-f]{8})-(?P<pid>\d+)-(?P<start>\d+)-.*")


# Waits for a line, which says that all is done, or for the end of the process at the other end.
_WATCH = 'read -r line || exec rm -rf -- "$1"'
_STOP_SECONDS = 5.0


class Scratch:
    """A new private directory, removed by :meth:`close` or when the interpreter ends.

    A shell, asleep until then, removes it when this process is killed. Its name tells whose it is,
    so that :func:`sweep` finds those that were left even so.

    Parameters
    ----------
    owned
        Whether somebody closes it when the interpreter ends: after whatever writes to it.
    """

    def __init__(self, parent: Path | None = None, *, owned: bool = False) -> None:
        pid = os.getpid()
        prefix = f"starling-{_machine()}-{pid}-{_started(pid)}-"
        self.path = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        self._remove = weakref.finalize(self, _remove, self.path, pid, _watcher(self.path))
        self._remove.atexit = not owned

    def close(self) -> None:
        self._remove()


def sweep(parent: Path | None = None) -> int:
    """Remove the scratch directories of processes that are gone; return how many there were."""
    removed = 0
    for path in Path(parent or tempfile.gettempdir()).glob("starling-*"):
        found = _NAME.fullmatch(path.name)
        if found is None or found["machine"] != _machine():
            continue
        try:
            ours = path.lstat().st_uid == os.getuid()
        except OSError:
            continue
        if ours and _started(int(found["pid"])) != int(found["start"]):
            shutil.rmtree(path, ignore_errors=True)
            removed += 1
    return removed


def _remove(path: Path, owner: int, watcher: subprocess.Popen[bytes] | None) -> None:
    if os.getpid() != owner:
        return  # a fork owns nothing of this
    shutil.rmtree(path, ignore_errors=True)
    if watcher is not None:
        done = b"" if path.exists() else b"\n"
        with suppress(OSError, subprocess.TimeoutExpired):
            watcher.communicate(done, timeout=_STOP_SECONDS)


def _watcher(path: Path) -> subprocess.Popen[bytes] | None:
    try:
        return subprocess.Popen(
            ["/bin/sh", "-c", _WATCH, "starling-watcher", str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={"PATH": os.defpath},
            cwd="/",
            # Signals to the group of this process are not for the one that cleans up after it.
            start_new_session=True,
        )
    except OSError:
        return None  # no shell: the next engine sweeps


def _machine() -> str:
    """Name the set of processes among which a process number means one process."""
    try:
        namespace = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        namespace = ""
    return hashlib.sha256(f"{os.uname().nodename} {namespace}".encode()).hexdigest()[:8]


def _started(pid: int) -> int:
    """Return when a process started, in the system's own unit; -1 if there is none."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        if Path("/proc/self/stat").exists():
            return -1
        return _is_alive(pid)
    except OSError:
        return -1
    # The name of the command, in parentheses, may hold blanks and parentheses.
    return int(status.rpartition(")")[2].split()[19])


def _is_alive(pid: int) -> int:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return -1
    except PermissionError:
        return 0
    return 0
