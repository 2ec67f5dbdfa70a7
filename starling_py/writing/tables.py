"""Tables that CREATE TABLE … AS makes and DROP TABLE removes: their files and their manifest."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from starling_py.catalog.manifest import MANIFEST, Manifest, ManifestColumn, ManifestFile, decoded
from starling_py.planner.errors import TableExists
from starling_py.shuffle.errors import ObjectExists, StarlingError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starling_py.operators.task import SinkColumn
    from starling_py.writing.folder import Folder, Moves

__all__ = ["Written", "create_table", "drop_table", "manifest_of", "new_manifest", "replace_table"]


@dataclass(frozen=True, slots=True)
class Written:
    """A file that a task wrote, by its path below the staging folder: attempt, then name."""

    file: str
    rows: int
    bytes: int

    @property
    def inner(self) -> str:
        """The file's name without the attempt's folder."""
        return self.file.partition("/")[2]


def new_manifest(query: str, columns: Sequence[SinkColumn], files: Sequence[Written]) -> Manifest:
    """Return the manifest of a table that is about to be."""
    return Manifest(
        query,
        tuple(ManifestColumn(column.name, column.type) for column in columns),
        tuple(ManifestFile(file.inner, file.rows, file.bytes) for file in files),
    )


def manifest_of(folder: Folder, name: str) -> Manifest | None:
    """Return the manifest of the table in a folder's folder ``name``, if it has one."""
    data = folder.read(f"{name}/{MANIFEST}")
    return None if data is None else decoded(data, folder.shown(name))


def create_table(folder: Folder, staging: str, name: str, manifest: Manifest, moves: Moves) -> None:
    """Let a new table be seen.

    On this machine its folder gets its name, with everything in it. On S3 its manifest comes first,
    which keeps the name for it; until all files are there, the table is not complete.

    Raises
    ------
    TableExists
        If somebody else has made a table of this name in the meantime.
    """
    data = manifest.encoded()
    try:
        if folder.root:
            folder.write(f"{staging}/{MANIFEST}", data)
            listed = [*moves, (f"{staging}/{MANIFEST}", MANIFEST)]
            folder.publish(listed, name, staging, replace=False)
            return
        folder.write(f"{name}/{MANIFEST}", data, create=True)
    except (FileExistsError, ObjectExists):
        # After a lost reply S3 has what was sent.
        if folder.root or folder.read(f"{name}/{MANIFEST}") != data:
            raise TableExists(
                f"the table {name} exists: it was made while this query ran"
            ) from None
    try:
        folder.publish(moves, name, staging, replace=False)
    except BaseException:
        # Ctrl-C may come when all files are there. Without a manifest they would be somebody's.
        with suppress(StarlingError):
            folder.delete([f"{name}/{inner}" for _, inner in moves])
            folder.delete([f"{name}/{MANIFEST}"])
        raise


def replace_table(
    folder: Folder, name: str, old: Manifest, manifest: Manifest, moves: Moves
) -> None:
    """Let a table have other files and columns, from one moment to the next."""
    made = [f"{name}/{inner}" for _, inner in moves]
    data = manifest.encoded()
    try:
        folder.move([(source, target) for (source, _), target in zip(moves, made, strict=True)])
        folder.write(f"{name}/{MANIFEST}", data)
    except BaseException:
        # Ctrl-C, or a lost reply, may come when the manifest is there: then so are the files.
        with suppress(StarlingError):
            if folder.read(f"{name}/{MANIFEST}") != data:
                folder.delete(made)
        raise
    folder.delete([f"{name}/{file.name}" for file in old.files])


def drop_table(folder: Folder, name: str, staging: str, manifest: Manifest) -> None:
    """Remove a table's files, its manifest, and its folder where nothing else is in it."""
    listed = {f"{name}/{file.name}" for file in manifest.files} | {f"{name}/{MANIFEST}"}
    found = folder.names(name)
    if folder.root and set(found) <= listed:
        folder.begin(staging)
        try:
            folder.move([(name, f"{staging}/dropped")])
        finally:
            folder.clear(staging)
        return
    # The manifest goes last: without it what is left would look like somebody's files.
    folder.delete(sorted(listed - {f"{name}/{MANIFEST}"}))
    folder.delete([f"{name}/{MANIFEST}"])
