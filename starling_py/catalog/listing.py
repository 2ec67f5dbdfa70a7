"""Which files a table has, in the order in which DuckDB reads them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from starling_py.catalog.errors import AccessDenied, DataError, NoFiles

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starling_py.catalog.probe import Probe

__all__ = [
    "Listed",
    "files_of_folder",
    "files_of_patterns",
    "is_hidden",
    "is_parquet",
    "listed_file",
    "root_of",
]

_SUFFIXES = (".parquet", ".parq", ".pq")


class Listed(NamedTuple):
    """A file as the operating system shows it.

    ``path`` is absolute; ``shown`` is the path as the user's folder or pattern leads to it, which
    DuckDB calls ``filename``; ``inner`` is the part of it whose ``key=value`` folders count.
    """

    path: str
    shown: str
    inner: str
    size: int
    mtime_ns: int


def is_hidden(name: str) -> bool:
    """Return whether a file or folder is none of a table's, as ``_SUCCESS`` or ``.crc`` files."""
    return name.startswith((".", "_"))


def is_parquet(name: str) -> bool:
    """Return whether a file's name ends as Parquet files' names do."""
    return name.lower().endswith(_SUFFIXES)


def files_of_folder(folder: str, shown: str) -> list[Listed]:
    """Return the Parquet files below an absolute folder: its own by name, then each sub-folder's.

    Links to folders are followed, but no folder is entered from within itself. ``shown`` is the
    folder as the user knows it.
    """
    paths = _walk(folder, frozenset())
    start = len(folder)
    return [listed_file(path, shown + path[start:], path[start:]) for path in paths]


def _walk(folder: str, above: frozenset[tuple[int, int]]) -> Iterator[str]:
    try:
        here = os.stat(folder)  # noqa: PTH116 - a Path per folder costs more than the call
        with os.scandir(folder) as entries:
            seen = [entry for entry in entries if not is_hidden(entry.name)]
    except PermissionError as error:
        raise AccessDenied(f"cannot list the folder {folder}: permission denied") from error
    except OSError as error:
        raise DataError(f"cannot list the folder {folder}: {error.strerror}") from error
    identity = (here.st_dev, here.st_ino)
    if identity in above:
        return
    seen.sort(key=lambda entry: os.fsencode(entry.name))
    folders = []
    for entry in seen:
        if entry.is_dir():
            folders.append(entry.path)
        elif is_parquet(entry.name):
            yield entry.path
    for path in folders:
        yield from _walk(path, above | {identity})


def files_of_patterns(
    patterns: tuple[str, ...], probe: Probe, base: str | None = None
) -> list[Listed]:
    """Return the files that DuckDB finds for each pattern in turn; a file may come twice.

    A relative pattern starts at ``base``, else at the current folder.
    """
    found: list[Listed] = []
    for pattern in patterns:
        if "://" in pattern and not pattern.startswith("file://"):
            raise NoFiles(f"cannot read {pattern}: only local files can be read")
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
    folder = Path(root_of(path))
    if not folder.exists():
        raise NoFiles(f"no files match {pattern}", hint=f"there is no folder {folder}")
    if not os.access(folder, os.R_OK | os.X_OK):
        raise AccessDenied(f"cannot list the folder {folder}: permission denied")
    if Path(path).is_dir():
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
        raise DataError(f"cannot read {shown}: {error.strerror}") from error
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
