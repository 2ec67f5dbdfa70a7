"""How many tasks a stage gets, and what each of them scans."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING, Literal

from starling_py.operators.quoting import encode_path
from starling_py.operators.task import FileRange
from starling_py.shuffle.prices import FunctionSize, Prices

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starling_py.planner.pruning import KeptRowGroup
    from starling_py.planner.tables import DataFile

__all__ = ["PlanOptions", "Sizing", "borders", "cut", "whole_row_groups"]

_MIB = 1 << 20
_TASK_BYTES = 512 * _MIB
"""In memory; a scan task that holds more does not get faster by it."""
_FETCHED_BYTES = 128_000_000
"""That one task fetches from S3: a function's network is fast for its first 300 MB only."""
_LEAST_FETCHED_BYTES = 8_000_000
"""Below that a second task costs more requests than it saves time."""
_PARTITIONS_PER_TASK = 4
_RANKS_PER_TASK = 16
_MOST_RANKS = 1024
_COMFORTABLE = 0.5
"""The share of a worker's memory that one task may fill with everything it reads."""


@dataclass(frozen=True, slots=True)
class PlanOptions:
    """What the planner must know of the machinery.

    Parameters
    ----------
    tasks
        Tasks in every stage that can have them, or ``None`` to choose.
    workers
        How many tasks run at once.
    cores
        Processor cores that the workers share.
    memory
        Bytes that all workers share.
    dialect
        The dialect of the statement, as sqlglot names it.
    small_rows
        A table of at most so many rows is read whole by every task that joins it.
    few_groups
        So many expected groups are merged by one task: an exchange would cost more than it gains.
    shuffle
        ``"combined"`` puts combiners into every exchange by hash, ``"direct"`` into none, and
        ``"auto"`` where they make it cheaper.
    remote_shuffle
        Whether requests to the store of the shuffle cost anything.
    sort_rows
        So many rows, or what fills half of a worker, are sorted by several tasks.
    balance_rows
        A stage that reads at least so many rows through exchanges is not left skewed.
    prices
        What requests and seconds cost.
    function
        Where tasks run, or what their price is stated for.
    payload
        Bytes of data that a spec or a report may carry.
    """

    tasks: int | None
    workers: int
    cores: int
    memory: int
    dialect: str = "duckdb"
    small_rows: int = 20_000
    few_groups: int = 2_000
    shuffle: Literal["auto", "direct", "combined"] = "auto"
    remote_shuffle: bool = False
    balance_rows: int = 200_000
    sort_rows: int = 4_000_000
    prices: Prices = field(default_factory=Prices)
    function: FunctionSize = field(default_factory=FunctionSize)
    payload: int = 3 << 20


@dataclass(frozen=True, slots=True)
class Sizing:
    """The choices that follow from the options."""

    options: PlanOptions

    def fits_one_task(self, bytes_: float) -> bool:
        """Whether a statement that reads this much in all runs best as one task on all cores."""
        return bytes_ <= self.options.memory / self.options.workers * _COMFORTABLE

    def scan_tasks(self, row_groups: int, bytes_: float) -> int:
        """Return the number of tasks for a scan of so many row groups and bytes in memory."""
        if self.options.tasks is not None:
            return self.options.tasks
        wanted = max(self.options.workers, math.ceil(bytes_ / _TASK_BYTES))
        return max(1, min(row_groups, wanted))

    def fits_one_fetch(self, bytes_: float) -> bool:
        """Whether so many bytes on S3 are fetched by one task."""
        return bytes_ <= _FETCHED_BYTES

    def fetch_tasks(self, row_groups: int, bytes_: float) -> int:
        """Return the number of tasks for a scan of so many row groups and bytes on S3."""
        if self.options.tasks is not None:
            return self.options.tasks
        several = min(self.options.workers, math.ceil(bytes_ / _LEAST_FETCHED_BYTES))
        wanted = max(several, math.ceil(bytes_ / _FETCHED_BYTES))
        return max(1, min(row_groups, wanted))

    def hash_tasks(self) -> int:
        """Return the number of tasks of every stage that reads hash partitions.

        It is the same for all of them, so that stages partitioned alike can be joined in place.
        """
        return self.options.tasks or 2 * self.options.workers

    def partitions(self) -> int:
        """Return the number of hash partitions: more than tasks, so that tasks can be re-cut."""
        return _PARTITIONS_PER_TASK * self.hash_tasks()

    def rank_partitions(self) -> int:
        """Return the number of partitions of sorted rows, of which a range touches some in vain."""
        return min(_RANKS_PER_TASK * self.hash_tasks(), _MOST_RANKS)

    def sorts_in_parallel(self, rows: float, bytes_: float) -> bool:
        """Whether an answer of so many rows is sorted by several tasks."""
        share = self.options.memory / self.options.workers * _COMFORTABLE
        return rows >= self.options.sort_rows or bytes_ > share

    def threads(self, tasks: int) -> int:
        """Return the cores of each task in a stage of so many tasks."""
        running = min(tasks, self.options.workers)
        return max(1, self.options.cores // running)


def cut(
    kept: Sequence[KeptRowGroup], tasks: int, *, within_row_groups: bool
) -> tuple[tuple[FileRange, ...], ...]:
    """Cut row groups, in order, into the shares of ``tasks`` tasks.

    Shares are runs of whole row groups of about equal bytes; with ``within_row_groups``, where
    there are fewer row groups than tasks, runs of about equal numbers of rows.
    """
    if within_row_groups and len(kept) < tasks:
        return _cut_by_rows(kept, tasks)
    total = sum(item.row_group.bytes for item in kept)
    shares: list[list[KeptRowGroup]] = [[] for _ in range(tasks)]
    before = 0
    for at, item in enumerate(kept):
        # By the middle of the row group's bytes; never so late that a later task gets nothing.
        middle = before + item.row_group.bytes / 2
        task = min(tasks - 1, int(middle * tasks / total)) if total else at * tasks // len(kept)
        shares[task].append(item)
        before += item.row_group.bytes
    return tuple(map(whole_row_groups, shares))


def borders(
    kept: Sequence[KeptRowGroup], splits: Sequence[Sequence[FileRange]]
) -> tuple[tuple[int, ...], ...]:
    """Return where row groups begin inside each share of :func:`cut`, in rows of that share."""
    begins = list(accumulate(item.row_group.rows for item in kept))
    found = []
    before = 0
    for split in splits:
        after = before + sum(file.last_row - file.first_row for file in split)
        low, high = bisect_right(begins, before), bisect_left(begins, after)
        found.append(tuple(at - before for at in begins[low:high]))
        before = after
    return tuple(found)


def whole_row_groups(share: Sequence[KeptRowGroup]) -> tuple[FileRange, ...]:
    """Return row groups as ranges of rows, adjacent ones as one."""
    return _ranges([(item, item.row_group.first_row, item.row_group.rows) for item in share])


def _cut_by_rows(kept: Sequence[KeptRowGroup], tasks: int) -> tuple[tuple[FileRange, ...], ...]:
    total = sum(item.row_group.rows for item in kept)
    shares = []
    for task in range(tasks):
        first, last = task * total // tasks, (task + 1) * total // tasks
        pieces = []
        before = 0
        for item in kept:
            low, high = max(first, before), min(last, before + item.row_group.rows)
            if low < high:
                pieces.append((item, item.row_group.first_row + low - before, high - low))
            before += item.row_group.rows
        shares.append(_ranges(pieces))
    return tuple(shares)


def _ranges(pieces: Sequence[tuple[KeptRowGroup, int, int]]) -> tuple[FileRange, ...]:
    """Return pieces (row group, first row in the file, rows) with adjacent ones made one."""
    made: list[tuple[DataFile, int, int]] = []
    for item, first, rows in pieces:
        if made and made[-1][0] is item.file and made[-1][2] == first:
            made[-1] = (item.file, made[-1][1], first + rows)
        else:
            made.append((item.file, first, first + rows))
    return tuple(
        FileRange(
            *(encode_path(f.path), f.size, f.mtime_ns, f.rows, first, last, f.hive),
            etag=f.etag,
            footer=f.footer,
        )
        for f, first, last in made
    )
