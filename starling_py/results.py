"""Answers as DuckDB would hand them out: names, types, Python values, Arrow data and text."""

from __future__ import annotations

from contextlib import closing, contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from starling_py.cancelling import Cancellation
from starling_py.catalog.errors import Closed, UsageError
from starling_py.interruption import told
from starling_py.operators.errors import Cancelled, OutOfMemory, TaskFailed
from starling_py.operators.quoting import identifier, literal
from starling_py.planner.errors import Unsupported
from starling_py.shuffle.rows import whole

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import duckdb
    import pandas as pd
    import polars as pl

    from starling_py.operators.plan import ResultColumn
    from starling_py.operators.task import Setting
    from starling_py.shuffle.rows import Rows

__all__ = ["Result", "Results"]

_BATCH = 10_000
_ARROW_BATCH = 1 << 17
_SHOWN_BY = frozenset(("timezone", "calendar"))
"""Settings that change what a finished answer looks like."""


class Results:
    """The small DuckDB instance that a connection's answers share; it is opened with the first."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._database: duckdb.DuckDBPyConnection | None = None

    def open(
        self,
        rows: Sequence[Rows],
        columns: Sequence[ResultColumn],
        settings: Sequence[Setting],
        cancellation: Cancellation | None = None,
    ) -> Result:
        """Return an answer.

        Parameters
        ----------
        rows
            At least one piece, with columns c0, c1 … in DuckDB's lossless Arrow form.
        columns
            Their names, which need not differ, and their types.
        settings
            Those of the session that the statement ran in.
        cancellation
            Lets other threads stop what is done with the answer.
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
        return Result(
            self._database, rows, tuple(columns), settings, cancellation or Cancellation()
        )

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
        rows: Sequence[Rows],
        columns: tuple[ResultColumn, ...],
        settings: Sequence[Setting],
        cancellation: Cancellation,
    ) -> None:
        self._database = database
        self._pieces: Sequence[Rows] | None = rows
        self._columns = columns
        self._settings = [s for s in settings if s.name.lower() in _SHOWN_BY]
        self._cancellation = cancellation
        self._fetching: duckdb.DuckDBPyConnection | None = None

    @property
    def columns(self) -> tuple[ResultColumn, ...]:
        return self._columns

    @property
    def rows(self) -> int:
        return sum(piece.rows for piece in self._held())

    @cached_property
    def schema(self) -> pa.Schema:
        """That of the answer as Arrow data."""
        with self._session(self._stream(())) as session:
            return session.sql(self.select()).to_arrow_table().schema

    def arrow(self) -> pa.Table:
        """Return the answer as ``duckdb.sql(…).to_arrow_table()`` gives it."""
        if self._is_plain():
            table = whole(self._held())
            return pa.Table.from_arrays(table.columns, schema=self.schema)
        with self.session() as session:
            return session.sql(self.select()).to_arrow_table()

    def reader(self, rows: int = _ARROW_BATCH) -> pa.RecordBatchReader:
        """Return a stream of the answer, of which one batch at a time is in memory.

        Parameters
        ----------
        rows
            Of a batch, at most.
        """
        self._cancellation.check()
        batches = self._batches() if self._is_plain() else self._converted(rows)
        return pa.RecordBatchReader.from_batches(self.schema, _cut(batches, rows))

    def df(self) -> pd.DataFrame:
        """Return the answer as DuckDB makes a pandas ``DataFrame`` of it."""
        _needed("pandas")
        with self.session() as session:
            return session.sql(self.select()).df()

    def pl(self) -> pl.DataFrame:
        """Return the answer as DuckDB makes a Polars ``DataFrame`` of it."""
        _needed("polars")
        import polars

        try:
            frame = polars.from_arrow(self.arrow())
        except polars.exceptions.PolarsError as error:
            first = str(error).splitlines()[0]
            raise Unsupported(f"Polars cannot take the answer: {first}") from error
        if not isinstance(frame, polars.DataFrame):
            raise TypeError("a table has become a column")
        return frame

    def fetch(self, size: int | None = None) -> list[tuple[Any, ...]]:
        """Return the next ``size`` rows, or all that are left, as DuckDB's Python values."""
        if self._fetching is None:
            with _errors():
                session = self._open(self._source())
                session.execute(self.select())
            self._fetching = session
        session = self._fetching
        with _errors(), self._cancellation.stopped_by(session.interrupt):
            if size is None:
                return list(session.fetchall())
            return list(session.fetchmany(size)) if size else []

    def texts(self, limit: int | None = None) -> Iterator[list[tuple[str | None, ...]]]:
        """Yield the first rows, or all, in batches as text: each value ``CAST(… AS VARCHAR)``.

        NULL is ``None``.
        """
        items = ", ".join(f"CAST({self._cast(n)} AS VARCHAR)" for n in range(len(self._columns)))
        some = "" if limit is None else f" LIMIT {limit}"
        with self.session() as session:
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

    @contextmanager
    def session(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Yield a database connection for one statement that reads the answer."""
        with self._session(self._source()) as session:
            yield session

    def close(self) -> None:
        """Let go of the answer. Arrow data that was handed out stays valid."""
        if self._fetching is not None:
            self._fetching.close()
            self._fetching = None
        self._pieces = None

    @contextmanager
    def _session(
        self, source: pa.Table | pa.RecordBatchReader
    ) -> Iterator[duckdb.DuckDBPyConnection]:
        with (
            _errors(),
            closing(self._open(source)) as session,
            self._cancellation.stopped_by(session.interrupt),
        ):
            yield session

    def _open(self, source: pa.Table | pa.RecordBatchReader) -> duckdb.DuckDBPyConnection:
        session = self._database.cursor()
        for setting in self._settings:
            session.execute(f"SET {setting.name} = {literal(setting.value)}").fetchall()
        session.register("answer", source)
        return session

    def _source(self) -> pa.Table | pa.RecordBatchReader:
        """Return what a session reads: all of it where it is in memory, or else a stream."""
        pieces = self._held()
        names = [f"c{number}" for number in range(len(self._columns))]
        if all(piece.held for piece in pieces):
            return whole(pieces).rename_columns(names)
        return self._stream(batch for piece in pieces for batch in piece.batches())

    def _stream(self, batches: Iterable[pa.RecordBatch]) -> pa.RecordBatchReader:
        fields = enumerate(self._held()[0].schema)
        schema = pa.schema([field.with_name(f"c{number}") for number, field in fields])
        named = (pa.RecordBatch.from_arrays(batch.columns, schema=schema) for batch in batches)
        return pa.RecordBatchReader.from_batches(schema, named)

    def _is_plain(self) -> bool:
        """Return whether the stored columns are what DuckDB would hand out."""
        stored = self._held()[0].schema
        return [field.type for field in stored] == [field.type for field in self.schema]

    def _batches(self) -> Iterator[pa.RecordBatch]:
        for piece in self._held():
            for batch in piece.batches():
                self._cancellation.check()
                yield pa.RecordBatch.from_arrays(batch.columns, schema=self.schema)

    def _converted(self, rows: int) -> Iterator[pa.RecordBatch]:
        with self.session() as session:
            yield from session.sql(self.select()).to_arrow_reader(rows)

    def _held(self) -> Sequence[Rows]:
        if self._pieces is None:
            raise Closed("the answer is closed")
        return self._pieces

    def _cast(self, number: int) -> str:
        return f"CAST(c{number} AS {self._columns[number].type})"


def _cut(batches: Iterator[pa.RecordBatch], rows: int) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        if batch.num_rows <= rows:
            yield batch
        else:
            yield from (batch.slice(at, rows) for at in range(0, batch.num_rows, rows))


def _needed(package: str) -> None:
    from importlib.util import find_spec

    if find_spec(package) is None:
        raise UsageError(
            f"{package} is not installed", hint=f"pip install 'starling-py[{package}]'"
        )


@contextmanager
def _errors() -> Iterator[None]:
    """Turn DuckDB's errors into the engine's."""
    import duckdb

    try:
        with told():
            yield
    except duckdb.InterruptException as error:
        raise Cancelled("the query was cancelled") from error
    except duckdb.OutOfMemoryException as error:
        raise OutOfMemory("the answer does not fit into memory") from error
    except duckdb.Error as error:
        raise TaskFailed(f"the answer cannot be read: {str(error).splitlines()[0]}") from error
