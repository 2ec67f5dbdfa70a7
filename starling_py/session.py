"""What a connection holds: its catalog, planner, engine and answers, and the way of a query."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from contextvars import ContextVar
from typing import TYPE_CHECKING

from starling_py.cancelling import Cancellation
from starling_py.catalog.errors import Closed
from starling_py.finer import finer_plan
from starling_py.function_access import FunctionAccess
from starling_py.hints import hinted
from starling_py.leftovers import check_bucket, scratch_location
from starling_py.operators.errors import OutOfMemory
from starling_py.planning import Planning
from starling_py.prices import Pricing
from starling_py.results import Result, Results
from starling_py.runs import summary
from starling_py.shuffle.meter import metered

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starling_py.access import S3Access
    from starling_py.catalog.catalog import FileCatalog
    from starling_py.config import Config
    from starling_py.coordinator.scratch import Scratch
    from starling_py.engine import Engine
    from starling_py.events import Listener
    from starling_py.operators.plan import StagePlan
    from starling_py.planner.parameters import Parameters
    from starling_py.planner.statements import Statement
    from starling_py.run_results import RunResult
    from starling_py.runs import QueryRun
    from starling_py.shuffle.meter import RequestCounts
    from starling_py.shuffle.rows import Rows

__all__ = ["FUNCTION_ATTEMPTS", "SECONDS", "Session"]

SECONDS = 86_400.0
"""That a query may take."""
_ATTEMPTS = 2
FUNCTION_ATTEMPTS = 4
"""Functions are lost more often than workers of this machine."""
_CANCELLATION: ContextVar[Cancellation | None] = ContextVar("cancellation", default=None)
"""What may end the statement that this thread runs."""


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
        self.function = FunctionAccess(config, access, self.check_open)
        self.planning = Planning(catalog, config, self.function, self.check_open)
        self._lock = threading.Lock()
        self._engine: Engine | None = None
        self._closed = False

    @property
    def access(self) -> S3Access:
        """The ways to S3."""
        return self._access

    def check_open(self) -> None:
        if self._closed:
            raise Closed("the connection is closed")

    @property
    def pricing(self) -> Pricing:
        """What the price of a run depends on beside the run."""
        config = self.config
        return Pricing(
            config.prices,
            self.function.size,
            functions=config.target == "lambda",
            remote_scratch=config.scratch is not None,
            options=lambda: self._access.options,
        )

    def read(self, sql: str, parameters: Parameters = (), dialect: str | None = None) -> Statement:
        """Return which kind of statement a text is, complete, with the values of its parameters."""
        from starling_py.pivots import completed
        from starling_py.planner.statements import with_query

        found = self.planning.read(sql, parameters, dialect)
        return with_query(found, lambda query: completed(self, query))

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
                plan = self.planning.plan(sql, statement)
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
                    failed = error.origin.stage
                    finer = finer_plan(self.planning, self.config, sql, statement, plans, failed)
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
        with hinted():
            return engine.run(plan, cancellation=_CANCELLATION.get())

    def _start(self) -> Engine:
        from starling_py.engine import Engine, EngineOptions

        config = self.config
        function = self.function.opened
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
            function=function,
            stage_workers=config.stage_workers,
            attempts=_ATTEMPTS if function is None else FUNCTION_ATTEMPTS,
        )
        return Engine(options, self._listeners)

    def close(self) -> None:
        self._closed = True
        # Not under the lock of planning: a running query is cancelled, not waited for.
        with self._lock:
            engine, self._engine = self._engine, None
        # From the last to the first, each also if one before it fails or meets Ctrl-C.
        with ExitStack() as steps:
            if self._scratch is not None:
                steps.callback(self._scratch.close)
            steps.callback(self._access.close)
            steps.callback(self.function.close)
            steps.callback(self.planning.close)
            steps.callback(self.catalog.close)
            steps.callback(self._results.close)
            if engine is not None:
                steps.callback(engine.close)
