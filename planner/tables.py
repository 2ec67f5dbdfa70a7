"""What the planner knows of tables: columns, files, row groups and their statistics.

The catalog (an upper floor) fills these in from Parquet footers; the planner only reads them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Catalog", "ColumnRange", "ColumnSource", "DataFile", "RowGroup", "Table", "TableColumn"]


class ColumnSource(StrEnum):
    """Where the values of a table's column come from."""

    FILE = "file"
    """A field of the Parquet files."""
    HIVE = "hive"
    """One value per file: the file's ``key=value`` folder, or its name."""
    ROW_NUMBER = "row_number"
    """The row's number in its file."""


@dataclass(frozen=True, slots=True)
class TableColumn:
    """A column as the catalog decided it once for all files.

    ``name`` is the name that SQL uses (as DuckDB's DESCRIBE gives it), ``field`` the name inside
    the Parquet files or the key of the hive folder, ``type`` DuckDB's spelling of the type.
    """

    name: str
    type: str
    field: str
    source: ColumnSource = ColumnSource.FILE


@dataclass(frozen=True, slots=True)
class RowGroup:
    """A row group: its first row within the file, its rows, its bytes in the file (all columns)."""

    first_row: int
    rows: int
    bytes: int


@dataclass(frozen=True, slots=True)
class DataFile:
    """One Parquet file of a table. ``size`` and ``mtime_ns`` detect a change during a query.

    For a file on S3, whose path is ``s3://bucket/key``, ``etag`` does so instead of ``mtime_ns``,
    and its last ``footer`` bytes are its footer, with length and magic.

    ``hive`` holds, in the order of the table's hive columns, the text of the folder's value
    (percent-decoded), or ``None`` for ``__HIVE_DEFAULT_PARTITION__``.
    """

    path: str
    size: int
    mtime_ns: int
    rows: int
    row_groups: tuple[RowGroup, ...]
    hive: tuple[str | None, ...] = ()
    etag: str = ""
    footer: int = 0


@dataclass(frozen=True, slots=True)
class ColumnRange:
    """Footer statistics of one column in one row group.

    ``minimum`` and ``maximum`` are in the *comparable form* of the column's type: ``int`` for
    integers, DATE (days since 1970) and TIMESTAMP (microseconds since 1970), ``decimal.Decimal``
    for DECIMAL, ``str`` for VARCHAR (exact values only, never truncated ones). They are ``None``
    where unknown or where the type has no comparable form (floats: a NaN is not in them).
    ``nulls`` is ``None`` where unknown.
    """

    minimum: object | None
    maximum: object | None
    nulls: int | None


class Table(Protocol):
    """A table of the catalog. Files are in the order in which DuckDB reads them."""

    @property
    def name(self) -> str: ...

    @property
    def columns(self) -> tuple[TableColumn, ...]: ...

    @property
    def files(self) -> tuple[DataFile, ...]: ...

    @property
    def filenames(self) -> tuple[str, ...]:
        """What DuckDB's ``filename`` is for each of ``files``."""
        ...

    def column_ranges(self, column: str) -> tuple[ColumnRange, ...]:
        """Return the statistics of a column for every row group of every file, in file order."""
        ...

    def column_bytes(self, column: str) -> int:
        """Return the uncompressed bytes of a column over all files, as footers give it."""
        ...


class Catalog(Protocol):
    """Where the planner asks for tables."""

    def find(self, name: str) -> Table | None:
        """Return the table that SQL calls ``name`` (case-insensitive), or ``None``."""
        ...

    def names(self) -> tuple[str, ...]:
        """Return the names of all tables, for listings and for the nearest name in an error."""
        ...

    def open_paths(self, patterns: tuple[str, ...], options: Mapping[str, object]) -> Table:
        """Return the table of ``FROM 'pattern'`` or ``read_parquet([patterns], …)``."""
        ...

    def roots(self) -> tuple[str, ...]:
        """Return the folders that tasks must be able to read, absolute."""
        ...
