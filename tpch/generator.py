"""``tpchgen-cli`` as a child process, in pieces of work that can be taken up again."""

from __future__ import annotations

import math
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from starling_py.tpch.errors import GeneratorError, GeneratorMissing
from starling_py.tpch.tables import FIXED, LARGE, TABLES

__all__ = ["Piece", "default_parts", "generate_piece", "pieces", "program"]

PROGRAM = "tpchgen-cli"

# From this scale on the supplier table has as many files as the large ones.
SUPPLIER_IN_PARTS = 100.0

# From this scale on each part is a piece. Starting the generator takes more than a second of CPU
# time, so that smaller scales are better made at once.
PIECE_BY_PIECE = 4.0

SECONDS_TO_START = 600.0
SECONDS_PER_SCALE = 120.0
SECONDS_TO_STOP = 5.0


@dataclass(frozen=True, slots=True)
class Piece:
    """Tables that one process writes: part number ``part`` of ``parts``, or all parts at once."""

    tables: tuple[str, ...]
    parts: int
    part: int | None = None

    @property
    def name(self) -> str:
        """What it is called in messages and among what is done."""
        if self.part is None:
            return "large tables" if self.tables[0] in LARGE else "small tables"
        return f"part {self.part} of {self.parts}"


def default_parts(scale: float) -> int:
    """Return the files per large table: at least eight, and lineitem files of about 120 MB."""
    return max(8, math.ceil(2 * scale))


def pieces(scale: float, parts: int) -> tuple[Piece, ...]:
    """Return the pieces that make all tables."""
    in_parts = TABLES if scale >= SUPPLIER_IN_PARTS else LARGE
    whole = tuple(table for table in FIXED if table not in in_parts)
    if scale >= PIECE_BY_PIECE:
        # Nation and region have a single part: each part of theirs would be the whole table.
        split = tuple(table for table in in_parts if table in (*LARGE, "supplier"))
        whole = tuple(table for table in TABLES if table not in split)
        made = [Piece(split, parts, part) for part in range(1, parts + 1)]
    else:
        made = [Piece(in_parts, parts)]
    return (*made, Piece(whole, 1)) if whole else tuple(made)


def program() -> str:
    """Return the path of the generator.

    Raises
    ------
    GeneratorMissing
    """
    beside = Path(sys.executable).with_name(PROGRAM)
    found = str(beside) if beside.is_file() else shutil.which(PROGRAM)
    if found is None:
        raise GeneratorMissing(
            f"{PROGRAM} is not installed", hint="pip install 'starling-py[tpch]'"
        )
    return found


def generate_piece(piece: Piece, folder: Path, scale: float) -> None:
    """Write a piece below ``folder`` as ``<table>/<table>.<i>.parquet``.

    Raises
    ------
    GeneratorMissing, GeneratorError
    """
    command = [program(), "parquet", "--quiet", "--scale-factor", f"{scale!r}"]
    command += ["--parts", str(piece.parts), "--tables", ",".join(piece.tables)]
    command += ["--output-dir", str(folder)]
    if piece.part is not None:
        command += ["--part", str(piece.part)]
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
