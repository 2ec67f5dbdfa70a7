"""A scan input as the text of a relation, and the check that its files are those planned for."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import structs

from starling_py.operators.errors import BadParquet, FileChanged
from starling_py.operators.quoting import decode_path, identifier, literal, parquet_path
from starling_py.operators.task import FileRange, ScanColumn, ScanInput, ScanSource

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = [
    "check_files",
    "empty_relation",
    "needs_file_index",
    "needs_row_numbers",
    "scan_relation",
]

# Stands in for the columns of a relation of which the statement wants none: its rows still count.
_ANY_COLUMN = "starling_row"
_ROW = "starling_row_number"


def empty_relation(columns: Iterable[tuple[str, str]]) -> str:
    """Return a SELECT without rows, of the given column names and types."""
    items = [f"CAST(NULL AS {type_}) AS {identifier(name)}" for name, type_ in columns]
    return f"SELECT {', '.join(items) or f'true AS {_ANY_COLUMN}'} WHERE false"


def needs_file_index(scan: ScanInput) -> bool:
    """Return whether the relation's text names the virtual column ``file_index``."""
    whole = [file.constants for file in _shares(scan) if file.whole]
    return any(constants != whole[0] for constants in whole)


def needs_row_numbers(scan: ScanInput) -> bool:
    """Return whether the relation's text names the virtual column ``file_row_number``."""
    return any(column.source is ScanSource.ROW_NUMBER for column in scan.columns) or not all(
        file.whole for file in _shares(scan)
    )


def scan_relation(scan: ScanInput, shadowed: frozenset[str] = frozenset()) -> str:
    """Return the SELECT that reads ``scan``, in file and row order.

    Whole files share one ``read_parquet``; a file read in part has a SELECT of its own, so that
    the range of row numbers prunes its row groups.

    Parameters
    ----------
    scan
        Its field names are those that ``read_parquet`` gives.
    shadowed
        Which of DuckDB's virtual columns ``file_index`` and ``file_row_number`` the files hide
        behind columns of their own.
    """
    shares = _shares(scan)
    if not shares:
        return empty_relation((column.name, column.type) for column in scan.columns)
    counted = any(column.source is ScanSource.ROW_NUMBER for column in scan.columns)
    parts: list[str] = []
    for together, group in groupby(shares, key=lambda file: file.whole):
        files = list(group)
        alone = (
            not together
            or ("file_index" in shadowed and any(f.constants != files[0].constants for f in files))
            or ("file_row_number" in shadowed and counted)
        )
        reads = [[file] for file in files] if alone else [files]
        parts.extend(_select(scan.columns, read, "file_row_number" in shadowed) for read in reads)
    text = parts[0] if len(parts) == 1 else " UNION ALL ".join(f"({part})" for part in parts)
    return f"SELECT * FROM ({text}) WHERE {scan.condition}" if scan.condition else text


def _shares(scan: ScanInput) -> list[FileRange]:
    shares = [file for file in scan.files if file.last_row > file.first_row]
    if not scan.condition:
        return shares
    # The condition says exactly which rows to take, and DuckDB finds their row groups by it.
    # Numbers of rows would only be compared on top of that. A stand-in has these rows only.
    whole = (
        file if file.footer else structs.replace(file, first_row=0, last_row=file.rows)
        for file in shares
    )
    return list({(file.path, file.first_row): file for file in whole}.values())


def _select(columns: Sequence[ScanColumn], files: Sequence[FileRange], hidden_rows: bool) -> str:
    paths = ", ".join(parquet_path(decode_path(file.path)) for file in files)
    partial = not files[0].whole
    numbered = partial or any(column.source is ScanSource.ROW_NUMBER for column in columns)
    row = _ROW if hidden_rows else "file_row_number"
    # The option makes DuckDB refuse files that have such a column, where the virtual column of
    # that name would silently give theirs.
    option = ", file_row_number = true" if numbered and not hidden_rows else ""
    relation = f"read_parquet([{paths}], hive_partitioning = false{option})"
    if numbered and hidden_rows:
        relation = f"(SELECT *, row_number() OVER () - 1 AS {_ROW} FROM {relation})"
    items: list[str] = []
    constant = 0
    for column in columns:
        if column.source is ScanSource.FIELD:
            value = identifier(column.field)
        elif column.source is ScanSource.ROW_NUMBER:
            value = row
        else:
            value = _constant([file.constants[constant] for file in files], column.type)
            constant += 1
        items.append(f"CAST({value} AS {column.type}) AS {identifier(column.name)}")
    text = f"SELECT {', '.join(items) or f'true AS {_ANY_COLUMN}'} FROM {relation}"
    if partial:
        text += f" WHERE {row} BETWEEN {files[0].first_row} AND {files[0].last_row - 1}"
    return text


def _constant(values: Sequence[str | None], type_: str) -> str:
    if all(value == values[0] for value in values):
        return literal(values[0])
    listed = ", ".join(f"CAST({literal(value)} AS {type_})" for value in values)
    return f"([{listed}])[file_index::BIGINT + 1]"


def check_files(scan: ScanInput) -> None:
    """Raise ``FileChanged`` if a file is not as it was planned for, in size or mtime.

    Files on S3 are not looked at: every request for their bytes names their ETag.
    """
    for file in scan.files:
        if file.footer:
            continue
        path = decode_path(file.path)
        try:
            found = Path(path).stat()
        except FileNotFoundError as error:
            raise FileChanged(f"{path} vanished while the query ran") from error
        except OSError as error:
            raise BadParquet(f"{path} cannot be read: {error.strerror}") from error
        if (found.st_size, found.st_mtime_ns) != (file.size, file.mtime_ns):
            raise FileChanged(
                f"{path} changed while the query ran", hint="run the query again on the new file"
            )
