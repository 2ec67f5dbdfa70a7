"""The columns of a table, decided once for all of its files."""

from __future__ import annotations

from collections import Counter
from contextlib import nullcontext
from typing import TYPE_CHECKING, NamedTuple

from starling_py.catalog.errors import HiveMismatch, SchemaMismatch, TableError
from starling_py.catalog.hive import common_keys, fold, folder_keys, value_text
from starling_py.catalog.standin import hive_stand_ins, stand_in
from starling_py.planner.tables import ColumnSource, TableColumn
from starling_py.shuffle.locations import is_remote

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import AbstractContextManager

    import pyarrow.parquet as pq

    from starling_py.catalog.footer import Footer
    from starling_py.catalog.listing import Listed
    from starling_py.catalog.options import ReadOptions
    from starling_py.catalog.probe import Described, Probe

__all__ = ["Layout", "Schema", "decide"]

Layout = dict[str, tuple[int, ...]]
"""Which leaves of a file's Parquet schema make up each of its columns, by folded name."""

_NAMED = 3


class Schema(NamedTuple):
    """Columns, and per file the values of those that the files do not hold and its layout."""

    columns: tuple[TableColumn, ...]
    values: tuple[tuple[str | None, ...], ...]
    layouts: tuple[Layout, ...]


def decide(
    table: str,
    files: Sequence[Listed],
    footers: Sequence[Footer],
    probe: Probe,
    options: ReadOptions,
) -> Schema:
    """Return the columns of a table as DuckDB names and types them.

    A folder key takes the place of a file's column of the same name; other keys follow in the
    order of their names.

    Raises
    ------
    SchemaMismatch
        When files differ in the names or types of their columns. Their order may differ.
    HiveMismatch
        When ``hive_partitioning = true`` is asked for and the folders' keys differ.
    """
    described, layouts = _agree(table, files, footers, probe)
    columns = [TableColumn(name, type_, name) for name, type_ in described]
    added: list[TableColumn] = []
    texts: dict[str, list[str | None]] = {}
    if options.file_row_number:
        _check_free("file_row_number", "file_row_number", columns)
        added.append(
            TableColumn("file_row_number", "BIGINT", "file_row_number", ColumnSource.ROW_NUMBER)
        )
    if options.filename is not None:
        _check_free("filename", options.filename, columns)
        added.append(TableColumn(options.filename, "VARCHAR", "filename", ColumnSource.HIVE))
        texts[options.filename] = [file.shown for file in files]
    for column, values in _hive_columns(files, footers, probe, options):
        for position, known in enumerate(columns):
            if fold(known.name) == fold(column.name):
                column = TableColumn(known.name, column.type, column.field, column.source)
                columns[position] = column
                break
        else:
            added.append(column)
        texts[column.name] = values
    columns += added
    constant = [texts[c.name] for c in columns if c.source is ColumnSource.HIVE]
    rows = tuple(zip(*constant, strict=True)) if constant else ((),) * len(files)
    return Schema(tuple(columns), rows, layouts)


def _check_free(option: str, name: str, columns: Sequence[TableColumn]) -> None:
    if fold(name) in {fold(column.name) for column in columns}:
        raise TableError(
            f"the option {option} adds a column {name}, which the files have",
            hint="give it another name: filename = 'other_name'" if option == "filename" else None,
        )


def _agree(
    table: str, files: Sequence[Listed], footers: Sequence[Footer], probe: Probe
) -> tuple[tuple[Described, ...], tuple[Layout, ...]]:
    """Return the first file's columns and every file's layout, or raise where files differ."""
    first = footers[0].metadata.schema
    described = _describe(files[0], footers[0], probe)
    shared = _layout(footers[0], described)
    others: dict[str, Layout] = {}
    layouts: list[Layout] = []
    for file, footer in zip(files, footers, strict=True):
        schema = footer.metadata.schema
        if schema.equals(first):
            layouts.append(shared)
            continue
        key = str(schema)
        if key not in others:
            found = _describe(file, footer, probe)
            _check(table, files[0], described, file, found)
            others[key] = _layout(footer, found)
        layouts.append(others[key])
    return described, tuple(layouts)


def _describe(file: Listed, footer: Footer, probe: Probe) -> tuple[Described, ...]:
    with _at_hand(file, footer) as path:
        try:
            return probe.describe(path)
        except TableError as error:
            reason = error.message.replace(path, file.shown)
            raise TableError(f"cannot read {file.shown}: {reason}") from error


def _at_hand(file: Listed, footer: Footer) -> AbstractContextManager[str]:
    """Return what gives the path of a local file with the columns of a file."""
    return stand_in(file.size, footer.data) if is_remote(file.path) else nullcontext(file.path)


def _describe_hive(
    files: Sequence[Listed],
    footers: Sequence[Footer],
    found: Sequence[Mapping[str, str]],
    probe: Probe,
    options: ReadOptions,
) -> tuple[Described, ...]:
    def describe(paths: list[str]) -> tuple[Described, ...]:
        return probe.describe_hive(paths, options.hive_types, autocast=options.hive_types_autocast)

    if not any(is_remote(file.path) for file in files):
        return describe([file.path for file in files])
    with _at_hand(files[0], footers[0]) as path, hive_stand_ins(path, found) as paths:
        try:
            return describe(paths)
        except TableError as error:
            reason = error.message.replace(paths[0], files[0].shown)
            raise TableError(reason, hint=error.hint) from error


def _check(
    table: str,
    first: Listed,
    expected: Sequence[Described],
    other: Listed,
    found: Sequence[Described],
) -> None:
    here = {fold(column.name): column for column in expected}
    there = {fold(column.name): column for column in found}
    differences: list[str] = []
    for key, column in here.items():
        if key not in there:
            rest = f"not in {other.shown}"
        elif there[key].type != column.type:
            rest = f"{there[key].type} in {other.shown}"
        else:
            continue
        differences.append(f"column {column.name} is {column.type} in {first.shown} and {rest}")
    differences += [
        f"column {column.name} is {column.type} in {other.shown} and not in {first.shown}"
        for key, column in there.items()
        if key not in here
    ]
    if differences:
        more = len(differences) - _NAMED
        text = "; ".join(differences[:_NAMED]) + (f"; and {more} more" if more > 0 else "")
        raise SchemaMismatch(f"the files of {table} differ: {text}")


def _layout(footer: Footer, described: Sequence[Described]) -> Layout:
    """Return the leaves of each column; empty where they cannot be told apart."""
    metadata = footer.metadata
    sizes = [1] * len(described)
    if metadata.num_columns != len(described):
        sizes = _leaves(metadata.schema)
        if len(sizes) != len(described) or sum(sizes) != metadata.num_columns:
            return {}
    layout: Layout = {}
    start = 0
    for column, size in zip(described, sizes, strict=True):
        layout[fold(column.name)] = tuple(range(start, start + size))
        start += size
    return layout


def _leaves(schema: pq.ParquetSchema) -> list[int]:
    """Return the number of leaves of each top-level field of a Parquet schema.

    A leaf's path begins with its field's name. Fields of equal names, or a dot in a name, make the
    answer shorter than the list of fields, by which the caller sees that it is of no use.
    """
    tops = [str(schema.column(leaf).path).split(".", 1)[0] for leaf in range(len(schema))]
    return list(Counter(tops).values())


def _hive_columns(
    files: Sequence[Listed], footers: Sequence[Footer], probe: Probe, options: ReadOptions
) -> list[tuple[TableColumn, list[str | None]]]:
    if options.hive_partitioning is False:
        return []
    found = [folder_keys(file.inner) for file in files]
    keys = common_keys(found)
    if options.hive_partitioning and not keys:
        _refuse_keys(files, found)
    if not keys:
        return []
    described = _describe_hive(files, footers, found, probe, options)
    types: Mapping[str, str] = {fold(column.name): column.type for column in described}
    columns: list[tuple[TableColumn, list[str | None]]] = []
    taken: set[str] = set()
    for key in keys:
        if fold(key) in taken:
            continue
        taken.add(fold(key))
        type_ = types[fold(key)]
        values = [value_text(raw[key], type_) for raw in found]
        columns.append((TableColumn(key, type_, key, ColumnSource.HIVE), values))
    return columns


def _refuse_keys(files: Sequence[Listed], found: Sequence[dict[str, str]]) -> None:
    for file, keys in zip(files, found, strict=True):
        if tuple(keys) != tuple(found[0]):
            differing = sorted(set(keys) ^ set(found[0]))[0]
            raise HiveMismatch(
                f"{files[0].shown} and {file.shown} differ in the folder key {differing}"
            )
