"""What an exception inside a task means: errors of DuckDB, Arrow and the machine as typed ones."""

from __future__ import annotations

import errno
import re

import duckdb
import pyarrow as pa

from starling_py.operators.errors import BadParquet, Cancelled, OutOfMemory, TaskFailed
from starling_py.shuffle.errors import StarlingError, StoreFull

__all__ = ["typed_error"]

_DISK_FULL = re.compile(r"no space left|max_temp_directory_size|disk quota", re.IGNORECASE)
_DAMAGED = re.compile(
    r"magic bytes|parquet|thrift|snappy|zstd|gzip|lz4|decompress|footer|page header|TProtocol"
    r"|could not read|not enough bytes|out of buffer|permission denied",
    re.IGNORECASE,
)
_FULL = (errno.ENOSPC, errno.EDQUOT)


def typed_error(error: BaseException) -> StarlingError:
    """Return the typed error that stands for ``error``."""
    if isinstance(error, StarlingError):
        return error
    text = _first_line(error)
    if isinstance(error, duckdb.InterruptException):
        return Cancelled("the query was cancelled")
    if isinstance(error, duckdb.OutOfMemoryException | MemoryError | pa.ArrowMemoryError):
        if _DISK_FULL.search(str(error)):
            return StoreFull(text, hint="there is no room left for spilling")
        return OutOfMemory(text, hint="give the workers more memory, or run more tasks")
    if isinstance(error, duckdb.Error):
        if _DISK_FULL.search(str(error)):
            return StoreFull(text, hint="there is no room left for spilling")
        if isinstance(
            error, duckdb.IOException | duckdb.InvalidInputException | duckdb.SerializationException
        ) and _DAMAGED.search(str(error)):
            return BadParquet(text)
        return TaskFailed(text)
    if isinstance(error, OSError) and error.errno in _FULL:
        return StoreFull(text, hint="there is no room left on the disk")
    return TaskFailed(f"{type(error).__name__}: {text}")


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].strip() if lines else type(error).__name__
