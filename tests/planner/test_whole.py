"""What cannot be taken apart runs as it is written, above scans of what its plan reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from starling_py.operators.plan import ExchangeRead, ScanRead

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import World

# The plan does not tell which member is meant.
UNKNOWN = "struct_update({'a': id}, a := 1)"


def sent(world: World, sql: str) -> list[str]:
    """Return the statements of the stages that read tables, after a comparison with DuckDB."""
    for tasks in (1, 2, 7):
        world.check(sql, tasks)
    *scans, last = world.plan(sql, 3).stages
    assert last.statement == sql
    assert last.tasks == 1
    assert last.fallback
    assert all(isinstance(read, ExchangeRead) for read in last.inputs)
    assert [scan.tasks for scan in scans] == [3] * len(last.inputs)
    return [scan.statement for scan in scans]


def test_columns_that_are_not_read_are_null(world: World) -> None:
    (scan,) = sent(world, f"SELECT {UNKNOWN} AS a, * EXCLUDE (g, v, d, x) FROM l")
    assert 'CAST(NULL AS VARCHAR) AS "g"' in scan
    assert 'CAST(NULL AS DOUBLE) AS "v"' in scan


def test_filters_of_a_single_scan_are_pushed(world: World) -> None:
    (scan,) = sent(world, f"SELECT {UNKNOWN} FROM l WHERE k > 3 AND v < 2")
    assert '"k" > ' in scan
    (scan,) = sent(world, f"SELECT {UNKNOWN} FROM l WHERE k > 3 UNION ALL SELECT {UNKNOWN} FROM l")
    assert "WHERE" not in scan


@pytest.mark.parametrize(
    "sql",
    [
        f"SELECT {UNKNOWN}, r.w FROM l JOIN r ON k = k2 WHERE w > 1",
        f"SELECT {UNKNOWN}, l, COLUMNS('k') FROM l",
        f"FROM l SELECT {UNKNOWN}",
        f"WITH c AS (SELECT k AS g, id FROM l) SELECT {UNKNOWN}, g FROM c WHERE g IS NOT NULL",
        f"SELECT {UNKNOWN} FROM l ORDER BY g, v, id LIMIT 3 -- nothing",
        f"SELECT {UNKNOWN}, name FROM l JOIN u USING (grp)".replace("USING (grp)", "ON uk = id"),
        f"SELECT count(DISTINCT {UNKNOWN}) FROM l",
    ],
)
def test_any_way_of_writing(world: World, sql: str) -> None:
    sent(world, sql)


def test_a_qualified_name_reads_the_files(world: World) -> None:
    plan = world.check(f"SELECT {UNKNOWN} FROM main.l", 3)
    assert [stage.tasks for stage in plan.stages] == [1]


def test_named_files(world: World, tmp_path: Path) -> None:
    world.oracle.execute(f"COPY (SELECT 7 AS a, [1] AS b) TO '{tmp_path}/f.parquet'")
    plan = world.check(f"SELECT struct_update({{'a': a}}, a := 1) FROM '{tmp_path}/f.parquet'", 3)
    assert [stage.tasks for stage in plan.stages] == [3, 1]


def test_small_tables_are_read_directly(world: World) -> None:
    plan = world.check(f"SELECT {UNKNOWN} FROM l", 3, small_rows=100)
    assert [stage.tasks for stage in plan.stages] == [1]
    (read,) = plan.stages[0].inputs
    assert isinstance(read, ScanRead)
