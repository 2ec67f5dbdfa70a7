"""TPC-DS data that ``make tpcds-data`` has made, the engine and DuckDB over it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import duckdb
import pytest
import sqlglot
from sqlglot import exp

from starling_py.catalog.catalog import FileCatalog
from starling_py.engine import Engine, EngineOptions
from starling_py.operators.plan import StagePlan
from starling_py.planner.plan import Planner, PlanOptions
from starling_py.tpch.compare import Answer, answer, difference

FOLDER = Path(os.environ.get("TPCDS_DATA", "data/tpcds-0.01"))
NUMBERS = range(1, 100)
WORKERS = 2
MEMORY = 4 << 30


@dataclass(frozen=True)
class Query:
    """One of the 99: its text, its LIMIT if it has one, and the text without it."""

    sql: str
    limit: int | None
    unlimited: str
    keys: tuple[str | int, ...]

    def order(self, names: list[str]) -> tuple[int, ...]:
        """Return the positions of the leading sort keys that are columns of the answer."""
        positions = []
        known = {name.lower(): at for at, name in reversed(list(enumerate(names)))}
        for key in self.keys:
            at = key if isinstance(key, int) else known.get(key.lower())
            if at is None:
                break
            positions.append(at)
        return tuple(positions)


def read_query(number: int) -> Query:
    sql = (FOLDER / "queries" / f"q{number:02}.sql").read_text().strip().removesuffix(";")
    tree = sqlglot.parse_one(sql, read="duckdb")
    keys: list[str | int] = []
    order = tree.args.get("order")
    for item in order.expressions if order else ():
        key = item.this
        if isinstance(key, exp.Literal):
            keys.append(int(key.name) - 1)
        else:
            keys.append(key.name if isinstance(key, exp.Column) else "")
    head, found, tail = sql.rpartition("LIMIT")
    if tree.args.get("limit") is None:
        return Query(sql, None, sql, tuple(keys))
    assert found
    return Query(sql, int(tail), head, tuple(keys))


@dataclass(frozen=True)
class Warehouse:
    """The tables, asked through the engine and through plain DuckDB."""

    catalog: FileCatalog
    planner: Planner
    engine: Engine
    oracle: duckdb.DuckDBPyConnection

    def plan(self, sql: str, tasks: int | None, **options: int) -> StagePlan:
        chosen = PlanOptions(tasks, WORKERS, WORKERS, MEMORY, **options)
        return self.planner.plan(sql, self.catalog, chosen, "test")

    def difference(self, query: Query, plan: StagePlan) -> str | None:
        """Run a plan, and return how its answer differs from DuckDB's."""
        result = self.engine.run(plan)
        names = [column.name for column in plan.result]
        described = [(column.name, column.type) for column in plan.result]
        return difference(
            self._expected(query.sql),
            answer(result.table.rename_columns(names), described),
            order=query.order(names),
            limit=query.limit,
            unlimited=partial(self._expected, query.unlimited),
        )

    def _expected(self, sql: str) -> Answer:
        relation = self.oracle.sql(sql)
        types = [str(type_) for type_ in relation.types]
        return answer(relation.to_arrow_table(), list(zip(relation.columns, types, strict=True)))


@pytest.fixture(scope="session")
def read() -> Callable[[int], Query]:
    return read_query


@pytest.fixture(scope="session")
def warehouse() -> Iterator[Warehouse]:
    if not (FOLDER / "queries").is_dir():
        pytest.skip(f"there is no {FOLDER}: make tpcds-data")
    tables = FOLDER / "tables"
    planner = Planner()
    catalog = FileCatalog(str(tables), None)
    oracle = duckdb.connect(config={"threads": WORKERS})
    oracle.execute("SET arrow_lossless_conversion = true")
    for table in sorted(tables.iterdir()):
        oracle.execute(
            f"CREATE VIEW {table.name} AS SELECT * FROM read_parquet('{table}/*.parquet')"
        )
    with Engine(EngineOptions(workers=WORKERS, isolation="thread", memory=MEMORY)) as engine:
        yield Warehouse(catalog, planner, engine, oracle)
    planner.close()
    catalog.close()
    oracle.close()
