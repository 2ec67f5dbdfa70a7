"""The 22 queries through the engine and through plain DuckDB on the same files, compared."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import duckdb

import starling_py
from starling_py import RequestCounts
from starling_py.errors import StarlingError
from starling_py.tpch.compare import Answer, answer, difference
from starling_py.tpch.errors import TpchError
from starling_py.tpch.tables import TABLES
from starling_py.tpch.texts import NUMBERS, ordering, text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

__all__ = ["Oracle", "Outcome", "Totals", "check_folder", "totals", "verify"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """One query through both engines.

    ``difference`` is ``None`` where the answers are the same. Times are wall-clock seconds from
    SQL text to Arrow table, the best of the repetitions; ``peak_rss`` is in bytes per worker.
    """

    query: int
    difference: str | None
    rows: int = 0
    stages: int = 0
    tasks: int = 0
    shuffled_bytes: int = 0
    engine_seconds: float = 0.0
    duckdb_seconds: float = 0.0
    plan_seconds: float = 0.0
    requests: RequestCounts = field(default_factory=RequestCounts)
    peak_rss: tuple[tuple[str, int], ...] = ()

    @property
    def ratio(self) -> float:
        """Engine seconds over DuckDB seconds; NaN where one of them did not answer."""
        if self.engine_seconds <= 0 or self.duckdb_seconds <= 0:
            return math.nan
        return self.engine_seconds / self.duckdb_seconds


@dataclass(frozen=True, slots=True)
class Totals:
    """All queries together. The ratios are over the queries that both engines answered."""

    queries: int
    different: int
    engine_seconds: float
    duckdb_seconds: float
    ratio: float
    geometric_mean: float
    peak_rss: tuple[tuple[str, int], ...]


class Oracle:
    """Plain DuckDB over the same files: one view per table."""

    def __init__(self, folder: Path, *, threads: int) -> None:
        self._connection = duckdb.connect(config={"threads": threads})
        self._connection.execute("SET enable_progress_bar = false")
        for table in TABLES:
            pattern = str(folder / table / "*.parquet").replace("'", "''")
            self._rows(f"CREATE VIEW {table} AS SELECT * FROM read_parquet('{pattern}')")

    def __enter__(self) -> Oracle:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._connection.close()

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """Return a connection of its own to the same database, which the caller closes."""
        return self._connection.cursor()

    def describe(self, sql: str) -> list[tuple[str, str]]:
        """Return names and types of the columns as DuckDB's DESCRIBE gives them."""
        return [(str(row[0]), str(row[1])) for row in self._rows(f"DESCRIBE {sql}")]

    def run(self, sql: str) -> tuple[Answer, float]:
        """Return the answer, and the seconds from text to Arrow table."""
        started = time.perf_counter()
        try:
            table = self._connection.sql(sql).to_arrow_table()
        except duckdb.Error as error:
            raise _failed(error) from error
        seconds = time.perf_counter() - started
        return answer(table, self.describe(sql)), seconds

    def _rows(self, sql: str) -> list[tuple[object, ...]]:
        try:
            return self._connection.execute(sql).fetchall()
        except duckdb.Error as error:
            raise _failed(error) from error


def _failed(error: duckdb.Error) -> TpchError:
    return TpchError(f"plain DuckDB failed: {str(error).splitlines()[0]}")


def check_folder(folder: Path) -> None:
    """Raise :class:`TpchError` unless ``folder`` has a sub-folder of Parquet for every table."""
    for table in TABLES:
        if not any((folder / table).glob("*.parquet")):
            raise TpchError(
                f"{folder} has no Parquet files of table {table!r}",
                hint=f"starling tpch generate --scale 1 --output {folder}",
            )


def verify(
    folder: Path,
    *,
    queries: Sequence[int] = NUMBERS,
    tasks: int | None = None,
    workers: int | None = None,
    isolation: str = "thread",
    repeat: int = 1,
    memory: str | None = None,
    copy: str | None = None,
    scratch: str | None = None,
    shuffle: str = "auto",
    doublewrite: bool = False,
    target: str = "local",
    function: str | None = None,
    prices: str | None = None,
) -> Iterator[Outcome]:
    """Run queries through both engines in turn and yield an outcome each.

    Parameters
    ----------
    folder
        The files for DuckDB, and for the engine unless it has a ``copy``.
    tasks
        Tasks in every stage that can have them; by default the planner decides.
    workers
        Workers of the engine and threads of DuckDB; by default the cores of the machine.
    isolation
        ``thread`` or ``process``.
    repeat
        How often each query runs in each engine. Every answer is compared; the best time counts.
    memory
        For all workers of the engine together, such as ``1536MiB``.
    copy
        Where the engine finds the same files, such as ``s3://bucket/prefix``.
    scratch, shuffle, doublewrite, target, function, prices
        As for ``connect``.
    """
    check_folder(folder)
    with (
        starling_py.connect(
            data=copy or folder,
            tasks=tasks,
            workers=workers,
            isolation=isolation,
            memory=memory,
            scratch=scratch,
            shuffle=shuffle,
            doublewrite=doublewrite,
            target=target,
            function=function,
            prices=prices,
        ) as connection,
        Oracle(folder, threads=workers or connection.config.cores) as oracle,
    ):
        for query in queries:
            yield _verify_one(query, connection, oracle, repeat)


def totals(outcomes: Sequence[Outcome]) -> Totals:
    """Add outcomes up."""
    answered = [outcome for outcome in outcomes if not math.isnan(outcome.ratio)]
    engine = sum(outcome.engine_seconds for outcome in answered)
    plain = sum(outcome.duckdb_seconds for outcome in answered)
    peaks: dict[str, int] = {}
    for outcome in outcomes:
        for worker, peak in outcome.peak_rss:
            peaks[worker] = max(peak, peaks.get(worker, 0))
    return Totals(
        queries=len(outcomes),
        different=sum(outcome.difference is not None for outcome in outcomes),
        engine_seconds=engine,
        duckdb_seconds=plain,
        ratio=engine / plain if plain else math.nan,
        geometric_mean=(
            math.exp(sum(math.log(outcome.ratio) for outcome in answered) / len(answered))
            if answered
            else math.nan
        ),
        peak_rss=tuple(sorted(peaks.items())),
    )


def _verify_one(
    query: int, connection: starling_py.Connection, oracle: Oracle, repeat: int
) -> Outcome:
    sql = text(query)
    described = oracle.describe(sql)
    order = ordering(sql, tuple(name for name, _ in described))
    outcome = Outcome(query, None, engine_seconds=math.inf, duckdb_seconds=math.inf)
    for turn in range(repeat):
        # They take turns to go first: the second finds the files in the page cache.
        first = (query + turn) % 2 == 0
        early = oracle.run(sql) if first else None
        try:
            answered, ran = _engine_run(query, sql, connection)
        except StarlingError as error:
            failure = f"{error.code}: {error}".splitlines()[0]
            return Outcome(query, failure)
        expected, seconds = early or oracle.run(sql)
        found = outcome.difference or difference(
            expected,
            answered,
            order=order.columns,
            limit=order.limit,
            unlimited=lambda: oracle.run(order.unlimited)[0],
        )
        outcome = replace(
            ran,
            difference=found,
            engine_seconds=min(ran.engine_seconds, outcome.engine_seconds),
            duckdb_seconds=min(seconds, outcome.duckdb_seconds),
        )
    return outcome


def _engine_run(query: int, sql: str, connection: starling_py.Connection) -> tuple[Answer, Outcome]:
    """Return the engine's answer, and what it took as an outcome not yet compared."""
    started = time.perf_counter()
    cursor = connection.execute(sql)
    table = cursor.arrow()
    seconds = time.perf_counter() - started
    columns = [column[:2] for column in cursor.description or ()]
    run = cursor.run
    cursor.close()
    return answer(table, columns), Outcome(
        query,
        None,
        rows=table.num_rows,
        stages=run.stages,
        tasks=run.tasks,
        shuffled_bytes=run.shuffled_bytes,
        engine_seconds=seconds,
        plan_seconds=run.plan_seconds,
        requests=run.requests,
        peak_rss=run.peak_rss,
    )
