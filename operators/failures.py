"""What an exception inside a task means: errors of DuckDB, Arrow and the machine as typed ones."""

from __future__ import annotations

import errno
import re
from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa

from starling_py.operators.errors import BadParquet, Cancelled, OutOfMemory, TaskFailed
from starling_py.shuffle.errors import StarlingError, StoreFull

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["typed_error"]

_DISK_FULL = re.compile(r"no space left|max_temp_directory_size|disk quota", re.IGNORECASE)
_DAMAGED = re.compile(
    r"parquet|magic bytes|failed to read file|decompress|permission denied", re.IGNORECASE
)
_NO_ROOM = "there is no room left for spilling: set TMPDIR to a folder with more"
_FULL = (errno.ENOSPC, errno.EDQUOT)


def typed_error(error: BaseException, scanned: Sequence[str] = ()) -> StarlingError:
    """Return the typed error that stands for ``error``.

    Parameters
    ----------
    scanned
        The paths of the files that the task was reading.
    """
    if isinstance(error, StarlingError):
        return error
    text = _first_line(error)
    if isinstance(error, duckdb.InterruptException):
        return Cancelled("the query was cancelled")
    if isinstance(error, duckdb.OutOfMemoryException | MemoryError | pa.ArrowMemoryError):
        if _DISK_FULL.search(str(error)):
            return StoreFull(text, hint=_NO_ROOM)
        return OutOfMemory(text, hint="give the workers more memory, or run more tasks")
    if isinstance(error, duckdb.Error):
        if _DISK_FULL.search(str(error)):
            return StoreFull(text, hint=_NO_ROOM)
        if scanned and _is_damage(error):
            return _damaged(text, scanned)
        return TaskFailed(text)
    if isinstance(error, OSError) and error.errno in _FULL:
        return StoreFull(text, hint="there is no room left on the disk")
    return TaskFailed(f"{type(error).__name__}: {text}")


def _is_damage(error: duckdb.Error) -> bool:
    # What its Parquet reader does not expect, DuckDB raises as no particular kind of error.
    return type(error) is duckdb.Error or (
        isinstance(error, duckdb.IOException | duckdb.InvalidInputException)
        and _DAMAGED.search(str(error)) is not None
    )


def _damaged(text: str, scanned: Sequence[str]) -> BadParquet:
    if any(path in text for path in scanned):
        return BadParquet(text)
    others = f" and {len(scanned) - 1} more" if len(scanned) > 1 else ""
    return BadParquet(f"{text} (reading {scanned[0]}{others})")


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].strip() if lines else type(error).__name__
