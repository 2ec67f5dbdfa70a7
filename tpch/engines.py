"""The engines that the harness runs: this one, and plain DuckDB as the reference."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import duckdb
from msgspec import structs

from starling_py.errors import StarlingError
from starling_py.tpch.compare import Answer, answer
from starling_py.tpch.machine import forget_peak, peak_memory
from starling_py.tpch.measurements import Execution, Profile
from starling_py.tpch.tables import ROWS_AT_SCALE_ONE
from starling_py.tpch.verify import Oracle

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa

    from starling_py import Connection, Cursor

__all__ = ["DuckEngine", "Engine", "Executed", "StarlingEngine"]


@dataclass(frozen=True, slots=True)
class Executed:
    """An execution, and its answer if there is one."""

    execution: Execution
    table: pa.Table | None = None
    columns: tuple[tuple[str, str], ...] = ()

    @property
    def answer(self) -> Answer | None:
        return None if self.table is None else answer(self.table, self.columns)


class Engine(Protocol):
    """Runs queries. Several threads may do so at once."""

    @property
    def name(self) -> str: ...

    def execute(self, query: int, sql: str) -> Executed:
        """Run a query once; a failure is told in the execution."""
        ...

    def scale(self) -> float:
        """Return the scale factor of the data."""
        ...

    def close(self) -> None:
        """End it. A query that runs in another thread is cancelled."""
        ...


class StarlingEngine:
    """This engine, over one connection."""

    name = "starling"

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def execute(self, query: int, sql: str) -> Executed:
        begun = Execution(self.name, query)
        forget_peak()
        started = time.perf_counter()
        try:
            with self._connection.cursor() as cursor:
                cursor.execute(sql)
                table = cursor.arrow()
                seconds = time.perf_counter() - started
                return self._executed(begun, cursor, table, seconds)
        except StarlingError as error:
            seconds = time.perf_counter() - started
            reason = f"{error.code}: {error}".splitlines()[0]
            return Executed(structs.replace(begun, seconds=seconds, error=reason))

    def _executed(
        self, begun: Execution, cursor: Cursor, table: pa.Table, seconds: float
    ) -> Executed:
        run = cursor.run
        execution = structs.replace(
            begun,
            seconds=seconds,
            rows=table.num_rows,
            stages=run.stages,
            tasks=run.tasks,
            shuffled=run.shuffled_bytes,
            cpu_seconds=run.cpu_seconds,
            peak=max([peak_memory(), *(peak for _, peak in run.peak_rss)]),
            requests=run.requests,
            dollars=run.price.dollars,
            paid=run.price.paid,
            planned=run.plan.dollars,
            profile=_profile(cursor, seconds, self._connection.config.workers),
        )
        columns = tuple((column[0], str(column[1])) for column in cursor.description or ())
        return Executed(execution, table, columns)

    def scale(self) -> float:
        rows = {table.name: table.rows for table in self._connection.tables()}
        return rows.get("orders", 0) / ROWS_AT_SCALE_ONE["orders"]

    def close(self) -> None:
        self._connection.close()


class DuckEngine:
    """Plain DuckDB over the same files, with as many threads as the other has workers."""

    name = "duckdb"

    def __init__(self, folder: Path, *, threads: int) -> None:
        self._oracle = Oracle(folder, threads=threads)

    def execute(self, query: int, sql: str) -> Executed:
        begun = Execution(self.name, query)
        connection = self._oracle.cursor()
        forget_peak()
        cpu, started = time.process_time(), time.perf_counter()
        try:
            relation = connection.sql(sql)
            table = relation.to_arrow_table()
            seconds = time.perf_counter() - started
            kinds = tuple(str(kind) for kind in relation.types)
            columns = tuple(zip(relation.columns, kinds, strict=True))
        except duckdb.Error as error:
            seconds = time.perf_counter() - started
            reason = str(error).splitlines()[0]
            return Executed(structs.replace(begun, seconds=seconds, error=reason))
        finally:
            connection.close()
        execution = structs.replace(
            begun,
            seconds=seconds,
            rows=table.num_rows,
            cpu_seconds=time.process_time() - cpu,
            peak=peak_memory(),
        )
        return Executed(execution, table, columns)

    def scale(self) -> float:
        found, _ = self._oracle.run("SELECT count(*) FROM orders")
        return float(found.rows[0][0]) / ROWS_AT_SCALE_ONE["orders"]

    def close(self) -> None:
        self._oracle.close()


def _profile(cursor: Cursor, seconds: float, workers: int) -> Profile:
    """Return where the seconds of a query went, from its plan to its table."""
    run = cursor.run
    threads = {stage.id: stage.threads for stage in run.plan.stages}
    shares = [(report.metrics, threads[report.stage] / workers) for report in run.reports]
    taken = sum(metrics.input_seconds * share for metrics, share in shares)
    compute = sum(
        (metrics.statement_seconds - metrics.partition_seconds) * share for metrics, share in shares
    )
    cut = sum(metrics.partition_seconds * share for metrics, share in shares)
    output = sum(metrics.output_seconds * share for metrics, share in shares)
    all_of_it = sum(metrics.seconds * share for metrics, share in shares)
    planning = run.bind_seconds + run.plan_seconds
    return Profile(
        planning=planning,
        scheduling=run.run_seconds - all_of_it,
        input=taken,
        compute=compute,
        partition=cut,
        output=output,
        task=all_of_it - taken - compute - cut - output,
        answer=seconds - planning - run.run_seconds,
    )
