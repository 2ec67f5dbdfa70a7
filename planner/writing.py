"""Plans of statements that write files: the plan of their query, with a sink at its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import structs

from starling_py.operators.plan import (
    Delivery,
    ExchangeRead,
    ResultColumn,
    Stage,
    StagePlan,
)
from starling_py.operators.task import WRITTEN_COLUMNS, SinglePartition

if TYPE_CHECKING:
    from starling_py.operators.task import FileSink

__all__ = ["written"]


def written(plan: StagePlan, sink: FileSink, *, one_file: bool, root: str = "") -> StagePlan:
    """Return the plan whose last stage writes the answer of ``plan`` instead of handing it on.

    The plan's own answer is then ``WRITTEN_COLUMNS``.

    Parameters
    ----------
    one_file
        Let one task write everything.
    root
        A percent-encoded folder of this machine that tasks must be able to write, if any.
    """
    *before, last = plan.stages
    if one_file and last.tasks > 1:
        before.append(last)
        last = _gather(last)
    label = f"{last.label}, write {sink.format}"
    last = structs.replace(
        last, label=label, columns=WRITTEN_COLUMNS, outputs=(SinglePartition(),), sink=sink
    )
    roots = (*plan.roots, root) if root else plan.roots
    result = tuple(ResultColumn(column.name, column.type) for column in WRITTEN_COLUMNS)
    return structs.replace(plan, stages=(*before, last), result=result, roots=roots)


def _gather(last: Stage) -> Stage:
    """Return a stage of one task that reads everything from ``last``, in the order of its tasks."""
    read = ExchangeRead("input_0", last.id, 0, Delivery.EVERYTHING, last.columns)
    return Stage(
        id=last.id + 1,
        label="gather",
        statement="SELECT * FROM input_0",
        columns=last.columns,
        inputs=(read,),
        outputs=(SinglePartition(),),
        tasks=1,
        threads=last.threads,
        estimate=last.estimate,
        composed=True,
    )
