"""The answer of a plan, out of what its last stage has left."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from starling_py.coordinator.specs import output_runs
from starling_py.shuffle.format import decode_header
from starling_py.shuffle.index import PartitionRun
from starling_py.shuffle.objects import task_key
from starling_py.shuffle.read import read_runs

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from starling_py.operators.plan import StagePlan
    from starling_py.operators.task import TaskMetrics, TaskReport
    from starling_py.shuffle.meter import RequestCounts
    from starling_py.shuffle.objects import ObjectStore

__all__ = ["Answer", "answer_table"]


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer of a plan, columns c0, c1 …, and the reports of all its tasks by stage.

    ``requests`` are those of all attempts, also of failed ones, and of the coordinator itself.
    ``attempts`` has the metrics of every attempt that ended, where that is known.
    """

    table: pa.Table
    reports: dict[int, tuple[TaskReport, ...]]
    requests: RequestCounts
    attempts: tuple[TaskMetrics, ...] = ()


def answer_table(
    plan: StagePlan, reports: Sequence[TaskReport], store: ObjectStore, *, copied: bool = False
) -> pa.Table:
    """Return the answer of a plan, whose last stage has these reports, in task order.

    Parameters
    ----------
    copied
        Whether what is in the store is there twice.
    """
    stage = plan.stages[-1]
    runs = output_runs(stage, reports, 0, query=plan.query, copied=copied)
    if runs:
        return read_runs(store, runs)
    first = reports[0]
    key = task_key(plan.query, stage.id, first.task)
    if first.inline:
        return decode_header(key, first.inline).schema.empty_table()
    # Some run, for the sake of the schema.
    return read_runs(store, (PartitionRun(key, "", 0, 1),))
