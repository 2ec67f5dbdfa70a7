"""A combiner's task: no statement, only the partitions of some producers put together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from starling_py.operators.errors import TaskFailed
from starling_py.operators.task import SamePartitions, ShuffleInput, TaskSpec
from starling_py.shuffle.combine import combined_partitions

if TYPE_CHECKING:
    from collections.abc import Callable

    from starling_py.shuffle.objects import ObjectStore

__all__ = ["combine", "is_combiner"]


def is_combiner(spec: TaskSpec) -> bool:
    """Return whether the task only combines, for which it needs no DuckDB."""
    return isinstance(spec.outputs[0], SamePartitions)


def combine(spec: TaskSpec, store: ObjectStore, check: Callable[[], None]) -> list[pa.Table]:
    """Return the partitions of a combiner's one output.

    Parameters
    ----------
    check
        Called often; raises to stop.
    """
    (output,) = spec.outputs
    (wanted,) = spec.inputs
    if not isinstance(wanted, ShuffleInput) or spec.statement:
        raise TaskFailed("a combiner reads the outputs of one stage, and runs no statement")
    # Consumers are not told of partitions without a row, so that no one looks at these types.
    empty = pa.schema([(column.name, pa.null()) for column in spec.columns])
    return combined_partitions(
        store, wanted.runs, output.count, empty, reader=spec.task, check=check
    )
