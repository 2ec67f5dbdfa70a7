"""Compiled modules in a bundle: a function cannot keep what it compiles, so each start would."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from starling_py.deploy.errors import DeployError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starling_py.deploy.platform import Platform

__all__ = ["can_compile", "compiled"]

_ROOT = "/var/task"
"""Where a function's code is on AWS Lambda; tracebacks name it."""
_SECONDS = 120.0


def can_compile(platform: Platform) -> bool:
    """Return whether this interpreter is of the platform's version; the machine does not matter."""
    return platform.python == sys.version_info[:2] and sys.implementation.name == "cpython"


def compiled(sources: dict[str, bytes]) -> Iterator[tuple[str, bytes]]:
    """Yield the compiled modules of sources, given and named by their paths in the bundle.

    Raises
    ------
    DeployError
        If a source cannot be compiled.
    """
    with tempfile.TemporaryDirectory(prefix="starling-compile-") as folder:
        root = Path(folder)
        for name, source in sources.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(source)
        # In a process of its own: the bytes depend on what else an interpreter has in memory.
        options = ["-I", "-S", "-m", "compileall", "-q", "-f"]
        options += ["--invalidation-mode", "unchecked-hash", "-s", folder, "-p", _ROOT, folder]
        done = subprocess.run(
            [sys.executable, *options],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env={"PYTHONHASHSEED": "0"},
            timeout=_SECONDS,
            check=False,
        )
        if done.returncode:
            raise DeployError(f"the sources cannot be compiled: {done.stdout.strip()[-500:]}")
        for path in sorted(root.rglob("*.pyc")):
            yield path.relative_to(root).as_posix(), path.read_bytes()
