"""Tables on S3: what a scan reads of them is fetched first, in whole row groups."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starling_py.planner.tables import ColumnSource
from starling_py.shuffle.locations import is_remote

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starling_py.planner.algebra import Scan
    from starling_py.planner.pruning import KeptRowGroup
    from starling_py.planner.tables import Table

__all__ = ["fetched_bytes", "on_s3"]


def on_s3(table: Table) -> bool:
    """Return whether any file of a table is on S3."""
    return any(is_remote(file.path) for file in table.files)


def fetched_bytes(scan: Scan, kept: Sequence[KeptRowGroup]) -> float:
    """Return about how many bytes a scan fetches of its row groups.

    Of a row group's bytes, a column is taken to have the share that it has of the whole table
    uncompressed.
    """
    table = scan.table
    sizes = {
        column.name: table.column_bytes(column.name)
        for column in table.columns
        if column.source is ColumnSource.FILE
    }
    wanted = {item.column.name for item in scan.scanned} & set(sizes)
    everything = sum(sizes.values())
    if not everything:
        return 0.0
    share = sum(sizes[name] for name in wanted) / everything
    return share * sum(item.row_group.bytes for item in kept)
