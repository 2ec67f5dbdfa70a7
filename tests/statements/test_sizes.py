"""Long, wide and deep statements work, or fail with an error that says why."""

from __future__ import annotations

from typing import TYPE_CHECKING

import duckdb
import pytest

import starling_py
from starling_py.errors import SqlSyntaxError, Unsupported

if TYPE_CHECKING:
    from collections.abc import Callable


def nested(times: int, around: Callable[[str], str], innermost: str) -> str:
    for _ in range(times):
        innermost = around(innermost)
    return innermost


INTEGERS = ", ".join(map(str, range(5000)))
TEXTS = ", ".join(f"'v{n}'" for n in range(1000, 6000))
LONG = {
    "a text of 1 MB": "SELECT length('" + "x" * 1_000_000 + "')",
    "a comment of 1 MB": "SELECT 1 /*" + "x" * 1_000_000 + "*/ AS one",
    "5,000 integers": f"SELECT count(*) FROM numbers WHERE k IN ({INTEGERS})",
    "5,000 texts": "SELECT g, count(*) FROM numbers WHERE s NOT IN "
    f"({TEXTS}) GROUP BY g ORDER BY g",
    "500 constants": " UNION ALL ".join(f"SELECT {n} AS a" for n in range(500)),
    "50 subqueries in FROM": nested(50, "SELECT k, s FROM ({}) WHERE k >= 7".format, "FROM numbers")
    + " ORDER BY k",
    "50 subqueries in IN": nested(
        50, "SELECT k FROM numbers WHERE k IN ({})".format, "SELECT k FROM numbers WHERE g = 1"
    )
    + " ORDER BY k",
    "50 scalar subqueries": nested(
        50, "SELECT max(k) FROM numbers WHERE k <= ({})".format, "SELECT 99"
    ),
    "500 calls in one another": f"SELECT {'abs(' * 500}k{')' * 500} FROM numbers ORDER BY 1",
    "100 common table expressions": "WITH c0 AS (FROM numbers), "
    + ", ".join(f"c{n} AS (SELECT k + 1 AS k FROM c{n - 1})" for n in range(1, 100))
    + " SELECT sum(k) FROM c99",
}


@pytest.mark.parametrize("what", LONG)
def test_long_and_deep_statements(quiet, what):
    assert quiet.rows(LONG[what]) == quiet.oracle.sql(LONG[what]).fetchall()


UNION = " UNION ALL ".join(f"SELECT k, s FROM numbers WHERE k = {n * 3}" for n in range(500))


def test_a_union_of_500(quiet):
    with starling_py.connect(quiet.folder, workers=2) as connection:
        expected = "SELECT k, s FROM numbers WHERE k % 3 = 0 AND k < 1500 ORDER BY k"
        assert connection.execute(UNION).fetchall() == quiet.oracle.sql(expected).fetchall()
    assert quiet.connection.explain(UNION).tasks > 1


def test_a_table_of_1000_columns(house):
    columns = ", ".join(f"range + {n} AS c{n}" for n in range(1000))
    duckdb.sql(f"COPY (SELECT {columns} FROM range(60)) TO '{house.folder}/wide.parquet'")
    sums = ", ".join(f"sum(c{n})" for n in range(1000))
    assert house.rows(f"CREATE TABLE made AS SELECT {sums} FROM wide") == [(1,)]
    assert house.rows("FROM made") == [tuple(60 * n + 59 * 30 for n in range(1000))]


def test_too_deep(quiet):
    text = f"SELECT {'(' * 1100}1{')' * 1100}"
    with pytest.raises(SqlSyntaxError, match="expression depth limit of 1000") as caught:
        quiet.rows(text)
    assert "SET" not in caught.value.message
    deep = f"SELECT {'abs(' * 500}file_row_number{')' * 500} FROM numbers"
    with pytest.raises(Unsupported, match="file_row_number in a statement that is nested so deep"):
        quiet.rows(deep)
    with pytest.raises(Unsupported, match="nested too deeply"):
        quiet.connection.execute(f"SELECT {'(' * 5000}1{')' * 5000}", dialect="postgres")


def test_explain_of_a_deep_statement(quiet):
    assert "stage 0" in quiet.rows(f"EXPLAIN {LONG['500 calls in one another']}")[0][1]
