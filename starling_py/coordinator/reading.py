"""Where the partitions of a stage's outputs lie among the objects of its tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from starling_py.coordinator.parts import share
from starling_py.operators.task import Partitioning, SamePartitions

if TYPE_CHECKING:
    from starling_py.operators.plan import Combining, Stage

__all__ = ["Part", "partition_parts", "task_outputs"]


class Part(NamedTuple):
    """Adjacent partitions of one output of one task, counted from that output's first."""

    task: int
    partitions: range


def partition_parts(producer: Stage, wanted: range) -> list[Part]:
    """Return where some partitions of an output lie, in the order of the rows that come from it."""
    if producer.combining is not None:
        return _combined(producer, producer.combining, wanted)
    return [Part(at, wanted) for at in range(producer.tasks)]


def _combined(combiner: Stage, combining: Combining, wanted: range) -> list[Part]:
    """Return where partitions are among the objects of a combiner stage.

    The rows of each partition come in the order in which the producers' tasks would give them.
    """
    found = []
    for run in range(combining.producer_groups):
        for group in range(combining.partition_groups):
            held = share(combiner.outputs[0].count, group, combining.partition_groups)
            common = range(max(held.start, wanted.start), min(held.stop, wanted.stop))
            if common:
                inside = range(common.start - held.start, common.stop - held.start)
                found.append(Part(group * combining.producer_groups + run, inside))
    return found


def task_outputs(stage: Stage, task: int) -> tuple[Partitioning, ...]:
    """Return the outputs of one task: of a combiner stage each task has a group of partitions."""
    if stage.combining is None:
        return stage.outputs
    group = task // stage.combining.producer_groups
    held = share(stage.outputs[0].count, group, stage.combining.partition_groups)
    return (SamePartitions(len(held)),)
