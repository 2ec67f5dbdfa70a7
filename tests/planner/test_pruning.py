"""Row groups without a row that passes are left out where footers prove it, and no others are."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

import duckdb
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from starling_py.catalog.catalog import FileCatalog
from starling_py.operators.plan import ScanRead
from starling_py.planner.plan import Planner, PlanOptions

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conftest import World
    from hypothesis.strategies import SearchStrategy

    from starling_py.operators.plan import StagePlan

# How a small number is written in each type, so that its order is the numbers' order or differs
# from it (VARCHAR).
TYPES = {
    "INTEGER": "CAST({} AS INTEGER)",
    "BIGINT": "CAST({} AS BIGINT)",
    "UTINYINT": "CAST({} + 100 AS UTINYINT)",
    "HUGEINT": "CAST({} AS HUGEINT)",
    "DOUBLE": "CAST({} / 4 AS DOUBLE)",
    "DECIMAL(9,2)": "CAST({} * 0.25 AS DECIMAL(9,2))",
    "DECIMAL(30,4)": "CAST({} * 0.25 AS DECIMAL(30,4))",
    "DATE": "DATE '2020-01-01' + CAST({} AS INTEGER)",
    "TIMESTAMP": "TIMESTAMP '2020-01-01' + INTERVAL ({}) HOUR",
    "TIMESTAMPTZ": "TIMESTAMPTZ '2020-01-01 00:00:00+00' + INTERVAL ({}) HOUR",
    "VARCHAR": "'n' || CAST({} AS VARCHAR) || 'é'",
    # Writers cut strings of this length: their footers tell nothing.
    "long VARCHAR": "repeat('n', 300) || CAST({} AS VARCHAR)",
    "BOOLEAN": "({} > 0)",
}
GROUPS = 6


def pruned(plan: StagePlan) -> tuple[int, int]:
    """Return how many row groups the scans of a plan have, and how many they leave out."""
    scans = [i for stage in plan.stages for i in stage.inputs if isinstance(i, ScanRead)]
    return sum(s.row_groups for s in scans), sum(s.row_groups_pruned for s in scans)


numbers = st.one_of(st.integers(-9, 9), st.none())
row_groups = st.lists(st.lists(numbers, min_size=1, max_size=4), min_size=GROUPS, max_size=GROUPS)


def conditions(type_: str) -> SearchStrategy[str]:
    """Return conditions on the columns ``a`` of a type, and ``b`` of another."""

    def value(number: int | None, kind: str) -> str:
        return "NULL" if number is None else TYPES[kind].format(f"({number})")

    def on(column: str, kind: str) -> SearchStrategy[str]:
        one = numbers.map(lambda number: value(number, kind))
        some = st.integers(-11, 11).map(lambda number: value(number, kind))
        operators = st.sampled_from(["=", "<", "<=", ">", ">=", "<>", "IS NOT DISTINCT FROM"])
        return st.one_of(
            st.tuples(operators, some).map(lambda t: f"{column} {t[0]} {t[1]}"),
            st.tuples(operators, some).map(lambda t: f"{t[1]} {t[0]} {column}"),
            st.sampled_from([f"{column} IS NULL", f"{column} IS NOT NULL"]),
            st.lists(one, min_size=1, max_size=3).map(lambda v: f"{column} IN ({', '.join(v)})"),
            st.lists(some, min_size=1, max_size=2).map(
                lambda v: f"{column} NOT IN ({', '.join(v)})"
            ),
            st.tuples(some, some).map(lambda t: f"{column} BETWEEN {t[0]} AND {t[1]}"),
        )

    leaf = st.one_of(on("a", type_), on("a", type_), on("b", "INTEGER"))
    return st.recursive(
        leaf,
        lambda inner: st.one_of(
            st.tuples(inner, st.sampled_from(["AND", "OR"]), inner).map(
                lambda t: f"({t[0]} {t[1]} {t[2]})"
            ),
            inner.map(lambda text: f"NOT ({text})"),
        ),
        max_leaves=4,
    )


class Tables:
    """Writes tables whose every file is one row group, and plans scans of them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made = 0
        self._catalogs: dict[Path, FileCatalog] = {}
        self._planner = Planner()
        self._duckdb = duckdb.connect(config={"threads": 1})
        self._duckdb.execute("SET TimeZone = 'UTC'")

    def close(self) -> None:
        self._forget()
        self._planner.close()
        self._duckdb.close()

    def _forget(self) -> None:
        for catalog in self._catalogs.values():
            catalog.close()
        self._catalogs.clear()

    def write(self, groups: list[list[int | None]], type_: str) -> Path:
        """Write column ``a`` of the type, ``b`` the numbers in reverse, and ``c`` for nothing."""
        self._made += 1
        folder = self._folder / str(self._made) / "t"
        folder.mkdir(parents=True)
        for at, group in enumerate(groups):
            cells = ", ".join(
                f"({'NULL' if a is None else a}, {'NULL' if b is None else b})"
                for a, b in zip(group, reversed(group), strict=True)
            )
            shown = TYPES[type_].format("n")
            self._duckdb.execute(
                f"COPY (SELECT CASE WHEN n IS NOT NULL THEN {shown} END AS a, m::INTEGER AS b, "
                f"{at} AS c FROM (VALUES {cells}) AS given(n, m)) TO '{folder}/{at}.parquet'"
            )
        return folder.parent

    def kept(self, folder: Path, sql: str) -> tuple[StagePlan, set[int]]:
        """Return the plan of a statement on one table, and the numbers of the files it reads."""
        if folder not in self._catalogs:
            self._forget()
            self._catalogs[folder] = FileCatalog(str(folder))
        catalog = self._catalogs[folder]
        plan = self._planner.plan(sql, catalog, PlanOptions(2, 2, 2, 1 << 30, small_rows=0), "q")
        scans = [i for stage in plan.stages for i in stage.inputs if isinstance(i, ScanRead)]
        read = {
            int(file.path.rsplit("/", 1)[-1].removesuffix(".parquet"))
            for scan in scans
            for split in scan.splits
            for file in split
        }
        return plan, read

    def holding(self, folder: Path, condition: str) -> set[int]:
        """Return the numbers of the files in which DuckDB finds a row."""
        rows = self._duckdb.execute(
            f"SELECT DISTINCT c FROM read_parquet('{folder}/t/*.parquet') WHERE {condition}"
        )
        return {row[0] for row in rows.fetchall()}


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tables]:
    made = Tables(tmp_path_factory.mktemp("pruning"))
    yield made
    made.close()


@pytest.mark.parametrize("type_", TYPES)
@given(data=st.data())
# Without shrinking: examples are small, and each one writes files.
@settings(max_examples=4, derandomize=True, database=None, deadline=None, phases=[Phase.generate])
def test_no_row_is_lost(tables: Tables, type_: str, data: st.DataObject) -> None:
    groups = data.draw(row_groups)
    folder = tables.write(groups, type_)
    for _ in range(8):
        condition = data.draw(conditions(type_))
        plan, kept = tables.kept(folder, f"SELECT c FROM t WHERE {condition}")
        statements = "\n".join(stage.statement for stage in plan.stages)
        assert tables.holding(folder, condition) <= kept, f"{condition}\n{groups}\n{statements}"


# Row group n holds the numbers 10 n to 10 n + 9, the fourth NULLs besides, the last only NULLs.
RANGES: list[list[int | None]] = [
    *([10 * n, 10 * n + 9] for n in range(3)),
    [30, None, 39],
    [40, 49],
    [None, None],
]
SIMPLE = {
    "a = 25": {2},
    "a = 29": {2},
    "a = 20": {2},
    "a < 10": {0},
    "a <= 10": {0, 1},
    "a > 39": {4},
    "a >= 39": {3, 4},
    "20 > a": {0, 1},
    "a > 12 AND a < 18": {1},
    "a BETWEEN 19 AND 20": {1, 2},
    "a < 5 OR a > 45": {0, 4},
    "a IN (1, 2, 35)": {0, 3},
    "a IS NULL": {3, 5},
    "a IS NOT NULL": {0, 1, 2, 3, 4},
    "a IS NULL AND a IS NOT NULL": {3},
    "a IS NULL OR a = 12": {1, 3, 5},
    "a = 15 AND c IS NOT NULL": {1},
    "a > 100": set(),
}


@pytest.mark.parametrize("condition", SIMPLE)
@pytest.mark.parametrize("type_", ["INTEGER", "BIGINT", "DECIMAL(9,2)", "DATE", "TIMESTAMP"])
def test_simple_conditions_prune(tables: Tables, type_: str, condition: str) -> None:
    folder = tables.write(RANGES, type_)
    text = re.sub(r"\b(\d+)\b", lambda number: TYPES[type_].format(number[1]), condition)
    plan, kept = tables.kept(folder, f"SELECT c FROM t WHERE {text}")
    assert kept == SIMPLE[condition], text
    assert pruned(plan) == (len(RANGES), len(RANGES) - len(kept))


STRINGS = {
    "a = 'n5é'": {1},
    "a = 'n3'": set(),
    "a < 'n2'": {0},
    "a IN ('n1é', 'n9é')": {0, 2},
    "a IN ('n5', 'n9é')": {1, 2},
    "a > 'n6'": {1, 2},
}


@pytest.mark.parametrize("condition", STRINGS)
def test_strings_prune(tables: Tables, condition: str) -> None:
    folder = tables.write([[1, 2], [4, 6], [9, 9]], "VARCHAR")
    _, kept = tables.kept(folder, f"SELECT c FROM t WHERE {condition}")
    assert kept == STRINGS[condition]


@pytest.mark.parametrize("condition", ["c > 3", "a + 1 > 100", "abs(a) = 5", "a <> 3", "true"])
def test_what_proves_nothing_prunes_nothing(tables: Tables, condition: str) -> None:
    folder = tables.write([[1, 2], [4, 6], [9, 9]], "INTEGER")
    plan, kept = tables.kept(folder, f"SELECT * FROM t WHERE {condition} OR b IS NOT NULL")
    assert (pruned(plan), kept) == ((3, 0), {0, 1, 2})


HIVE = ["0", "7", "12", "-3", "__HIVE_DEFAULT_PARTITION__"]
DATES = ["2020-01-01", "2021-12-31", "__HIVE_DEFAULT_PARTITION__"]


@pytest.fixture(scope="module")
def hive(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("hive")
    oracle = duckdb.connect(config={"threads": 1})
    oracle.execute("SET arrow_lossless_conversion = true")
    for number in HIVE:
        for text in DATES:
            path = folder / "t" / f"n={number}" / f"d={text}" / f"word=it's%2F{len(number)}"
            path.mkdir(parents=True)
            target = str(path / "0.parquet").replace("'", "''")
            oracle.execute(f"COPY (SELECT i FROM range(3) AS t(i)) TO '{target}'")
    files = folder / "t/**/*.parquet"
    oracle.execute(f"CREATE VIEW t AS FROM read_parquet('{files}', hive_partitioning = true)")
    catalog = FileCatalog(str(folder), None)
    yield replace(world, catalog=catalog, oracle=oracle)
    catalog.close()
    oracle.close()


# Of five values of n and three of d, which combinations need not be read.
FOLDERS = {
    "n = 7": 12,
    "n < 0": 12,
    "n IN (0, 12)": 9,
    "n IS NULL": 12,
    "n IS NOT NULL": 3,
    "d = DATE '2020-01-01'": 10,
    "d > DATE '2021-01-01' AND n >= 7": 13,
    "word = 'it''s/2'": 9,
    "n = 7 OR d IS NULL": 8,
    "n = i": 0,
    "n % 5 = 2": 0,
}


@pytest.mark.parametrize("condition", FOLDERS)
def test_folders_are_pruned(hive: World, condition: str) -> None:
    plan = hive.check(f"SELECT * FROM t WHERE {condition}", 2)
    every, left_out = pruned(plan)
    assert every == len(HIVE) * len(DATES)
    assert left_out == FOLDERS[condition]
