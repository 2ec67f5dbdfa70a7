"""What is shipped: one top-level package, with the real files of all five rooms in it.

The source distribution is built first and the wheel from it, so that both must be complete. The
build runs without isolation, on what is installed, and needs no network.
"""

from __future__ import annotations

import re
import shutil
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("shuffle", "operators", "planner", "starling_py", "tpch")
LINKED = ("shuffle", "operators", "planner", "tpch")
SUFFIXES = (".html", ".py", ".sql", ".typed", ".yaml")
BUILD_SECONDS = 200


def shipped(root: Path) -> set[str]:
    """Return the names in the wheel that every source file of the five rooms should have."""
    names = set()
    for room in ROOMS:
        for path in (root / room).rglob("*"):
            relative = path.relative_to(root)
            through_a_link = room == "starling_py" and relative.parts[1] in LINKED
            is_shipped = (
                path.suffix in (".html", ".py", ".sql", ".typed", ".yaml")
                or path.name == "Dockerfile"
            )
            if is_shipped and not through_a_link:
                prefix = () if room == "starling_py" else ("starling_py",)
                names.add("/".join((*prefix, *relative.parts)))
    return names


def faults(wheel: Path, expected: set[str]) -> list[str]:
    """Return in words what is wrong with the contents of a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        entries = archive.infolist()
    names = {entry.filename for entry in entries}
    tops = {name.split("/")[0] for name in names}
    found = [
        f"top-level {top}"
        for top in sorted(tops)
        if top != "starling_py" and not re.fullmatch(r"starling_py-[^/]+\.dist-info", top)
    ]
    found += [f"missing {name}" for name in sorted(expected - names)]
    found += [
        f"link {entry.filename}" for entry in entries if stat.S_ISLNK(entry.external_attr >> 16)
    ]
    unexpected = {name for name in names if name.startswith("starling_py/")} - expected
    return found + [f"unexpected {name}" for name in sorted(unexpected)]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # A copy: a build writes into its source tree, and takes stale files of an earlier one along.
    source = tmp_path_factory.mktemp("source") / "tree"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", *ROOMS):
        origin = ROOT / name
        if origin.is_dir():
            shutil.copytree(
                origin, source / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__")
            )
        else:
            shutil.copy2(origin, source / name)
    built = tmp_path_factory.mktemp("built")
    done = subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(built), str(source)],
        capture_output=True,
        text=True,
        timeout=BUILD_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = built.glob("*.whl")
    return path


def test_the_wheel_holds_the_five_rooms_under_one_name(wheel: Path):
    expected = shipped(ROOT)
    assert {f"starling_py/tpch/queries/q{number:02d}.sql" for number in range(1, 23)} <= expected
    assert "starling_py/py.typed" in expected
    assert "starling_py/deploy/template.yaml" in expected
    for room in LINKED:
        assert f"starling_py/{room}/__init__.py" in expected
    assert faults(wheel, expected) == []


def test_the_wheel_works_without_the_repository(wheel: Path, tmp_path: Path):
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import starling_py, starling_py.operators.plan, starling_py.planner.tables\n"
        "import starling_py.shuffle.errors, starling_py.tpch.texts as texts\n"
        "assert 'lineitem' in texts.text(1)\n"
        "for name, module in list(sys.modules.items()):\n"
        "    if name.startswith('starling_py'):\n"
        "        assert module.__file__.startswith(sys.argv[1]), module.__file__\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(wheel)],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("extra", "fault"),
    [
        ("planner/__init__.py", "top-level planner"),
        ("starling_py-0.1.dist-info/METADATA", None),
        ("starling_py/stale.py", "unexpected starling_py/stale.py"),
    ],
)
def test_a_bad_wheel_is_noticed(tmp_path: Path, extra: str, fault: str | None):
    path = tmp_path / "bad.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("starling_py/__init__.py", "")
        archive.writestr(extra, "")
    expected = {"starling_py/__init__.py"}
    assert faults(path, expected) == ([fault] if fault else [])
    assert "missing starling_py/py.typed" in faults(path, expected | {"starling_py/py.typed"})


def test_a_link_in_a_wheel_is_noticed(tmp_path: Path):
    path = tmp_path / "bad.whl"
    link = zipfile.ZipInfo("starling_py/planner")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(link, "../planner")
    assert "link starling_py/planner" in faults(path, set())
