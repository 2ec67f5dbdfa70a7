"""Parquet footers: read once per state of a file, many at the same time."""

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
from starling_py.shuffle.locations import is_remote

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import pyarrow.parquet as pq

    from starling_py.catalog.listing import Listed

    State = tuple[int, int, str]

__all__ = ["ENCRYPTED", "MAGIC", "Footer", "FooterCache", "parse_footer", "unreadable"]

_THREADS = 8
_MANY = 16
_LEAST_BYTES = 12
MAGIC, ENCRYPTED = b"PAR1", b"PARE"


class Footer:
    """What a file's footer says; the file itself is closed again.

    Parameters
    ----------
    data
        The end of a file on S3, from the footer on.
    """

    __slots__ = ("data", "metadata", "row_groups", "rows")

    def __init__(self, metadata: pq.FileMetaData, data: bytes = b"") -> None:
        self.metadata = metadata
        self.data = data
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
    """Footers by path and state of the file; safe to use from several threads.

    A path has one footer at a time, so the cache holds at most one per file that was ever asked
    for.

    Parameters
    ----------
    fetch
        Returns the footers of files on S3 by their paths.
    """

    def __init__(self, fetch: Callable[[Sequence[Listed]], Mapping[str, Footer]]) -> None:
        self._fetch = fetch
        self._lock = threading.Lock()
        self._footers: dict[str, tuple[State, Footer]] = {}

    def get(self, files: Sequence[Listed]) -> list[Footer]:
        """Return the footers of files, reading those that are new or have changed."""
        found: dict[str, Footer] = {}
        missing: dict[str, Listed] = {}
        with self._lock:
            for file in files:
                state, footer = self._footers.get(file.path, (None, None))
                if footer is not None and state == _state(file):
                    found[file.path] = footer
                else:
                    missing[file.path] = file
        local = [file for path, file in missing.items() if not is_remote(path)]
        remote = [file for path, file in missing.items() if is_remote(path)]
        new = dict(zip((file.path for file in local), _read_all(local), strict=True))
        if remote:
            new.update(self._fetch(remote))
        with self._lock:
            for path, footer in new.items():
                self._footers[path] = (_state(missing[path]), footer)
        found.update(new)
        return [found[file.path] for file in files]

    def clear(self) -> None:
        """Forget all footers."""
        with self._lock:
            self._footers.clear()


def _state(file: Listed) -> State:
    return file.size, file.mtime_ns, file.etag


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
        with open(file.path, "rb") as data:  # noqa: PTH123 - a path of any bytes, opened once
            head = data.read(4)
            data.seek(max(0, file.size - 4))
            raise unreadable(file, str(error), head, data.read(4)) from error


def parse_footer(file: Listed, data: bytes) -> Footer:
    """Read the footer of a file on S3, whose end ``data`` is.

    Raises
    ------
    UnreadableFile
        If it is damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return Footer(pq.read_metadata(pa.BufferReader(data)), data)
    except (OSError, pa.ArrowException) as error:
        raise unreadable(file, str(error) or type(error).__name__, MAGIC, data[-4:]) from error


def unreadable(file: Listed, reason: str, head: bytes, tail: bytes) -> UnreadableFile:
    """Return the error that says what is wrong with a file whose footer cannot be read.

    Parameters
    ----------
    reason
        What pyarrow says.
    head, tail
        The first and the last bytes of the file.
    """
    if file.size == 0:
        return NotParquet(f"{file.shown} is not a Parquet file: it is empty")
    if ENCRYPTED in (head, tail) or "encrypt" in reason.lower():
        return EncryptedFile(f"{file.shown} is encrypted", hint="encrypted files are not supported")
    if head != MAGIC:
        return NotParquet(f"{file.shown} is not a Parquet file")
    if tail != MAGIC or file.size < _LEAST_BYTES:
        return TruncatedFile(f"{file.shown} is truncated: the end of the file is missing")
    lines = reason.strip().splitlines() or ["it cannot be read"]
    return UnreadableFile(f"{file.shown} has a damaged footer: {lines[0]}")
