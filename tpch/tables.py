"""The eight tables, and how many rows a scale factor gives them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "FIXED",
    "LARGE",
    "ROWS_AT_SCALE_ONE",
    "TABLES",
    "StoredTable",
    "expected_rows",
    "stored",
]

LARGE = ("lineitem", "orders", "partsupp", "part", "customer")
"""Tables of several files each."""

FIXED = ("supplier", "nation", "region")
"""Tables of one file each at all but the largest scales."""

TABLES = (*LARGE, *FIXED)

ROWS_AT_SCALE_ONE = {
    "orders": 1_500_000,
    "partsupp": 800_000,
    "part": 200_000,
    "customer": 150_000,
    "supplier": 10_000,
}
ROWS_AT_ANY_SCALE = {"nation": 25, "region": 5}


@dataclass(frozen=True, slots=True)
class StoredTable:
    """A table as it lies in a folder. ``bytes`` are those of its files."""

    name: str
    files: int
    rows: int
    bytes: int


def expected_rows(table: str, scale: float) -> int | None:
    """Return a table's exact row count, or ``None`` for lineitem, which only the data decides."""
    if table in ROWS_AT_ANY_SCALE:
        return ROWS_AT_ANY_SCALE[table]
    if table == "partsupp":
        return 4 * math.floor(ROWS_AT_SCALE_ONE["part"] * scale)
    if table in ROWS_AT_SCALE_ONE:
        return math.floor(ROWS_AT_SCALE_ONE[table] * scale)
    return None


def stored(folder: Path, table: str, *, numbered: bool = True) -> StoredTable | None:
    """Return what ``folder`` holds of ``table``.

    ``None`` unless it is exactly ``<table>.1.parquet`` to ``<table>.<n>.parquet``, all readable;
    not ``numbered``, any of them will do.
    """
    try:
        found = {path.name: path for path in (folder / table).iterdir()}
        names = [f"{table}.{number}.parquet" for number in range(1, len(found) + 1)]
        if not numbered:
            names = sorted(found)
        if not found or found.keys() != set(names):
            return None
        rows = sum(pq.read_metadata(found[name]).num_rows for name in names)
        size = sum(found[name].stat().st_size for name in names)
    except (OSError, pa.ArrowInvalid):
        return None
    return StoredTable(table, len(names), rows, size)
