"""What the generator writes, what it refuses, and that nothing half-made is left."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from s3_servers import BUCKET, S3Server

import starling_py
from starling_py.errors import UsageError
from starling_py.tpch import generate as module
from starling_py.tpch import generator
from starling_py.tpch.errors import (
    GeneratorError,
    GeneratorMissing,
    OutputRefused,
    UploadFailed,
)
from starling_py.tpch.generate import default_parts, generate, generate_on_s3
from starling_py.tpch.tables import FIXED, LARGE, TABLES
from starling_py.tpch.unfinished import Manifest, unfinished
from starling_py.tpch.upload import Prefix

SMALL = 0.001


def columns_range(path: Path, column: str) -> tuple[int, int]:
    values = pq.read_table(path, columns=[column]).column(0).to_pylist()
    return min(values), max(values)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture(scope="module")
def small_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("small") / "deep" / "down"
    assert generate(folder, SMALL, parts=2).fresh
    return folder


@pytest.fixture
def small_copy(small_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(small_folder, tmp_path / "tables"))


@pytest.fixture
def standing_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Return a function that puts a shell script in the generator's place."""

    def put(script: str) -> None:
        program = tmp_path / "programs" / "tpchgen-cli"
        program.parent.mkdir()
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        monkeypatch.setattr(generator, "program", lambda: str(program))

    return put


def test_large_tables_have_several_files_and_small_ones_one(tpch_folder: Path):
    assert names(tpch_folder) == sorted(TABLES)
    for table in LARGE:
        assert names(tpch_folder / table) == [f"{table}.{part}.parquet" for part in range(1, 5)]
    for table in FIXED:
        assert names(tpch_folder / table) == [f"{table}.1.parquet"]


def test_lineitem_and_orders_share_key_ranges_file_by_file(tpch_folder: Path):
    last = 0
    for part in range(1, 5):
        orders = columns_range(tpch_folder / "orders" / f"orders.{part}.parquet", "o_orderkey")
        items = columns_range(tpch_folder / "lineitem" / f"lineitem.{part}.parquet", "l_orderkey")
        assert orders == items
        assert orders[0] > last
        last = orders[1]


def test_the_same_again_is_left_alone_and_said_so(small_folder: Path):
    before = {path: path.stat().st_mtime_ns for path in small_folder.rglob("*.parquet")}
    again = generate(small_folder, SMALL, parts=2)
    assert not again.fresh
    assert sum(table.files for table in again.tables) == len(before) == 2 * 5 + 3
    assert before == {path: path.stat().st_mtime_ns for path in small_folder.rglob("*.parquet")}
    assert names(small_folder.parent) == ["down"]


def test_other_tables_are_replaced_only_when_asked_to(small_copy: Path):
    with pytest.raises(OutputRefused, match="other TPC-H tables") as caught:
        generate(small_copy, SMALL, parts=3)
    assert "--overwrite" in str(caught.value.hint)
    assert len(names(small_copy / "lineitem")) == 2
    generate(small_copy, SMALL, parts=3, overwrite=True)
    assert len(names(small_copy / "lineitem")) == 3
    assert names(small_copy.parent) == ["tables"]


@pytest.mark.parametrize("damage", ["truncate", "remove", "add", "rescale"])
def test_a_damaged_folder_is_not_taken_for_complete(small_copy: Path, damage: str):
    path = small_copy / "orders" / "orders.2.parquet"
    if damage == "truncate":
        path.write_bytes(path.read_bytes()[:-20])
    elif damage == "remove":
        path.unlink()
    elif damage == "add":
        path.with_name("orders.3.parquet").write_bytes(path.read_bytes())
    else:
        pq.write_table(pq.read_table(path).slice(1), path)
    with pytest.raises(OutputRefused):
        generate(small_copy, SMALL, parts=2)


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_with_anything_else_in_it_is_never_touched(tmp_path: Path, overwrite: bool):
    folder = tmp_path / "home"
    (folder / "orders").mkdir(parents=True)
    (folder / "thesis.txt").write_text("the only copy")
    with pytest.raises(OutputRefused, match=r"thesis\.txt"):
        generate(folder, SMALL, overwrite=overwrite)
    assert (folder / "thesis.txt").read_text() == "the only copy"
    assert names(tmp_path) == ["home"]


def test_a_file_is_not_a_folder(tmp_path: Path):
    (tmp_path / "file").write_text("text")
    with pytest.raises(OutputRefused, match="is a file"):
        generate(tmp_path / "file", SMALL)


def test_an_empty_folder_is_filled(tmp_path: Path):
    folder = tmp_path / "tables"
    folder.mkdir()
    assert generate(folder, SMALL).fresh
    # As readable as any other folder, although it began as a private scratch folder.
    assert folder.stat().st_mode == (folder / "orders").stat().st_mode


def test_a_missing_generator_is_said_with_the_command_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(GeneratorMissing) as caught:
        generate(tmp_path / "tables", SMALL)
    assert "pip install 'starling-py[tpch]'" in str(caught.value.hint)
    assert names(tmp_path) == []


def test_a_failing_generator_is_an_error_with_its_last_words(tmp_path: Path, standing_in):
    standing_in("echo first >&2; echo 'Error: No space left on device' >&2; exit 1")
    with pytest.raises(GeneratorError, match="No space left on device"):
        generate(tmp_path / "tables", SMALL)
    assert names(tmp_path) == ["programs"]


def test_a_generator_that_writes_nothing_is_an_error(tmp_path: Path, standing_in):
    standing_in("exit 0")
    with pytest.raises(GeneratorError, match="did not write"):
        generate(tmp_path / "tables", SMALL)
    assert names(tmp_path) == ["programs"]


def test_a_generator_that_hangs_is_ended(
    tmp_path: Path, standing_in, monkeypatch: pytest.MonkeyPatch
):
    standing_in(f"echo $$ > {tmp_path}/programs/pid; exec sleep 600")
    monkeypatch.setattr(generator, "SECONDS_TO_START", 0.5)
    monkeypatch.setattr(generator, "SECONDS_PER_SCALE", 0.0)
    with pytest.raises(GeneratorError, match="did not finish"):
        generate(tmp_path / "tables", SMALL)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "programs" / "pid").read_text()), 0)
    assert names(tmp_path) == ["programs"]


def test_an_unwritable_place_is_an_error(tmp_path: Path):
    (tmp_path / "file").write_text("text")
    with pytest.raises(GeneratorError, match="cannot write"):
        generate(tmp_path / "file" / "below", SMALL)


def test_ctrl_c_ends_the_generator_and_leaves_nothing(tmp_path: Path):
    programs = tmp_path / "programs"
    programs.mkdir()
    program = programs / "tpchgen-cli"
    program.write_text(f"#!/bin/sh\necho $$ > {programs}/pid.new\n")
    with program.open("a") as script:
        script.write(f"mv {programs}/pid.new {programs}/pid\nexec sleep 600\n")
    program.chmod(0o755)
    code = (
        "import sys; from pathlib import Path; from starling_py.tpch import generate, generator; "
        f"generator.program = lambda: {str(program)!r}; "
        "generate.generate(Path(sys.argv[1]), 0.001)"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "tables")], stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 60
        while not (programs / "pid").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        parent.send_signal(signal.SIGINT)
        assert parent.wait(30) != 0
    finally:
        parent.kill()
        parent.wait(30)
    with pytest.raises(ProcessLookupError):
        os.kill(int((programs / "pid").read_text()), 0)
    assert names(tmp_path) == ["programs"]


@pytest.mark.parametrize(("scale", "parts"), [(0.01, 8), (1, 8), (4, 8), (10, 20), (100, 200)])
def test_files_of_large_scales_stay_of_one_size(scale: float, parts: int):
    assert default_parts(scale) == parts


# What is there already is not made again


class Stopped(Exception):
    """Stands for whatever ends a process."""


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch):
    """Make every part a piece; return the names of those that are made, and where to stop."""
    made: list[str] = []
    stop: list[str] = []

    def generate_piece(piece, folder: Path, scale: float) -> None:
        if piece.name in stop:
            raise Stopped
        made.append(piece.name)
        generator.generate_piece(piece, folder, scale)

    monkeypatch.setattr(generator, "PIECE_BY_PIECE", 0.0)
    monkeypatch.setattr(module, "generate_piece", generate_piece)
    return made, stop


def test_an_interrupted_run_goes_on_where_it_stopped(tmp_path: Path, counted, small_folder: Path):
    made, stop = counted
    folder = tmp_path / "tables"
    stop.append("small tables")
    with pytest.raises(Stopped):
        generate(folder, SMALL, parts=2)
    assert not folder.exists()
    assert names(tmp_path) == [".tables.unfinished"]
    stop.clear()
    seen: list[module.Progress] = []
    assert generate(folder, SMALL, parts=2, progress=seen.append).fresh
    assert made == ["part 1 of 2", "part 2 of 2", "small tables"]
    assert [(each.done, each.pieces) for each in seen] == [(1, 3), (2, 3), (3, 3)]
    assert names(tmp_path) == ["tables"]
    # Piece by piece gives the same files as all at once.
    for path in small_folder.rglob("*.parquet"):
        assert (folder / path.relative_to(small_folder)).read_bytes() == path.read_bytes()


def test_what_is_left_of_another_scale_is_thrown_away(tmp_path: Path, counted):
    made, stop = counted
    folder = tmp_path / "tables"
    stop.append("part 2 of 2")
    with pytest.raises(Stopped):
        generate(folder, SMALL, parts=2)
    stop.clear()
    generate(folder, 2 * SMALL, parts=2)
    assert made == ["part 1 of 2", "part 1 of 2", "part 2 of 2", "small tables"]
    assert pq.read_table(folder / "orders").num_rows == 3000
    assert names(tmp_path) == ["tables"]


def test_two_processes_do_not_write_one_folder(tmp_path: Path):
    folder = tmp_path / "tables"
    with (
        unfinished(folder, Manifest(SMALL, 2)),
        pytest.raises(OutputRefused, match="another process"),
    ):
        generate(folder, SMALL, parts=2)
    assert names(tmp_path) == []


def test_on_s3(moto: S3Server, counted, monkeypatch: pytest.MonkeyPatch, small_folder: Path):
    made, stop = counted
    for name, value in moto.environment().items():
        monkeypatch.setenv(name, value)
    url = f"s3://{BUCKET}/{moto.new_prefix()}"
    stop.append("small tables")
    with pytest.raises(Stopped):
        generate_on_s3(Prefix(url), SMALL, parts=2)
    stop.clear()
    found = generate_on_s3(Prefix(url), SMALL, parts=2)
    assert found.fresh
    assert made == ["part 1 of 2", "part 2 of 2", "small tables"]
    assert found.tables == generate(small_folder, SMALL, parts=2).tables
    assert not generate_on_s3(Prefix(url), SMALL, parts=2).fresh
    with starling_py.connect(url) as connection:
        tables = {table.name: table.rows for table in connection.tables()}
    assert tables == {table.name: table.rows for table in found.tables}
    # Other tables replace them only when asked to, and then none of the old ones stay.
    with pytest.raises(OutputRefused, match="other TPC-H tables"):
        generate_on_s3(Prefix(url), SMALL, parts=1)
    again = generate_on_s3(Prefix(url), SMALL, parts=1, overwrite=True)
    assert {table.files for table in again.tables} == {1}
    with starling_py.connect(url) as connection:
        assert {table.files for table in connection.tables()} == {1}


@pytest.mark.parametrize("overwrite", [False, True])
def test_nothing_of_anybody_else_on_s3_is_touched(moto: S3Server, monkeypatch, overwrite: bool):
    for name, value in moto.environment().items():
        monkeypatch.setenv(name, value)
    prefix = moto.new_prefix()
    store = moto.store(prefix)
    store.put("orders/thesis.txt", [b"the only copy"])
    with pytest.raises(OutputRefused, match=r"orders/thesis\.txt"):
        generate_on_s3(Prefix(f"s3://{BUCKET}/{prefix}"), SMALL, overwrite=overwrite)
    assert [info.key for info in store.list("")] == ["orders/thesis.txt"]
    store.close()


@pytest.mark.parametrize("url", ["s3://", "s3://bucket", "s3://bucket/", "bucket/prefix"])
def test_what_is_no_prefix(url: str):
    with pytest.raises(UsageError):
        Prefix(url)


def test_a_bucket_that_is_not_there(moto: S3Server, monkeypatch: pytest.MonkeyPatch):
    for name, value in moto.environment().items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UploadFailed, match="NoSuchBucket"):
        generate_on_s3(Prefix("s3://nobody-has-this/tables"), SMALL)
