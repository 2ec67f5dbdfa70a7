"""Errors of this floor: of options, of the files of a table, and of writing an answer.

::

    StarlingError
    ├── UsageError               a bad option, folder or use
    │   └── Closed               a connection or cursor was used after its end
    ├── OutputError              an answer cannot be written
    └── TableError               the files of a table
        ├── NoFiles              a pattern or a path that matches no file
        ├── EmptyTable           a table's folder without Parquet files
        ├── IncompleteTable      a table that is being written, or was damaged
        ├── AmbiguousTable       two sources of one name
        ├── AccessDenied
        ├── UnreadableFile
        │   ├── NotParquet
        │   ├── TruncatedFile
        │   └── EncryptedFile
        ├── SchemaMismatch       files of one table that do not agree
        └── HiveMismatch         files of one table with different folder keys
"""

from __future__ import annotations

from starling_py.shuffle.dbapi import (
    DataError,
    InterfaceError,
    OperationalError,
    ProgrammingError,
)
from starling_py.shuffle.errors import StarlingError

__all__ = [
    "AccessDenied",
    "AmbiguousTable",
    "Closed",
    "EmptyTable",
    "EncryptedFile",
    "HiveMismatch",
    "IncompleteTable",
    "NoFiles",
    "NotParquet",
    "OutputError",
    "SchemaMismatch",
    "TableError",
    "TruncatedFile",
    "UnreadableFile",
    "UsageError",
]


class UsageError(StarlingError, ProgrammingError):
    """An option, a folder or the way in which the engine is used is wrong."""

    code = "USAGE"


class Closed(UsageError, InterfaceError):
    """A connection, a cursor or an answer was used after it had been closed."""

    code = "CLOSED"


class OutputError(StarlingError, OperationalError):
    """An answer cannot be written where it was asked for."""

    code = "OUTPUT"


class TableError(StarlingError, DataError):
    """The files of a table cannot be read as one."""

    code = "DATA"


class NoFiles(TableError):
    """No file matches a path or a pattern."""

    code = "NO_FILES"


class EmptyTable(TableError):
    """The folder of a table holds no Parquet file."""

    code = "EMPTY_TABLE"


class IncompleteTable(TableError):
    """A table of CREATE TABLE … AS lacks files: it is being written or dropped, or damaged."""

    code = "INCOMPLETE_TABLE"


class AmbiguousTable(TableError):
    """Two files or folders claim the same table name."""

    code = "AMBIGUOUS_TABLE"


class AccessDenied(TableError):
    """The operating system refuses to open a file or a folder."""

    code = "ACCESS_DENIED"


class UnreadableFile(TableError):
    """A file's footer cannot be read."""

    code = "UNREADABLE_FILE"


class NotParquet(UnreadableFile):
    """A file lacks Parquet's magic bytes."""

    code = "NOT_PARQUET"


class TruncatedFile(UnreadableFile):
    """A file begins as Parquet and ends as something else."""

    code = "TRUNCATED_FILE"


class EncryptedFile(UnreadableFile):
    """A file with Parquet's modular encryption."""

    code = "ENCRYPTED_FILE"


class SchemaMismatch(TableError):
    """Files of one table differ in their columns or types."""

    code = "SCHEMA_MISMATCH"


class HiveMismatch(TableError):
    """Files of one table differ in the keys of their ``key=value`` folders."""

    code = "HIVE_MISMATCH"
