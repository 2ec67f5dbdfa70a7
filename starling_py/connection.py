"""``connect()``: tables in, SQL in, answers out."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

from starling_py.access import S3Access
from starling_py.catalog.catalog import FileCatalog
from starling_py.catalog.errors import UsageError
from starling_py.config import Config, resolve
from starling_py.session import QueryRun, Session, TableInfo

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator, Mapping
    from types import TracebackType

    import pyarrow as pa

    from starling_py.events import Listener
    from starling_py.operators.plan import StagePlan
    from starling_py.prices import Prices
    from starling_py.results import Result
    from starling_py.shuffle.s3_options import S3Options

__all__ = ["Connection", "Cursor", "QueryRun", "TableInfo", "connect"]


def connect(
    data: str | os.PathLike[str] | None = None,
    *,
    tables: Mapping[str, str] | None = None,
    tasks: int | None = None,
    workers: int | None = None,
    isolation: str = "thread",
    memory: int | str | None = None,
    scratch: str | None = None,
    shuffle: str = "auto",
    doublewrite: bool = False,
    target: str = "local",
    function: str | None = None,
    stage_workers: int | None = None,
    prices: Prices | str | os.PathLike[str] | None = None,
    s3: S3Options | None = None,
    listeners: Iterable[Listener] = (),
) -> Connection:
    """Return a connection to the tables of a folder.

    Parameters
    ----------
    data
        A folder, or a prefix on S3 (``s3://bucket/prefix``), of which every sub-folder and
        Parquet file is a table.
    tables
        More tables: a pattern, folder or file by name, here or on S3.
    tasks
        How many tasks each stage has that can have several; by default the planner decides.
    workers
        How many tasks run at once; by default as many as there are cores.
    isolation
        ``"thread"`` runs tasks in this process, ``"process"`` in processes of their own.
    memory
        For all workers and the data between them, in bytes or as text (``"2GB"``); by default
        80 % of what is free.
    scratch
        Where on S3 (``s3://bucket/prefix``) tasks leave what they hand to one another; by default
        that stays on this machine.
    shuffle
        ``"combined"`` puts combiner stages between stages that exchange rows, ``"direct"`` does
        not, and ``"auto"`` does where requests to ``scratch`` then cost less.
    doublewrite
        Write each object below ``scratch`` twice, so that a slow read has another place to go.
    target
        ``"local"`` runs tasks on this machine, ``"lambda"`` in a function on AWS Lambda.
    function
        The name or ARN of that function; by default ``starling-worker``.
    stage_workers
        How many tasks of one stage run at once; by default as many as of all stages.
    prices
        What requests and seconds cost, or a TOML or JSON file that says so; by default what the
        environment variable STARLING_PRICES names, or what is built in.
    s3
        How to reach S3; what it leaves open comes from the usual AWS variables and files.
    listeners
        Called with each event of each query, in a thread of the engine.

    Raises
    ------
    UsageError
        For an argument that is wrong, such as a folder that does not exist.
    """
    config = resolve(
        tasks,
        workers,
        isolation,
        memory,
        scratch,
        shuffle,
        doublewrite=doublewrite,
        target=target,
        function=function,
        stage_workers=stage_workers,
        prices=prices,
    )
    access = S3Access(s3)
    catalog = FileCatalog(data, tables, buckets=lambda: access.buckets)
    return Connection(catalog, config, listeners, access)


class Connection:
    """Tables and the workers that query them. Threads may share it.

    Workers start with the first query. They, and everything on disk, are gone when the connection
    is closed or forgotten, or the interpreter ends.
    """

    def __init__(
        self,
        catalog: FileCatalog,
        config: Config,
        listeners: Iterable[Listener] = (),
        access: S3Access | None = None,
    ) -> None:
        self._session = Session(catalog, config, tuple(listeners), access or S3Access())
        self._cursors: weakref.WeakSet[Cursor] = weakref.WeakSet()
        self._finalizer = weakref.finalize(self, self._session.close)

    @property
    def config(self) -> Config:
        return self._session.config

    @property
    def catalog(self) -> FileCatalog:
        return self._session.catalog

    def cursor(self) -> Cursor:
        """Return a cursor, which holds one answer at a time."""
        self._session.check_open()
        cursor = Cursor(self, self._session)
        self._cursors.add(cursor)
        return cursor

    def execute(self, sql: str) -> Cursor:
        """Run a statement in a new cursor and return the cursor."""
        return self.cursor().execute(sql)

    def explain(self, sql: str) -> StagePlan:
        """Return the plan of a statement, without running it."""
        from starling_py.statements import plan_statement

        return plan_statement(self._session, sql, self._session.read(sql))

    def tables(self) -> tuple[TableInfo, ...]:
        """Return all tables in order of name; those that cannot be read with their errors."""
        return self._session.tables()

    def commit(self) -> None:
        """Do nothing: tables are read only. PEP 249 asks for it."""
        self._session.check_open()

    def rollback(self) -> None:
        """Do nothing: tables are read only. PEP 249 asks for it."""
        self._session.check_open()

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

    def __init__(self, connection: Connection, session: Session) -> None:
        # A connection lives as long as a cursor of it: connect(…).execute(…).fetchall() works.
        self._connection = connection
        self._session = session
        self._result: Result | None = None
        self._run: QueryRun | None = None
        self._closed = False

    @property
    def connection(self) -> Connection:
        """The connection that the cursor is of."""
        return self._connection

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
        self._result, self._run = self._session.run(sql)
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
