"""Many small objects into one: the partitions of several producers, each with all its rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from starling_py.shuffle.errors import CorruptObject
from starling_py.shuffle.read import iter_numbered

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from starling_py.shuffle.index import PartitionRun
    from starling_py.shuffle.objects import ObjectStore

__all__ = ["combined_partitions"]


def combined_partitions(
    store: ObjectStore,
    runs: Sequence[PartitionRun],
    count: int,
    empty: pa.Schema,
    *,
    reader: int = 0,
    check: Callable[[], None] = lambda: None,
) -> list[pa.Table]:
    """Return the partitions of ``runs``, each with its rows in the order of the runs.

    Parameters
    ----------
    runs
        The same ``count`` partitions of different objects.
    empty
        The schema of the partitions where there is no row at all.
    reader
        As for :func:`~starling_py.shuffle.read.iter_runs`.
    check
        Called before each table; raises to stop.

    Raises
    ------
    CorruptObject
        If the objects do not go together.
    """
    for run in runs:
        if (run.first, run.last) != (runs[0].first, runs[0].first + count):
            raise CorruptObject(
                f"{run.key}: partitions {run.first} to {run.last - 1} are not the {count} "
                f"from {runs[0].first} on that are combined"
            )
    schema: pa.Schema | None = None
    pieces: list[list[pa.RecordBatch]] = [[] for _ in range(count)]
    for number, table in iter_numbered(store, runs, reader=reader):
        check()
        schema = table.schema if schema is None else schema
        pieces[number - runs[0].first] += table.to_batches()
    made = []
    for number, batches in enumerate(pieces):
        made.append(_joined(batches, empty if schema is None else schema))
        # What came in goes as its copy is made, so that not all of it is there twice.
        pieces[number] = []
    return made


def _joined(batches: list[pa.RecordBatch], schema: pa.Schema) -> pa.Table:
    try:
        table = pa.Table.from_batches(batches, schema=schema)
    except pa.ArrowInvalid as error:
        raise CorruptObject(f"the producers of one exchange do not agree: {error}") from error
    return table.combine_chunks() if len(batches) > 1 else table
