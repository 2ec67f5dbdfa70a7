"""Cutting by ranges of a key gives every row to one task, and joins range by range without moving.

Extents are row groups' ranges of a key; bounds cut them into tasks.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from starling_py.catalog.catalog import FileCatalog
from starling_py.operators.plan import ScanRead
from starling_py.operators.task import HashPartitioning
from starling_py.planner.algebra import RangeCut, Scan, ScannedColumn
from starling_py.planner.clustering import acceptable, common_bounds, share_of_ranges
from starling_py.planner.footers import Extent
from starling_py.planner.pruning import row_groups

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import World

    from starling_py.operators.plan import StagePlan
    from starling_py.planner.footers import Extents


@st.composite
def extents(draw: st.DrawFn) -> Extents:
    """Return row groups that may overlap, repeat, or lie apart; most often in ranges."""
    found = []
    low = draw(st.integers(-50, 50))
    for _ in range(draw(st.integers(1, 30))):
        high = low + draw(st.integers(0, 12))
        found.append(Extent(low, high, draw(st.integers(1, 1000))))
        low = high + draw(st.integers(-6, 6) if draw(st.booleans()) else st.just(1))
    return tuple(draw(st.permutations(found)))


def spanned(extent: Extent, bounds: tuple[int, ...]) -> list[int]:
    """Return the tasks in whose range some value of the extent is, one value after the other."""
    values = range(extent.low, extent.high + 1)
    return sorted({sum(bound <= value for bound in bounds) for value in values})


@given(sides=st.lists(extents(), min_size=1, max_size=2), tasks=st.integers(2, 6))
@settings(max_examples=200, derandomize=True, database=None, deadline=None)
def test_bounds_are_ordered_and_fair(sides: list[Extents], tasks: int) -> None:
    bounds = common_bounds(sides, tasks)
    if bounds is None:
        return
    assert len(bounds) == tasks - 1
    assert list(bounds) == sorted(set(bounds))
    read = [0] * tasks
    for extent in (extent for side in sides for extent in side):
        for task in spanned(extent, bounds):
            read[task] += extent.bytes
    total = sum(extent.bytes for side in sides for extent in side)
    assert sum(read) <= 1.5 * total
    assert max(read) <= 2 * total / tasks
    assert acceptable(sides, bounds)


@pytest.mark.parametrize("tasks", [2, 3, 5, 8])
@pytest.mark.parametrize("width", [1, 10])
def test_tables_in_ranges_are_cut_where_files_begin(tasks: int, width: int) -> None:
    large = tuple(
        Extent(n * width, (n + 1) * width - 1, 1000, begins_file=n % 2 == 0) for n in range(40)
    )
    small = tuple(
        Extent(n * width * 2, (n + 1) * width * 2 - 1, 300, begins_file=True) for n in range(20)
    )
    bounds = common_bounds([large, small], tasks)
    assert bounds is not None
    # No file of either side is in two tasks.
    assert all(bound % (width * 2) == 0 for bound in bounds)


def test_what_is_not_clustered_is_not_cut() -> None:
    everywhere = tuple(Extent(0, 1000, 100) for _ in range(8))
    assert common_bounds([everywhere], 4) is None
    uneven = (Extent(0, 9, 10_000), *(Extent(n * 10, n * 10 + 9, 10) for n in range(1, 8)))
    assert common_bounds([uneven], 4) is None
    assert common_bounds([tuple(Extent(n, n, 10) for n in range(8))], 1) is None
    assert common_bounds([(Extent(5, 5, 10),)], 2) is None
    assert common_bounds([()], 2) is None


@given(data=st.data())
@settings(max_examples=25, derandomize=True, database=None, deadline=None)
def test_every_row_is_in_one_share(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    keys = st.one_of(st.none(), st.integers(-20, 20), st.sampled_from([-(2**63), 2**63 - 1]))
    groups = data.draw(st.lists(st.lists(keys, min_size=1, max_size=5), min_size=1, max_size=6))
    bounds = tuple(sorted(data.draw(st.sets(st.integers(-22, 22), min_size=1, max_size=4))))
    folder = tmp_path_factory.mktemp("shares") / "t"
    folder.mkdir()
    with duckdb.connect(config={"threads": 1}) as connection:
        for at, group in enumerate(groups):
            rows = ", ".join(
                f"(CAST({'NULL' if key is None else repr(str(key))} AS BIGINT))" for key in group
            )
            connection.execute(f"COPY (VALUES {rows}) TO '{folder}/{at}.parquet'")
        catalog = FileCatalog(str(folder.parent))
        table = catalog.find("t")
        assert table is not None
        name = table.columns[0].name
        connection.execute("CREATE TABLE t (file INTEGER, k BIGINT)")
        rows = [(at, key) for at, group in enumerate(groups) for key in group]
        connection.executemany("INSERT INTO t VALUES (?, ?)", rows)
        scan = Scan(table, (ScannedColumn("k", table.columns[0]),))
        assert table.column_ranges(name)
        shares = share_of_ranges(scan, RangeCut("k", bounds), row_groups(table))
        found = []
        for task, share in enumerate(shares):
            files = [row_group.index for row_group in share.row_groups]
            condition = share.condition or "true"
            taken = connection.execute(
                f"SELECT file, k FROM t WHERE list_contains(?, file) AND {condition}", [files]
            ).fetchall()
            # NULLs, which no join by this key matches, may be anywhere.
            assert all(sum(b <= key for b in bounds) == task for _, key in taken if key is not None)
            found += taken
        catalog.close()
    assert sorted(map(repr, found)) == sorted(map(repr, rows))


ROWS = {
    # In ranges, with duplicates and gaps; the right side has keys that the left has not.
    "a": "SELECT i // 3 * 2 AS k, i AS id, 'a' || i % 7 AS g FROM range({}, {}) AS t(i)",
    "b": "SELECT i AS k2, i * 10 AS id2 FROM range({}, {}) AS t(i) WHERE i % 5 <> 1",
    # The same with NULLs among the keys.
    "an": "SELECT CASE WHEN i % 9 <> 4 THEN i // 3 * 2 END AS k, i AS id, 'a' || i % 7 AS g "
    "FROM range({}, {}) AS t(i)",
    "bn": "SELECT CASE WHEN i % 8 <> 3 THEN i END AS k2, i * 10 AS id2 FROM range({}, {}) AS t(i)",
    # The same keys everywhere.
    "everywhere": "SELECT (i * 7919) % 400 AS k2, i AS id2 FROM range({}, {}) AS t(i)",
}
FILES = 10


@pytest.fixture(scope="module")
def clustered(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("clustered")
    oracle = duckdb.connect(config={"threads": 1})
    oracle.execute("SET arrow_lossless_conversion = true")
    for name, sql in ROWS.items():
        (folder / name).mkdir()
        step = 60 if name.startswith("a") else 40
        for at in range(FILES):
            rows = sql.format(at * step, at * step + step)
            oracle.execute(f"COPY ({rows}) TO '{folder}/{name}/{at}.parquet'")
        oracle.execute(f"CREATE VIEW {name} AS FROM read_parquet('{folder}/{name}/*.parquet')")
    catalog = FileCatalog(str(folder))
    yield replace(world, catalog=catalog, oracle=oracle)
    catalog.close()
    oracle.close()


JOINS = {
    "INNER": "SELECT * FROM {a} JOIN {b} ON k = k2",
    "LEFT": "SELECT * FROM {a} LEFT JOIN {b} ON k = k2",
    "RIGHT": "SELECT * FROM {a} RIGHT JOIN {b} ON k = k2",
    "FULL": "SELECT * FROM {a} FULL JOIN {b} ON k = k2",
    "SEMI": "SELECT * FROM {a} WHERE EXISTS (SELECT 1 FROM {b} WHERE k2 = k)",
    "ANTI": "SELECT * FROM {a} WHERE NOT EXISTS (SELECT 1 FROM {b} WHERE k2 = k)",
    "null-safe": "SELECT * FROM {a} FULL JOIN {b} ON k IS NOT DISTINCT FROM k2",
    "grouped": "SELECT k, count(*), sum(id2) FROM {a} JOIN {b} ON k = k2 GROUP BY k",
    "twice": "SELECT x.g, y.id2, z.id FROM {a} x JOIN {b} y ON x.k = y.k2 JOIN {a} z ON z.k = x.k",
}


def cuts(plan: StagePlan) -> list[ScanRead]:
    reads = (i for stage in plan.stages for i in stage.inputs if isinstance(i, ScanRead))
    return [read for read in reads if read.conditions]


@pytest.mark.parametrize("tasks", [2, 3, 5])
@pytest.mark.parametrize("tables", [("a", "b"), ("an", "bn"), ("an", "b"), ("a", "bn")])
@pytest.mark.parametrize("join", JOINS)
def test_clustered_tables_join_in_place(
    clustered: World, join: str, tables: tuple[str, str], tasks: int
) -> None:
    plan = clustered.check(JOINS[join].format(a=tables[0], b=tables[1]), tasks)
    # One stage scans and joins; another may only pass its rows on.
    assert all(stage.label == "pass on" for stage in plan.stages[1:]), plan.stages
    assert plan.stages[0].tasks == tasks
    reads = [read for read in plan.stages[0].inputs if isinstance(read, ScanRead)]
    assert len(reads) == len(plan.stages[0].inputs)
    assert all(len(read.splits) == tasks for read in reads)


@pytest.mark.parametrize("join", JOINS)
def test_tables_that_are_not_clustered_are_partitioned(clustered: World, join: str) -> None:
    # Enough tasks to make sending either side whole to all of them dear.
    plan = clustered.check(JOINS[join].format(a="a", b="everywhere"), 12)
    assert any(isinstance(o, HashPartitioning) for s in plan.stages for o in s.outputs)
    assert not cuts(plan) or join in ("grouped", "twice")


def test_keys_of_several_types_are_not_cut_by_range(clustered: World) -> None:
    plan = clustered.check("SELECT * FROM a JOIN b ON CAST(k AS DOUBLE) = CAST(k2 AS DOUBLE)", 3)
    assert len(plan.stages) > 1


def test_pruned_tables_are_still_joined_right(clustered: World) -> None:
    for tasks in (2, 5):
        sql = "SELECT * FROM an LEFT JOIN bn ON k = k2 WHERE id BETWEEN 100 AND 420"
        clustered.check(sql, tasks)
        clustered.check("SELECT * FROM an JOIN bn ON k = k2 WHERE k2 < 150 OR k2 > 390", tasks)
