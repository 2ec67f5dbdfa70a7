"""A table: files, columns and what their footers tell of them."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING

from starling_py.catalog.hive import fold
from starling_py.catalog.schema import decide
from starling_py.catalog.statistics import UNKNOWN, column_range, comparison
from starling_py.planner.tables import ColumnRange, ColumnSource, DataFile, TableColumn

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import pyarrow.parquet as pq

    from starling_py.catalog.footer import Footer, FooterCache
    from starling_py.catalog.listing import Listed
    from starling_py.catalog.options import ReadOptions
    from starling_py.catalog.probe import Probe

__all__ = ["ParquetTable"]


class ParquetTable:
    """One state of a table's files: it never changes, a new state is a new object.

    Parameters
    ----------
    name
        The table's name as listings show it.
    files
        At least one file, in the order in which they are read.
    types
        By folded name those of columns that are to have another type than in the files.
    """

    def __init__(
        self,
        name: str,
        files: Sequence[Listed],
        footers: FooterCache,
        probe: Probe,
        options: ReadOptions,
        types: Mapping[str, str] | None = None,
    ) -> None:
        self._name = name
        self._probe = probe
        self._footers: list[Footer] = footers.get(files)
        schema = decide(name, files, self._footers, probe, options)
        retyped = {
            fold(column.name): replace(column, type=type_)
            for column in schema.columns
            if (type_ := (types or {}).get(fold(column.name), column.type)) != column.type
        }
        self._retyped = frozenset(retyped)
        self._columns = tuple(retyped.get(fold(c.name), c) for c in schema.columns)
        self._layouts = schema.layouts
        self._files = tuple(
            DataFile(
                *(f.path, f.size, f.mtime_ns, footer.rows, footer.row_groups, values),
                etag=f.etag,
                footer=len(footer.data),
            )
            for f, footer, values in zip(files, self._footers, schema.values, strict=True)
        )
        self._filenames = tuple(file.shown for file in files)
        self._by_name = {fold(column.name): column for column in self._columns}
        self._lock = threading.Lock()
        self._ranges: dict[str, tuple[ColumnRange, ...]] = {}
        self._bytes: dict[str, int] = {}

    @property
    def name(self) -> str:
        return self._name

    @property
    def columns(self) -> tuple[TableColumn, ...]:
        return self._columns

    @property
    def files(self) -> tuple[DataFile, ...]:
        return self._files

    @property
    def filenames(self) -> tuple[str, ...]:
        """What DuckDB's ``filename`` is for each of ``files``."""
        return self._filenames

    @property
    def rows(self) -> int:
        return sum(file.rows for file in self._files)

    @property
    def bytes(self) -> int:
        """Size of all files, in bytes."""
        return sum(file.size for file in self._files)

    def column_ranges(self, column: str) -> tuple[ColumnRange, ...]:
        """Return the statistics of a column for every row group of every file, in file order."""
        key = fold(column)
        with self._lock:
            if key not in self._ranges:
                found = self._by_name[key]
                hive = found.source is ColumnSource.HIVE
                self._ranges[key] = self._hive_ranges(found) if hive else self._file_ranges(found)
            return self._ranges[key]

    def column_bytes(self, column: str) -> int:
        """Return the uncompressed bytes of a column over all files, as footers give it."""
        key = fold(column)
        with self._lock:
            if key not in self._bytes:
                self._bytes[key] = self._sum_bytes(self._by_name[key])
            return self._bytes[key]

    def _hive_ranges(self, column: TableColumn) -> tuple[ColumnRange, ...]:
        hive = [c for c in self._columns if c.source is ColumnSource.HIVE]
        texts = [file.hive[hive.index(column)] for file in self._files]
        known = self._probe.comparable(sorted({t for t in texts if t is not None}), column.type)
        ranges: list[ColumnRange] = []
        for file, text in zip(self._files, texts, strict=True):
            value = None if text is None else known.get(text)
            ranges += [
                ColumnRange(value, value, group.rows if text is None else 0)
                for group in file.row_groups
            ]
        return tuple(ranges)

    def _file_ranges(self, column: TableColumn) -> tuple[ColumnRange, ...]:
        if column.source is not ColumnSource.FILE or fold(column.name) in self._retyped:
            return (UNKNOWN,) * sum(len(file.row_groups) for file in self._files)
        forms: dict[tuple[int, str | None, int], Callable[[object], object | None] | None] = {}
        ranges: list[ColumnRange] = []
        for footer, layout in zip(self._footers, self._layouts, strict=True):
            metadata = footer.metadata
            leaves = layout.get(fold(column.field), ())
            if len(leaves) != 1 or _is_nested(metadata.schema.column(leaves[0]), column):
                ranges += [UNKNOWN] * len(footer.row_groups)
                continue
            leaf = leaves[0]
            kind = (id(layout), metadata.created_by, leaf)
            if kind not in forms:
                forms[kind] = comparison(metadata, leaf, column.type)
            ranges += [
                column_range(metadata.row_group(group).column(leaf), forms[kind])
                for group in range(metadata.num_row_groups)
            ]
        return tuple(ranges)

    def _sum_bytes(self, column: TableColumn) -> int:
        if column.source is not ColumnSource.FILE:
            return 0
        return sum(
            footer.metadata.row_group(group).column(leaf).total_uncompressed_size
            for footer, layout in zip(self._footers, self._layouts, strict=True)
            for group in range(footer.metadata.num_row_groups)
            for leaf in layout.get(fold(column.field), ())
        )


def _is_nested(leaf: pq.ColumnSchema, column: TableColumn) -> bool:
    """Return whether a leaf is only part of a column: its nulls are not the column's."""
    return bool(leaf.max_repetition_level) or ("." in leaf.path and leaf.path != column.field)
