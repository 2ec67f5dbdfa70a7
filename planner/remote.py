"""Tables on S3: what a scan reads of them is fetched first, in whole row groups."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from starling_py.planner.tables import ColumnSource
from starling_py.shuffle.locations import is_remote

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starling_py.planner.algebra import Scan
    from starling_py.planner.pruning import KeptRowGroup
    from starling_py.planner.tables import Table

__all__ = ["Fetch", "fetch_estimate", "fetched_bytes", "on_s3"]

_GAP = 1 << 20
_LONGEST = 8 << 20
"""As workers do unless told otherwise: ranges nearer than that come together, longer ones in
several requests."""


@dataclass(frozen=True, slots=True)
class Fetch:
    """About what it takes to fetch a scan's columns of its row groups, once."""

    bytes: float
    gets: float


def on_s3(table: Table) -> bool:
    """Return whether any file of a table is on S3."""
    return any(is_remote(file.path) for file in table.files)


def fetched_bytes(scan: Scan, kept: Sequence[KeptRowGroup]) -> float:
    """Return about how many bytes a scan fetches of its row groups.

    Of a row group's bytes, a column is taken to have the share that it has of the whole table
    uncompressed.
    """
    return _share(scan)[0] * sum(item.row_group.bytes for item in kept)


def fetch_estimate(scan: Scan, kept: Sequence[KeptRowGroup], *, whole: bool = False) -> Fetch:
    """Return bytes and requests for a scan of row groups: of its columns, or of all there are.

    Columns that are not wanted are taken to lie evenly between those that are.
    """
    share, wanted, others = (1.0, 1, 0) if whole else _share(scan)
    total = sum(item.row_group.bytes for item in kept)
    if not wanted or not total:
        return Fetch(0.0, 0.0)
    gets = 0.0
    for item in kept:
        unwanted = item.row_group.bytes * (1 - share)
        pieces = min(wanted, others) if unwanted / max(min(wanted, others), 1) > _GAP else 0
        fetched = item.row_group.bytes if pieces == 0 else item.row_group.bytes * share
        # Without gaps, row groups that follow one another come together, in long requests.
        gets += max(pieces, fetched / _LONGEST)
    files = len({item.file.path for item in kept})
    return Fetch(share * total, math.ceil(max(gets, files)) + files)


def _share(scan: Scan) -> tuple[float, int, int]:
    """Return the wanted share of a table's bytes, and how many columns are wanted and are not."""
    sizes = {
        column.name: scan.table.column_bytes(column.name)
        for column in scan.table.columns
        if column.source is ColumnSource.FILE
    }
    wanted = {item.column.name for item in scan.scanned} & set(sizes)
    everything = sum(sizes.values())
    if not everything:
        return 0.0, 0, 0
    return sum(sizes[name] for name in wanted) / everything, len(wanted), len(sizes) - len(wanted)
