"""The processes of a local Lambda's instances, seen from outside."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


def processes_of(folder: Path) -> list[int]:
    """Return the processes of instances whose folder is below ``folder``."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            number = int(entry.name)
            environment = (entry / "environ").read_bytes()
            zombie = (entry / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
            if f"TMPDIR={folder}/".encode() in environment and not zombie:
                found.append(number)
    return found


def until(condition: Callable[[], T], seconds: float = 30.0) -> T:
    """Wait for a condition to hold and return what it gives."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it does not come true"
        time.sleep(0.01)
    return found
