"""Benchmarks still run: with little to do, and whatever they measure."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SMALL = {
    "functions": ("20", "2"),
    "two_levels": ("9", "0.01"),
    "requests": (),
    "stragglers": ("--reads", "20", "--writes", "2", "--rows", "0", "4"),
    "throughput": ("--tables", "fixed width", "--partitions", "8", "--rounds", "1"),
}


@pytest.mark.long
@pytest.mark.parametrize("name", SMALL)
def test_it_runs(name: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(HERE / f"{name}.py"), *SMALL[name]],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert any(character.isdigit() for character in done.stdout)
