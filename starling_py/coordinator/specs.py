"""Task specs from a stage and the reports of the stages it reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starling_py.coordinator.transport import Transport
from starling_py.operators.plan import Delivery, ExchangeRead, ScanRead, Stage, StagePlan
from starling_py.operators.task import ScanInput, ShuffleInput, TaskInput, TaskReport, TaskSpec
from starling_py.shuffle.index import ObjectIndex, PartitionRun
from starling_py.shuffle.objects import task_key

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["output_runs", "share", "task_spec"]

_PLAIN = Transport()


def share(total: int, part: int, parts: int) -> range:
    """Return the ``part``-th of ``parts`` runs into which ``total`` things are cut.

    The runs follow one another, cover everything, and differ in length by one at most.
    """
    return range(part * total // parts, (part + 1) * total // parts)


def output_runs(
    stage: Stage,
    reports: Sequence[TaskReport],
    output: int,
    *,
    query: str,
    producers: range | None = None,
    partitions: range | None = None,
    copied: bool = False,
) -> tuple[PartitionRun, ...]:
    """Return what to read for some partitions of output number ``output`` of a stage.

    Parameters
    ----------
    reports
        Of all tasks of ``stage``, in task order.
    producers
        Which of its tasks; all of them by default.
    partitions
        Which partitions of the output, counted from its first; all by default.
    copied
        Whether what is in the store is there twice.

    Returns
    -------
    tuple of PartitionRun
        In task order. Runs without a row are left out.
    """
    before = sum(earlier.count for earlier in stage.outputs[:output])
    wanted = range(stage.outputs[output].count) if partitions is None else partitions
    first, last = before + wanted.start, before + wanted.stop
    runs = []
    for task in range(stage.tasks) if producers is None else producers:
        index = _index(reports[task])
        entries = index.partitions[first:last]
        if any(entry.rows for entry in entries):
            key = task_key(query, stage.id, task)
            inline = reports[task].inline
            data = inline[entries[0].offset : entries[-1].offset + entries[-1].length]
            runs.append(
                PartitionRun(key, index.nonce, first, last, entries, data, copied and not inline)
            )
    return tuple(runs)


def _index(report: TaskReport) -> ObjectIndex:
    if report.index is None:
        raise ValueError(f"task {report.task} of stage {report.stage} has no output")
    return report.index


def task_spec(
    plan: StagePlan,
    stage: Stage,
    task: int,
    attempt: int,
    *,
    reports: Mapping[int, Sequence[TaskReport]],
    nonce: str,
    memory_limit: int,
    deadline: float,
    transport: Transport = _PLAIN,
) -> TaskSpec:
    """Return what a worker needs to run one attempt of task ``task`` of ``stage``.

    Parameters
    ----------
    reports
        Per stage that ``stage`` reads, those of all its tasks, in task order.
    """
    inputs: list[TaskInput] = []
    for read in stage.inputs:
        if isinstance(read, ScanRead):
            files = read.splits[0 if read.replicated else task]
            condition = read.conditions[task] if read.conditions else ""
            inputs.append(ScanInput(read.name, read.columns, files, condition))
        else:
            producer = _stage(plan, read.stage)
            inputs.append(
                ShuffleInput(
                    read.name,
                    read.columns,
                    _delivered(
                        plan.query,
                        producer,
                        reports[read.stage],
                        read,
                        task,
                        stage.tasks,
                        copied=transport.doublewrite,
                    ),
                    read.reads,
                )
            )
    return TaskSpec(
        query=plan.query,
        stage=stage.id,
        task=task,
        attempt=attempt,
        nonce=nonce,
        key=task_key(plan.query, stage.id, task),
        statement=stage.statement,
        columns=stage.columns,
        inputs=tuple(inputs),
        outputs=stage.outputs,
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
    )


def _stage(plan: StagePlan, wanted: int) -> Stage:
    return next(stage for stage in plan.stages if stage.id == wanted)


def _delivered(
    query: str,
    producer: Stage,
    reports: Sequence[TaskReport],
    read: ExchangeRead,
    task: int,
    tasks: int,
    *,
    copied: bool,
) -> tuple[PartitionRun, ...]:
    producers = partitions = None
    if read.delivery is Delivery.PARTITIONED:
        partitions = share(producer.outputs[read.output].count, task, tasks)
    elif read.delivery is Delivery.ALIGNED:
        producers = share(producer.tasks, task, tasks)
    return output_runs(
        producer,
        reports,
        read.output,
        query=query,
        producers=producers,
        partitions=partitions,
        copied=copied,
    )
