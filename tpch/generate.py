"""TPC-H data as Parquet files, in a folder or below a prefix on S3."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from starling_py.tpch.errors import GeneratorError, OutputRefused
from starling_py.tpch.generator import PROGRAM, default_parts, generate_piece, pieces, program
from starling_py.tpch.tables import TABLES, StoredTable, expected_rows, stored
from starling_py.tpch.unfinished import Manifest, Unfinished, unfinished

if TYPE_CHECKING:
    from collections.abc import Callable

    from starling_py.tpch.upload import Prefix

__all__ = ["Generated", "Progress", "default_parts", "generate", "generate_on_s3"]


@dataclass(frozen=True, slots=True)
class Generated:
    """What a folder or prefix holds now. ``fresh`` is false where it held exactly that before."""

    folder: str
    tables: tuple[StoredTable, ...]
    fresh: bool


@dataclass(frozen=True, slots=True)
class Progress:
    """So many pieces of all are there; the last of them is called ``piece``."""

    done: int
    pieces: int
    piece: str


def generate(
    folder: Path,
    scale: float,
    *,
    parts: int | None = None,
    overwrite: bool = False,
    progress: Callable[[Progress], None] = lambda _: None,
) -> Generated:
    """Write the eight tables at a scale factor as ``folder/<table>/<table>.<i>.parquet``.

    Files of one number of lineitem and orders hold the same range of order keys. The folder
    appears when everything is written. What is there when that fails, or is interrupted, stays
    in a hidden folder beside it, and the next call goes on from there.

    Parameters
    ----------
    parts
        Files per large table; by default :func:`default_parts`.
    overwrite
        Replace TPC-H tables that are there already. Anything else is never overwritten.
    progress
        Told of each piece.

    Raises
    ------
    GeneratorMissing, GeneratorError, OutputRefused
    """
    parts = default_parts(scale) if parts is None else parts
    if not overwrite:
        present = _read(folder, scale, parts)
        if present is not None:
            return Generated(str(folder), present, fresh=False)
    try:
        _check_output(folder, overwrite=overwrite)
        return Generated(str(folder), _write(folder, scale, parts, progress), fresh=True)
    except OSError as error:
        raise GeneratorError(f"cannot write {folder}: {error.strerror or error}") from error


def generate_on_s3(
    prefix: Prefix,
    scale: float,
    *,
    parts: int | None = None,
    overwrite: bool = False,
    progress: Callable[[Progress], None] = lambda _: None,
) -> Generated:
    """Write the tables below a prefix, piece by piece; what is there already is not made again.

    Files appear one by one. ``_tpch.json`` beside them, which the engine does not see, tells what
    is there and whether it is everything.

    Raises
    ------
    GeneratorMissing, GeneratorError, OutputRefused, UploadFailed
    """
    parts = default_parts(scale) if parts is None else parts
    found = prefix.manifest()
    if found is not None and not overwrite:
        if (found.scale, found.parts) != (scale, parts):
            raise OutputRefused(
                f"{prefix.url} already holds other TPC-H tables", hint="--overwrite replaces them"
            )
        if found.complete:
            return Generated(prefix.url, _totals(found), fresh=False)
    else:
        _check_prefix(prefix, overwrite=overwrite, ours=found is not None)
        found = Manifest(scale, parts)
    program()
    todo = pieces(scale, parts)
    prefix.put_manifest(found)
    for number, piece in enumerate(todo, start=1):
        if piece.name not in found.done:
            with tempfile.TemporaryDirectory(prefix="starling-tpch-") as scratch:
                made = Path(scratch)
                generate_piece(piece, made, scale)
                tables = [_stored_piece(made, table) for table in piece.tables]
                for path in sorted(made.rglob("*.parquet")):
                    prefix.put(path, str(path.relative_to(made)))
            found = msgspec.structs.replace(
                found,
                done=(*found.done, piece.name),
                tables=found.tables + tuple(tables),
                complete=number == len(todo),
            )
            prefix.put_manifest(found)
        progress(Progress(number, len(todo), piece.name))
    return Generated(prefix.url, _totals(found), fresh=True)


def _write(
    folder: Path, scale: float, parts: int, progress: Callable[[Progress], None]
) -> tuple[StoredTable, ...]:
    program()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with unfinished(folder, Manifest(scale, parts)) as begun:
        todo = pieces(scale, parts)
        for number, piece in enumerate(todo, start=1):
            if piece.name not in begun.manifest.done:
                with begun.scratch() as made:
                    generate_piece(piece, made, scale)
                    begun.take(made, piece.name)
            progress(Progress(number, len(todo), piece.name))
        written = _read(begun.tables, scale, parts)
        if written is None:
            begun.forget()
            raise GeneratorError(
                f"{PROGRAM} did not write the tables of scale {scale:g} in {parts} parts"
            )
        _replace(folder, begun)
    return written


def _replace(folder: Path, begun: Unfinished) -> None:
    replaced = begun.folder / "replaced"
    if folder.exists():
        folder.rename(replaced)
    begun.tables.rename(folder)
    with suppress(OSError):
        shutil.rmtree(replaced)


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


def _check_prefix(prefix: Prefix, *, overwrite: bool, ours: bool) -> None:
    """See to it that nothing but a run of ours is replaced, and that nothing of it stays."""
    if ours and overwrite:
        prefix.clear(TABLES)
    left = prefix.first_key()
    if left is not None:
        raise OutputRefused(
            f"{prefix.url} holds {left!r}, which this command did not write",
            hint="name a new or empty prefix",
        )


def _stored_piece(folder: Path, table: str) -> StoredTable:
    found = stored(folder, table, numbered=False)
    if found is None:
        raise GeneratorError(f"{PROGRAM} did not write table {table}")
    return found


def _totals(manifest: Manifest) -> tuple[StoredTable, ...]:
    return tuple(
        StoredTable(
            name,
            sum(each.files for each in manifest.tables if each.name == name),
            sum(each.rows for each in manifest.tables if each.name == name),
            sum(each.bytes for each in manifest.tables if each.name == name),
        )
        for name in TABLES
    )
