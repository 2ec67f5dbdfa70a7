"""``connect()``: tables in, SQL in, answers out."""

from __future__ import annotations

import os
import threading
import weakref
from typing import TYPE_CHECKING

from starling_py.access import S3Access
from starling_py.cancelling import in_thread
from starling_py.catalog.catalog import FileCatalog
from starling_py.catalog.errors import UsageError
from starling_py.config import Config, resolve
from starling_py.cursor import Cursor
from starling_py.planning import TableInfo
from starling_py.runs import QueryRun
from starling_py.session import Session
from starling_py.shuffle import dbapi

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from types import TracebackType

    from starling_py.coordinator.scratch import Scratch
    from starling_py.events import Listener
    from starling_py.operators.plan import StagePlan
    from starling_py.planner.parameters import Parameters
    from starling_py.prices import Prices
    from starling_py.shuffle.s3_options import S3Options

__all__ = ["Connection", "Cursor", "QueryRun", "TableInfo", "connect"]


def connect(
    data: str | os.PathLike[str] | None = None,
    *,
    tables: Mapping[str, object] | None = None,
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
    dialect: str = "duckdb",
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
        More tables by name: a pattern, folder or file, here or on S3; or a pandas or Polars
        ``DataFrame`` or any Arrow data, as it is at this moment.
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
    dialect
        That of the statements: ``"trino"``, ``"spark"``, ``"snowflake"`` …
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
    Unsupported
        For an unknown dialect.
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
        dialect=dialect,
        prices=prices,
    )
    access = S3Access(s3)
    patterns, scratch_folder = _tables(tables or {}, config)
    try:
        catalog = FileCatalog(data, patterns, buckets=lambda: access.buckets)
    except BaseException:  # Ctrl-C too
        if scratch_folder is not None:
            scratch_folder.close()
        raise
    return Connection(catalog, config, listeners, access, scratch_folder)


def _tables(tables: Mapping[str, object], config: Config) -> tuple[dict[str, str], Scratch | None]:
    """Return the pattern of each table, and what holds those that were given as objects."""
    patterns = {n: os.fspath(t) for n, t in tables.items() if isinstance(t, str | os.PathLike)}
    objects = {name: given for name, given in tables.items() if name not in patterns}
    if not objects:
        return patterns, None
    if config.target != "local":
        raise UsageError(
            f"the table {next(iter(objects))} is an object of this process",
            hint="functions read tables on S3 only: write it there",
        )
    from starling_py.coordinator.scratch import Scratch
    from starling_py.objects import write_objects

    scratch = Scratch()
    try:
        written = write_objects(objects, scratch.path)
    except BaseException:  # Ctrl-C, or what a stranger's data frame raises
        scratch.close()
        raise
    return {name: patterns.get(name) or written[name] for name in tables}, scratch


class Connection:
    """Tables and the workers that query them. Threads may share it.

    Workers start with the first query. They, and everything on disk, are gone when the connection
    is closed or forgotten, or the interpreter ends.
    """

    Warning = dbapi.Warning
    Error = dbapi.Error
    InterfaceError = dbapi.InterfaceError
    DatabaseError = dbapi.DatabaseError
    DataError = dbapi.DataError
    OperationalError = dbapi.OperationalError
    IntegrityError = dbapi.IntegrityError
    InternalError = dbapi.InternalError
    ProgrammingError = dbapi.ProgrammingError
    NotSupportedError = dbapi.NotSupportedError

    def __init__(
        self,
        catalog: FileCatalog,
        config: Config,
        listeners: Iterable[Listener] = (),
        access: S3Access | None = None,
        scratch: Scratch | None = None,
    ) -> None:
        access = access or S3Access()
        self._session = Session(catalog, config, tuple(listeners), access, scratch)
        self._lock = threading.Lock()
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
        with self._lock:
            self._cursors.add(cursor)
        return cursor

    def execute(
        self, sql: str, parameters: Parameters | None = None, *, dialect: str | None = None
    ) -> Cursor:
        """Run a statement in a new cursor and return the cursor."""
        return self.cursor().execute(sql, parameters, dialect=dialect)

    def executemany(self, sql: str, parameters: Iterable[Parameters]) -> Cursor:
        """Run a statement once for each set of parameters in a new cursor, and return that."""
        return self.cursor().executemany(sql, parameters)

    async def aexecute(
        self, sql: str, parameters: Parameters | None = None, *, dialect: str | None = None
    ) -> Cursor:
        """Run a statement in a new cursor while the event loop goes on.

        When the waiting task is cancelled, so is the query. ``dialect`` is as for :meth:`execute`.
        """
        cursor = self.cursor()
        return await in_thread(
            lambda: cursor.execute(sql, parameters, dialect=dialect), cursor.cancel
        )

    def explain(
        self, sql: str, parameters: Parameters | None = None, *, dialect: str | None = None
    ) -> StagePlan:
        """Return the plan of a statement, without running it."""
        from starling_py.statements import plan_statement

        given = () if parameters is None else parameters
        return plan_statement(self._session, sql, self._session.read(sql, given, dialect))

    def tables(self) -> tuple[TableInfo, ...]:
        """Return all tables in order of name; those that cannot be read with their errors."""
        return self._session.planning.tables()

    def commit(self) -> None:
        """Do nothing: there are no transactions, each statement stands for itself."""
        self._session.check_open()

    def rollback(self) -> None:
        """Do nothing: there are no transactions, and what a statement wrote stays written."""
        self._session.check_open()

    def close(self) -> None:
        """Stop what runs, end the workers and let go of all answers. A second call does nothing."""
        with self._lock:
            cursors = list(self._cursors)
        try:
            for cursor in cursors:
                cursor.close()
        finally:
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
