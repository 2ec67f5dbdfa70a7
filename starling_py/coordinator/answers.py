"""The answer of a plan, out of what its last stage has left."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

import pyarrow as pa

from starling_py.coordinator.specs import output_runs
from starling_py.shuffle.errors import CorruptObject
from starling_py.shuffle.format import decode_header
from starling_py.shuffle.index import PartitionRun
from starling_py.shuffle.objects import RowStore, task_key
from starling_py.shuffle.read import iter_runs, read_runs
from starling_py.shuffle.rows import MemoryShare, Rows, collect

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from starling_py.operators.plan import StagePlan
    from starling_py.operators.task import TaskMetrics, TaskReport
    from starling_py.shuffle.meter import RequestCounts
    from starling_py.shuffle.objects import ObjectStore

__all__ = ["Answer", "answer_rows"]

_HELD_BYTES = 64 << 20
"""What of an answer from outside of the process is kept in memory."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer of a plan, and the reports of all its tasks by stage.

    ``rows`` are at least one piece, in order, with columns c0, c1 …. ``requests`` are those of all
    attempts, also of failed ones, and of the coordinator itself. ``attempts`` has the metrics of
    every attempt that ended, where that is known.
    """

    rows: tuple[Rows, ...]
    reports: dict[int, tuple[TaskReport, ...]]
    requests: RequestCounts
    attempts: tuple[TaskMetrics, ...] = ()


def answer_rows(
    plan: StagePlan,
    reports: Sequence[TaskReport],
    store: ObjectStore,
    *,
    copied: bool = False,
    folder: Path | None = None,
) -> tuple[Rows, ...]:
    """Return the answer of a plan, whose last stage has these reports, in task order.

    Parameters
    ----------
    copied
        Whether what is in the store is there twice.
    folder
        Where what does not fit into memory is kept; by default among temporary files.
    """
    stage = plan.stages[-1]
    keys = [task_key(plan.query, stage.id, report.task) for report in reports]
    if isinstance(store, RowStore):
        return tuple(map(store.get_rows, keys))
    runs = output_runs(stage, reports, 0, query=plan.query, copied=copied)
    if not runs:
        return (Rows.of(_nothing(keys[0], reports[0], store)),)
    tables = iter_runs(store, runs)
    first = next(tables)
    batches = (batch for table in chain((first,), tables) for batch in table.to_batches())
    try:
        rows, _ = collect(first.schema, batches, MemoryShare(_HELD_BYTES), folder)
    except pa.ArrowInvalid as error:
        raise CorruptObject(f"the tasks of the last stage do not agree: {error}") from error
    return (rows,)


def _nothing(key: str, report: TaskReport, store: ObjectStore) -> pa.Table:
    """Return an answer without a row."""
    if report.inline:
        return decode_header(key, report.inline).schema.empty_table()
    # Some run, for the sake of the schema.
    return read_runs(store, (PartitionRun(key, "", 0, 1),))
