"""Which range of the sort key each task of a stage has, from what producers told of their rows.

Each producer has sorted its rows, cut them into partitions of equal numbers of rows, and told the
key at which each begins. So the key below which any share of all rows lies is known to about one
partition, and a task reads of each producer the partitions that its range touches.
"""

from __future__ import annotations

from bisect import bisect_left
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, NamedTuple

from starling_py.coordinator.parts import task_of
from starling_py.coordinator.reading import Part
from starling_py.operators.plan import Delivery, ExchangeRead, Stage

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from starling_py.operators.task import TaskReport
    from starling_py.shuffle.index import PartitionEntry

__all__ = ["KeyRange", "key_ranges", "range_parts"]


class KeyRange(NamedTuple):
    """Keys from ``low`` to below ``high``, where there are such ends."""

    low: bytes | None
    high: bytes | None

    def condition(self, key: str) -> str:
        """Return SQL that holds for the rows of the range."""
        ends = ((">=", self.low), ("<", self.high))
        return " AND ".join(f"{key} {sign} {_blob(end)}" for sign, end in ends if end is not None)


def key_ranges(
    stage: Stage, reports: Mapping[int, Sequence[TaskReport]]
) -> tuple[KeyRange, ...] | None:
    """Return the range of each task of a stage that is delivered by ranges, else ``None``.

    Rows with equal keys are in one range. Ranges follow one another, and some may be empty. They
    are the same for all inputs.
    """
    reads = [read for read in stage.inputs if isinstance(read, ExchangeRead)]
    ranged = [read for read in reads if read.delivery is Delivery.RANGED]
    if not ranged:
        return None
    begins = sorted(
        (bound, entry.rows)
        for read in ranged
        for report in reports[read.stage]
        for bound, entry in zip(report.bounds, _with_rows(report), strict=False)
    )
    keys = [key for key, _ in begins]
    rows = list(accumulate(rows for _, rows in begins))
    ends: list[bytes | None] = [None]
    for task in range(1, stage.tasks):
        if rows:
            at = bisect_left(rows, rows[-1] * task / stage.tasks)
            ends.append(keys[min(at + 1, len(keys) - 1)])
        else:
            ends.append(b"")
    ends.append(None)
    return tuple(KeyRange(low, high) for low, high in pairwise(ends))


def range_parts(producer: Stage, reports: Sequence[TaskReport], wanted: KeyRange) -> list[Part]:
    """Return the partitions that hold keys of a range; at its ends they hold others too."""
    touched: dict[int, list[int]] = {}
    for report in reports:
        if report.index is None or not report.bounds:
            continue
        numbers = [n for n, entry in enumerate(report.index.partitions) if entry.rows]
        for number, (first, last) in zip(numbers, pairwise(report.bounds), strict=True):
            if (wanted.high is None or first < wanted.high) and (
                wanted.low is None or last >= wanted.low
            ):
                touched.setdefault(task_of(producer, report.task), []).append(number)
    return [Part(task, range(min(some), max(some) + 1)) for task, some in touched.items()]


def _with_rows(report: TaskReport) -> Sequence[PartitionEntry]:
    if report.index is None:
        return ()
    return [entry for entry in report.index.partitions if entry.rows]


def _blob(value: bytes) -> str:
    return "'" + "".join(f"\\x{byte:02X}" for byte in value) + "'::BLOB"
