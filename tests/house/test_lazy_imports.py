"""A worker needs the two lower floors only: importing them must not load what users need.

A cold start pays for every import.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# What users need: parsing, the terminal, the cloud.
HEAVY = {"boto3", "click", "rich", "sqlglot", "starling_py.planner", "starling_py.tpch"}


def loaded_by(statement: str) -> set[str]:
    """Return which of the heavy modules a fresh interpreter has after ``statement``."""
    code = f"{statement}\nimport json, sys\nsys.stdout.write(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    return HEAVY & set(json.loads(done.stdout))


def modules(room: str) -> list[str]:
    names = []
    for path in sorted((ROOT / room).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        names.append(".".join(("starling_py", *parts)).removesuffix(".__init__"))
    return names


@pytest.mark.parametrize("package", ["starling_py", "starling_py.operators", "starling_py.shuffle"])
def test_a_package_alone_loads_nothing_heavy(package: str):
    assert loaded_by(f"import {package}") == set()


@pytest.mark.parametrize("room", ["shuffle", "operators"])
def test_no_module_of_the_lower_floors_loads_anything_heavy(room: str):
    names = modules(room)
    assert len(names) > 3
    assert loaded_by("\n".join(f"import {name}" for name in names)) == set()


@pytest.mark.parametrize("module", ["sqlglot", "rich", "starling_py.planner.tables"])
def test_a_heavy_import_is_noticed(module: str):
    assert loaded_by(f"import {module}") != set()


def test_help_loads_no_engine():
    code = """
import sys
from click.testing import CliRunner
from starling_py.cli.main import main
for arguments in ["--help"], ["query", "--help"], ["tpch", "--help"], ["tpch", "verify", "--help"]:
    assert CliRunner().invoke(main, arguments).exit_code == 0, arguments
sys.stdout.write(" ".join(sorted({"duckdb", "pyarrow", "rich", "sqlglot"} & set(sys.modules))))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
