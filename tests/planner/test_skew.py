"""A key that most rows have: its partition is split where a join allows it, and named elsewhere."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import duckdb
import pytest

from starling_py.catalog.catalog import FileCatalog
from starling_py.operators.plan import ExchangeRead
from starling_py.planner.placement import Choice, JoinPlacement, Way

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import World

    from starling_py.operators.plan import StagePlan

TABLES = {
    # Four of five rows have the key 7; some have none.
    "heavy": """SELECT CASE WHEN i % 5 > 0 THEN 7 WHEN i % 35 > 0 THEN i % 97 END AS k, i AS id,
        (i % 64) / 8 AS x, 'g' || i % 3 AS g FROM range({first}, {last}) AS t(i)""",
    # Keys 0 to 99 with duplicates of some, 7 among them.
    "light": """SELECT CASE WHEN i % 11 > 0 THEN i % 100 END AS k2, i AS id2, 'h' || i % 5 AS h
        FROM range({first} // 40, {last} // 40) AS t(i)""",
}
ROWS, FILES = 4800, 6


@pytest.fixture(scope="module")
def skewed(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("skewed")
    oracle = duckdb.connect(config={"threads": 1})
    oracle.execute("SET arrow_lossless_conversion = true")
    share = ROWS // FILES
    for name, sql in TABLES.items():
        (folder / name).mkdir()
        for part in range(FILES):
            rows = sql.format(first=part * share, last=(part + 1) * share)
            oracle.execute(f"COPY ({rows}) TO '{folder}/{name}/{part}.parquet'")
        oracle.execute(f"CREATE VIEW {name} AS SELECT * FROM '{folder}/{name}/*.parquet'")
    catalog = FileCatalog(str(folder), None)
    yield replace(world, catalog=catalog, oracle=oracle)
    catalog.close()
    oracle.close()


@pytest.fixture(autouse=True)
def _by_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    def choose(self: JoinPlacement) -> Choice:
        return min(
            self.ways(),
            key=lambda choice: (choice.way is not Way.HASH, choice.reduces_right, choice.cost),
        )

    monkeypatch.setattr(JoinPlacement, "choose", choose)


def largest_share(world: World, plan: StagePlan, sql: str, stage: int) -> float:
    """Return what part of the rows that a stage writes its busiest task does."""
    found = world.difference(sql, plan)
    assert found is None, found
    rows = [
        report.metrics.rows_in for report in world.engine.run(plan).reports if report.stage == stage
    ]
    assert len(rows) == plan.stages[stage].tasks
    return max(rows) / ROWS


SPLIT = {
    "inner": "SELECT id, id2, h FROM heavy JOIN light ON k = k2",
    "inner, other side": "SELECT id, id2, h FROM light JOIN heavy ON k = k2",
    "left": "SELECT id, id2, h FROM heavy LEFT JOIN light ON k = k2",
    "right": "SELECT id, id2, h FROM light RIGHT JOIN heavy ON k = k2",
    "semi": "SELECT id FROM heavy WHERE EXISTS (SELECT 1 FROM light WHERE k2 = k)",
    "anti": "SELECT id FROM heavy WHERE NOT EXISTS (SELECT 1 FROM light WHERE k2 = k AND id2 < 60)",
    "then grouped": "SELECT h, count(*), sum(x) FROM heavy LEFT JOIN light ON k = k2 GROUP BY h",
    "residual": "SELECT id, id2 FROM heavy LEFT JOIN light ON k = k2 AND id % 7 < id2 % 9",
    "null-safe": "SELECT id, id2 FROM heavy LEFT JOIN light ON k IS NOT DISTINCT FROM k2",
    "single": "SELECT id, (SELECT max(id2) FROM light WHERE k2 = k) AS m FROM heavy",
    "two": "SELECT a.id, b.id2, c.id2 FROM heavy a LEFT JOIN light b ON a.k = b.k2 "
    "JOIN light c ON c.k2 = a.k WHERE c.id2 < 20",
}


COMBINED = ("inner", "right", "anti", "two")


@pytest.mark.parametrize(
    ("join", "shuffle"),
    [(join, "direct") for join in SPLIT] + [(join, "combined") for join in COMBINED],
)
def test_the_heavy_partition_is_split(skewed: World, join: str, shuffle) -> None:
    plan = skewed.plan(SPLIT[join], 4, shuffle=shuffle, few_groups=100)
    stage = next(s for s in plan.stages if "join" in s.label)
    share = largest_share(skewed, plan, SPLIT[join], stage.id)
    # Combiners leave less to choose from: a piece is one of their objects.
    assert share < (0.4 if shuffle == "direct" else 0.75)


WHOLE = {
    "full": "SELECT id, id2, h FROM heavy FULL JOIN light ON k = k2",
    "left, other side": "SELECT id, id2, h FROM light LEFT JOIN heavy ON k = k2",
    "semi, other side": "SELECT id2 FROM light WHERE EXISTS (SELECT 1 FROM heavy WHERE k2 = k)",
    "grouped by the key": "SELECT k, count(*), sum(x), count(id2) FROM heavy "
    "JOIN light ON k = k2 GROUP BY k",
    "rows of groups": "SELECT k, median(x), count(DISTINCT g) FROM heavy GROUP BY k",
    "set operation": "SELECT k FROM heavy EXCEPT ALL SELECT k2 FROM light",
}


@pytest.mark.parametrize("sql", WHOLE.values(), ids=WHOLE)
def test_elsewhere_one_task_has_all_of_it(skewed: World, sql: str) -> None:
    plan = skewed.plan(sql, 4)
    stage = next(s for s in plan.stages if isinstance(s.inputs[0], ExchangeRead))
    assert largest_share(skewed, plan, sql, stage.id) > 0.75


def test_a_group_by_in_two_parts_is_not_skewed(skewed: World) -> None:
    sql = "SELECT k, count(*), sum(x), stddev(x) FROM heavy GROUP BY k"
    plan = skewed.plan(sql, 4)
    assert [stage.tasks for stage in plan.stages] == [4, 4]
    assert largest_share(skewed, plan, sql, 1) < 0.2
