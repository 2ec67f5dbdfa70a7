"""Parquet footers: read once per state of a file, in threads when there are many."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from starling_py.catalog.errors import (
    AccessDenied,
    EncryptedFile,
    NotParquet,
    TruncatedFile,
    UnreadableFile,
)
from starling_py.operators.errors import FileChanged
from starling_py.planner.tables import RowGroup

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow.parquet as pq

    from starling_py.catalog.listing import Listed

__all__ = ["Footer", "FooterCache"]

_THREADS = 8
_MANY = 16
_MAGIC, _ENCRYPTED = b"PAR1", b"PARE"


class Footer:
    """What a file's footer says; the file itself is closed again."""

    __slots__ = ("metadata", "row_groups", "rows")

    def __init__(self, metadata: pq.FileMetaData) -> None:
        self.metadata = metadata
        self.rows: int = metadata.num_rows
        groups: list[RowGroup] = []
        first = 0
        for number in range(metadata.num_row_groups):
            group = metadata.row_group(number)
            size = sum(group.column(c).total_compressed_size for c in range(group.num_columns))
            groups.append(RowGroup(first, group.num_rows, size))
            first += group.num_rows
        self.row_groups = tuple(groups)


class FooterCache:
    """Footers by path, size and modification time; safe to use from several threads.

    A path has one footer at a time, so the cache holds at most one per file that was ever asked
    for.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._footers: dict[str, tuple[tuple[int, int], Footer]] = {}

    def get(self, files: Sequence[Listed]) -> list[Footer]:
        """Return the footers of files, reading those that are new or have changed."""
        found: dict[str, Footer] = {}
        missing: dict[str, Listed] = {}
        with self._lock:
            for file in files:
                state, footer = self._footers.get(file.path, (None, None))
                if footer is not None and state == (file.size, file.mtime_ns):
                    found[file.path] = footer
                else:
                    missing[file.path] = file
        new = dict(zip(missing, _read_all(list(missing.values())), strict=True))
        with self._lock:
            for path, footer in new.items():
                self._footers[path] = ((missing[path].size, missing[path].mtime_ns), footer)
        found.update(new)
        return [found[file.path] for file in files]


def _read_all(files: Sequence[Listed]) -> list[Footer]:
    if len(files) < _MANY:
        return [_read(file) for file in files]
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="starling-footer") as threads:
        return list(threads.map(_read, files))


def _read(file: Listed) -> Footer:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return Footer(pq.read_metadata(file.path))
    except FileNotFoundError as error:
        raise FileChanged(f"{file.shown} vanished while its footer was read") from error
    except PermissionError as error:
        raise AccessDenied(f"cannot read {file.shown}: permission denied") from error
    except (OSError, pa.ArrowException) as error:
        raise _why_unreadable(file, error) from error


def _why_unreadable(file: Listed, error: Exception) -> UnreadableFile:
    """Return the error that says what is wrong with a file that pyarrow refuses."""
    if file.size == 0:
        return NotParquet(f"{file.shown} is not a Parquet file: it is empty")
    with open(file.path, "rb") as data:  # noqa: PTH123 - a path of any bytes, opened once
        head = data.read(4)
        data.seek(max(0, file.size - 4))
        tail = data.read(4)
    if _ENCRYPTED in (head, tail) or "encrypt" in str(error).lower():
        return EncryptedFile(f"{file.shown} is encrypted", hint="encrypted files are not supported")
    if head != _MAGIC:
        return NotParquet(f"{file.shown} is not a Parquet file")
    if tail != _MAGIC or file.size < 12:
        return TruncatedFile(f"{file.shown} is truncated: the end of the file is missing")
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return UnreadableFile(f"{file.shown} has a damaged footer: {reason}")
