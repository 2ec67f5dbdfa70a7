"""One task, from its spec to its report: inputs, one DuckDB statement, one output object."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from starling_py.operators.combine import combine, is_combiner
from starling_py.operators.errors import Cancelled, TaskTimedOut
from starling_py.operators.failures import typed_error
from starling_py.operators.inputs import bound_inputs
from starling_py.operators.outputs import (
    BATCH_ROWS,
    check_columns,
    split_stream,
    split_table,
    with_numbers,
)
from starling_py.operators.quoting import decode_path
from starling_py.operators.ranges import bounds, range_output, sorted_statement
from starling_py.operators.resources import Stopwatch
from starling_py.operators.scan import check_files
from starling_py.operators.sink import Writer
from starling_py.operators.standin import stand_ins
from starling_py.operators.task import (
    HashPartitioning,
    ScanInput,
    ShuffleInput,
    TaskMetrics,
    TaskReport,
    TaskSpec,
)
from starling_py.operators.variables import bound_variables
from starling_py.shuffle.errors import ObjectExists, Origin, StarlingError
from starling_py.shuffle.format import Producer
from starling_py.shuffle.meter import metered
from starling_py.shuffle.objects import RowStore
from starling_py.shuffle.partition import (
    PARTITION_FUNCTION,
    RANK_FUNCTION,
    split_by_rank,
)
from starling_py.shuffle.read import read_index
from starling_py.shuffle.stopping import stopping
from starling_py.shuffle.write import Committed, commit_output

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator

    from starling_py.operators.instance import Instance
    from starling_py.operators.task import FileSink
    from starling_py.shuffle.buckets import Buckets
    from starling_py.shuffle.objects import ObjectStore

__all__ = ["run_task"]


def run_task(
    spec: TaskSpec,
    store: ObjectStore,
    instance: Instance,
    *,
    worker: str = "local",
    isolated: bool = False,
    cancelled: threading.Event | None = None,
    buckets: Callable[[], Buckets] | None = None,
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
    buckets
        Opens where scans find files on S3; asked only when there are any.
    """
    with metered() as meter:
        watch = Stopwatch(meter, whole_process=isolated or spec.threads > 1)
        return _attempt(spec, store, instance, buckets, watch, worker, cancelled)


def _attempt(
    spec: TaskSpec,
    store: ObjectStore,
    instance: Instance,
    buckets: Callable[[], Buckets] | None,
    watch: Stopwatch,
    worker: str,
    cancelled: threading.Event | None,
) -> TaskReport:

    def check() -> None:
        if cancelled is not None and cancelled.is_set():
            raise Cancelled("the query was cancelled")
        if time.time() > spec.deadline:
            raise TaskTimedOut("the task ran past its deadline")

    committed: Committed | None = None
    failure: StarlingError | None = None
    limits: tuple[bytes, ...] = ()
    rows_in = rows_out = 0
    try:
        check()
        if is_combiner(spec):
            with stopping(check):
                partitions = combine(spec, store, check)
                rows_in = rows_out = sum(table.num_rows for table in partitions)
                watch.lap("input")
                committed = _commit(spec, partitions, store)
        else:
            with (
                stopping(check),
                instance.prepared(spec) as connection,
                stand_ins(spec, instance, buckets, check) as local,
                bound_variables(connection, spec.variables),
            ):
                work = _Work(local, store, instance, connection, check, watch, buckets)
                made = work.output()
                rows_in, rows_out = work.rows_in, work.rows_out
                if isinstance(made, Committed):
                    committed, limits = made, ()
                else:
                    check()
                    _check_scans(spec)
                    committed = _commit(spec, made, store)
                    limits = bounds(connection, store, local, made, committed)
        watch.lap("output")
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001 - DuckDB's and Arrow's errors share no base
        failure = _explain(spec, error)
    metrics = watch.metrics(
        rows_in=rows_in,
        rows_out=rows_out,
        bytes_in=_bytes_in(spec),
        bytes_out=0 if committed is None else committed.index.bytes,
    )
    return _report(spec, worker, metrics, committed, failure, limits)


@dataclass(slots=True)
class _Work:
    """The statement of one attempt, from its inputs to the partitions of its outputs."""

    spec: TaskSpec
    store: ObjectStore
    instance: Instance
    connection: duckdb.DuckDBPyConnection
    check: Callable[[], None]
    watch: Stopwatch
    buckets: Callable[[], Buckets] | None
    rows_in: int = 0
    rows_out: int = 0

    def output(self) -> list[pa.Table] | Committed:
        """Return the partitions of all outputs, or the answer that is stored already."""
        if not self.spec.composed:
            return self._run(in_text=False)
        try:
            return self._run(in_text=True)
        except duckdb.BinderException as error:
            # Files with a column of the name of one of DuckDB's virtual columns need a view.
            if "file_row_number" not in str(error) and "file_index" not in str(error):
                raise
            return self._run(in_text=False)

    def _run(self, *, in_text: bool) -> list[pa.Table] | Committed:
        spec = self.spec
        with bound_inputs(
            self.connection,
            self.store,
            spec.inputs,
            self.check,
            in_text=in_text,
            reader=spec.task,
        ) as bound:
            self.rows_in = bound.rows
            self.watch.lap("input")
            hashed = [
                (number, output)
                for number, output in enumerate(spec.outputs)
                if isinstance(output, HashPartitioning)
            ]
            statement = bound.preface + spec.statement.rstrip().rstrip(";")
            if spec.sink is not None:
                return [self._written(statement, spec.sink)]
            ranges = range_output(spec)
            if ranges is not None:
                statement = sorted_statement(statement, spec, ranges)
            relation = self.connection.sql(with_numbers(statement, spec, hashed))
            check_columns(relation, spec, len(hashed), self.instance)
            if spec.answer and isinstance(self.store, RowStore) and not hashed:
                return self._stored(self.store, relation)
            if ranges is not None:
                made = split_by_rank(relation.to_arrow_table(), ranges.count)
            elif len(hashed) == len(spec.outputs) == 1:
                made = split_stream(relation, *hashed[0], self.watch)
            else:
                made = split_table(relation, spec, self.watch)
            self.rows_out = sum(table.num_rows for table in made) // len(spec.outputs)
            self.watch.lap("statement")
        return made

    def _stored(self, store: RowStore, relation: duckdb.DuckDBPyRelation) -> Committed:
        """Store the answer batch by batch: it may be larger than memory."""
        spec = self.spec
        reader = relation.to_arrow_reader(BATCH_ROWS)
        named = zip(reader.schema, spec.columns, strict=True)
        fields = [field.with_name(column.name) for field, column in named]
        schema = pa.schema(fields, reader.schema.metadata)

        def batches() -> Iterator[pa.RecordBatch]:
            for batch in reader:
                self.rows_out += batch.num_rows
                yield pa.RecordBatch.from_arrays(batch.columns, schema=schema)
            self.watch.lap("statement")
            _check_scans(spec)

        try:
            index = store.put_rows(spec.key, spec.nonce, schema, batches(), self.check)
        except ObjectExists:
            index = read_index(self.store, spec.key)
        return Committed(index)

    def _written(self, statement: str, sink: FileSink) -> pa.Table:
        writer = Writer(self.spec, sink, self.instance, self.buckets, self.check)
        written = writer.write(statement)
        self.rows_out = pc.sum(written["rows"]).as_py() or 0
        self.watch.lap("statement")
        return written


def _commit(spec: TaskSpec, partitions: list[pa.Table], store: ObjectStore) -> Committed:
    return commit_output(
        store,
        spec.key,
        Producer(spec.query, spec.stage, spec.task, spec.nonce),
        partitions,
        codec=spec.codec,
        function=PARTITION_FUNCTION if range_output(spec) is None else RANK_FUNCTION,
        inline_limit=spec.inline_limit,
        doublewrite=spec.doublewrite,
    )


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
    committed: Committed | None,
    failure: StarlingError | None,
    limits: tuple[bytes, ...] = (),
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
        index=None if committed is None else committed.index,
        inline=b"" if committed is None else committed.inline,
        error=record,
        bounds=limits,
    )
