"""Tables and columns may have the names that the engine uses itself."""

from __future__ import annotations

import duckdb
import pytest

import starling_py

TABLES = ("input_0", "input_1", "answer", "starling_row", "tables", "main", "files_0")
COLUMNS = ("input_0", "c0", "answer", "starling_row", "starling_row_number", "rowid", "file_index")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("names")
    items = ", ".join(f"i % {3 + at} AS {name}" for at, name in enumerate(COLUMNS))
    parts = ", ".join(f"i % 2 AS starling_partition_{at}" for at in range(2))
    for rows, table in enumerate(TABLES, 20):
        duckdb.sql(
            f"COPY (SELECT i AS k, {items}, {parts}, 'x' AS \"#1\" FROM range({rows}) r(i)) "
            f"TO '{made}/{table}.parquet'"
        )
    return made


STATEMENTS = [
    "SELECT * FROM {t} ORDER BY k",
    "SELECT answer, count(*), sum(input_0), max(rowid) FROM {t} GROUP BY answer ORDER BY 1",
    "SELECT k, sum(c0) OVER (ORDER BY k) s, starling_row, file_index FROM {t} ORDER BY k",
    'SELECT a.starling_row_number, a."#1", b.c0 FROM {t} a JOIN input_1 b ON a.k = b.input_0 '
    "ORDER BY ALL",
    "SELECT starling_partition_0, starling_partition_1, count(*) FROM {t} GROUP BY ALL ORDER BY 1",
    "WITH input_0 AS (SELECT 5 AS k) SELECT a.k, {t}.k FROM input_0 a, {t} ORDER BY 2",
]


@pytest.mark.parametrize("tasks", [None, 3])
def test_the_engine_s_own_names(folder, tasks):
    with duckdb.connect() as oracle, starling_py.connect(folder, tasks=tasks, workers=2) as ours:
        for table in TABLES:
            oracle.execute(f"CREATE VIEW {table} AS FROM '{folder}/{table}.parquet'")
        for table in TABLES:
            for statement in STATEMENTS:
                sql = statement.format(t=table)
                expected = oracle.execute(sql)
                names = [column[0] for column in expected.description]
                found = ours.execute(sql)
                assert [column[0] for column in found.description] == names, sql
                assert found.fetchall() == expected.fetchall(), sql
