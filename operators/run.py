"""One task, from its spec to its report: inputs, one DuckDB statement, one output object."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from starling_py.operators.errors import Cancelled, TaskFailed, TaskTimedOut
from starling_py.operators.failures import typed_error
from starling_py.operators.inputs import bound_inputs
from starling_py.operators.quoting import decode_path, identifier
from starling_py.operators.resources import Stopwatch
from starling_py.operators.scan import check_files
from starling_py.operators.task import (
    HashPartitioning,
    ScanInput,
    ShuffleInput,
    TaskMetrics,
    TaskReport,
    TaskSpec,
)
from starling_py.shuffle.errors import Origin, StarlingError
from starling_py.shuffle.format import Producer
from starling_py.shuffle.partition import partition_expression
from starling_py.shuffle.split import split_by_partition
from starling_py.shuffle.write import commit_partitions

if TYPE_CHECKING:
    import threading

    import duckdb
    import pyarrow as pa

    from starling_py.operators.instance import Instance
    from starling_py.shuffle.index import ObjectIndex
    from starling_py.shuffle.objects import ObjectStore

__all__ = ["run_task"]

_NUMBERS = "starling_partition_"


def run_task(
    spec: TaskSpec,
    store: ObjectStore,
    instance: Instance,
    *,
    worker: str = "local",
    isolated: bool = False,
    cancelled: threading.Event | None = None,
) -> TaskReport:
    """Run one attempt of a task and commit its output under ``spec.key``.

    Never raises for what goes wrong with the task: the report then carries the error. To stop
    it from another thread, set ``cancelled`` and call ``instance.interrupt()`` until it returns.

    Parameters
    ----------
    worker
        The name of the worker, for the report.
    isolated
        Whether the process is there for this task alone, which makes CPU seconds exact.
    """
    watch = Stopwatch(store.meter, whole_process=isolated or spec.threads > 1)

    def check() -> None:
        if cancelled is not None and cancelled.is_set():
            raise Cancelled("the query was cancelled")
        if time.time() > spec.deadline:
            raise TaskTimedOut("the task ran past its deadline")

    index: ObjectIndex | None = None
    failure: StarlingError | None = None
    rows_in = rows_out = 0
    try:
        check()
        with instance.prepared(spec) as connection:
            with bound_inputs(connection, store, spec.inputs, check) as rows_in:
                watch.lap("input")
                table = _answer(connection, spec, instance)
                rows_out = table.num_rows
                watch.lap("statement")
            check()
            _check_scans(spec)
            index = _commit(spec, table, store)
            watch.lap("output")
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001 - DuckDB's and Arrow's errors share no base
        failure = _explain(spec, error)
    metrics = watch.metrics(
        rows_in=rows_in,
        rows_out=rows_out,
        bytes_in=_bytes_in(spec),
        bytes_out=0 if index is None else index.bytes,
    )
    return _report(spec, worker, metrics, index, failure)


def _answer(connection: duckdb.DuckDBPyConnection, spec: TaskSpec, instance: Instance) -> pa.Table:
    hashed = [
        (number, output)
        for number, output in enumerate(spec.outputs)
        if isinstance(output, HashPartitioning)
    ]
    statement = spec.statement.rstrip().rstrip(";")
    if hashed:
        names = ", ".join(identifier(column.name) for column in spec.columns)
        numbers = ", ".join(
            f"{partition_expression(output.keys, output.count, spread_nulls=output.spread_nulls)}"
            f" AS {_NUMBERS}{number}"
            for number, output in hashed
        )
        # The line break ends a comment that the statement may end with.
        statement = f"SELECT *, {numbers} FROM ({statement}\n) AS answer({names})"
    relation = connection.sql(statement)
    _check_columns(relation, spec, len(hashed), instance)
    table = relation.to_arrow_table()
    numbered = [f"{_NUMBERS}{number}" for number, _ in hashed]
    return table.rename_columns([column.name for column in spec.columns] + numbered)


def _check_columns(
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


def _commit(spec: TaskSpec, table: pa.Table, store: ObjectStore) -> ObjectIndex:
    names = [column.name for column in spec.columns]
    data = table.select(names)
    partitions: list[pa.Table] = []
    for number, output in enumerate(spec.outputs):
        if isinstance(output, HashPartitioning):
            numbers = f"{_NUMBERS}{number}"
            partitions += split_by_partition(table.select([*names, numbers]), numbers, output.count)
        else:
            partitions.append(data)
    producer = Producer(spec.query, spec.stage, spec.task, spec.nonce)
    return commit_partitions(store, spec.key, producer, partitions)


def _bytes_in(spec: TaskSpec) -> int:
    runs = [
        run for wanted in spec.inputs if isinstance(wanted, ShuffleInput) for run in wanted.runs
    ]
    return sum(entry.length for run in runs for entry in run.entries)


def _check_scans(spec: TaskSpec) -> None:
    for wanted in spec.inputs:
        if isinstance(wanted, ScanInput):
            check_files(wanted)


def _explain(spec: TaskSpec, error: BaseException) -> StarlingError:
    scans = [wanted for wanted in spec.inputs if isinstance(wanted, ScanInput)]
    failure = typed_error(error, [decode_path(file.path) for scan in scans for file in scan.files])
    if isinstance(failure, Cancelled):
        return failure
    try:
        # A file that changed under the reader makes errors of every kind.
        _check_scans(spec)
    except StarlingError as changed:
        return changed
    return failure


def _report(
    spec: TaskSpec,
    worker: str,
    metrics: TaskMetrics,
    index: ObjectIndex | None,
    failure: StarlingError | None,
) -> TaskReport:
    record = None
    if failure is not None:
        failure.origin = Origin(spec.query, spec.stage, spec.task, spec.attempt)
        record = failure.record()
    return TaskReport(
        query=spec.query,
        stage=spec.stage,
        task=spec.task,
        attempt=spec.attempt,
        worker=worker,
        metrics=metrics,
        index=index,
        error=record,
    )
