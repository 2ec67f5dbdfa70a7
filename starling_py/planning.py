"""What a connection plans with: its catalog and its planner, for one statement at a time."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from starling_py.catalog.errors import UsageError
from starling_py.hints import hinted
from starling_py.interruption import told
from starling_py.planner.errors import UnknownTable
from starling_py.runs import new_id
from starling_py.shuffle.errors import StarlingError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from starling_py.catalog.catalog import FileCatalog
    from starling_py.config import Config
    from starling_py.function_access import FunctionAccess
    from starling_py.operators.plan import ResultColumn, StagePlan
    from starling_py.operators.task import SinkColumn
    from starling_py.planner.copying import Copy, Query
    from starling_py.planner.parameters import Parameters
    from starling_py.planner.plan import Planner
    from starling_py.planner.statements import Statement
    from starling_py.planner.tables import TableColumn

__all__ = ["Planning", "TableInfo"]


@dataclass(frozen=True, slots=True)
class TableInfo:
    """A table of the catalog. Where ``error`` is set, nothing else is known but the name."""

    name: str
    columns: tuple[TableColumn, ...] = ()
    files: int = 0
    rows: int = 0
    bytes: int = 0
    error: StarlingError | None = None


class Planning:
    """Tables and statements as a connection knows them. May be used from several threads.

    Parameters
    ----------
    check_open
        Raises when nothing may be planned any more.
    """

    def __init__(
        self,
        catalog: FileCatalog,
        config: Config,
        function: FunctionAccess,
        check_open: Callable[[], None],
    ) -> None:
        self._catalog = catalog
        self._config = config
        self._function = function
        self._check_open = check_open
        self._lock = threading.Lock()
        self._planner: Planner | None = None

    def tables(self) -> tuple[TableInfo, ...]:
        self._check_open()
        with self._lock, told():
            self._catalog.refresh()
            return tuple(self._table(name) for name in self._catalog.names())

    def names(self) -> tuple[str, ...]:
        """Return the names of all tables, in order."""
        self._check_open()
        with hinted(), self._lock, told():
            self._catalog.refresh()
            return self._catalog.names()

    def _table(self, name: str) -> TableInfo:
        try:
            table = self._catalog.find(name)
        except StarlingError as error:
            return TableInfo(name, error=error)
        if table is None:
            return TableInfo(name, error=UsageError("the table vanished"))
        return TableInfo(table.name, table.columns, len(table.files), table.rows, table.bytes)

    def read(self, sql: str, parameters: Parameters = (), dialect: str | None = None) -> Statement:
        """Return which kind of statement a text is, with the values of its parameters.

        It is in the connection's dialect unless another is named.
        """
        with hinted(), self._lock, told():
            _check_text(sql)
            planner = self._planned_by()
            return planner.read(sql, dialect or self._config.dialect, parameters=parameters)

    def describe(self, sql: str, query: Query) -> list[tuple[object, ...]]:
        """Return the rows of a DESCRIBE."""
        with hinted(), self._lock, told(), self._tables_hinted():
            return self._planned_by().describe(query, self._catalog, sql)

    def copied(self, columns: Sequence[ResultColumn], copy: Copy) -> tuple[SinkColumn, ...]:
        """Return the columns of the files of a COPY."""
        with hinted(), self._lock, told():
            return self._planned_by().copied(columns, copy)

    def table_columns(
        self, columns: Sequence[ResultColumn], names: Sequence[str]
    ) -> tuple[SinkColumn, ...]:
        """Return the columns of the files of a new table."""
        with hinted(), self._lock, told():
            return self._planned_by().table_columns(columns, names)

    def table_name(self, name: str) -> str | None:
        """Return how the catalog spells the name of a table, or ``None`` if there is none."""
        from starling_py.catalog.hive import fold

        with hinted(), self._lock, told():
            self._catalog.refresh()
            try:
                names = self._catalog.names()
            except UsageError:
                return None  # a prefix of a bucket with nothing in it yet
            return next((known for known in names if fold(known) == fold(name)), None)

    def _planned_by(self) -> Planner:
        from starling_py.planner.plan import Planner

        self._check_open()
        if self._planner is None:
            self._planner = Planner()
        return self._planner

    def plan(self, sql: str, part: Query | None = None, finer: int | None = None) -> StagePlan:
        """Return the plan of a query, which is ``part`` of a statement or all of it.

        With ``finer`` each stage has so many tasks that can have them.
        """
        with hinted():
            return self._plan(sql, part, finer)

    def _plan(self, sql: str, part: Query | None, finer: int | None) -> StagePlan:
        from starling_py.planner.plan import PlanOptions

        _check_text(sql)
        config = self._config
        workers, cores, memory = self._function.resources()
        options = PlanOptions(
            tasks=finer or config.tasks,
            workers=workers,
            cores=cores,
            memory=memory,
            shuffle=config.shuffle,
            remote_shuffle=config.scratch is not None,
            dialect=config.dialect,
            prices=config.prices,
            function=self._function.size,
        )
        if finer:
            # Nor is a guess at the number of groups a reason any more to have one task merge them.
            options = replace(options, few_groups=0)
        # One at a time: the plan has to see one state of the files.
        with self._lock, told(), self._tables_hinted():
            planner = self._planned_by()
            return planner.plan(sql, self._catalog, options, new_id(), part)

    @contextmanager
    def _tables_hinted(self) -> Iterator[None]:
        """Let a statement see the present files, and tell why there may be none."""
        self._catalog.refresh()
        try:
            yield
        except UnknownTable as error:
            error.hint = error.hint or self._why_no_table()
            raise

    def _why_no_table(self) -> str | None:
        if self._catalog.names():
            return None
        if self._catalog.folder is None:
            return "there are no tables: name a folder of them, or a file as FROM 'path.parquet'"
        return f"the folder {self._catalog.folder} holds no tables"

    def close(self) -> None:
        """Let go of the planner, when it has planned."""
        with self._lock:
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
