"""The answer of one statement at a time, as PEP 249 and as Arrow data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from starling_py.cancelling import Cancellation
from starling_py.catalog.errors import Closed, UsageError
from starling_py.dbapi import ColumnDescription, described

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator
    from types import TracebackType

    import pandas as pd
    import polars as pl
    import pyarrow as pa

    from starling_py.connection import Connection
    from starling_py.planner.parameters import Parameters
    from starling_py.results import Result
    from starling_py.runs import QueryRun
    from starling_py.session import Session

__all__ = ["Cursor"]


class Cursor:
    """The answer of one statement at a time.

    Threads must not share it, except that any thread may :meth:`cancel`.
    """

    lastrowid: None = None
    """PEP 249: rows have no ids."""

    def __init__(self, connection: Connection, session: Session) -> None:
        # A connection lives as long as a cursor of it: connect(…).execute(…).fetchall() works.
        self._connection = connection
        self._session = session
        self._result: Result | None = None
        self._run: QueryRun | None = None
        self._cancellation = Cancellation()
        self._closed = False
        self._rowcount = -1
        self._arraysize = 1

    @property
    def connection(self) -> Connection:
        """The connection that the cursor is of."""
        return self._connection

    @property
    def arraysize(self) -> int:
        """How many rows :meth:`fetchmany` returns unless told otherwise."""
        return self._arraysize

    @arraysize.setter
    def arraysize(self, size: int) -> None:
        self._arraysize = _count(size, 1)

    # Running

    def execute(
        self, sql: str, parameters: Parameters | None = None, *, dialect: str | None = None
    ) -> Cursor:
        """Run a statement to its end and return the cursor, which holds the answer.

        Parameters
        ----------
        parameters
            Values for ``?`` and ``$1`` in their order, or for ``$name`` and ``:name`` by name.
            DuckDB types them as its own Python client does.
        dialect
            That of this statement, if it is not the connection's.

        Raises
        ------
        StarlingError
            When there is no answer. The cursor's earlier answer is gone in any case.
        """
        self._begin()
        self._execute(sql, () if parameters is None else parameters, dialect)
        return self

    def executemany(
        self, sql: str, parameters: Iterable[Parameters], *, dialect: str | None = None
    ) -> Cursor:
        """Run a statement once for each set of parameters.

        The cursor then holds the last answer; ``rowcount`` counts the rows of all of them.
        ``dialect`` is as for :meth:`execute`.
        """
        self._begin()
        if isinstance(parameters, str | bytes):
            raise UsageError("executemany takes a list of parameters for each run")
        total = 0
        for some in parameters:
            self._drop()
            self._execute(sql, some, dialect)
            total += max(self._rowcount, 0)
        self._rowcount = total
        return self

    def _begin(self) -> None:
        # In this order: whoever closes the cursor now, in another thread, ends the new one.
        self._cancellation = Cancellation()
        self._check_open()
        self._drop()

    def _execute(self, sql: str, parameters: Parameters, dialect: str | None = None) -> None:
        result, run = self._session.run(sql, parameters, self._cancellation, dialect)
        self._rowcount = result.rows
        self._result, self._run = result, run
        if self._closed:  # by another thread, just now
            self._drop()
            raise Closed("the cursor is closed")

    def cancel(self) -> None:
        """Stop what the cursor does in another thread, which raises ``Cancelled``."""
        self._cancellation.cancel()

    @property
    def run(self) -> QueryRun:
        """What the query took: stages, tasks, bytes, requests, seconds."""
        if self._run is None:
            self._check_open()
            raise UsageError("no query has run")
        return self._run

    # PEP 249

    @property
    def description(self) -> list[ColumnDescription] | None:
        """The columns of the answer, or ``None``; type codes are DuckDB's names of types."""
        if self._result is None:
            return None
        return [described(column.name, column.type) for column in self._result.columns]

    @property
    def rowcount(self) -> int:
        """The number of rows of the answer, or -1."""
        return self._rowcount

    def fetchone(self) -> tuple[Any, ...] | None:
        """Return the next row as DuckDB's Python values, or ``None`` after the last."""
        rows = self.result.fetch(1)
        return rows[0] if rows else None

    def fetchmany(self, size: int | None = None) -> list[tuple[Any, ...]]:
        """Return the next ``size`` rows, by default ``arraysize``."""
        return self.result.fetch(self._arraysize if size is None else _count(size, 0))

    def fetchall(self) -> list[tuple[Any, ...]]:
        """Return all rows that are left."""
        return self.result.fetch()

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        return self

    def __next__(self) -> tuple[Any, ...]:
        row = self.fetchone()
        if row is None:
            raise StopIteration
        return row

    def nextset(self) -> None:
        """Return ``None``: a statement has one answer."""
        self._check_open()

    def setinputsizes(self, sizes: object) -> None:  # noqa: ARG002 - PEP 249 gives the name
        """Do nothing. PEP 249 asks for it."""
        self._check_open()

    def setoutputsize(self, size: int, column: int | None = None) -> None:  # noqa: ARG002 - as above
        """Do nothing. PEP 249 asks for it."""
        self._check_open()

    # Arrow

    @property
    def result(self) -> Result:
        """The answer itself."""
        if self._result is None:
            self._check_open()
            raise UsageError("no query has run", hint="call execute() first")
        return self._result

    def arrow(self) -> pa.Table:
        """Return the whole answer as an Arrow table, whatever was fetched before."""
        return self.result.arrow()

    def fetch_record_batch_reader(self, rows: int = 1 << 17) -> pa.RecordBatchReader:
        """Return a stream of the whole answer in batches of at most ``rows`` rows.

        One batch at a time is in memory. The stream may be read after the cursor was closed
        where the answer has only types that Arrow and DuckDB share.
        """
        return self.result.reader(_count(rows, 1))

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """Return the answer as the stream of Arrow's PyCapsule interface."""
        return self.result.reader().__arrow_c_stream__(requested_schema)

    def df(self) -> pd.DataFrame:
        """Return the whole answer as a pandas ``DataFrame``."""
        return self.result.df()

    def pl(self) -> pl.DataFrame:
        """Return the whole answer as a Polars ``DataFrame``."""
        return self.result.pl()

    def to_parquet(self, path: str | os.PathLike[str]) -> None:
        """Write the whole answer to a Parquet file, which is there whole or not at all."""
        from starling_py.output import save

        save(self.result, Path(path), suffix=".parquet")

    # Its end

    def close(self) -> None:
        """Let go of the answer, and stop what still runs. A second call does nothing."""
        self._closed = True
        self._cancellation.end()
        self._drop()

    def _check_open(self) -> None:
        if self._closed:
            raise Closed("the cursor is closed")
        self._session.check_open()

    def _drop(self) -> None:
        result, self._result = self._result, None
        self._run = None
        self._rowcount = -1
        if result is not None:
            result.close()

    def __enter__(self) -> Cursor:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _count(number: object, least: int) -> int:
    if not isinstance(number, int) or isinstance(number, bool) or number < least:
        raise UsageError(f"a number of rows is a whole number from {least}, not {number!r}")
    return number
