"""Answers as DuckDB would hand them out: names, types, Python values and text."""

from __future__ import annotations

from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

from starling_py.catalog.errors import UsageError
from starling_py.interruption import told
from starling_py.operators.errors import OutOfMemory, TaskFailed
from starling_py.operators.quoting import identifier, literal

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import duckdb
    import pyarrow as pa

    from starling_py.operators.plan import ResultColumn
    from starling_py.operators.task import Setting

__all__ = ["Result", "Results"]

_BATCH = 10_000
_SHOWN_BY = frozenset(("timezone", "calendar"))
"""Settings that change what a finished answer looks like."""


class Results:
    """The small DuckDB instance that a connection's answers share; it is opened with the first."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._database: duckdb.DuckDBPyConnection | None = None

    def open(
        self, table: pa.Table, columns: Sequence[ResultColumn], settings: Sequence[Setting]
    ) -> Result:
        """Return an answer.

        Parameters
        ----------
        table
            Columns c0, c1 … in DuckDB's lossless Arrow form.
        columns
            Their names, which need not differ, and their types.
        settings
            Those of the session that the statement ran in.
        """
        import duckdb

        if self._database is None:
            self._database = duckdb.connect(
                ":memory:",
                config={
                    "threads": self._threads,
                    "temp_directory": "",
                    "python_enable_replacements": False,
                    "autoinstall_known_extensions": False,
                    "autoload_known_extensions": False,
                },
            )
        # An answer has a database connection of its own: one that is being fetched from is busy.
        return Result(self._database, table, tuple(columns), settings)

    def close(self) -> None:
        """Close the instance; a later answer opens it again."""
        if self._database is not None:
            self._database.close()
            self._database = None


class Result:
    """One answer: it can be fetched once, row by row, and read as Arrow or text at any time."""

    def __init__(
        self,
        database: duckdb.DuckDBPyConnection,
        table: pa.Table,
        columns: tuple[ResultColumn, ...],
        settings: Sequence[Setting],
    ) -> None:
        self._database = database
        self._table: pa.Table | None = table
        self._columns = columns
        self._settings = [s for s in settings if s.name.lower() in _SHOWN_BY]
        self._fetching: duckdb.DuckDBPyConnection | None = None
        self._arrow: pa.Table | None = None

    @property
    def columns(self) -> tuple[ResultColumn, ...]:
        return self._columns

    @property
    def rows(self) -> int:
        return int(self._held().num_rows)

    def arrow(self) -> pa.Table:
        """Return the answer as ``duckdb.sql(…).to_arrow_table()`` gives it."""
        if self._arrow is None:
            with _errors(), closing(self.session()) as session:
                self._arrow = session.sql(self.select()).to_arrow_table()
        return self._arrow

    def fetch(self, size: int | None = None) -> list[tuple[Any, ...]]:
        """Return the next ``size`` rows, or all that are left, as DuckDB's Python values."""
        with _errors():
            if self._fetching is None:
                session = self.session()
                session.execute(self.select())
                self._fetching = session
            if size is None:
                return list(self._fetching.fetchall())
            return list(self._fetching.fetchmany(size))

    def texts(self, limit: int | None = None) -> Iterator[list[tuple[str | None, ...]]]:
        """Yield the first rows, or all, in batches as text: each value ``CAST(… AS VARCHAR)``.

        NULL is ``None``.
        """
        items = ", ".join(f"CAST({self._cast(n)} AS VARCHAR)" for n in range(len(self._columns)))
        some = "" if limit is None else f" LIMIT {limit}"
        with _errors(), closing(self.session()) as session:
            session.execute(f"SELECT {items} FROM answer{some}")
            while rows := session.fetchmany(_BATCH):
                yield rows

    def select(self) -> str:
        """Return the SELECT that gives the answer in a :meth:`session`."""
        items = (
            f"{self._cast(number)} AS {identifier(column.name)}"
            for number, column in enumerate(self._columns)
        )
        return f"SELECT {', '.join(items)} FROM answer"

    def session(self) -> duckdb.DuckDBPyConnection:
        """Return a database connection that sees the answer; the caller closes it."""
        session = self._database.cursor()
        for setting in self._settings:
            session.execute(f"SET {setting.name} = {literal(setting.value)}").fetchall()
        names = [f"c{number}" for number in range(len(self._columns))]
        session.register("answer", self._held().rename_columns(names))
        return session

    def close(self) -> None:
        """Let go of the answer."""
        if self._fetching is not None:
            self._fetching.close()
            self._fetching = None
        self._table = self._arrow = None

    def _held(self) -> pa.Table:
        if self._table is None:
            raise UsageError("the answer is closed")
        return self._table

    def _cast(self, number: int) -> str:
        return f"CAST(c{number} AS {self._columns[number].type})"


@contextmanager
def _errors() -> Iterator[None]:
    """Turn DuckDB's errors into the engine's."""
    import duckdb

    try:
        with told():
            yield
    except duckdb.OutOfMemoryException as error:
        raise OutOfMemory("the answer does not fit into memory") from error
    except duckdb.Error as error:
        raise TaskFailed(f"the answer cannot be read: {str(error).splitlines()[0]}") from error
