"""What a connection holds: its catalog, planner, engine and answers, and the way of a query."""

from __future__ import annotations

import threading
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from starling_py.cancelling import Cancellation
from starling_py.catalog.errors import Closed, UsageError
from starling_py.config import MOST_TASKS
from starling_py.interruption import told
from starling_py.leftovers import check_bucket, scratch_location
from starling_py.operators.errors import OutOfMemory
from starling_py.planner.errors import UnknownTable
from starling_py.prices import FunctionSize, Pricing
from starling_py.results import Result, Results
from starling_py.runs import new_id, summary
from starling_py.shuffle.errors import StarlingError
from starling_py.shuffle.meter import metered
from starling_py.worker.size import function_threads

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from starling_py.access import S3Access
    from starling_py.catalog.catalog import FileCatalog
    from starling_py.config import Config
    from starling_py.coordinator.scratch import Scratch
    from starling_py.engine import Engine
    from starling_py.events import Listener
    from starling_py.invokers.function_client import FunctionClient
    from starling_py.operators.plan import ResultColumn, StagePlan
    from starling_py.operators.task import SinkColumn
    from starling_py.planner.copying import Copy, Query
    from starling_py.planner.parameters import Parameters
    from starling_py.planner.plan import Planner
    from starling_py.planner.statements import Statement
    from starling_py.planner.tables import TableColumn
    from starling_py.run_results import RunResult
    from starling_py.runs import QueryRun
    from starling_py.shuffle.meter import RequestCounts
    from starling_py.shuffle.rows import Rows

__all__ = [
    "FUNCTION_ATTEMPTS",
    "SECONDS",
    "Session",
    "TableInfo",
]

SECONDS = 86_400.0
"""That a query may take."""
_ATTEMPTS = 2
FUNCTION_ATTEMPTS = 4
"""Functions are lost more often than workers of this machine."""
_CANCELLATION: ContextVar[Cancellation | None] = ContextVar("cancellation", default=None)
"""What may end the statement that this thread runs."""
_FINER = 3
"""So often a query that runs out of memory in functions is planned again with twice the tasks."""


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
        scratch: Scratch | None = None,
    ) -> None:
        self.catalog = catalog
        self.config = config
        self._access = access
        self._scratch = scratch
        self._listeners = listeners
        self._results = Results(config.cores if config.target == "lambda" else config.workers)
        self._function: FunctionClient | None = None
        self._lock = threading.Lock()
        self._planning = threading.Lock()
        self._planner: Planner | None = None
        self._engine: Engine | None = None
        self._closed = False

    @property
    def access(self) -> S3Access:
        """The ways to S3."""
        return self._access

    def check_open(self) -> None:
        if self._closed:
            raise Closed("the connection is closed")

    def tables(self) -> tuple[TableInfo, ...]:
        self.check_open()
        with self._planning, told():
            self.catalog.refresh()
            return tuple(self._table(name) for name in self.catalog.names())

    def names(self) -> tuple[str, ...]:
        """Return the names of all tables, in order."""
        self.check_open()
        with _hinted(), self._planning, told():
            self.catalog.refresh()
            return self.catalog.names()

    def _table(self, name: str) -> TableInfo:
        try:
            table = self.catalog.find(name)
        except StarlingError as error:
            return TableInfo(name, error=error)
        if table is None:
            return TableInfo(name, error=UsageError("the table vanished"))
        return TableInfo(table.name, table.columns, len(table.files), table.rows, table.bytes)

    def read(self, sql: str, parameters: Parameters = (), dialect: str | None = None) -> Statement:
        """Return which kind of statement a text is, with the values of its parameters.

        It is in the connection's dialect unless another is named.
        """
        with _hinted(), self._planning, told():
            _check_text(sql)
            planner = self._planned_by()
            return planner.read(sql, dialect or self.config.dialect, parameters=parameters)

    def plan(self, sql: str, part: Query | None = None) -> StagePlan:
        """Return the plan of a query, which is ``part`` of a statement or all of it."""
        with _hinted():
            return self._plan(sql, part)

    def describe(self, sql: str, query: Query) -> list[tuple[object, ...]]:
        """Return the rows of a DESCRIBE."""
        with _hinted(), self._planning, told(), self._tables_hinted():
            return self._planned_by().describe(query, self.catalog, sql)

    def copied(self, columns: Sequence[ResultColumn], copy: Copy) -> tuple[SinkColumn, ...]:
        """Return the columns of the files of a COPY."""
        with _hinted(), self._planning, told():
            return self._planned_by().copied(columns, copy)

    def table_columns(
        self, columns: Sequence[ResultColumn], names: Sequence[str]
    ) -> tuple[SinkColumn, ...]:
        """Return the columns of the files of a new table."""
        with _hinted(), self._planning, told():
            return self._planned_by().table_columns(columns, names)

    def table_name(self, name: str) -> str | None:
        """Return how the catalog spells the name of a table, or ``None`` if there is none."""
        from starling_py.catalog.hive import fold

        with _hinted(), self._planning, told():
            self.catalog.refresh()
            try:
                names = self.catalog.names()
            except UsageError:
                return None  # a prefix of a bucket with nothing in it yet
            return next((known for known in names if fold(known) == fold(name)), None)

    def _planned_by(self) -> Planner:
        from starling_py.planner.plan import Planner

        self.check_open()
        if self._planner is None:
            self._planner = Planner()
        return self._planner

    def _plan(self, sql: str, part: Query | None, finer: int | None = None) -> StagePlan:
        from starling_py.planner.plan import PlanOptions

        _check_text(sql)
        config = self.config
        workers, cores, memory = self._resources()
        options = PlanOptions(
            tasks=finer or config.tasks,
            workers=workers,
            cores=cores,
            memory=memory,
            shuffle=config.shuffle,
            remote_shuffle=config.scratch is not None,
            dialect=config.dialect,
            prices=config.prices,
            function=self._function_size(),
        )
        if finer:
            # Nor is a guess at the number of groups a reason any more to have one task merge them.
            options = replace(options, few_groups=0)
        # One at a time: the plan has to see one state of the files.
        with self._planning, told(), self._tables_hinted():
            planner = self._planned_by()
            return planner.plan(sql, self.catalog, options, new_id(), part)

    @contextmanager
    def _tables_hinted(self) -> Iterator[None]:
        """Let a statement see the present files, and tell why there may be none."""
        self.catalog.refresh()
        try:
            yield
        except UnknownTable as error:
            error.hint = error.hint or self._why_no_table()
            raise

    def _resources(self) -> tuple[int, int, int]:
        """Return workers, and the cores and bytes of all of them together."""
        config = self.config
        if config.target == "local":
            return config.workers, config.cores, config.memory
        facts = self.function().facts()
        workers = min(config.workers, facts.concurrency)
        threads = function_threads(facts.memory >> 20)
        return workers, workers * threads, workers * facts.memory

    def _function_size(self) -> FunctionSize:
        """Return what tasks run on, or what is deployed unless somebody says otherwise."""
        # Planning has asked the function what it is like; a statement without a plan need not know.
        if self._function is None:
            return FunctionSize()
        facts = self._function.facts()
        return FunctionSize(facts.memory, facts.architecture)

    @property
    def pricing(self) -> Pricing:
        """What the price of a run depends on beside the run."""
        config = self.config
        return Pricing(
            config.prices,
            self._function_size(),
            functions=config.target == "lambda",
            remote_scratch=config.scratch is not None,
            options=lambda: self._access.options,
        )

    def function(self) -> FunctionClient:
        """Return the function that runs tasks."""
        from starling_py.invokers.function_client import FunctionClient

        with self._lock:
            self.check_open()
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

    def run(
        self,
        sql: str,
        parameters: Parameters = (),
        cancellation: Cancellation | None = None,
        dialect: str | None = None,
    ) -> tuple[Result, QueryRun]:
        """Run a statement of any kind.

        Parameters
        ----------
        cancellation
            Lets other threads end it.
        dialect
            That of the statement, if it is not the connection's.
        """
        token = _CANCELLATION.set(cancellation or Cancellation())
        try:
            return self._run(sql, parameters, dialect)
        finally:
            _CANCELLATION.reset(token)

    def _run(
        self, sql: str, parameters: Parameters, dialect: str | None
    ) -> tuple[Result, QueryRun]:
        from starling_py.planner.copying import Query

        with metered() as planning:
            statement = self.read(sql, parameters, dialect)
            if isinstance(statement, Query):
                plan = self.plan(sql, statement)
        if not isinstance(statement, Query):
            from starling_py.statements import run_statement

            return run_statement(self, sql, statement)
        asked = planning.snapshot()
        plans = [plan]
        while True:
            try:
                ran = self.ran(plan)
                break
            except OutOfMemory as error:
                with metered() as planning:
                    finer = self._finer(sql, statement, plans, error.origin.stage)
                if finer is None:
                    raise
                plan = finer
                plans.append(plan)
                asked += planning.snapshot()
        run = summary(plan, ran, ran.count, asked, self.pricing, len(plans) - 1)
        return self.opened(plan, ran.rows, run)

    def run_plan(self, plan: StagePlan, planning: RequestCounts) -> tuple[Result, QueryRun]:
        """Run a plan, and return its answer. ``planning`` is what planning asked of stores."""
        ran = self.ran(plan)
        run = summary(plan, ran, ran.count, planning, self.pricing)
        return self.opened(plan, ran.rows, run)

    def opened(
        self, plan: StagePlan, rows: Sequence[Rows], run: QueryRun
    ) -> tuple[Result, QueryRun]:
        """Return an answer with columns c0, c1 … as a result."""
        with self._lock:
            self.check_open()
            result = self._results.open(rows, plan.result, plan.settings, _CANCELLATION.get())
        return result, run

    def ran(self, plan: StagePlan) -> RunResult:
        """Return what the engine makes of a plan."""
        with self._lock:
            self.check_open()
            if self._engine is None:
                self._engine = self._start()
            engine = self._engine
        with _hinted():
            return engine.run(plan, cancellation=_CANCELLATION.get())

    def _finer(
        self, sql: str, part: Query, plans: Sequence[StagePlan], failed: int | None
    ) -> StagePlan | None:
        """Return a plan with more tasks for the stage that has failed, if there is one."""
        if self.config.target != "lambda" or self.config.tasks or len(plans) > _FINER:
            return None
        last = plans[-1]
        if any(stage.divisible and stage.id == failed for stage in last.stages):
            return None  # its tasks have been divided already
        tasks = 2 * max(stage.tasks for stage in last.stages)
        found = self._plan(sql, part, min(tasks, MOST_TASKS))
        if len(found.stages) != len(last.stages):
            return found
        more = any(
            new.tasks > old.tasks and failed in (None, old.id)
            for old, new in zip(last.stages, found.stages, strict=True)
        )
        return found if more else None

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
            seconds=SECONDS,
            # Planning has asked it what it is like.
            function=self._function,
            stage_workers=config.stage_workers,
            attempts=_ATTEMPTS if self._function is None else FUNCTION_ATTEMPTS,
        )
        return Engine(options, self._listeners)

    def close(self) -> None:
        self._closed = True
        # Not under the lock of planning: a running query is cancelled, not waited for.
        with self._lock:
            engine, self._engine = self._engine, None
            function = self._function
        # From the last to the first, each also if one before it fails or meets Ctrl-C.
        with ExitStack() as steps:
            if self._scratch is not None:
                steps.callback(self._scratch.close)
            steps.callback(self._access.close)
            if function is not None:
                steps.callback(function.close)
            steps.callback(self._stop_planning)
            steps.callback(self.catalog.close)
            steps.callback(self._results.close)
            if engine is not None:
                steps.callback(engine.close)

    def _stop_planning(self) -> None:
        with self._planning:
            planner, self._planner = self._planner, None
        if planner is not None:
            planner.close()


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
