"""Constants of every type come out of a plan and its stages as they went in, to the last bit."""

from __future__ import annotations

import datetime as dt
import struct
from typing import TYPE_CHECKING

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conftest import World
    from hypothesis.strategies import SearchStrategy

INTEGERS = {
    "TINYINT": (-(2**7), 2**7 - 1),
    "SMALLINT": (-(2**15), 2**15 - 1),
    "INTEGER": (-(2**31), 2**31 - 1),
    "BIGINT": (-(2**63), 2**63 - 1),
    "UTINYINT": (0, 2**8 - 1),
    "USMALLINT": (0, 2**16 - 1),
    "UINTEGER": (0, 2**32 - 1),
    "UBIGINT": (0, 2**64 - 1),
    "HUGEINT": (-(2**127), 2**127 - 1),
    "UHUGEINT": (0, 2**128 - 1),
}
ENUM = "ENUM('', 'it''s', 'ä', 'b c')"

CONSTANTS = [
    *(f"CAST('{bound}' AS {type_})" for type_, bounds in INTEGERS.items() for bound in bounds),
    *(f"CAST('{value}' AS HUGEINT)" for value in (-1, 0, 2**63, 2**64, -(2**64), -(2**64) - 1)),
    *("0", "-1", "2147483648", "-2147483648", "9223372036854775808"),
    *("0.1", "-0.01", "-1.5", "1e3", "0.0", "99999999999999999.9", "-0.00"),
    *(f"CAST('{'9' * 38}' AS DECIMAL(38,0))", f"CAST('-0.{'9' * 38}' AS DECIMAL(38,38))"),
    *(f"CAST('-{'9' * 18}.{'1' * 20}' AS DECIMAL(38,20))", "CAST(-1 AS DECIMAL(1,0))"),
    *("CAST('-0.5' AS DECIMAL(4,4))", "CAST('0' AS DECIMAL(30,10))", "CAST(1 AS DECIMAL(9,8))"),
    *(
        f"CAST('{value}' AS {type_})"
        for type_ in ("FLOAT", "DOUBLE")
        for value in ("nan", "inf", "-inf", "0.0", "-0.0", "0.1", "1e-40", "-1e-45", "1e10")
    ),
    *("CAST('5e-324' AS DOUBLE)", "CAST('1.7976931348623157e308' AS DOUBLE)"),
    *("CAST('3.4028235e38' AS FLOAT)", "CAST('16777217' AS FLOAT)"),
    *(
        f"DATE '{value}'"
        for value in (
            *("1970-01-01", "2024-02-29", "1582-10-10", "0001-01-01", "9999-12-31"),
            *("10000-01-01", "0001-12-31 (BC)", "0044-03-15 (BC)", "infinity", "-infinity"),
            *("5881580-07-10", "5877642-06-25 (BC)"),
        )
    ),
    *(
        f"CAST('{value}' AS {type_})"
        for type_ in ("TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS", "TIMESTAMPTZ")
        for value in (
            *("1970-01-01 00:00:00", "2024-02-29 23:59:59.999999", "1969-12-31 23:59:59.999"),
            *("2000-01-01 00:00:00.000001", "infinity", "-infinity"),
        )
    ),
    *(
        f"CAST('{value}' AS {type_})"
        for type_ in ("TIMESTAMP", "TIMESTAMPTZ")
        for value in (
            *("0001-01-01 00:00:00", "9999-12-31 23:59:59.999999", "12345-01-01 01:02:03"),
            *("0044-03-15 (BC) 12:00:00", "290309-12-22 (BC) 00:00:00"),
            "294247-01-10 04:00:54.775806",
        )
    ),
    *("TIME '00:00:00'", "TIME '23:59:59.999999'", "TIME '24:00:00'", "TIMETZ '12:00:00+05:30'"),
    *(
        f"INTERVAL '{value}'"
        for value in (
            *("0 days", "1 month", "-1 month", "30 days", "-14 months 3 days -1 microseconds"),
            *("1 day -24 hours", "2147483647 months", "-2147483648 days", "100000 hours"),
        )
    ),
    *(
        f"CAST('{value}' AS UUID)"
        for value in (
            *("00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff"),
            *("80000000-0000-0000-0000-000000000000", "7fffffff-ffff-ffff-ffff-ffffffffffff"),
            "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9",
        )
    ),
    "CAST('" + "".join(f"\\x{byte:02x}" for byte in range(256)) + "' AS BLOB)",
    *("CAST('' AS BLOB)", "CAST('it''s \\x00\\x5C' AS BLOB)", "unhex('C3')", "unhex('5C783431')"),
    *("'it''s'", "''", "'\"'", "'a\\nb'", "'line\nbreak'", "'\t'", "'ä€😀'", "'--'", "'/* */'"),
    *("'a' || chr(0) || 'b'", "chr(0)", "chr(0) || ''''", "'$$'", "';'", "'e\u0301'", "'%_\\'"),
    *("true", "false", "'1010'::BIT", "'{\"a\": [1, null]}'::JSON"),
    *(f"CAST({value} AS {ENUM})" for value in ("''", "'it''s'", "'ä'", "'b c'")),
    *("[]", "[1, NULL, -3]", "[[1], [], NULL]", "['it''s', chr(0), NULL]", "[NULL]"),
    *("[1.5, -0.25]", "['-0.0'::FLOAT, 'nan'::FLOAT]", "[DATE '2020-01-01', NULL]"),
    *("CAST([1, 2] AS INTEGER[2])", "CAST(['a', NULL] AS VARCHAR[2])"),
    *("{'a': 1, 'b c': 'it''s'}", "{'x': NULL, 'y': [1.25]}", "{'\"': {'n': DATE '2020-01-01'}}"),
    *("[{'a': 1}, NULL, {'a': NULL}]", "CAST({'a': NULL} AS STRUCT(a UUID))"),
    *("[CAST('0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9' AS UUID)]", "['\\xAA'::BLOB]"),
    *("MAP {'a': 1, 'b': NULL}", "MAP {}", "NULL", "MAP {1: {'a': [DATE '2020-01-01']}}"),
    *("CAST(MAP {} AS MAP(UUID, BLOB))", "[MAP {'a': 1.5}, NULL]", "'{\"a\": 1}'::JSON"),
    *("row(1, 'a')", "row(NULL, [DATE '2020-01-01'])", "[row(1)]", "{'a': row(1.5, 'it''s')}"),
    *("TIME_NS '23:59:59.123456789'", "TIME_NS '00:00:00'", "TIMETZ '01:02:03.5-15:59:59'"),
    *("TIMETZ '24:00:00+00'", "TIMETZ '00:00:00-00:30'", "TIMESTAMP_NS '1700-01-01 00:00:00'"),
    *(
        f"CAST(NULL AS {type_})"
        for type_ in (
            *INTEGERS,
            *("DECIMAL(38,38)", "FLOAT", "DOUBLE", "DATE", "TIMESTAMP", "TIMESTAMP_NS"),
            *("TIMESTAMPTZ", "TIME", "INTERVAL", "UUID", "BLOB", "VARCHAR", "BOOLEAN", ENUM),
            *(
                "INTEGER[]",
                "STRUCT(a INTEGER, b VARCHAR[])",
                "MAP(VARCHAR, INTEGER)",
                "BIT",
                "JSON",
            ),
        )
    ),
]


def shown(connection: duckdb.DuckDBPyConnection, relation: str, types: list[str]) -> list[object]:
    """Return the values as text that tells all values of a type apart."""
    # Arrow has no type of its own for some of DuckDB's.
    items = (f"CAST(CAST(c{at} AS {type_}) AS VARCHAR)" for at, type_ in enumerate(types))
    return list(connection.sql(f"SELECT {', '.join(items)} FROM {relation}").fetchall()[0])


def check(world: World, constants: Sequence[str]) -> str:
    """Assert that constants survive, and return why one worker had to run them, if it had to."""
    items = ", ".join(f"{text} AS c{at}" for at, text in enumerate(constants))
    # The last stage passes them on: they cross an exchange too.
    sql = f"SELECT a, {items} FROM few ORDER BY a LIMIT 1"
    plan = world.plan(sql, 2)
    table = world.engine.run(plan).table
    names = ["a", *(f"c{at}" for at in range(len(constants)))]
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("got", table.rename_columns(names))
        described = connection.sql(f"DESCRIBE SELECT {items}").fetchall()
        types = [str(row[1]) for row in described]
        got = shown(connection, "got", types)
        want = shown(connection, f"(SELECT {items})", types)
    wrong = [pair for pair in zip(constants, got, want, strict=True) if pair[1] != pair[2]]
    assert not wrong
    assert [column.type for column in plan.result[1:]] == types
    return plan.stages[-1].fallback


@pytest.mark.parametrize("constant", CONSTANTS)
def test_constants_survive(world: World, constant: str) -> None:
    check(world, [constant])


def test_known_constants_are_distributed(world: World) -> None:
    # DuckDB does not serialize a BIT, and a struct may be written without names.
    known = [text for text in CONSTANTS if "BIT" not in text]
    assert check(world, known) == ""


def quoted(text: str) -> str:
    """Return any string as SQL; a NUL cannot stand in it."""
    return "'" + text.replace("'", "''").replace("\0", "' || chr(0) || '") + "'"


def decimal(number: int, width: int, scale: int) -> str:
    digits = f"{abs(number) % 10**width:0{scale + 1}d}"
    text = f"{digits[:-scale]}.{digits[-scale:]}" if scale else digits
    return f"CAST('{'-' if number < 0 else ''}{text}' AS DECIMAL({width},{scale}))"


def single(bits: int) -> float:
    (value,) = struct.unpack("<f", struct.pack("<I", bits))
    return float(value)


@st.composite
def decimals(draw: st.DrawFn) -> str:
    width = draw(st.integers(1, 38))
    scale = draw(st.integers(0, width))
    return decimal(draw(st.integers(-(10**38), 10**38)), width, scale)


def constants() -> SearchStrategy[str]:
    part = st.integers(-(2**31), 2**31 - 1)
    days = st.dates(dt.date(1, 1, 1), dt.date(9999, 12, 31))
    moments = st.datetimes(dt.datetime(1, 1, 1), dt.datetime(9999, 12, 31, 23, 59, 59, 999999))
    return st.one_of(
        *(
            st.integers(*bounds).map(lambda value, type_=type_: f"CAST('{value}' AS {type_})")
            for type_, bounds in INTEGERS.items()
            if type_ != "UHUGEINT"
        ),
        decimals(),
        st.floats(allow_nan=False).map(lambda value: f"CAST('{value!r}' AS DOUBLE)"),
        st.integers(0, 2**31 - 2**23).map(lambda bits: f"CAST('{single(bits)!r}' AS FLOAT)"),
        days.map(lambda value: f"DATE '{value}'"),
        moments.map(lambda value: f"TIMESTAMP '{value}'"),
        moments.map(lambda value: f"TIMESTAMPTZ '{value}+00'"),
        st.tuples(part, part, st.integers(-(2**53), 2**53)).map(
            lambda t: f"INTERVAL '{t[0]} months {t[1]} days {t[2]} microseconds'"
        ),
        st.uuids().map(lambda value: f"CAST('{value}' AS UUID)"),
        st.binary(max_size=12).map(lambda value: f"unhex('{value.hex()}')"),
        st.text(st.characters(exclude_categories=["Cs"]), max_size=12).map(quoted),
        st.lists(st.text(st.sampled_from("'\"\\\n\0,[]{} aä"), max_size=4), max_size=3).map(
            lambda texts: f"CAST([{', '.join(map(quoted, texts))}] AS VARCHAR[])"
        ),
    )


@given(drawn=st.lists(constants(), min_size=30, max_size=30))
@settings(max_examples=15, derandomize=True, database=None, deadline=None)
def test_random_constants_survive(world: World, drawn: list[str]) -> None:
    assert check(world, drawn) == ""


def test_line_breaks_in_values_survive_indented_statements(world: World) -> None:
    sql = """SELECT * FROM (SELECT g || 'a
b' AS "x
y", count(*) AS "it's" FROM l JOIN r ON k = k2 WHERE g <> '
"' GROUP BY 1) WHERE "x
y" LIKE '%
%' """
    for tasks in (1, 3):
        world.check(sql, tasks)
