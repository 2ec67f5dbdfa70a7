"""What a connection holds: its catalog, planner, engine and answers, and the way of a query."""

from __future__ import annotations

import os
import threading
import uuid
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from starling_py.catalog.errors import UsageError
from starling_py.interruption import told
from starling_py.leftovers import check_bucket, new_query_id, scratch_location
from starling_py.planner.errors import UnknownTable
from starling_py.prices import FunctionSize, client_place, price_run
from starling_py.results import Result, Results
from starling_py.shuffle.errors import StarlingError
from starling_py.shuffle.meter import metered
from starling_py.worker.size import function_threads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from starling_py.access import S3Access
    from starling_py.catalog.catalog import FileCatalog
    from starling_py.config import Config
    from starling_py.engine import Engine, RunResult
    from starling_py.events import Listener
    from starling_py.invokers.function_client import FunctionClient
    from starling_py.operators.plan import StagePlan
    from starling_py.operators.task import TaskReport
    from starling_py.planner.plan import Planner
    from starling_py.planner.tables import TableColumn
    from starling_py.prices import RunPrice
    from starling_py.shuffle.meter import RequestCounts

__all__ = ["QueryRun", "Session", "TableInfo"]

_ATTEMPTS = 2
_FUNCTION_ATTEMPTS = 4
"""Functions are lost more often than workers of this machine."""


@dataclass(frozen=True, slots=True)
class QueryRun:
    """What the last query of a cursor took.

    ``shuffled_bytes`` went from stage to stage. ``requests`` are those to object stores: of
    planning (listings and footers, ``planning_requests``) and of the run. ``peak_rss`` holds each
    worker's name and its largest resident memory in bytes; ``reports`` are in the order of stages
    and tasks. Seconds are wall-clock but for ``cpu_seconds``. ``price`` is that of all of this.
    """

    query: str
    plan: StagePlan
    stages: int
    tasks: int
    rows: int
    shuffled_bytes: int
    shuffled_rows: int
    requests: RequestCounts
    planning_requests: RequestCounts
    bind_seconds: float
    plan_seconds: float
    run_seconds: float
    cpu_seconds: float
    peak_rss: tuple[tuple[str, int], ...]
    reports: tuple[TaskReport, ...]
    price: RunPrice


@dataclass(frozen=True, slots=True)
class TableInfo:
    """A table of the catalog. Where ``error`` is set, nothing else is known but the name."""

    name: str
    columns: tuple[TableColumn, ...] = ()
    files: int = 0
    rows: int = 0
    bytes: int = 0
    error: StarlingError | None = None


class Session:
    """Everything behind a connection, which it does not know, so that that can be forgotten."""

    def __init__(
        self,
        catalog: FileCatalog,
        config: Config,
        listeners: tuple[Listener, ...],
        access: S3Access,
    ) -> None:
        self.catalog = catalog
        self.config = config
        self._access = access
        self._listeners = listeners
        self._results = Results(config.cores if config.target == "lambda" else config.workers)
        self._function: FunctionClient | None = None
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
        with self._planning, told():
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
        with _hinted():
            return self._plan(sql)

    def _plan(self, sql: str) -> StagePlan:
        from starling_py.planner.plan import Planner, PlanOptions

        _check_text(sql)
        config = self.config
        workers, cores, memory = self._resources()
        options = PlanOptions(
            tasks=config.tasks,
            workers=workers,
            cores=cores,
            memory=memory,
            shuffle=config.shuffle,
            remote_shuffle=config.scratch is not None,
            prices=config.prices,
            function=self._function_size(),
        )
        # One at a time: the plan has to see one state of the files.
        with self._planning, told():
            self.check_open()
            if self._planner is None:
                self._planner = Planner()
            self.catalog.refresh()
            try:
                return self._planner.plan(sql, self.catalog, options, _query_id())
            except UnknownTable as error:
                error.hint = error.hint or self._why_no_table()
                raise

    def _resources(self) -> tuple[int, int, int]:
        """Return workers, and the cores and bytes of all of them together."""
        config = self.config
        if config.target == "local":
            return config.workers, config.cores, config.memory
        facts = self._client().facts()
        workers = min(config.workers, facts.concurrency)
        threads = function_threads(facts.memory >> 20)
        return workers, workers * threads, workers * facts.memory

    def _function_size(self) -> FunctionSize:
        """Return what tasks run on, or what is deployed unless somebody says otherwise."""
        if self.config.target == "local":
            return FunctionSize()
        facts = self._client().facts()
        return FunctionSize(facts.memory, facts.architecture)

    def _price(self, plan: StagePlan, ran: RunResult, requests: RequestCounts) -> RunPrice:
        config = self.config
        # Who has asked S3 for nothing need not know how to reach it.
        asked = requests.bytes_in > 0
        return price_run(
            plan,
            ran.metrics.attempts,
            requests,
            prices=config.prices,
            size=self._function_size(),
            functions=config.target == "lambda",
            remote_scratch=config.scratch is not None,
            place=client_place(self._access.options, os.environ) if asked else "region",
        )

    def _client(self) -> FunctionClient:
        from starling_py.invokers.function_client import FunctionClient

        with self._lock:
            if self._function is None:
                options = self._access.options
                self._function = FunctionClient(
                    self.config.function,
                    connections=self.config.workers,
                    region=options.region,
                    profile=options.profile,
                )
            return self._function

    def _why_no_table(self) -> str | None:
        if self.catalog.names():
            return None
        if self.catalog.folder is None:
            return "there are no tables: name a folder of them, or a file as FROM 'path.parquet'"
        return f"the folder {self.catalog.folder} holds no tables"

    def run(self, sql: str) -> tuple[Result, QueryRun]:
        with metered() as planning:
            plan = self.plan(sql)
        with self._lock:
            self.check_open()
            if self._engine is None:
                self._engine = self._start()
            engine = self._engine
        with _hinted():
            ran = engine.run(plan)
        with self._lock:
            self.check_open()
            result = self._results.open(ran.table, plan.result, plan.settings)
        planned = planning.snapshot()
        price = self._price(plan, ran, planned + ran.metrics.requests)
        return result, _summary(plan, ran, result.rows, planned, price)

    def _start(self) -> Engine:
        from starling_py.engine import Engine, EngineOptions

        config = self.config
        objects = None
        if config.scratch is not None:
            objects = scratch_location(config.scratch, self._access)
            check_bucket(objects, self._access)
        options = EngineOptions(
            workers=config.workers,
            isolation=config.isolation,
            memory=config.memory,
            objects=objects,
            access=self._access,
            doublewrite=config.doublewrite,
            # Planning has asked it what it is like.
            function=self._function,
            attempts=_ATTEMPTS if self._function is None else _FUNCTION_ATTEMPTS,
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
        if self._function is not None:
            steps.append(self._function.close)
        steps.append(self._access.close)
        for step in steps:
            step()


def _check_text(sql: object) -> None:
    if not isinstance(sql, str):
        raise UsageError(f"the SQL must be a str, not {type(sql).__name__}")
    try:
        sql.encode()
    except UnicodeEncodeError as error:
        raise UsageError("the SQL is not Unicode text") from error


@contextmanager
def _hinted() -> Iterator[None]:
    """Let tracebacks show the hints of errors."""
    try:
        yield
    except StarlingError as error:
        if error.hint:
            error.add_note(f"hint: {error.hint}")
        raise


def _query_id() -> str:
    return new_query_id(uuid.uuid4().hex)


def _summary(
    plan: StagePlan, ran: RunResult, rows: int, planning: RequestCounts, price: RunPrice
) -> QueryRun:
    metrics = ran.metrics
    return QueryRun(
        query=plan.query,
        plan=plan,
        stages=metrics.stages,
        tasks=metrics.tasks,
        rows=rows,
        shuffled_bytes=metrics.shuffled_bytes,
        shuffled_rows=metrics.shuffled_rows,
        requests=planning + metrics.requests,
        planning_requests=planning,
        bind_seconds=plan.bind_seconds,
        plan_seconds=plan.plan_seconds,
        run_seconds=metrics.seconds,
        cpu_seconds=metrics.cpu_seconds,
        peak_rss=tuple(sorted(metrics.peak_rss.items())),
        reports=ran.reports,
        price=price,
    )
