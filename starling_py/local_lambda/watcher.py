"""A shell that ends the instances and removes their folder when their server is killed."""

from __future__ import annotations

import os
import subprocess
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["Watcher"]

# Each line names all the groups there are at that moment; the end of the lines is the server's.
_WATCH = """
while read -r line; do groups=$line; done
for group in $groups; do kill -s KILL -- "-$group" 2>/dev/null; done
rm -rf -- "$1"
"""
_STOP_SECONDS = 10.0


class Watcher:
    """Waits for the end of this process.

    Parameters
    ----------
    folder
        What it removes in the end.
    """

    def __init__(self, folder: Path) -> None:
        self._process = subprocess.Popen(
            ["/bin/sh", "-c", _WATCH, "starling-watcher", str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={"PATH": os.defpath},
            cwd="/",
            # Signals to the group of this process are not for the one that cleans up after it.
            start_new_session=True,
        )

    def watch(self, groups: Iterable[int]) -> None:
        """Tell it which process groups there are."""
        line = " ".join(map(str, groups)) + "\n"
        if self._process.stdin is not None:
            with suppress(OSError):
                self._process.stdin.write(line.encode())
                self._process.stdin.flush()

    def close(self) -> None:
        """Let it do its work."""
        with suppress(OSError, subprocess.TimeoutExpired):
            self._process.communicate(timeout=_STOP_SECONDS)
