"""Parts of tasks: what takes a worker too long is divided in two, and so are its parts.

A part has a number among the tasks of its stage, ``task + tasks * (node - 1)``: node 1 is the
whole task, nodes 2n and 2n + 1 are the halves of node n. So a number always means the same rows,
whoever divides, and an object of that number is as good from one coordinator as from another.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import structs

from starling_py.operators.plan import Delivery, ExchangeRead, ScanRead, Stage, StagePlan

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starling_py.operators.task import FileRange

__all__ = ["divisions", "halves", "in_order", "part_of", "rows_of", "share", "task_of"]

_MOST_NODES = 1 << 10


def share(total: int, part: int, parts: int) -> range:
    """Return the ``part``-th of ``parts`` runs into which ``total`` things are cut.

    The runs follow one another, cover everything, and differ in length by one at most.
    """
    return range(part * total // parts, (part + 1) * total // parts)


def task_of(stage: Stage, number: int) -> int:
    """Return the task that a number is a part of."""
    return number % stage.tasks


def part_of(plan: StagePlan, stage: Stage, number: int) -> range | None:
    """Return what a part takes of what its task shares with others, or ``None`` for all of it.

    That are rows of its scan, counted over the files of its split, or partitions, counted from the
    first of its run.
    """
    node = _node(stage, number)
    if node == 1:
        return None
    task = task_of(stage, number)
    units = _units(plan, stage, task)
    if units is None:
        raise ValueError(f"stage {stage.id} is not divisible")
    taken = range(units)
    borders = _borders(stage, task)
    for step in bin(node)[3:]:
        middle = _middle(taken, borders)
        taken = range(middle, taken.stop) if step == "1" else range(taken.start, middle)
    return taken


def halves(plan: StagePlan, stage: Stage, number: int) -> tuple[int, int] | None:
    """Return the numbers of the two halves of a task or part, or ``None`` if it has none."""
    node, task = _node(stage, number), task_of(stage, number)
    units = _units(plan, stage, task)
    if units is None or node >= _MOST_NODES:
        return None
    taken = part_of(plan, stage, number) or range(units)
    if len(taken) < 2:
        return None
    first = task + stage.tasks * (2 * node - 1)
    return first, first + stage.tasks


def divisions(stage: Stage, number: int) -> int:
    """Return how often a task was divided to get this part of it."""
    return _node(stage, number).bit_length() - 1


def in_order(stage: Stage, number: int) -> tuple[int, str]:
    """Return what sorts undivided parts: by task, and within it as their rows follow one another.

    Of two parts of a task neither holds the other.
    """
    return task_of(stage, number), bin(_node(stage, number))[3:]


def rows_of(files: Sequence[FileRange], rows: range) -> tuple[FileRange, ...]:
    """Return some rows of ranges of files that follow one another."""
    found = []
    before = 0
    for file in files:
        first = max(rows.start - before, 0) + file.first_row
        last = min(rows.stop - before + file.first_row, file.last_row)
        if first < last:
            found.append(structs.replace(file, first_row=first, last_row=last))
        before += file.last_row - file.first_row
    return tuple(found)


def _node(stage: Stage, number: int) -> int:
    return number // stage.tasks + 1


def _units(plan: StagePlan, stage: Stage, task: int) -> int | None:
    """Return how many things a task shares with others, or ``None`` if they cannot be divided."""
    if not stage.divisible or stage.combining is not None:
        return None
    shared = [read for read in stage.inputs if not _is_whole(read)]
    if len(shared) == 1 and isinstance(shared[0], ScanRead):
        split = shared[0].splits[task]
        # With conditions tasks have ranges of a key, which other inputs may share.
        return None if shared[0].conditions else sum(f.last_row - f.first_row for f in split)
    counts = {
        _count(plan, read)
        if isinstance(read, ExchangeRead) and read.delivery is Delivery.PARTITIONED
        else None
        for read in shared
    }
    count = counts.pop() if len(counts) == 1 else None
    return None if count is None else len(share(count, task, stage.tasks))


def _is_whole(read: ScanRead | ExchangeRead) -> bool:
    """Return whether every task reads all of an input."""
    if isinstance(read, ScanRead):
        return read.replicated
    return read.delivery is Delivery.EVERYTHING


def _count(plan: StagePlan, read: ExchangeRead) -> int:
    producer = next(stage for stage in plan.stages if stage.id == read.stage)
    return producer.outputs[read.output].count


def _borders(stage: Stage, task: int) -> tuple[int, ...]:
    for read in stage.inputs:
        if isinstance(read, ScanRead) and not read.replicated and read.borders:
            return read.borders[task]
    return ()


def _middle(taken: range, borders: Sequence[int]) -> int:
    """Return where to cut: where a row group begins, if one does inside, else in the middle."""
    middle = (taken.start + taken.stop) // 2
    inside = [at for at in borders if taken.start < at < taken.stop]
    return min(inside, key=lambda at: abs(at - middle)) if inside else middle
