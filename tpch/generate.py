"""TPC-H data as Parquet files, made by ``tpchgen-cli``."""

from __future__ import annotations

import math
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from starling_py.tpch.errors import GeneratorError, GeneratorMissing, OutputRefused
from starling_py.tpch.tables import FIXED, LARGE, TABLES, StoredTable, expected_rows, stored

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Generated", "default_parts", "generate"]

PROGRAM = "tpchgen-cli"

# From this scale on the supplier table has as many files as the large ones.
SUPPLIER_IN_PARTS = 100.0

SECONDS_TO_START = 600.0
SECONDS_PER_SCALE = 120.0
SECONDS_TO_STOP = 5.0


@dataclass(frozen=True, slots=True)
class Generated:
    """What a folder holds now. ``fresh`` is false where it held exactly that before."""

    folder: Path
    tables: tuple[StoredTable, ...]
    fresh: bool


def default_parts(scale: float) -> int:
    """Return the files per large table: at least eight, and lineitem files of about 120 MB."""
    return max(8, math.ceil(2 * scale))


def generate(
    folder: Path, scale: float, *, parts: int | None = None, overwrite: bool = False
) -> Generated:
    """Write the eight tables at a scale factor as ``folder/<table>/<table>.<i>.parquet``.

    Files of one number of lineitem and orders hold the same range of order keys. The folder
    appears when everything is written, or not at all.

    Parameters
    ----------
    parts
        Files per large table; by default :func:`default_parts`.
    overwrite
        Replace TPC-H tables that are there already. Anything else is never overwritten.

    Raises
    ------
    GeneratorMissing, GeneratorError, OutputRefused
    """
    parts = default_parts(scale) if parts is None else parts
    if not overwrite:
        present = _read(folder, scale, parts)
        if present is not None:
            return Generated(folder, present, fresh=False)
    try:
        _check_output(folder, overwrite=overwrite)
        return Generated(folder, _write(folder, scale, parts), fresh=True)
    except OSError as error:
        raise GeneratorError(f"cannot write {folder}: {error.strerror or error}") from error


def _write(folder: Path, scale: float, parts: int) -> tuple[StoredTable, ...]:
    program = _program()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(
        prefix=f".{folder.name}.", dir=folder.parent, ignore_cleanup_errors=True
    ) as scratch:
        # A folder of its own inside: the outer one is readable for its owner only.
        made = Path(scratch, "tables")
        made.mkdir()
        in_parts = TABLES if scale >= SUPPLIER_IN_PARTS else LARGE
        whole = [table for table in FIXED if table not in in_parts]
        for tables, count in ((in_parts, parts), (whole, 1)):
            if tables:
                _run(program, made, scale, count, tables)
        written = _read(made, scale, parts)
        if written is None:
            raise GeneratorError(
                f"{PROGRAM} did not write the tables of scale {scale:g} in {parts} parts"
            )
        if folder.exists():
            folder.rename(Path(scratch, "replaced"))
        made.rename(folder)
    return written


def _read(folder: Path, scale: float, parts: int) -> tuple[StoredTable, ...] | None:
    """Return the tables in ``folder`` if they are just those of this scale in so many parts."""
    try:
        if {path.name for path in folder.iterdir()} != set(TABLES):
            return None
    except OSError:
        return None
    tables = []
    for name in TABLES:
        table = stored(folder, name)
        if table is None or expected_rows(name, scale) not in (None, table.rows):
            return None
        # Very small tables are not split, whatever was asked for.
        if name == "lineitem" and table.files != parts:
            return None
        tables.append(table)
    return tuple(tables)


def _check_output(folder: Path, *, overwrite: bool) -> None:
    if not folder.exists():
        return
    if not folder.is_dir():
        raise OutputRefused(f"{folder} is a file, not a folder")
    found = {path.name for path in folder.iterdir()}
    foreign = sorted(found - set(TABLES))
    if foreign:
        raise OutputRefused(
            f"{folder} holds {foreign[0]!r}, which is not a TPC-H table; nothing is overwritten",
            hint="name a new or empty folder",
        )
    if found and not overwrite:
        raise OutputRefused(
            f"{folder} already holds other TPC-H tables",
            hint="--overwrite replaces them",
        )


def _program() -> str:
    beside = Path(sys.executable).with_name(PROGRAM)
    found = str(beside) if beside.is_file() else shutil.which(PROGRAM)
    if found is None:
        raise GeneratorMissing(
            f"{PROGRAM} is not installed", hint="pip install 'starling-py[tpch]'"
        )
    return found


def _run(program: str, folder: Path, scale: float, parts: int, tables: Sequence[str]) -> None:
    command = [program, "parquet", "--quiet", "--scale-factor", f"{scale!r}"]
    command += ["--parts", str(parts), "--tables", ",".join(tables), "--output-dir", str(folder)]
    deadline = SECONDS_TO_START + SECONDS_PER_SCALE * scale
    child = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    try:
        _, complaint = child.communicate(timeout=deadline)
    except subprocess.TimeoutExpired:
        raise GeneratorError(f"{PROGRAM} did not finish within {deadline:.0f} seconds") from None
    finally:
        _end(child)
    if child.returncode != 0:
        lines = complaint.decode(errors="replace").strip().splitlines()
        reason = lines[-1] if lines else f"exit code {child.returncode}"
        raise GeneratorError(f"{PROGRAM} failed: {reason}")


def _end(child: subprocess.Popen[bytes]) -> None:
    """End a child that still runs (Ctrl-C, deadline); leave no zombie and no pipe."""
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(SECONDS_TO_STOP)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait(SECONDS_TO_STOP)
    if child.stderr is not None:
        child.stderr.close()
