"""The list of a table's files that CREATE TABLE … AS keeps beside them.

With it a table changes from one set of files to another at once, and columns have the types of the
query where Parquet has none for them. Files that it does not name are none of the table's.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from starling_py.catalog.errors import AccessDenied, IncompleteTable, NoFiles, TableError
from starling_py.catalog.hive import fold
from starling_py.catalog.listing import Listed, listed_file

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "MANIFEST",
    "Found",
    "Manifest",
    "ManifestColumn",
    "ManifestFile",
    "chosen",
    "decoded",
    "files_of_manifest",
]

MANIFEST = "_starling.json"
"""Its name in the table's folder: hidden from everybody who reads the folder's Parquet files."""

_VERSION = 1


class ManifestColumn(msgspec.Struct, frozen=True):
    """A column as SQL names and types it."""

    name: str
    type: str


class ManifestFile(msgspec.Struct, frozen=True):
    """A file by its name in the table's folder."""

    name: str
    rows: int
    bytes: int


class Manifest(msgspec.Struct, frozen=True):
    """A table's columns and files. ``query`` is the id of the query that made them."""

    query: str
    columns: tuple[ManifestColumn, ...]
    files: tuple[ManifestFile, ...]
    version: int = _VERSION

    def encoded(self) -> bytes:
        return msgspec.json.format(msgspec.json.encode(self), indent=1)

    @property
    def types(self) -> dict[str, str]:
        """The columns' types by their folded names."""
        return {fold(column.name): column.type for column in self.columns}


class Found(NamedTuple):
    """The files of a table, and the types of columns that its files do not tell."""

    files: list[Listed]
    types: Mapping[str, str] = {}


def decoded(data: bytes, place: str) -> Manifest:
    """Return the manifest of a table's folder.

    Raises
    ------
    TableError
        If it is none, or one of a later version.
    """
    try:
        found = msgspec.json.decode(data, type=Manifest)
    except msgspec.DecodeError as error:
        raise TableError(f"{place}/{MANIFEST} is not a list of a table's files: {error}") from None
    if any("/" in file.name for file in found.files):
        raise TableError(f"{place}/{MANIFEST} names files of other folders")
    if found.version != _VERSION:
        raise TableError(
            f"{place}/{MANIFEST} is of version {found.version}", hint="a later version wrote it"
        )
    return found


def files_of_manifest(folder: str, shown: str, table: str) -> Found | None:
    """Return the files of a local folder's manifest, or ``None`` where it has none.

    ``folder`` is absolute; ``shown`` is the folder as the user knows it.
    """
    try:
        data = Path(folder, MANIFEST).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except PermissionError as error:
        if not os.access(folder, os.R_OK | os.X_OK):
            return None  # whoever lists the folder says so
        raise AccessDenied(f"cannot read {shown}/{MANIFEST}: permission denied") from error
    except OSError as error:
        raise TableError(f"cannot read {shown}/{MANIFEST}: {error.strerror}") from error
    manifest = decoded(data, shown)
    files = {}
    for file in manifest.files:
        with suppress(NoFiles):
            path = f"{folder}/{file.name}"
            files[file.name] = listed_file(path, f"{shown}/{file.name}", f"/{file.name}")
    return chosen(manifest, files, table)


def chosen(manifest: Manifest, files: Mapping[str, Listed], table: str) -> Found:
    """Return the files of a manifest among those of a folder, by their names in it.

    Raises
    ------
    IncompleteTable
        If one is missing.
    """
    missing = [file.name for file in manifest.files if file.name not in files]
    if missing:
        raise IncompleteTable(
            f"table {table} is not complete: {missing[0]} is missing",
            hint="it is being written or dropped; if not, `starling cleanup --data` or "
            "CREATE OR REPLACE TABLE",
        )
    return Found([files[file.name] for file in manifest.files], manifest.types)
