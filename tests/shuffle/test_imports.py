"""A worker starts fast: the ground floor needs Arrow, and none of what the upper floors use."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import starling_py.shuffle

# Loaded by the first request to S3; nothing else of the ground floor needs an event loop.
ON_DEMAND = (
    "hedge",
    "s3",
    "s3_access",
    "s3_ask",
    "s3_client",
    "s3_loop",
    "s3_reading",
    "s3_upload",
)
FOREIGN = ("sqlglot", "rich", "click", "duckdb", "boto3", "obstore", "asyncio", "multiprocessing")


def test_the_ground_floor_imports_little() -> None:
    folder = Path(starling_py.shuffle.__path__[0])
    modules = [
        f"starling_py.shuffle.{path.stem}"
        for path in folder.glob("[!_]*.py")
        if path.stem not in ON_DEMAND
    ]
    program = (
        f"import sys, {', '.join(modules)}\n"
        f"print([name for name in {FOREIGN} if name in sys.modules])\n"
        f"print([name for name in sys.modules if name.startswith('starling_py.')\n"
        f"       and not name.startswith('starling_py.shuffle')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "[]\n[]\n"
