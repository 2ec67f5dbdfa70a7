"""``filename`` and ``file_row_number``: columns of a table that ``*`` does not show."""

from __future__ import annotations

from dataclasses import dataclass, replace

from starling_py.planner.tables import (
    ColumnRange,
    ColumnSource,
    DataFile,
    Table,
    TableColumn,
)

__all__ = ["with_virtual_columns"]


@dataclass(frozen=True, eq=False)
class _WithVirtualColumns:
    """A table with some virtual columns behind its own."""

    base: Table
    columns: tuple[TableColumn, ...]
    files: tuple[DataFile, ...]

    @property
    def name(self) -> str:
        return self.base.name

    @property
    def filenames(self) -> tuple[str, ...]:
        return self.base.filenames

    def column_ranges(self, column: str) -> tuple[ColumnRange, ...]:
        return self.base.column_ranges(column)

    def column_bytes(self, column: str) -> int:
        return self.base.column_bytes(column)


def with_virtual_columns(table: Table, names: tuple[str, ...]) -> Table:
    """Return the table with those of the virtual columns that it does not hide by its own."""
    known = {column.name.lower() for column in table.columns}
    columns, files = table.columns, table.files
    for name in names:
        if name in known:
            continue
        if name == "filename":
            columns += (TableColumn(name, "VARCHAR", name, ColumnSource.HIVE),)
            files = tuple(
                replace(file, hive=(*file.hive, shown))
                for file, shown in zip(files, table.filenames, strict=True)
            )
        else:
            columns += (TableColumn(name, "BIGINT", name, ColumnSource.ROW_NUMBER),)
    return _WithVirtualColumns(table, columns, files) if columns != table.columns else table
