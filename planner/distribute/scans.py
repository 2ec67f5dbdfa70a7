"""Scans: small tables whole in every task, others cut into shares."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starling_py.planner.fragments import Fragment, Spread
from starling_py.planner.remote import fetched_bytes, on_s3

if TYPE_CHECKING:
    from starling_py.planner.algebra import Scan
    from starling_py.planner.footers import Footers
    from starling_py.planner.sizing import Sizing
    from starling_py.planner.statistics import Estimator

__all__ = ["cut_scan", "table_rows"]


def cut_scan(node: Scan, estimator: Estimator, footers: Footers, sizing: Sizing) -> Fragment:
    """Return the fragment of a scan whose rows tasks share."""
    relation = estimator.estimate(node)
    kept = footers.kept(node)
    if on_s3(node.table):
        tasks = sizing.fetch_tasks(len(kept), fetched_bytes(node, kept))
        return Fragment(node, Spread.ONE if tasks == 1 else Spread.SPLIT, tasks)
    share = sum(item.row_group.rows for item in kept) / max(table_rows(node), 1)
    width = sum(facts.width for facts in relation.columns.values())
    tasks = sizing.scan_tasks(len(kept), table_rows(node) * share * width)
    return Fragment(node, Spread.SPLIT, tasks)


def table_rows(scan: Scan) -> int:
    """Return the rows of a scan's table."""
    return sum(file.rows for file in scan.table.files)
