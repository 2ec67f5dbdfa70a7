"""Small tables full of NULLs, duplicates and empty places, and a way to ask two engines at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import duckdb
import pytest

from starling_py.catalog.catalog import FileCatalog
from starling_py.engine import Engine, EngineOptions
from starling_py.planner.plan import Planner, PlanOptions
from starling_py.tpch.compare import answer, difference

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from starling_py.operators.plan import StagePlan

TABLES = {
    # 60 rows in 3 files: keys 0 to 9 with duplicates, every seventh NULL.
    "l": """SELECT CASE WHEN i % 7 = 0 THEN NULL ELSE i % 10 END AS k, i AS id,
        (i * 37 % 11)::DECIMAL(10,2) / 4 AS v, 'g' || (i % 3) AS g,
        DATE '2020-01-01' + (i % 20)::INTEGER AS d, (i % 16) / 8.0::DOUBLE AS x
        FROM range({first}, {last}) AS t(i)""",
    "r": """SELECT CASE WHEN i % 5 = 0 THEN NULL ELSE i % 12 + 4 END AS k2, i AS id2,
        (i % 9)::DECIMAL(10,2) / 2 AS w, 'h' || (i % 4) AS h
        FROM range({first}, {last}) AS t(i)""",
    # Unique keys, none NULL: 0 to 59.
    "u": "SELECT i::BIGINT AS uk, 'name ' || i AS name, i % 5 AS grp "
    "FROM range({first}, {last}) AS t(i)",
    "few": "SELECT i AS a FROM range({first}, {last}) AS t(i) WHERE i % 20 = 0",
    "no_nulls": "SELECT i % 8 AS k3 FROM range({first}, {last}) AS t(i)",
    "only_nulls": "SELECT NULL::BIGINT AS k4, i AS id4 FROM range({first}, {last}) AS t(i)",
    # 15 rows, few enough to be read whole by every task beside the others.
    "mid": """SELECT CASE WHEN i % 3 = 0 THEN NULL ELSE i % 7 END::INTEGER AS mk, i AS mid,
        ((i % 9) * 1.25)::DECIMAL(7,2) AS m, i % 2 = 0 AS b,
        TIMESTAMP '2020-01-01' + INTERVAL (i) HOUR AS t
        FROM range({first}, {last}) AS t(i) WHERE i % 4 = 0""",
    "empty": "SELECT i AS k5, i AS id5 FROM range({first}, {last}) AS t(i) WHERE i < 0",
}


@dataclass(frozen=True)
class World:
    """Tables, the planner and the engine over them, and DuckDB on the same files."""

    catalog: FileCatalog
    planner: Planner
    engine: Engine
    oracle: duckdb.DuckDBPyConnection

    def plan(
        self,
        sql: str,
        tasks: int | None,
        *,
        small_rows: int = 0,
        few_groups: int | None = None,
        sort_rows: int = 4_000_000,
        shuffle: Literal["auto", "direct", "combined"] = "auto",
    ) -> StagePlan:
        few = small_rows if few_groups is None else few_groups
        options = PlanOptions(
            *(tasks, 2, 2, 1 << 30),
            small_rows=small_rows,
            few_groups=few,
            shuffle=shuffle,
            balance_rows=0,
            sort_rows=sort_rows,
        )
        return self.planner.plan(sql, self.catalog, options, "test")

    def difference(self, sql: str, plan: StagePlan, order: tuple[int, ...] = ()) -> str | None:
        """Run a plan, and return how its answer differs from DuckDB's in the given order."""
        result = self.engine.run(plan)
        names = [column.name for column in plan.result]
        expected = self.oracle.sql(sql)
        types = [str(type_) for type_ in expected.types]
        want = answer(expected.to_arrow_table(), list(zip(expected.columns, types, strict=True)))
        got = answer(
            result.table.rename_columns(names),
            [(column.name, column.type) for column in plan.result],
        )
        return difference(want, got, order=order)

    def check(
        self, sql: str, tasks: int | None, *, small_rows: int = 0, order: tuple[int, ...] = ()
    ) -> StagePlan:
        """Assert that a statement's answer is DuckDB's, and return its plan."""
        plan = self.plan(sql, tasks, small_rows=small_rows)
        found = self.difference(sql, plan, order)
        statements = "\n".join(stage.statement for stage in plan.stages)
        assert found is None, f"{found}\n{sql}\n{statements}"
        return plan


@pytest.fixture(scope="session")
def tables_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tables")
    with duckdb.connect() as connection:
        for name, sql in TABLES.items():
            (folder / name).mkdir()
            for part in range(3):
                rows = sql.format(first=part * 20, last=part * 20 + 20)
                path = folder / name / f"{part}.parquet"
                connection.execute(f"COPY ({rows}) TO '{path}' (ROW_GROUP_SIZE 2048)")
    return folder


@pytest.fixture(scope="session")
def world(tables_folder: Path) -> Iterator[World]:
    planner = Planner()
    catalog = FileCatalog(str(tables_folder), None)
    oracle = duckdb.connect(config={"threads": 1})
    oracle.execute("SET arrow_lossless_conversion = true")
    for name in TABLES:
        files = tables_folder / name / "*.parquet"
        oracle.execute(f"CREATE VIEW {name} AS SELECT * FROM read_parquet('{files}')")
    with Engine(EngineOptions(workers=2, isolation="thread", memory=1 << 30)) as engine:
        yield World(catalog, planner, engine, oracle)
    planner.close()
    catalog.close()
    oracle.close()
