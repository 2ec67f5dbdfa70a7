"""The rows of a statement as the partitions of a task's outputs."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from starling_py.operators.errors import TaskFailed
from starling_py.operators.quoting import identifier
from starling_py.operators.task import HashPartitioning
from starling_py.shuffle.partition import partition_expression
from starling_py.shuffle.split import split_batches, split_by_partition

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import duckdb
    import pyarrow as pa

    from starling_py.operators.instance import Instance
    from starling_py.operators.resources import Stopwatch
    from starling_py.operators.task import TaskSpec

__all__ = ["BATCH_ROWS", "check_columns", "split_stream", "split_table", "with_numbers"]

_NUMBERS = "starling_partition_"
BATCH_ROWS = 1 << 17
"""What ``split_batches`` works best with."""


def with_numbers(
    statement: str, spec: TaskSpec, hashed: Sequence[tuple[int, HashPartitioning]]
) -> str:
    """Return the statement with a column of partition numbers for each output by hash."""
    if not hashed:
        return statement
    names = ", ".join(identifier(column.name) for column in spec.columns)
    numbers = ", ".join(
        f"{partition_expression(output.keys, output.count, spread_nulls=output.spread_nulls)}"
        f" AS {_NUMBERS}{number}"
        for number, output in hashed
    )
    # The line break ends a comment that the statement may end with.
    return f"SELECT *, {numbers} FROM ({statement}\n) AS answer({names})"


def split_stream(
    relation: duckdb.DuckDBPyRelation, number: int, output: HashPartitioning, watch: Stopwatch
) -> list[pa.Table]:
    """Return the partitions of the only output; the answer is never whole in memory twice."""
    reader = relation.to_arrow_reader(BATCH_ROWS)
    waited = 0.0

    def batches() -> Iterator[pa.RecordBatch]:
        nonlocal waited
        asked = time.perf_counter()
        for batch in reader:
            waited += time.perf_counter() - asked
            yield batch
            asked = time.perf_counter()
        waited += time.perf_counter() - asked

    begun = time.perf_counter()
    made = split_batches(batches(), reader.schema, f"{_NUMBERS}{number}", output.count)
    watch.cut(time.perf_counter() - begun - waited)
    return made


def split_table(
    relation: duckdb.DuckDBPyRelation, spec: TaskSpec, watch: Stopwatch
) -> list[pa.Table]:
    """Return the partitions of several outputs, or of one that is not by hash."""
    table = relation.to_arrow_table()
    begun = time.perf_counter()
    names = [column.name for column in spec.columns]
    table = table.rename_columns(names + table.column_names[len(names) :])
    partitions: list[pa.Table] = []
    for number, output in enumerate(spec.outputs):
        if isinstance(output, HashPartitioning):
            numbers = f"{_NUMBERS}{number}"
            partitions += split_by_partition(table.select([*names, numbers]), numbers, output.count)
        else:
            partitions.append(table.select(names))
    watch.cut(time.perf_counter() - begun)
    return partitions


def check_columns(
    relation: duckdb.DuckDBPyRelation, spec: TaskSpec, extra: int, instance: Instance
) -> None:
    found = [str(type_) for type_ in relation.types]
    found = found[: len(found) - extra]
    if len(found) != len(spec.columns):
        raise TaskFailed(
            f"the statement has {len(found)} columns, {len(spec.columns)} were declared"
        )
    for column, actual in zip(spec.columns, found, strict=True):
        if column.type != actual and instance.type_name(column.type) != actual:
            raise TaskFailed(f"column {column.name} is {actual}, {column.type} was declared")
