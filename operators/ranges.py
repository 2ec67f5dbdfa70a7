"""Outputs by ranges of a sort key: a task's rows sorted, and where its partitions begin."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from starling_py.operators.errors import TaskFailed
from starling_py.operators.inputs import bound_table
from starling_py.operators.quoting import identifier
from starling_py.operators.task import RangePartitioning
from starling_py.shuffle.index import PartitionRun
from starling_py.shuffle.partition import BOUND_BYTES
from starling_py.shuffle.read import iter_runs

if TYPE_CHECKING:
    from collections.abc import Iterable

    import duckdb

    from starling_py.operators.task import TaskSpec
    from starling_py.shuffle.objects import ObjectStore
    from starling_py.shuffle.write import Committed

__all__ = ["bounds", "range_output", "sorted_statement"]

_ROWS = "first rows of partitions"


def range_output(spec: TaskSpec) -> RangePartitioning | None:
    """Return the output by ranges, if that is what a task has.

    Raises
    ------
    TaskFailed
        For one among others: rows that are sorted for one output are in no order for another.
    """
    found = [output for output in spec.outputs if isinstance(output, RangePartitioning)]
    if found and len(spec.outputs) > 1:
        raise TaskFailed("an output by ranges stands beside others")
    return found[0] if found else None


def sorted_statement(statement: str, spec: TaskSpec, output: RangePartitioning) -> str:
    """Return the statement with its rows in order."""
    names = ", ".join(identifier(column.name) for column in spec.columns)
    # The line break ends a comment that the statement may end with.
    return f"SELECT * FROM ({statement}\n) AS answer({names}) ORDER BY {output.order}"


def bounds(
    connection: duckdb.DuckDBPyConnection,
    store: ObjectStore,
    spec: TaskSpec,
    partitions: Iterable[pa.Table],
    committed: Committed,
) -> tuple[bytes, ...]:
    """Return what the report of a task tells of its output by ranges; nothing if it has none."""
    output = range_output(spec)
    if output is None:
        return ()
    index = committed.index
    if index.nonce != spec.nonce:
        # Another attempt was first, and may have put other rows where these begin.
        run = PartitionRun(spec.key, index.nonce, 0, len(index.partitions), index.partitions)
        partitions = iter_runs(store, (run,), reader=spec.task)
    rows: list[pa.Table] = []
    last: pa.Table | None = None
    for table in partitions:
        if table.num_rows:
            rows.append(table.slice(0, 1))
            last = table.slice(table.num_rows - 1)
    if last is None:
        return ()
    few = pa.concat_tables([*rows, last])
    with bound_table(connection, _ROWS, few, spec.columns):
        keys = connection.sql(f"SELECT {output.key} AS key FROM {identifier(_ROWS)}")
        found = keys.to_arrow_table().column(0).to_pylist()
    return tuple(key[:BOUND_BYTES] for key in found)
