"""What a plan costs before it runs: requests and seconds of each stage, and dollars for them.

Tasks are priced as functions over S3, wherever they will run. ``docs/prices.md`` has the formulas.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from starling_py.operators.plan import (
    Cost,
    Delivery,
    ExchangeRead,
    ScanRead,
    Stage,
    carried_outputs,
)
from starling_py.planner.shuffle_cost import PUT_SECONDS, pieces, read_seconds

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from starling_py.planner.sizing import PlanOptions

__all__ = ["priced"]

_TASK_SECONDS = 0.02
"""What a call takes beside its work: its payload, a connection, the binding of the statement."""
_SCANNED_PER_SECOND = 90e6
"""Bytes of Parquet that one core decodes, filters and joins."""
_EXCHANGED_PER_SECOND = 150e6
"""Bytes of other stages' rows that one core takes in or puts out."""


def priced(stages: Sequence[Stage], options: PlanOptions) -> tuple[Stage, ...]:
    """Return the stages with what each of them is expected to cost."""
    # Each stage is asked for by all that read it.
    inline = frozenset(stage.id for stage in stages if _is_inline(stage, stages, options))
    context = _Context({stage.id: stage for stage in stages}, stages[-1], inline, options)
    return tuple(msgspec.structs.replace(stage, cost=_cost(stage, context)) for stage in stages)


@dataclass(frozen=True, slots=True)
class _Context:
    """All stages by id, the last one, and those whose output is expected to travel in reports."""

    stages: Mapping[int, Stage]
    last: Stage
    inline: frozenset[int]
    options: PlanOptions


def _cost(stage: Stage, context: _Context) -> Cost:
    prices, size = context.options.prices, context.options.function
    scans = [read for read in stage.inputs if isinstance(read, ScanRead)]
    # A table that is read whole by every task is fetched by every task.
    times = [stage.tasks if read.replicated else 1 for read in scans]
    scan_gets = sum(read.gets * n for read, n in zip(scans, times, strict=True))
    scanned = sum(read.bytes * n for read, n in zip(scans, times, strict=True))
    gets = exchanged = 0.0
    for read in stage.inputs:
        if isinstance(read, ExchangeRead):
            more_gets, more_bytes = _exchange(read, stage, context)
            gets, exchanged = gets + more_gets, exchanged + more_bytes
    inline = stage.id in context.inline
    puts = 0 if inline else stage.tasks
    answer = stage is context.last and not inline
    written = stage.estimate.bytes * len(stage.outputs)
    work = scanned / _SCANNED_PER_SECOND + (exchanged + written) / _EXCHANGED_PER_SECOND
    each = _TASK_SECONDS + read_seconds(
        (scan_gets + gets) / stage.tasks, (scanned + exchanged) / stage.tasks
    )
    if puts:
        each += PUT_SECONDS + written / stage.tasks / _EXCHANGED_PER_SECOND
    waiting = stage.tasks * each
    seconds = waiting + work / size.cores
    gets += stage.tasks if answer else 0
    dollars = (scan_gets + gets) * prices.get + puts * prices.put
    dollars += stage.tasks * prices.call + seconds * prices.second(size)
    return Cost(scan_gets, gets, puts, seconds, waiting, seconds * size.gigabytes, dollars)


def _exchange(read: ExchangeRead, stage: Stage, context: _Context) -> tuple[float, float]:
    """Return the GETs and the bytes of a stage's read of another's output."""
    producer = context.stages[read.stage]
    everywhere = read.delivery is Delivery.EVERYTHING
    moved = producer.estimate.bytes * (stage.tasks if everywhere else 1)
    if producer.id in context.inline:
        return 0.0, moved
    return _gets(read, producer, stage), moved


def _gets(read: ExchangeRead, producer: Stage, stage: Stage) -> int:
    partitions = producer.outputs[read.output].count
    match read.delivery:
        case Delivery.EVERYTHING | Delivery.RANGED:
            return producer.tasks * stage.tasks
        case Delivery.ALIGNED:
            return producer.tasks
        case Delivery.COMBINED:
            groups = 1 if stage.combining is None else stage.combining.partition_groups
            return producer.tasks * min(groups, partitions)
        case Delivery.PARTITIONED if producer.combining is not None:
            split = producer.combining
            groups = min(split.partition_groups, partitions)
            return split.producer_groups * pieces(partitions, stage.tasks, groups)
        case Delivery.PARTITIONED:
            return producer.tasks * min(stage.tasks, partitions)


def _is_inline(stage: Stage, stages: Sequence[Stage], options: PlanOptions) -> bool:
    """Return whether the output of each task is expected to travel in its report."""
    if stage.fallback and not stage.estimate.bytes:
        return False
    each = stage.estimate.bytes * len(stage.outputs) / stage.tasks
    return each <= options.payload // carried_outputs(stages, stage)
