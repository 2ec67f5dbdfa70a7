"""A room imports only from floors below it, and always by the full name.

shuffle < operators < planner < starling_py < tpch. The rule is read off the syntax tree, so that
imports inside functions and under TYPE_CHECKING count too.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import starling_py

ROOT = Path(__file__).parents[2]
PACKAGE = "starling_py"

MAY_IMPORT = {
    "shuffle": {"shuffle"},
    "operators": {"operators", "shuffle"},
    "planner": {"planner", "operators", "shuffle"},
    "starling_py": {"starling_py", "planner", "operators", "shuffle"},
    # The harness is a user like any other: what it takes from below must be public.
    "tpch": {"tpch", "starling_py"},
}
ROOMS = tuple(MAY_IMPORT)
BARE = set(ROOMS) - {PACKAGE}

# A plan is made of these; how a task runs is not the planner's business.
OPERATOR_TYPES = {"task", "plan", "errors", "quoting"}

PUBLIC_MODULES = {"starling_py", "starling_py.errors", "starling_py.prices"}


def module_name(path: Path) -> str:
    """Return the full module name of a file given relative to the root of the repository."""
    parts = path.with_suffix("").parts
    if parts[0] != PACKAGE:
        parts = (PACKAGE, *parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(tree: ast.AST, package: str) -> Iterator[tuple[int, str]]:
    """Yield line and full dotted name of everything that a module of ``package`` imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")
                above = above[: len(above) - node.level + 1]
                base = ".".join([*above, *([base] if base else [])])
            for alias in node.names:
                yield node.lineno, f"{base}.{alias.name}"
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, (ast.Attribute, ast.Name))
            and (node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id)
            in ("import_module", "__import__")
            and node.args
            and isinstance(node.args[0], ast.Constant)
        ):
            yield node.lineno, str(node.args[0].value)
        elif (
            isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id == PACKAGE
        ):
            yield node.lineno, f"{PACKAGE}.{node.attr}"


def room_of(name: str) -> str:
    parts = name.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in BARE else PACKAGE


def violations(source: str, path: Path, public: frozenset[str]) -> list[str]:
    """Return what the file at ``path`` (relative to the root) imports and must not."""
    module = module_name(path)
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    in_a_room = path.parts[0] in ROOMS
    room = path.parts[0]
    found = []
    for line, name in imported(ast.parse(source), package):
        parts = name.split(".")
        problem = None
        if parts[0] in BARE:
            problem = "by its bare folder name"
        elif parts[0] == PACKAGE and in_a_room:
            target = room_of(name)
            if target not in MAY_IMPORT[room]:
                problem = f"from {room}"
            elif room == "planner" and target == "operators":
                if len(parts) < 3 or parts[2] not in OPERATOR_TYPES:
                    problem = "from planner, which may use the types of operators only"
            elif room == "tpch" and target == PACKAGE and len(parts) > 1:
                owner, _, leaf = name.rpartition(".")
                is_public = (
                    name in PUBLIC_MODULES
                    or (owner == PACKAGE and leaf in public)
                    or (owner in PUBLIC_MODULES and owner != PACKAGE)
                )
                if not is_public:
                    problem = "from tpch, which may use public names only"
        if problem:
            found.append(f"{path}:{line}: imports {name} {problem}")
    return found


def python_files() -> list[Path]:
    files = []
    for folder in (*ROOMS, "tests"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            relative = path.relative_to(ROOT)
            through_a_link = relative.parts[0] == PACKAGE and relative.parts[1] in BARE
            if not through_a_link:
                files.append(relative)
    return files


@pytest.mark.parametrize("room", [*ROOMS, "tests"])
def test_every_file_keeps_to_its_floor(room: str):
    files = [path for path in python_files() if path.parts[0] == room]
    assert files
    public = frozenset(getattr(starling_py, "__all__", ()))
    found = [violations((ROOT / path).read_text(), path, public) for path in files]
    assert [each for problems in found for each in problems] == []


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("shuffle/a.py", "from starling_py.operators.task import TaskSpec"),
        ("shuffle/a.py", "import starling_py.planner"),
        ("shuffle/a.py", "from starling_py import tpch"),
        ("shuffle/a.py", "from starling_py.errors import StarlingError"),
        ("shuffle/a.py", "import starling_py"),
        ("shuffle/deep/a.py", "from ...operators import task"),
        ("shuffle/__init__.py", "from .. import operators"),
        ("operators/a.py", "from starling_py.planner.tables import Table"),
        ("operators/a.py", "def f():\n    from starling_py.planner import tables"),
        ("operators/a.py", "if TYPE_CHECKING:\n    from starling_py.catalog import Catalog"),
        ("operators/a.py", "importlib.import_module('starling_py.planner.parse')"),
        ("planner/a.py", "from starling_py.operators.run import run"),
        ("planner/a.py", "from starling_py.operators import run"),
        ("planner/a.py", "from starling_py.operators import *"),
        ("planner/a.py", "from starling_py import connect"),
        ("starling_py/a.py", "from starling_py.tpch.generate import generate"),
        ("starling_py/cli/a.py", "from ..tpch import generate"),
        ("starling_py/cli/a.py", "__import__('starling_py.tpch')"),
        ("tpch/a.py", "from starling_py.planner.tables import Table"),
        ("tpch/a.py", "from starling_py.catalog import Catalog"),
        ("tpch/a.py", "from starling_py import _private"),
        ("tpch/a.py", "import starling_py\nstarling_py.catalog.open()"),
        ("operators/a.py", "import shuffle"),
        ("operators/a.py", "from shuffle.errors import StarlingError"),
        ("starling_py/a.py", "import planner.parse as parse"),
        ("tests/shuffle/test_a.py", "from shuffle import errors"),
        ("tests/tpch/test_a.py", "import tpch"),
    ],
)
def test_what_is_forbidden_is_found(path: str, source: str):
    assert violations(source, Path(path), frozenset({"connect"}))


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("shuffle/a.py", "import shutil, pyarrow\nfrom starling_py.shuffle.errors import X"),
        ("shuffle/a.py", "from .errors import StarlingError"),
        ("operators/a.py", "from starling_py.shuffle.errors import StarlingError"),
        ("planner/a.py", "from starling_py.operators.plan import StagePlan"),
        ("planner/a.py", "from starling_py.operators import task"),
        ("planner/a.py", "from starling_py.shuffle.keys import P"),
        ("starling_py/a.py", "from starling_py.operators.run import run"),
        ("starling_py/a.py", "from starling_py import planner"),
        ("tpch/a.py", "import starling_py\nstarling_py.connect()"),
        ("tpch/a.py", "from starling_py import connect"),
        ("tpch/a.py", "from starling_py.errors import StarlingError"),
        ("tpch/a.py", "from starling_py.tpch.tables import TABLES"),
        ("tests/planner/test_a.py", "from starling_py.operators.run import run"),
    ],
)
def test_what_is_allowed_is_not(path: str, source: str):
    assert violations(source, Path(path), frozenset({"connect"})) == []
