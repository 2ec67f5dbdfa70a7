"""What goes into a bundle and what stays out, without any network."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from starling_py.deploy import bundle as bundles
from starling_py.deploy.bundle import build_bundle, check_size, read_bundle, size_table
from starling_py.deploy.contents import WORKER, Contents, is_needed
from starling_py.deploy.errors import BundleTooLarge, DeployError, WheelsMissing
from starling_py.deploy.modules import needed_modules
from starling_py.deploy.platform import Platform, this_platform
from starling_py.deploy.wheels import fetch_wheels
from starling_py.errors import UsageError

FOREIGN = ("planner", "cli", "catalog", "tpch", "coordinator", "invokers", "deploy", "local_lambda")
ARM = Platform.parse("arm64", "3.13")


def test_a_worker_takes_nothing_that_only_clients_need():
    found = needed_modules(WORKER.modules)
    assert "starling_py/worker/handler.py" in found
    assert "starling_py/operators/run.py" in found
    # Imported inside a function.
    assert "starling_py/shuffle/s3.py" in found
    assert [name for name in found if name.split("/")[1] in FOREIGN] == []
    assert list(found) == sorted(found)


def test_imports_for_annotations_are_not_followed():
    found = needed_modules(["starling_py"])
    assert list(found) == ["starling_py/__init__.py"]


def test_imports_inside_functions_are_followed():
    assert "starling_py/coordinator/machine.py" in needed_modules(["starling_py.config"])


def test_a_module_that_is_not_there():
    with pytest.raises(DeployError, match=r"starling_py\.nothing"):
        needed_modules(["starling_py.nothing"])


@pytest.mark.parametrize(
    "name",
    [
        "pyarrow/libarrow_flight.so.2600",
        "pyarrow/libarrow_s3.so.2600",
        "pyarrow/libarrow_python.so",
        "pyarrow/libarrow_python.so.2600.1.0",
        "pyarrow/_orc.cpython-313-aarch64-linux-gnu.so",
        "pyarrow/_substrait.cpython-313-aarch64-linux-gnu.so",
        "pyarrow/_flight.cpython-313-aarch64-linux-gnu.so",
        "pyarrow/include/arrow/api.h",
        "pyarrow/tests/test_array.py",
        "pyarrow/src/arrow/python/api.h",
        "pyarrow/lib.pyx",
        "pyarrow/table.pxi",
        "duckdb/__pycache__/x.cpython-313.pyc",
        "duckdb/experimental/spark/conf.py",
        "_duckdb-stubs/__init__.pyi",
        "obstore/_get.pyi",
        "obstore-0.12.1.dist-info/RECORD",
        "obstore-0.12.1.dist-info/sboms/obstore.cyclonedx.json",
    ],
)
def test_what_stays_out(name: str):
    assert not is_needed(name)


@pytest.mark.parametrize(
    "name",
    [
        "pyarrow/__init__.py",
        "pyarrow/lib.cpython-313-aarch64-linux-gnu.so",
        "pyarrow/libarrow.so.2600",
        "pyarrow/libarrow_python.so.2600",
        "pyarrow/libarrow_substrait.so.2600",
        "pyarrow/libarrow_dataset.so.2600",
        "pyarrow/libparquet.so.2600",
        "pyarrow/_dataset.cpython-313-aarch64-linux-gnu.so",
        "pyarrow/_parquet.cpython-313-aarch64-linux-gnu.so",
        "_duckdb.abi3.so",
        "duckdb/__init__.py",
        "obstore/_obstore.abi3.so",
        "duckdb-2.0.0.dist-info/METADATA",
        "duckdb-2.0.0.dist-info/licenses/LICENSE",
    ],
)
def test_what_goes_in(name: str):
    assert is_needed(name)


def test_sizes_are_tabled_and_limited():
    sizes = (("pyarrow", 200 << 20), ("duckdb", 60 << 20))
    assert size_table(sizes).splitlines() == [
        "  pyarrow     200.0 MiB",
        "  duckdb       60.0 MiB",
        "  together    260.0 MiB",
    ]
    check_size(sizes, 260 << 20)
    with pytest.raises(
        BundleTooLarge, match=r"260\.0 MiB, and a function may have 250\.0"
    ) as raised:
        check_size(sizes)
    assert "pyarrow     200.0 MiB" in raised.value.message


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A wheel in the place of all that would be downloaded."""
    path = tmp_path / "thing-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("thing/z.py", "Z = 1\n")
        archive.writestr("thing/a.py", "A = 1\n")
        archive.writestr("thing/tests/", "")
        archive.writestr("thing-1.0.data/purelib/other.py", "")
        archive.writestr("thing-1.0.data/scripts/tool", "")
        archive.writestr("thing-1.0.dist-info/RECORD", "")
    monkeypatch.setattr(bundles, "fetch_wheels", lambda *_: (path,))
    return path


def names(path: Path) -> list[str]:
    with zipfile.ZipFile(path) as archive:
        return archive.namelist()


SMALL = Contents("starling_py.handle", ("starling_py",), ())


@pytest.mark.usefixtures("wheel")
def test_the_same_bundle_has_the_same_bytes(tmp_path: Path):
    one = build_bundle(tmp_path / "one.zip", ARM, SMALL)
    other = build_bundle(tmp_path / "other.zip", ARM, SMALL)
    assert one.path.read_bytes() == other.path.read_bytes()
    assert one.digest == other.digest
    assert names(one.path) == [
        "starling-bundle.json",
        "starling_py-0.1.0.dist-info/METADATA",
        "starling_py/__init__.py",
        "other.py",
        "thing/a.py",
        "thing/z.py",
    ]
    with zipfile.ZipFile(one.path) as archive:
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert {entry.external_attr >> 16 for entry in archive.infolist()} == {0o100644}
    assert read_bundle(one.path) == one
    assert one.manifest.platform == ARM


@pytest.mark.usefixtures("wheel")
def test_modules_are_compiled_for_this_version_only(tmp_path: Path):
    here = build_bundle(tmp_path / "here.zip", this_platform(), SMALL)
    compiled = [name for name in names(here.path) if name.endswith(".pyc")]
    assert {name.rpartition("/")[2].split(".")[0] for name in compiled} == {
        "__init__",
        "a",
        "other",
        "z",
    }
    again = build_bundle(tmp_path / "again.zip", this_platform(), SMALL)
    assert again.digest == here.digest
    there = build_bundle(tmp_path / "there.zip", Platform.parse("arm64", "3.99"), SMALL)
    assert not any(name.endswith(".pyc") for name in names(there.path))


@pytest.mark.usefixtures("wheel")
def test_a_bundle_that_is_too_large_is_not_written(tmp_path: Path):
    path = tmp_path / "bundles/one.zip"
    path.parent.mkdir()
    with pytest.raises(BundleTooLarge, match="starling_py"):
        build_bundle(path, ARM, SMALL, limit=100)
    assert list(path.parent.iterdir()) == []


def test_a_bundle_needs_a_folder(tmp_path: Path):
    with pytest.raises(UsageError, match="no folder"):
        build_bundle(tmp_path / "nowhere/one.zip", ARM, SMALL)


@pytest.mark.parametrize("content", [b"", b"no zip"])
def test_what_is_no_bundle(tmp_path: Path, content: bytes):
    path = tmp_path / "x.zip"
    path.write_bytes(content)
    with pytest.raises(DeployError, match="is not a bundle"):
        read_bundle(path)


def test_another_zip_is_no_bundle(tmp_path: Path):
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a", "b")
    with pytest.raises(DeployError, match="is not a bundle"):
        read_bundle(path)


@pytest.mark.parametrize("python", ["3", "3.10", "2.7", "3.13.1", "", "4.0"])
def test_what_is_no_version(python: str):
    with pytest.raises(UsageError, match="version of Python"):
        Platform.parse("arm64", python)


def test_what_is_no_architecture():
    with pytest.raises(UsageError, match="architecture"):
        Platform.parse("riscv", "3.13")


def test_versions_are_those_of_this_client():
    import duckdb
    import pyarrow

    wanted = WORKER.requirements((3, 13))
    assert f"duckdb=={duckdb.__version__}" in wanted
    assert f"pyarrow=={pyarrow.__version__}" in wanted
    assert not any(each.startswith("typing_extensions") for each in wanted)
    assert any(each.startswith("typing_extensions") for each in WORKER.requirements((3, 12)))


def test_wheels_that_cannot_be_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    nothing = tmp_path / "empty"
    nothing.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(nothing))
    cache = tmp_path / "cache"
    with pytest.raises(WheelsMissing, match=r"Python 3\.13 on arm64: .*duckdb"):
        fetch_wheels(["duckdb==2.0.0"], ARM, cache)
    assert list(cache.iterdir()) == []


def test_wheels_are_fetched_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    source = tmp_path / "source"
    source.mkdir()
    with zipfile.ZipFile(source / "thing-1.0-py3-none-any.whl", "w") as archive:
        archive.writestr(
            "thing-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: thing\nVersion: 1.0\n"
        )
        archive.writestr(
            "thing-1.0.dist-info/WHEEL",
            "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        archive.writestr("thing-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(source))
    first = fetch_wheels(["thing==1.0"], ARM, tmp_path / "cache")
    (source / "thing-1.0-py3-none-any.whl").unlink()
    assert fetch_wheels(["thing==1.0"], ARM, tmp_path / "cache") == first
    assert [path.name for path in first] == ["thing-1.0-py3-none-any.whl"]
