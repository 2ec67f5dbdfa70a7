"""A finished plan as data: stages, inputs, tasks, outputs and estimates, before anything runs."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec

from starling_py.operators.task import (
    FileRange,
    FileSink,
    InputColumn,
    Partitioning,
    ScanColumn,
    Setting,
    Variables,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "Combining",
    "Cost",
    "Delivery",
    "Estimate",
    "ExchangeRead",
    "ResultColumn",
    "ScanRead",
    "Stage",
    "StageInput",
    "StagePlan",
    "carried_outputs",
]


class Delivery(StrEnum):
    """Which partitions of a producer stage's output a consumer task reads."""

    PARTITIONED = "partitioned"
    """A run of partitions, from every producer task."""
    EVERYTHING = "everything"
    """All partitions of every producer task, in task order (a broadcast, or a gather)."""
    ALIGNED = "aligned"
    """All partitions of a run of producer tasks (no data crosses tasks)."""
    RANGED = "ranged"
    """The rows whose sort key is in the task's range, from every producer task."""
    COMBINED = "combined"
    """A run of partitions from a run of producer tasks: what a combiner reads."""


class Estimate(msgspec.Struct, frozen=True):
    """Expected rows and bytes."""

    rows: float
    bytes: float


class Cost(msgspec.Struct, frozen=True):
    """What a stage is expected to cost if its tasks run as functions over S3.

    ``scan_gets`` fetch tables, ``exchange_gets`` the output of other stages, ``puts`` are those of
    its own output. ``seconds`` are those of all its tasks together; for ``waiting_seconds`` of them
    requests and bytes are under way.
    """

    scan_gets: float = 0.0
    exchange_gets: float = 0.0
    puts: float = 0.0
    seconds: float = 0.0
    waiting_seconds: float = 0.0
    gigabyte_seconds: float = 0.0
    dollars: float = 0.0


class Combining(msgspec.Struct, frozen=True):
    """How the tasks of a combiner stage divide what they combine.

    Partitions are cut into ``partition_groups`` runs (the paper's 1/p) and producer tasks into
    ``producer_groups`` runs (1/f). Task ``g * producer_groups + h`` combines run ``g`` of the
    partitions from run ``h`` of the producers into one object.
    """

    partition_groups: int
    producer_groups: int


class ScanRead(msgspec.Struct, frozen=True, tag="scan"):
    """A stage's scan of a table. ``splits[t]`` is what task ``t`` reads.

    With ``replicated`` there is one split, and every task reads it whole. ``conditions[t]``, where
    there are any, is a SQL condition on the rows that task ``t`` takes of its split.
    ``row_groups`` is what the table holds, of which ``row_groups_pruned`` no task reads.
    ``borders[t]`` are the rows of ``splits[t]``, counted over its files, at which row groups begin.
    ``bytes`` are those of its columns in the files, about, and ``gets`` the requests that fetch
    them once if they are on S3.
    """

    name: str
    table: str
    columns: tuple[ScanColumn, ...]
    splits: tuple[tuple[FileRange, ...], ...]
    replicated: bool = False
    row_groups: int = 0
    row_groups_pruned: int = 0
    conditions: tuple[str, ...] = ()
    borders: tuple[tuple[int, ...], ...] = ()
    bytes: float = 0.0
    gets: float = 0.0


class ExchangeRead(msgspec.Struct, frozen=True, tag="exchange"):
    """A stage's read of output number ``output`` of the earlier stage ``stage``.

    The rows of a ``splittable`` partition may be divided among several tasks, if all of these read
    the same partition of the stage's other inputs whole. ``key`` is the sort key of what is
    delivered by ranges, over ``columns``.
    """

    name: str
    stage: int
    output: int
    delivery: Delivery
    columns: tuple[InputColumn, ...]
    reads: int = 1
    splittable: bool = False
    key: str = ""


StageInput = ScanRead | ExchangeRead


class Stage(msgspec.Struct, frozen=True):
    """One DuckDB statement, run by ``tasks`` tasks on their share of the inputs.

    ``threads`` is how many cores a task may use. ``label`` says in a few words what the stage
    does. With ``combining`` it is a combiner stage, which has no statement: it reads one output of
    one stage and has the same partitions. ``fallback`` is why it has one task, where that cannot be
    otherwise, or empty. ``composed``, ``keeps_join_order``, ``sink`` and ``variables`` are as in
    :class:`~starling_py.operators.task.TaskSpec`. Where it is ``divisible``, more tasks could share
    its scan or its partitions in any other way, with the same answer. ``cost`` is what its tasks
    are expected to cost.
    """

    id: int
    label: str
    statement: str
    columns: tuple[InputColumn, ...]
    inputs: tuple[StageInput, ...]
    outputs: tuple[Partitioning, ...]
    tasks: int
    threads: int
    estimate: Estimate
    fallback: str = ""
    composed: bool = False
    keeps_join_order: bool = False
    combining: Combining | None = None
    divisible: bool = False
    sink: FileSink | None = None
    variables: Variables | None = None
    cost: Cost = Cost()

    @property
    def scans_s3(self) -> bool:
        """Whether it reads any table on S3."""
        return any(
            file.etag
            for read in self.inputs
            if isinstance(read, ScanRead)
            for split in read.splits
            for file in split
        )


class ResultColumn(msgspec.Struct, frozen=True):
    """A column of the answer as DuckDB's DESCRIBE names and types it."""

    name: str
    type: str


class StagePlan(msgspec.Struct, frozen=True):
    """A whole query: stages in dependency order (inputs have lower ids); the last is the answer.

    The answer is the concatenation, in task order, of output 0 of the last stage; its columns
    correspond by position to ``result``. A stage that reads at least ``balance_rows`` through
    exchanges gets partitions by their sizes where these are very different.
    """

    query: str
    sql: str
    stages: tuple[Stage, ...]
    result: tuple[ResultColumn, ...]
    settings: tuple[Setting, ...]
    roots: tuple[str, ...]
    bind_seconds: float = 0.0
    plan_seconds: float = 0.0
    balance_rows: int = 200_000

    @property
    def tasks(self) -> int:
        return sum(stage.tasks for stage in self.stages)

    @property
    def dollars(self) -> float:
        """What all stages are expected to cost."""
        return sum(stage.cost.dollars for stage in self.stages)


def carried_outputs(stages: Sequence[Stage], producer: Stage) -> int:
    """Return how many outputs as large as one of ``producer`` a consumer's spec may carry."""
    most = 1
    for consumer in stages:
        reads = [read for read in consumer.inputs if isinstance(read, ExchangeRead)]
        for read in reads:
            if read.stage == producer.id:
                handed = producer.tasks
                if read.delivery is Delivery.ALIGNED:
                    handed = -(-producer.tasks // consumer.tasks)
                most = max(most, len(reads) * handed)
    return most
