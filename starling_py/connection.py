"""``connect()``: tables in, SQL in, answers out."""

from __future__ import annotations

import threading
import time
import uuid
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from starling_py.catalog.catalog import FileCatalog
from starling_py.catalog.errors import UsageError
from starling_py.config import Config, resolve
from starling_py.planner.errors import UnknownTable
from starling_py.results import Result, Results
from starling_py.shuffle.errors import StarlingError

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from types import TracebackType

    import pyarrow as pa

    from starling_py.engine import Engine, RunResult
    from starling_py.events import Listener
    from starling_py.operators.plan import StagePlan
    from starling_py.operators.task import TaskReport
    from starling_py.planner.plan import Planner
    from starling_py.planner.tables import TableColumn

__all__ = ["Connection", "Cursor", "QueryRun", "TableInfo", "connect"]


@dataclass(frozen=True, slots=True)
class QueryRun:
    """What the last query of a cursor took.

    ``shuffled_bytes`` went from stage to stage. ``peak_rss`` holds each worker's name and its
    largest resident memory in bytes; ``reports`` are in the order of stages and tasks. Seconds
    are wall-clock but for ``cpu_seconds``.
    """

    query: str
    plan: StagePlan
    stages: int
    tasks: int
    rows: int
    shuffled_bytes: int
    shuffled_rows: int
    requests: int
    bind_seconds: float
    plan_seconds: float
    run_seconds: float
    cpu_seconds: float
    peak_rss: tuple[tuple[str, int], ...]
    reports: tuple[TaskReport, ...]


@dataclass(frozen=True, slots=True)
class TableInfo:
    """A table of the catalog. Where ``error`` is set, nothing else is known but the name."""

    name: str
    columns: tuple[TableColumn, ...] = ()
    files: int = 0
    rows: int = 0
    bytes: int = 0
    error: StarlingError | None = None


def connect(
    data: str | os.PathLike[str] | None = None,
    *,
    tables: Mapping[str, str] | None = None,
    tasks: int | None = None,
    workers: int | None = None,
    isolation: str = "thread",
    memory: int | str | None = None,
    listeners: Iterable[Listener] = (),
) -> Connection:
    """Return a connection to the tables of a folder.

    Parameters
    ----------
    data
        A folder of which every sub-folder and Parquet file is a table.
    tables
        More tables: a pattern, folder or file by name.
    tasks
        How many tasks each stage has that can have several; by default the planner decides.
    workers
        How many tasks run at once; by default as many as there are cores.
    isolation
        ``"thread"`` runs tasks in this process, ``"process"`` in processes of their own.
    memory
        For all workers and the data between them, in bytes or as text (``"2GB"``); by default
        80 % of what is free.
    listeners
        Called with each event of each query, in a thread of the engine.

    Raises
    ------
    UsageError
        For an argument that is wrong, such as a folder that does not exist.
    """
    config = resolve(tasks, workers, isolation, memory)
    return Connection(FileCatalog(data, tables), config, listeners)


class Connection:
    """Tables and the workers that query them. Threads may share it.

    Workers start with the first query. They, and everything on disk, are gone when the connection
    is closed or forgotten, or the interpreter ends.
    """

    def __init__(
        self, catalog: FileCatalog, config: Config, listeners: Iterable[Listener] = ()
    ) -> None:
        self._parts = _Parts(catalog, config, tuple(listeners))
        self._cursors: weakref.WeakSet[Cursor] = weakref.WeakSet()
        self._finalizer = weakref.finalize(self, self._parts.close)

    @property
    def config(self) -> Config:
        return self._parts.config

    @property
    def catalog(self) -> FileCatalog:
        return self._parts.catalog

    def cursor(self) -> Cursor:
        """Return a cursor, which holds one answer at a time."""
        self._parts.check_open()
        cursor = Cursor(self._parts)
        self._cursors.add(cursor)
        return cursor

    def execute(self, sql: str) -> Cursor:
        """Run a statement in a new cursor and return the cursor."""
        return self.cursor().execute(sql)

    def explain(self, sql: str) -> StagePlan:
        """Return the plan of a statement, without running it."""
        return self._parts.plan(sql)

    def tables(self) -> tuple[TableInfo, ...]:
        """Return all tables in order of name; those that cannot be read with their errors."""
        return self._parts.tables()

    def commit(self) -> None:
        """Do nothing: tables are read only. PEP 249 asks for it."""
        self._parts.check_open()

    def rollback(self) -> None:
        """Do nothing: tables are read only. PEP 249 asks for it."""
        self._parts.check_open()

    def close(self) -> None:
        """End the workers and let go of all answers. A second call does nothing."""
        for cursor in list(self._cursors):
            cursor.close()
        self._finalizer()

    def __enter__(self) -> Connection:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class Cursor:
    """The answer of one statement at a time. Threads must not share it."""

    arraysize = 1

    def __init__(self, parts: _Parts) -> None:
        self._parts = parts
        self._result: Result | None = None
        self._run: QueryRun | None = None
        self._closed = False

    def execute(self, sql: str) -> Cursor:
        """Run a statement to its end and return the cursor, which holds the answer.

        Raises
        ------
        StarlingError
            When there is no answer. The cursor's earlier answer is gone in any case.
        """
        if self._closed:
            raise UsageError("the cursor is closed")
        self._drop()
        self._result, self._run = self._parts.run(sql)
        return self

    @property
    def description(self) -> list[tuple[str, str, None, None, None, None, None]] | None:
        """Name and DuckDB type of each column in the form of PEP 249, or ``None``."""
        if self._result is None:
            return None
        return [(c.name, c.type, None, None, None, None, None) for c in self._result.columns]

    @property
    def rowcount(self) -> int:
        """The number of rows of the answer, or -1."""
        return -1 if self._result is None else self._result.rows

    @property
    def run(self) -> QueryRun:
        """What the query took."""
        if self._run is None:
            raise UsageError("no query has run")
        return self._run

    @property
    def result(self) -> Result:
        """The answer itself."""
        if self._result is None:
            raise UsageError("the cursor is closed" if self._closed else "no query has run")
        return self._result

    def fetchone(self) -> tuple[Any, ...] | None:
        """Return the next row as DuckDB's Python values, or ``None`` after the last."""
        rows = self.result.fetch(1)
        return rows[0] if rows else None

    def fetchmany(self, size: int | None = None) -> list[tuple[Any, ...]]:
        """Return the next ``size`` rows, by default ``arraysize``."""
        return self.result.fetch(self.arraysize if size is None else size)

    def fetchall(self) -> list[tuple[Any, ...]]:
        """Return all rows that are left."""
        return self.result.fetch()

    def arrow(self) -> pa.Table:
        """Return the whole answer as an Arrow table, whatever was fetched before."""
        return self.result.arrow()

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        while (row := self.fetchone()) is not None:
            yield row

    def setinputsizes(self, sizes: object) -> None:
        """Do nothing. PEP 249 asks for it."""

    def setoutputsize(self, size: int, column: int | None = None) -> None:
        """Do nothing. PEP 249 asks for it."""

    def close(self) -> None:
        """Let go of the answer. A second call does nothing."""
        self._closed = True
        self._drop()

    def _drop(self) -> None:
        if self._result is not None:
            self._result.close()
        self._result = None
        self._run = None

    def __enter__(self) -> Cursor:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class _Parts:
    """What a connection holds. It does not know its connection, so that that can be forgotten."""

    def __init__(
        self, catalog: FileCatalog, config: Config, listeners: tuple[Listener, ...]
    ) -> None:
        self.catalog = catalog
        self.config = config
        self._listeners = listeners
        self._results = Results(config.workers)
        self._lock = threading.Lock()
        self._planning = threading.Lock()
        self._planner: Planner | None = None
        self._engine: Engine | None = None
        self._closed = False

    def check_open(self) -> None:
        if self._closed:
            raise UsageError("the connection is closed")

    def tables(self) -> tuple[TableInfo, ...]:
        self.check_open()
        with self._planning:
            self.catalog.refresh()
            return tuple(self._table(name) for name in self.catalog.names())

    def _table(self, name: str) -> TableInfo:
        try:
            table = self.catalog.find(name)
        except StarlingError as error:
            return TableInfo(name, error=error)
        if table is None:
            return TableInfo(name, error=UsageError("the table vanished"))
        return TableInfo(table.name, table.columns, len(table.files), table.rows, table.bytes)

    def plan(self, sql: str) -> StagePlan:
        from starling_py.planner.plan import Planner, PlanOptions

        config = self.config
        options = PlanOptions(config.tasks, config.workers, config.cores, config.memory)
        # One at a time: the plan has to see one state of the files.
        with self._planning:
            self.check_open()
            if self._planner is None:
                self._planner = Planner()
            self.catalog.refresh()
            try:
                return self._planner.plan(sql, self.catalog, options, _query_id())
            except UnknownTable as error:
                error.hint = error.hint or self._why_no_table()
                raise

    def _why_no_table(self) -> str | None:
        if self.catalog.names():
            return None
        if self.catalog.folder is None:
            return "there are no tables: name a folder of them, or a file as FROM 'path.parquet'"
        return f"the folder {self.catalog.folder} holds no tables"

    def run(self, sql: str) -> tuple[Result, QueryRun]:
        plan = self.plan(sql)
        with self._lock:
            self.check_open()
            if self._engine is None:
                self._engine = self._start()
            engine = self._engine
        ran = engine.run(plan)
        with self._lock:
            self.check_open()
            result = self._results.open(ran.table, plan.result, plan.settings)
        return result, _summary(plan, ran, result.rows)

    def _start(self) -> Engine:
        from starling_py.engine import Engine, EngineOptions

        config = self.config
        options = EngineOptions(
            workers=config.workers, isolation=config.isolation, memory=config.memory
        )
        return Engine(options, self._listeners)

    def close(self) -> None:
        self._closed = True
        # Not under the lock of planning: a running query is cancelled, not waited for.
        with self._lock:
            engine, self._engine = self._engine, None
        steps: list[Callable[[], None]] = [self._results.close, self.catalog.close]
        if engine is not None:
            steps.insert(0, engine.close)
        with self._planning:
            planner, self._planner = self._planner, None
        if planner is not None:
            steps.append(planner.close)
        for step in steps:
            step()


def _query_id() -> str:
    """Return an id that no other query has and that sorts by time: 19 characters of a key."""
    return f"{time.time_ns() // 1_000_000:011x}{uuid.uuid4().hex[:8]}"


def _summary(plan: StagePlan, ran: RunResult, rows: int) -> QueryRun:
    metrics = ran.metrics
    return QueryRun(
        query=plan.query,
        plan=plan,
        stages=metrics.stages,
        tasks=metrics.tasks,
        rows=rows,
        shuffled_bytes=metrics.shuffled_bytes,
        shuffled_rows=metrics.shuffled_rows,
        requests=metrics.requests,
        bind_seconds=plan.bind_seconds,
        plan_seconds=plan.plan_seconds,
        run_seconds=metrics.seconds,
        cpu_seconds=metrics.cpu_seconds,
        peak_rss=tuple(sorted(metrics.peak_rss.items())),
        reports=ran.reports,
    )
