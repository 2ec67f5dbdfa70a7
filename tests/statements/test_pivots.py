"""PIVOT whose columns are the values that are there."""

from __future__ import annotations

import pytest

import starling_py
from starling_py.errors import Unsupported
from starling_py.planner.pivots import open_pivots, with_values


def halved(house):
    made = "SELECT *, k % 2 AS o FROM numbers"
    house.connection.execute(f"CREATE TABLE IF NOT EXISTS halves AS {made}")
    house.oracle.execute(f"CREATE OR REPLACE VIEW halves AS {made}")
    return house


@pytest.fixture
def halves(quiet):
    """A house with a table halves: k, g, s and o."""
    return halved(quiet)


@pytest.mark.parametrize(
    "sql",
    [
        "PIVOT (SELECT g, k FROM halves) ON g USING sum(k)",
        "PIVOT halves ON k % 3 USING count(*), max(s) AS m GROUP BY g ORDER BY g",
        "PIVOT_WIDER halves ON g USING sum(k) GROUP BY o ORDER BY ALL",
        "PIVOT halves ON g, k % 2 USING max(k) GROUP BY o ORDER BY ALL;",
        "PIVOT halves ON g IN (1, 2), k % 2 USING max(k) GROUP BY o ORDER BY ALL",
        "PIVOT halves ON substr(s, 2, 1) USING count(*) GROUP BY g ORDER BY g LIMIT 3",
        "PIVOT halves ON k > 1000 GROUP BY g ORDER BY g",
        "PIVOT halves ON (g, k % 2) USING sum(k) GROUP BY o ORDER BY ALL",
        "PIVOT halves ON {a: g, b: [k % 2]} USING sum(k) GROUP BY o ORDER BY ALL",
        "PIVOT (SELECT 'it''s \"' || g AS q, k FROM halves) ON q USING sum(k)",
        "PIVOT halves AS n ON g USING sum(k) GROUP BY o ORDER BY ALL",
        "WITH a AS (FROM halves WHERE k < 9), b(x, y) AS MATERIALIZED (SELECT k, g FROM a) "
        "PIVOT b ON y USING sum(x) ORDER BY ALL",
        "SELECT * FROM (PIVOT halves ON g USING sum(k) GROUP BY o) AS p ORDER BY ALL",
        "SELECT (SELECT count(*) FROM (PIVOT halves ON g USING sum(k) GROUP BY o)) AS n",
        "(PIVOT halves ON g USING sum(k) GROUP BY o) UNION ALL "
        "(PIVOT halves ON g USING max(k) GROUP BY o) ORDER BY ALL",
        'PIVOT (PIVOT halves ON g USING sum(k) GROUP BY o) ON o USING max("0") ORDER BY ALL',
        "PIVOT (FROM halves JOIN (SELECT 3 AS g) USING (g)) ON g USING sum(k) GROUP BY o "
        "ORDER BY ALL -- g, 'ü",
        "FROM halves PIVOT (sum(k) FOR g IN (1, 2) GROUP BY o) ORDER BY ALL",
        "PIVOT halves USING sum(k) GROUP BY g ORDER BY g",
        "DESCRIBE PIVOT halves ON g USING sum(k) GROUP BY o",
        "UNPIVOT (SELECT g, k FROM halves) ON COLUMNS(*) ORDER BY ALL",
    ],
)
def test_answers_are_those_of_duckdb(halves, sql):
    halves.check(sql)


def test_statements_around_it(house, tmp_path):
    halved(house)
    pivot = "PIVOT halves ON g USING sum(k) GROUP BY o"
    expected = house.oracle.sql(f"{pivot} ORDER BY o").fetchall()
    assert house.rows(f"CREATE TABLE made AS {pivot}") == [(2,)]
    assert house.rows("FROM made ORDER BY o") == expected
    target = tmp_path / "made.csv"
    assert house.rows(f"COPY ({pivot} ORDER BY o) TO '{target}'") == [(2,)]
    assert target.read_text().splitlines()[0] == "o,0,1,2,3,4,5,6"
    assert "stage 0" in house.rows(f"EXPLAIN {pivot}")[0][1]
    plan = house.connection.explain(pivot)
    assert [column.name for column in plan.result] == ["o", *"0123456"]


def test_a_new_value_is_a_new_column(house):
    sql = "PIVOT made ON a USING count(*)"
    house.rows("CREATE TABLE made AS SELECT 'x' AS a")
    assert [name for name, *_ in house.connection.execute(sql).description] == ["x"]
    house.rows("CREATE OR REPLACE TABLE made AS SELECT unnest(['x', 'y']) AS a")
    assert [name for name, *_ in house.connection.execute(sql).description] == ["x", "y"]


def test_parameters_around_it(halves):
    sql = "SELECT * FROM (PIVOT halves ON g USING sum(k) GROUP BY o) WHERE o = {}"
    found = halves.connection.execute(sql.format("?"), [1]).fetchall()
    assert found == halves.oracle.sql(sql.format(1)).fetchall()


def test_what_is_refused(halves):
    execute = halves.connection.execute
    with pytest.raises(starling_py.Error, match="cannot have parameters in their source"):
        execute("PIVOT (FROM halves WHERE k < ?) ON g USING sum(k)", [3])
    with pytest.raises(starling_py.Error, match="parameter"):
        execute("PIVOT halves ON g + ? USING sum(k)", [3])
    join = "JOIN (SELECT 3 AS g) AS o"
    for condition in ("USING (g)", "ON halves.g = o.g"):
        with pytest.raises(Unsupported, match="of a join"):
            execute(f"PIVOT halves {join} {condition} ON k % 2 USING count(*)")
    with pytest.raises(Unsupported, match="ON g makes no columns"):
        execute("PIVOT (FROM halves WHERE false) ON g USING sum(k)")
    with pytest.raises(starling_py.Error, match="nothing"):
        execute("PIVOT halves ON nothing USING sum(k)")
    with pytest.raises(starling_py.Error, match="nobody"):
        execute("PIVOT nobody ON g USING sum(k)")


def test_pieces_of_the_text_are_found():
    assert open_pivots("SELECT 1 AS pivot") == ()
    assert open_pivots("PIVOT t ON") == ()
    sql = "SELECT 'ü' FROM (PIVOT t ON /* PIVOT */ a, b IN (1), c + 1 USING sum(x))"
    pivots = open_pivots(sql)
    assert [sql.encode()[each.start : each.end] for each in pivots] == [b"a", b"c + 1"]
    filled = with_values(sql, pivots, [["1", "2"], ["3"]])
    assert filled.endswith(
        "ON /* PIVOT */ (a) IN ('1', '2'), b IN (1), (c + 1) IN ('3') USING sum(x))"
    )
