"""Task specs from a stage and the reports of the stages it reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starling_py.coordinator.parts import part_of, rows_of, share, task_of
from starling_py.coordinator.portions import portion_parts
from starling_py.coordinator.ranges import range_parts
from starling_py.coordinator.reading import Part, partition_parts, task_outputs
from starling_py.coordinator.transport import Transport
from starling_py.operators.plan import Delivery, ExchangeRead, ScanRead, Stage, StagePlan
from starling_py.operators.task import (
    ScanInput,
    ShuffleInput,
    TaskInput,
    TaskReport,
    TaskSpec,
)
from starling_py.shuffle.index import ObjectIndex, PartitionRun
from starling_py.shuffle.objects import task_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from starling_py.coordinator.portions import Portion
    from starling_py.coordinator.ranges import KeyRange

__all__ = ["Part", "output_runs", "task_spec"]

_PLAIN = Transport()


def output_runs(
    stage: Stage,
    reports: Sequence[TaskReport],
    output: int,
    *,
    query: str,
    parts: Iterable[Part] | None = None,
    copied: bool = False,
) -> tuple[PartitionRun, ...]:
    """Return what to read for some partitions of output number ``output`` of a stage.

    Parameters
    ----------
    reports
        Of all tasks of ``stage``, in task order; of a task that was divided those of its parts.
    parts
        Which partitions of which tasks; all of all by default.
    copied
        Whether what is in the store is there twice.

    Returns
    -------
    tuple of PartitionRun
        In the order of ``parts``. Runs without a row are left out.
    """
    before = sum(earlier.count for earlier in stage.outputs[:output])
    by_task: dict[int, list[TaskReport]] = {}
    for report in reports:
        by_task.setdefault(task_of(stage, report.task), []).append(report)
    runs = []
    for task, wanted in _everything(stage, output) if parts is None else parts:
        first, last = before + wanted.start, before + wanted.stop
        for report in by_task[task]:
            index = _index(report)
            entries = index.partitions[first:last]
            if any(entry.rows for entry in entries):
                key = task_key(query, stage.id, report.task)
                inline = report.inline
                data = inline[entries[0].offset : entries[-1].offset + entries[-1].length]
                here = copied and not inline
                runs.append(PartitionRun(key, index.nonce, first, last, entries, data, here))
    return tuple(runs)


def _index(report: TaskReport) -> ObjectIndex:
    if report.index is None:
        raise ValueError(f"task {report.task} of stage {report.stage} has no output")
    return report.index


def task_spec(
    plan: StagePlan,
    stage: Stage,
    number: int,
    attempt: int,
    *,
    reports: Mapping[int, Sequence[TaskReport]],
    nonce: str,
    memory_limit: int,
    deadline: float,
    transport: Transport = _PLAIN,
    portions: Sequence[Portion] | None = None,
    ranges: Sequence[KeyRange] | None = None,
) -> TaskSpec:
    """Return what a worker needs to run one attempt of a task of ``stage``, or of a part of one.

    Parameters
    ----------
    number
        Of the task or part; see :mod:`starling_py.coordinator.parts`.
    reports
        Per stage that ``stage`` reads, those of all its tasks, in task order.
    portions
        What each task reads of the partitions, where that is not an equal number of them.
    ranges
        Which keys each task reads, where that is what it is told.
    """
    task, taken = task_of(stage, number), part_of(plan, stage, number)
    inputs: list[TaskInput] = []
    for read in stage.inputs:
        if isinstance(read, ScanRead):
            files = read.splits[0 if read.replicated else task]
            if taken is not None and not read.replicated:
                files = rows_of(files, taken)
            condition = read.conditions[task] if read.conditions else ""
            inputs.append(ScanInput(read.name, read.columns, files, condition))
        else:
            producer = _stage(plan, read.stage)
            condition = ""
            if ranges is not None and read.delivery is Delivery.RANGED:
                parts = range_parts(producer, reports[read.stage], ranges[task])
                condition = ranges[task].condition(read.key)
            elif portions is not None and read.delivery is Delivery.PARTITIONED:
                parts = portion_parts(producer, read, reports[read.stage], portions[task])
            else:
                parts = _parts(producer, read, stage, task, taken)
            runs = output_runs(
                producer,
                reports[read.stage],
                read.output,
                query=plan.query,
                parts=parts,
                copied=transport.doublewrite,
            )
            inputs.append(ShuffleInput(read.name, read.columns, runs, read.reads, condition))
    return TaskSpec(
        query=plan.query,
        stage=stage.id,
        task=number,
        attempt=attempt,
        nonce=nonce,
        key=task_key(plan.query, stage.id, number),
        statement=stage.statement,
        columns=stage.columns,
        inputs=tuple(inputs),
        outputs=task_outputs(stage, task),
        settings=plan.settings,
        roots=plan.roots,
        threads=stage.threads,
        memory_limit=memory_limit,
        deadline=deadline,
        composed=stage.composed,
        keeps_join_order=stage.keeps_join_order,
        codec=transport.codec,
        inline_limit=transport.inline_limit(plan, stage),
        doublewrite=transport.doublewrite,
        sink=stage.sink,
        variables=stage.variables,
        answer=stage.id == plan.stages[-1].id,
    )


def _stage(plan: StagePlan, wanted: int) -> Stage:
    return next(stage for stage in plan.stages if stage.id == wanted)


def _parts(
    producer: Stage, read: ExchangeRead, stage: Stage, task: int, taken: range | None
) -> list[Part]:
    """Return which partitions of which of the producer's tasks a task of ``stage`` reads."""
    count = producer.outputs[read.output].count
    match read.delivery:
        case Delivery.PARTITIONED:
            wanted = share(count, task, stage.tasks)
            if taken is not None:
                wanted = wanted[taken.start : taken.stop]
            return partition_parts(producer, wanted)
        case Delivery.COMBINED:
            if stage.combining is None:
                raise ValueError(f"stage {stage.id} combines nothing")
            group, run = divmod(task, stage.combining.producer_groups)
            wanted = share(count, group, stage.combining.partition_groups)
            producers = share(producer.tasks, run, stage.combining.producer_groups)
            return [Part(at, wanted) for at in producers]
        case Delivery.ALIGNED:
            aligned = share(producer.tasks, task, stage.tasks)
            return [part for part in _everything(producer, read.output) if part.task in aligned]
        case Delivery.RANGED:
            raise ValueError(f"stage {stage.id} has no ranges")
        case Delivery.EVERYTHING:
            return _everything(producer, read.output)


def _everything(stage: Stage, output: int) -> list[Part]:
    return [
        Part(task, range(task_outputs(stage, task)[output].count)) for task in range(stage.tasks)
    ]
