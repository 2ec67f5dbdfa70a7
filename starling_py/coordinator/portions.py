"""Which partitions each task of a stage reads, where they are of very different sizes.

A task reads a run of as many partitions as any other, unless one of them would then have far more
rows than its share. Then partitions are dealt out by their rows, which the producers' reports tell.
One that is too large for a task is split where the planner allows it: several tasks read some of
its producers' pieces each of one input, and all of them the whole partition of the others.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

from starling_py.coordinator.parts import share, task_of
from starling_py.coordinator.reading import Part, partition_parts
from starling_py.operators.plan import Delivery, ExchangeRead, ScanRead, Stage, StagePlan

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from starling_py.operators.task import TaskReport

__all__ = ["Piece", "Portion", "portion_parts", "portions"]

HEAVY = 1.5
"""A task is skewed that reads so many times its share."""
_MOST_ENTRIES = 1 << 21
"""Of so many entries of reports the rows are added up in about a second."""


class Piece(NamedTuple):
    """One of ``of`` pieces of a partition of ``input``; of other inputs the whole partition."""

    partition: int
    input: str
    number: int
    of: int


@dataclass(frozen=True, slots=True)
class Portion:
    """What one task reads of every input by partitions."""

    partitions: tuple[range, ...]
    pieces: tuple[Piece, ...] = ()


def portions(
    plan: StagePlan, stage: Stage, reports: Mapping[int, Sequence[TaskReport]]
) -> tuple[Portion, ...] | None:
    """Return what each task reads, or ``None`` where equal runs of partitions are good enough."""
    reads = _dealt(stage)
    if stage.tasks < 2 or not reads:
        return None
    producers = {each.id: each for each in plan.stages}
    counts = {producers[read.stage].outputs[read.output].count for read in reads}
    entries = sum(len(reports[read.stage]) for read in reads) * max(counts)
    if len(counts) > 1 or entries > _MOST_ENTRIES:
        return None
    (count,) = counts
    rows = {read.name: _rows(producers[read.stage], read, reports[read.stage]) for read in reads}
    weights = [sum(of[partition] for of in rows.values()) for partition in range(count)]
    fair = sum(weights) / stage.tasks
    if fair * stage.tasks < plan.balance_rows or not fair:
        return None
    equal = [share(count, task, stage.tasks) for task in range(stage.tasks)]
    if max(sum(weights[run.start : run.stop]) for run in equal) <= HEAVY * fair:
        return None
    loads = [0.0] * stage.tasks
    pieces: list[list[Piece]] = [[] for _ in loads]
    split = set()
    for partition in sorted(range(count), key=lambda at: -weights[at]):
        if weights[partition] <= HEAVY * fair:
            break
        made = _split(partition, reads, rows, producers, fair, stage.tasks)
        if made is None:
            continue
        split.add(partition)
        read, of = made
        large = rows[read][partition]
        load = weights[partition] - large + large / of
        for number, task in enumerate(sorted(range(stage.tasks), key=lambda at: loads[at])[:of]):
            loads[task] += load
            pieces[task].append(Piece(partition, read, number, of))
    runs = _deal([p for p in range(count) if p not in split], weights, loads)
    return tuple(Portion(run, tuple(some)) for run, some in zip(runs, pieces, strict=True))


def portion_parts(
    producer: Stage, read: ExchangeRead, reports: Sequence[TaskReport], portion: Portion
) -> list[Part]:
    """Return what a portion means for one input."""
    found = [part for run in portion.partitions for part in partition_parts(producer, run)]
    for piece in portion.pieces:
        parts = partition_parts(producer, range(piece.partition, piece.partition + 1))
        if piece.input == read.name:
            sizes = _sizes(producer, read, reports, parts)
            ends = list(accumulate(sizes))
            low, high = (ends[-1] * at / piece.of for at in (piece.number, piece.number + 1))
            # A part belongs to the piece in which its middle lies.
            middles = [end - size / 2 for end, size in zip(ends, sizes, strict=True)]
            parts = [p for p, at in zip(parts, middles, strict=True) if low <= at < high]
        found += parts
    return found


def _dealt(stage: Stage) -> list[ExchangeRead]:
    """Return the inputs by partitions, if tasks are not bound to anything else by their number."""
    found = []
    if stage.combining is not None:
        return []
    for read in stage.inputs:
        if isinstance(read, ScanRead):
            if not read.replicated:
                return []
        elif read.delivery is Delivery.PARTITIONED:
            found.append(read)
        elif read.delivery is not Delivery.EVERYTHING:
            return []
    return found


def _split(
    partition: int,
    reads: Sequence[ExchangeRead],
    rows: Mapping[str, Sequence[int]],
    producers: Mapping[int, Stage],
    fair: float,
    tasks: int,
) -> tuple[str, int] | None:
    """Return which input of a partition is split, and in how many pieces."""
    whole = sum(of[partition] for of in rows.values())
    best: tuple[float, str, int] = (whole / HEAVY, "", 1)
    for read in reads:
        if read.splittable:
            most = len(partition_parts(producers[read.stage], range(partition, partition + 1)))
            of = min(most, tasks, max(2, math.ceil(whole / fair)))
            large = rows[read.name][partition]
            load = whole - large + large / of
            # What is read whole is read by all: the gain has to be worth it.
            if of > 1 and load < best[0]:
                best = (load, read.name, of)
    return (best[1], best[2]) if best[1] else None


def _deal(
    left: Sequence[int], weights: Sequence[int], loads: Sequence[float]
) -> list[tuple[range, ...]]:
    """Return runs of the partitions that are left, so that loads become about equal."""
    target = (sum(loads) + sum(weights[partition] for partition in left)) / len(loads)
    dealt: list[list[int]] = [[] for _ in loads]
    task, load = 0, loads[0]
    for partition in left:
        # A task that has nothing yet takes a partition however large.
        while task < len(loads) - 1 and load and load + weights[partition] / 2 > target:
            task += 1
            load = loads[task]
        dealt[task].append(partition)
        load += weights[partition]
    return [_ranges(some) for some in dealt]


def _ranges(numbers: Sequence[int]) -> tuple[range, ...]:
    found: list[range] = []
    for number in numbers:
        if found and found[-1].stop == number:
            found[-1] = range(found[-1].start, number + 1)
        else:
            found.append(range(number, number + 1))
    return tuple(found)


def _rows(producer: Stage, read: ExchangeRead, reports: Sequence[TaskReport]) -> list[int]:
    """Return the rows of each partition of an input."""
    count = producer.outputs[read.output].count
    before = _before(producer, read)
    rows = [0] * count
    if producer.combining is None:
        for report in reports:
            if report.index is not None:
                for at, entry in enumerate(report.index.partitions[before : before + count]):
                    rows[at] += entry.rows
        return rows
    for at in range(count):
        parts = partition_parts(producer, range(at, at + 1))
        rows[at] = sum(_sizes(producer, read, reports, parts))
    return rows


def _sizes(
    producer: Stage, read: ExchangeRead, reports: Sequence[TaskReport], parts: Sequence[Part]
) -> list[int]:
    """Return the rows of parts of an output."""
    before = _before(producer, read)
    by_task: dict[int, list[TaskReport]] = {}
    for report in reports:
        by_task.setdefault(task_of(producer, report.task), []).append(report)
    return [
        sum(
            entry.rows
            for report in by_task[task]
            if report.index is not None
            for entry in report.index.partitions[before + wanted.start : before + wanted.stop]
        )
        for task, wanted in parts
    ]


def _before(producer: Stage, read: ExchangeRead) -> int:
    return sum(earlier.count for earlier in producer.outputs[: read.output])
