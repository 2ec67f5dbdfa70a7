"""Parameters are values: DuckDB types them, and none of them is ever read as SQL."""

from __future__ import annotations

import datetime as dt
import os
import uuid
from collections import OrderedDict
from decimal import Decimal

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import starling_py
from starling_py.errors import (
    BindError,
    ParameterError,
    SqlSyntaxError,
    StarlingError,
    UnknownColumn,
    Unsupported,
)


@pytest.fixture(scope="module")
def connection(data):
    """Two tasks in each stage that can have them."""
    with starling_py.connect(data, tasks=2, workers=2) as connected:
        yield connected


@pytest.fixture(scope="module")
def auto(data):
    """Small statements run whole on one worker."""
    with starling_py.connect(data, workers=2) as connected:
        yield connected


@pytest.fixture(scope="module")
def oracle(data):
    with duckdb.connect() as connected:
        connected.execute(f"CREATE VIEW t AS FROM '{data}/t/*.parquet'")
        connected.execute("SET threads = 1")
        yield connected


def told(cursor, sql, parameters):
    """Return names, types and values, which repr tells apart by type and to the last bit."""
    cursor = cursor.execute(sql, parameters)
    if isinstance(cursor, duckdb.DuckDBPyConnection):
        described = [(column[0], str(column[1])) for column in cursor.description]
    else:
        described = [tuple(column[:2]) for column in cursor.description]
    rows = cursor.fetchall()
    return described, repr(rows), [[type(value) for value in row] for row in rows]


ZONE = dt.timezone(dt.timedelta(hours=5, minutes=30))

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**127), 2**128 - 1),
    st.integers(-3, 300),
    st.floats(),
    st.sampled_from([float("nan"), float("inf"), float("-inf"), -0.0, 5e-324]),
    st.text(),
    st.sampled_from(["'; DROP TABLE t; --", "it's", '"', "a\0b", "$1", "?", "\\x41", "é😀", "''"]),
    st.binary(),
    st.dates(),
    st.times(timezones=st.none() | st.just(ZONE)),
    st.datetimes(timezones=st.none() | st.sampled_from([dt.UTC, ZONE])),
    st.timedeltas(dt.timedelta(days=-10_000), dt.timedelta(days=10_000)),
    st.uuids(),
    st.decimals(allow_nan=False, allow_infinity=False, places=5).filter(lambda d: abs(d) < 10**30),
    st.sampled_from([Decimal("1E+10"), Decimal("NaN"), Decimal("-0.00"), Decimal("9" * 38)]),
)
# Lists and structs of one kind each: of others DuckDB's own client makes an error.
LISTS = st.one_of(
    st.lists(st.integers(-(2**63), 2**64) | st.none(), max_size=4),
    st.lists(st.text(max_size=5) | st.none(), max_size=4),
    st.lists(st.dates() | st.none(), max_size=4),
    st.lists(st.lists(st.floats(), max_size=2), max_size=3),
    st.lists(st.uuids(), max_size=2).map(tuple),
)
KEYS = st.text(st.sampled_from("ab 'ü\"1"), min_size=1, max_size=4).filter(str.strip)
STRUCTS = st.dictionaries(KEYS, SCALARS | LISTS, max_size=3).filter(
    lambda d: len({key.lower() for key in d}) == len(d)
)
VALUES = SCALARS | LISTS | STRUCTS

EXAMPLES = settings(
    max_examples=int(os.environ.get("FUZZ_EXAMPLES", "20")),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def same(connected, oracle, sql, parameters):
    try:
        want = told(oracle, sql, parameters)
    except (duckdb.Error, OverflowError, ValueError):
        # What DuckDB's client cannot take or hand out, such as a date before year 1.
        with pytest.raises((StarlingError, OverflowError, ValueError)):
            told(connected, sql, parameters)
        return
    assert told(connected, sql, parameters) == want


@EXAMPLES
@given(values=st.lists(VALUES, min_size=1, max_size=5))
def test_values_come_back_as_they_went_in(auto, oracle, values):
    same(auto, oracle, f"SELECT {', '.join('?' for _ in values)}", values)


@EXAMPLES
@given(value=VALUES, other=VALUES)
def test_values_in_where(auto, connection, oracle, value, other):
    sql = "SELECT count(*) FROM t WHERE i < 3 AND ($1 IS NOT DISTINCT FROM {} OR $2 IS NULL)"
    for right in ("$1", "$2"):
        for connected in (auto, connection):
            same(connected, oracle, sql.format(right), [value, other])


@EXAMPLES
@given(values=st.lists(VALUES, min_size=1, max_size=3))
def test_values_cross_stages(connection, oracle, values):
    items = ", ".join(f"$v{at} AS v{at}" for at in range(len(values)))
    names = ", ".join(f"min(v{at})" for at in range(len(values)))
    sql = f"SELECT k, count(*), {names} FROM (SELECT k, {items} FROM t) GROUP BY k ORDER BY k"
    same(connection, oracle, sql, {f"v{at}": value for at, value in enumerate(values)})


def test_they_are_distributed(connection):
    sql = "SELECT k, count(*) FROM t WHERE i > ? AND s < ? AND k IN (?, ?, ?) GROUP BY k"
    plan = connection.explain(sql, [5, "v9", 1, 2.5, Decimal("3.0")])
    assert len(plan.stages) == 2
    assert plan.stages[-1].fallback == ""
    assert not any(stage.variables for stage in plan.stages)


CASES = [
    ("SELECT ? + 1", [1]),
    ("SELECT ? || 'x', ? || 'x'", ["3", 3]),
    ("SELECT k::TINYINT + ?, [k::TINYINT, ?] FROM t ORDER BY i, k LIMIT 2", [2, 3]),
    ("SELECT i FROM t WHERE i = ? AND s LIKE ?", ["7", "v%"]),
    ("SELECT i FROM t ORDER BY i LIMIT ? OFFSET ?", [2, 3]),
    ("SELECT i FROM t ORDER BY i LIMIT ?", [None]),
    ("SELECT count(*) FROM t WHERE k IN ?", [[1, 2]]),
    ("SELECT count(*) FROM t WHERE k = ANY(?)", [[1, 2]]),
    ("SELECT i % $1, count(*) FROM t GROUP BY i % $1 ORDER BY 1", [3]),
    ("SELECT sum(i) OVER (ORDER BY i, k ROWS ? PRECEDING) FROM t ORDER BY 1 LIMIT 3", [1]),
    ("SELECT list_transform([1, 2], lambda x: x + ?)", [1]),
    ("SELECT ?['a'], (?).b, [1, 2, 3][?:?]", [{"a": 1}, {"b": "x"}, 2, 3]),
    ("SELECT date_trunc(?, DATE '2020-05-05'), interval (?) day", ["month", 3]),
    ("SELECT DATE '2020-01-01' = ?, DATE '2020-01-01' + ?", ["2020-01-01", 1]),
    ("SELECT DATE '2020-01-01' < ?", [dt.datetime(2020, 1, 2)]),
    ("SELECT CASE WHEN ? THEN ? ELSE ? END, coalesce(?, ?)", [True, 1, 2, None, 3]),
    ("FROM range(?)", [3]),
    ("VALUES (?, ?), (?, ?)", [1, "a", 2, "b"]),
    ("WITH x AS (SELECT ? AS a) SELECT a, $1 FROM x", [7]),
    ("SELECT unnest(?)", [[1, 2]]),
    (
        "SELECT quantile_cont(i, ?), string_agg(s, ? ORDER BY s) FROM t WHERE i < 5",
        [0.5, ","],
    ),
    ("SELECT ?a, ? AS \"?\", '?', $$ ? $$ -- ?\n, ? /* ? */", [1, 2, 3]),
    ("SELECT?,?::INT,'é',?", ["a", "1", "c"]),
    ("SELECT $b, $a, $B", {"a": 1, "b": "x"}),
    ("SELECT $2, $1, $2", ["x", 1]),
    ("SELECT ?", [{"key": [1, 2], "value": ["a", "b"]}]),
    ("SELECT ?, ?", [{}, []]),
    ("SELECT i FROM t WHERE i = :n AND s = :s".replace(":", "$"), {"n": 3, "s": "v3"}),
]


@pytest.mark.parametrize(("sql", "parameters"), CASES, ids=[case[0][:40] for case in CASES])
def test_parameters_stand_wherever_duckdb_takes_them(auto, connection, oracle, sql, parameters):
    want = told(oracle, sql, parameters)
    assert told(auto, sql, parameters) == want
    assert told(connection, sql, parameters) == want


def test_names_with_colons(connection, oracle):
    sql = "SELECT i, [1, 2, 3][:2], {'a':k}, s::VARCHAR FROM t WHERE i = :n AND s <> :Other"
    parameters = OrderedDict(n=3, other="x")
    want = told(oracle, sql.replace(":n", "$n").replace(":O", "$O"), parameters)
    assert told(connection, sql, parameters) == want
    with pytest.raises(SqlSyntaxError, match="line 1, column 10"):
        connection.execute("SELECT 1 : 2", {})


def test_a_path_may_be_a_parameter(connection, oracle, data):
    sql = "SELECT count(*), ? FROM read_parquet(?, filename = ?) WHERE i < ?"
    pattern = f"{data}/t/*.parquet"
    want = told(oracle, sql, [1, pattern, True, 5])
    assert told(connection, sql, [1, pattern, True, 5]) == want
    listed = [f"{data}/t/1.parquet", f"{data}/t/2.parquet"]
    (row,) = connection.execute("SELECT count(*) FROM read_parquet($p)", {"p": listed}).fetchall()
    assert row == (60_000,)


WRONG = [
    ("SELECT ?", [], "1 parameter, 0 values were given"),
    ("SELECT ?, ?", [1], "2 parameters, 1 value was given"),
    ("SELECT 1", [1], "0 parameters, 1 value was given"),
    ("SELECT $2", [1], r"no value for \$2"),
    ("SELECT $a, $b", {"a": 1}, r"no value for \$b"),
    ("SELECT $a", {"a": 1, "c": 1}, r"the statement has no \$c"),
    ("SELECT $a", {"a": 1, "A": 1}, "differ by more than case"),
    ("SELECT $a", [1], r"have names: \$a"),
    ("SELECT ?", {"a": 1}, r"no value for \$1"),
    ("SELECT ?", 5, "a list, a tuple or a mapping, not int"),
    ("SELECT ?", "a", "a list, a tuple or a mapping, not str"),
    ("SELECT ?", [object()], "of the Python type object, has no SQL type"),
    ("SELECT ?, $2", [1, 2**200], r"the value of \$2, of the Python type int: .*128-bit"),
    ("SELECT ?", ["\ud800"], r"the value of \$1, of the Python type str: .*"),
]


@pytest.mark.parametrize(("sql", "parameters", "message"), WRONG)
def test_wrong_parameters(connection, sql, parameters, message):
    with pytest.raises(ParameterError, match=message) as caught:
        connection.execute(sql, parameters)
    assert caught.value.code == "PARAMETERS"
    assert isinstance(caught.value, starling_py.ProgrammingError)
    assert "\n" not in caught.value.message


def test_a_mixture_is_an_error(connection):
    with pytest.raises(ParameterError, match="do not mix"):
        connection.execute("SELECT $a, ?", {"a": 1})


def test_duckdb_refuses_them_to_order_by(connection):
    with pytest.raises(BindError, match="Parameter not supported in ORDER BY"):
        connection.execute("SELECT i FROM t ORDER BY ?", [1])


@pytest.mark.parametrize(
    "sql",
    [
        "SUMMARIZE SELECT {}",
        "SELECT x FROM (SELECT {}) x",
        "WITH x AS (SELECT {}) SELECT to_json(x) FROM x",
        "SELECT COLUMNS('.*1') FROM (SELECT {})",
    ],
)
def test_names_made_of_parameters_are_not_data(connection, oracle, sql):
    with pytest.raises(Unsupported, match="without a name"):
        connection.execute(sql.format("? + 1"), [1])
    named = sql.format("? + 1 AS a1")
    assert told(connection, named, [1])[1:] == told(oracle, named, [1])[1:]


def test_errors_point_into_the_text_with_parameters(connection):
    sql = "SELECT ?, 'é',\n  ? + nix\nFROM t"
    with pytest.raises(UnknownColumn, match=r"line 2, column 7") as caught:
        connection.execute(sql, [1, 2])
    assert caught.value.message.splitlines()[-2:] == ["    ? + nix", "        ^"]


def test_nothing_stays_in_the_session(auto, connection):
    sql = "SELECT getvariable('starling_parameter_1')"
    for connected in (auto, connection):
        assert connected.execute("SELECT ?::TIME", [dt.time(1)]).fetchall() == [(dt.time(1),)]
        assert connected.execute(sql).fetchall() == [(None,)]


@pytest.mark.parametrize("isolation", ["thread", "process"])
def test_every_worker_gets_them(data, isolation):
    values = [uuid.UUID(int=7), dt.time(1, tzinfo=ZONE), [2**128 - 1], {"a": b"\0"}]
    with starling_py.connect(data, tasks=2, workers=1, isolation=isolation) as connected:
        (row,) = connected.execute("SELECT ?, ?, ?, ? FROM t LIMIT 1", values).fetchall()
    assert row == tuple(values)


def test_statements_around_a_query_have_them(tmp_path, data, oracle):
    with starling_py.connect(tmp_path, tables={"t": f"{data}/t"}, tasks=2) as connected:
        connected.execute(
            "CREATE TABLE made AS SELECT i, $x AS x FROM t WHERE i < :n", {"n": 3, "x": "it's"}
        )
        rows = connected.execute("FROM made ORDER BY i").fetchall()
        assert rows == [(i, "it's") for i in (0, 0, 1, 1, 2, 2)]
        connected.execute(f"COPY (SELECT ? AS a) TO '{tmp_path}/one.csv'", [dt.date(2020, 1, 2)])
        assert (tmp_path / "one.csv").read_text() == "a\n2020-01-02\n"
        sql = "DESCRIBE SELECT ?, ? + 1, i FROM t"
        assert told(connected, sql, ["x", 2])[1] == told(oracle, sql, ["x", 2])[1]
        assert "scan" in connected.execute("EXPLAIN SELECT max(i) + ? FROM t", [1]).fetchall()[0][1]
        for sql in ("SHOW TABLES", "DROP TABLE made"):
            with pytest.raises(ParameterError, match="no parameters"):
                connected.execute(sql, [1])
        with pytest.raises(ParameterError, match="1 parameter"):
            connected.execute("CREATE TABLE other AS SELECT ?", [])


@pytest.mark.parametrize(
    ("raised", "seen"),
    [
        # What DuckDB makes of Ctrl-C while it runs a statement.
        (RuntimeError("Query interrupted"), KeyboardInterrupt),
        (KeyboardInterrupt(), KeyboardInterrupt),
        (MemoryError(), MemoryError),
        (RuntimeError("of the zone's own"), ParameterError),
    ],
)
def test_what_a_value_raises_while_it_is_read_is_its_fault_or_not(connection, raised, seen):
    class Zone(dt.tzinfo):
        def utcoffset(self, _):
            raise raised

    with pytest.raises(seen):
        connection.execute("SELECT ?", [dt.datetime(2020, 1, 1, tzinfo=Zone())])
