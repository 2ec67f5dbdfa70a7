"""Which files a table has, in the order in which DuckDB reads them."""

from __future__ import annotations

import heapq
import os
from typing import TYPE_CHECKING, NamedTuple

from starling_py.catalog.errors import AccessDenied, NoFiles, TableError

if TYPE_CHECKING:
    from starling_py.catalog.probe import Probe

__all__ = [
    "Listed",
    "files_of_folder",
    "files_of_patterns",
    "is_folder",
    "is_hidden",
    "is_parquet",
    "listed_file",
    "root_of",
    "table_name",
]

_SEVERAL = 2
_SUFFIXES = (".parquet", ".parq", ".pq")


class Listed(NamedTuple):
    """A file as the operating system or a listing of a bucket shows it.

    ``path`` is absolute; ``shown`` is the path as the user's folder or pattern leads to it, which
    DuckDB calls ``filename``; ``inner`` is the part of it whose ``key=value`` folders count.
    A file on S3 has a URL as its path, and an ETag instead of a time.
    """

    path: str
    shown: str
    inner: str
    size: int
    mtime_ns: int
    etag: str = ""


def is_folder(path: str) -> bool:
    """Return whether there is a folder; a path that may not be looked at is none."""
    return os.path.isdir(path)  # noqa: PTH112 - Path.is_dir raises where the parent is closed


def is_hidden(name: str) -> bool:
    """Return whether a file or folder is none of a table's, as ``_SUCCESS`` or ``.crc`` files."""
    return name.startswith((".", "_"))


def is_parquet(name: str) -> bool:
    """Return whether a file's name ends as Parquet files' names do."""
    return name.lower().endswith(_SUFFIXES)


def table_name(name: str) -> str:
    """Return what a folder or file of a data folder is called as a table."""
    # Spark writes a folder with a file's name: orders.parquet/part-00000.parquet.
    return os.path.splitext(name)[0] if is_parquet(name) else name  # noqa: PTH122


def files_of_folder(folder: str, shown: str) -> list[Listed]:
    """Return the Parquet files below an absolute folder, in DuckDB's order for it and ``**``.

    Links to folders are followed, but no folder is entered from within itself. ``shown`` is the
    folder as the user knows it.
    """
    start = len(folder)
    return [listed_file(path, shown + path[start:], path[start:]) for path in _paths_below(folder)]


def _paths_below(top: str) -> list[str]:
    """Return paths as DuckDB orders them: folder by folder in the order of the folders' paths.

    DuckDB first looks for two files, to see whether there are several, and sorts the files of the
    folders which that took as if they were one.
    """
    found: list[str] = []
    waiting: list[tuple[bytes, frozenset[tuple[int, int]]]] = [(os.fsencode(top), frozenset())]
    while waiting:
        folder, above = heapq.heappop(waiting)
        identity, files, folders = _entries(os.fsdecode(folder))
        if identity in above:
            continue
        first = len(found) < _SEVERAL
        found += sorted(files, key=os.fsencode)
        if first:
            found.sort(key=os.fsencode)
        for path in folders:
            heapq.heappush(waiting, (os.fsencode(path), above | {identity}))
    return found


def _entries(folder: str) -> tuple[tuple[int, int], list[str], list[str]]:
    """Return a folder's identity, its Parquet files and its folders."""
    files: list[str] = []
    folders: list[str] = []
    try:
        here = os.stat(folder)  # noqa: PTH116 - a Path per folder costs more than the call
        with os.scandir(folder) as entries:
            for entry in entries:
                if is_hidden(entry.name):
                    continue
                if entry.is_dir():
                    folders.append(entry.path)
                elif is_parquet(entry.name):
                    files.append(entry.path)
    except PermissionError as error:
        raise AccessDenied(f"cannot list the folder {folder}: permission denied") from error
    except OSError as error:
        raise TableError(f"cannot list the folder {folder}: {error.strerror}") from error
    return (here.st_dev, here.st_ino), files, folders


def files_of_patterns(
    patterns: tuple[str, ...], probe: Probe, base: str | None = None
) -> list[Listed]:
    """Return the files that DuckDB finds for each pattern in turn; a file may come twice.

    A relative pattern starts at ``base``, else at the current folder.
    """
    found: list[Listed] = []
    for pattern in patterns:
        if "://" in pattern and not pattern.startswith("file://"):
            raise NoFiles(f"cannot read {pattern}: only local files and S3 can be read")
        local = pattern.removeprefix("file://")
        prefix = "" if base is None or local.startswith("/") else base.rstrip("/") + "/"
        paths = probe.glob(local, prefix)
        if not paths:
            _explain_missing(pattern, prefix + local)
        for path in paths:
            shown = path[len(prefix) :]
            found.append(listed_file(path, shown, shown))
    return found


def _explain_missing(pattern: str, path: str) -> None:
    """Raise the error that says why a pattern finds nothing."""
    folder = root_of(path)
    try:
        os.scandir(folder).close()
        inside = is_folder(path)
    except FileNotFoundError:
        raise NoFiles(f"no files match {pattern}", hint=f"there is no folder {folder}") from None
    except PermissionError as error:
        raise AccessDenied(f"cannot list the folder {folder}: permission denied") from error
    except OSError as error:
        raise NoFiles(f"no files match {pattern}", hint=error.strerror) from error
    if inside:
        raise NoFiles(f"the folder {pattern} holds no .parquet file")
    raise NoFiles(f"no files match {pattern}")


def listed_file(path: str, shown: str, inner: str) -> Listed:
    """Return a file with its present size and modification time."""
    try:
        found = os.stat(path)  # noqa: PTH116 - a Path per file costs more than the call
    except FileNotFoundError as error:
        raise NoFiles(f"no such file: {shown}") from error
    except PermissionError as error:
        raise AccessDenied(f"cannot read {shown}: permission denied") from error
    except OSError as error:
        raise TableError(f"cannot read {shown}: {error.strerror}") from error
    absolute = os.path.abspath(path)  # noqa: PTH100 - Path.resolve would follow links
    return Listed(absolute, shown, inner, found.st_size, found.st_mtime_ns)


def root_of(pattern: str) -> str:
    """Return the absolute folder that holds everything a pattern can match."""
    parts = pattern.removeprefix("file://").split("/")
    fixed = []
    for part in parts[:-1]:
        if any(char in part for char in "*?["):
            break
        fixed.append(part)
    folder = "/".join(fixed) or ("/" if pattern.startswith("/") else ".")
    return os.path.abspath(folder)  # noqa: PTH100 - Path.resolve would follow links
