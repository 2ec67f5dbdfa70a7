"""Exports, moves and merges the states of functions; run as a program, since this may crash.

``python export_states.py stddev avg`` prints a line for each difference, and last ``done``.
"""

from __future__ import annotations

import math
import sys
from itertools import product
from typing import Any

import duckdb
import pyarrow as pa

from starling_py.planner.expressions import Aggregate, Column, aggregate_sql
from starling_py.planner.states import exported_state

VALUES = {
    "BOOLEAN": "{v} % 2 = 0",
    "BIGINT": "{v}::BIGINT * 1000000007",
    "HUGEINT": "{v}::HUGEINT * 10000000000000000000000",
    "FLOAT": "{v} / 4",
    "DOUBLE": "{v} / 8",
    "DECIMAL(4,1)": "{v} / 2",
    "DECIMAL(18,3)": "{v} / 4",
    "DECIMAL(38,2)": "{v} / 4",
    "VARCHAR": "repeat(chr(74 + {v}), {v} + 9)",
    "BLOB": "chr(74 + {v})",
    "UUID": "md5({v}::VARCHAR)::UUID",
    "DATE": "DATE '2020-01-01' + {v}",
    "TIMESTAMP": "TIMESTAMP '2020-01-01' + to_hours({v})",
    "TIMESTAMP WITH TIME ZONE": "TIMESTAMPTZ '2020-01-01 00:00:00+00' + to_hours({v})",
    "INTERVAL": "to_days({v})",
    "ENUM('a', 'b', 'c')": "['a', 'b', 'c'][{v} % 3 + 1]",
    "INTEGER[]": "[{v}, NULL, {v} + 1]",
    "STRUCT(a INTEGER, b VARCHAR)": "struct_pack(a := {v}, b := chr(74 + {v}))",
    'STRUCT("value" INTEGER[])[]': "[struct_pack(value := [{v}]), NULL]",
}
ROWS = """(SELECT i, i // 10 AS task, CASE WHEN i % 5 = 1 OR i % 4 = 0 OR i < 9 THEN NULL
    ELSE i * 7 % 19 - 9 END::INTEGER AS v FROM range(40) AS t(i))"""
"""In groups by ``i % 4``, one of them has NULLs only, and the first task most often."""
FEW = ("BIGINT", "VARCHAR", "INTEGER[]")


def main(functions: list[str]) -> None:
    with duckdb.connect(config={"threads": 1}) as connection:
        connection.execute("SET arrow_lossless_conversion = true")
        connection.execute("SET TimeZone = 'UTC'")
        for function in functions:
            one = [(type_,) for type_ in VALUES]
            # Of a family of functions, one tries all types.
            most = VALUES if function in ("arg_max", "arg_min_null") else FEW
            two = [("DOUBLE", "DOUBLE"), *product(most, ("VARCHAR",)), ("VARCHAR", "BIGINT")]
            for types in one + two:
                if exported_state(function, types) is not None:
                    check(connection, function, types)
    say("done")


def check(connection: duckdb.DuckDBPyConnection, function: str, types: tuple[str, ...]) -> None:
    state = exported_state(function, types)
    if state is None:
        return
    arguments = tuple(Column(f"x{at}", type_) for at, type_ in enumerate(types))
    # The second argument comes in another order than the first, and with ties.
    values = [
        f"CAST({VALUES[t].format(v='(v * 5 % 7)' if at else 'v')} AS {t}) AS x{at}"
        for at, t in enumerate(types)
    ]
    rows = f"(SELECT i, task, i % 4 AS g, {', '.join(values)} FROM {ROWS})"
    call = Aggregate(function, arguments, "")
    try:
        (bound,) = connection.sql(f"SELECT {aggregate_sql(call)} FROM {rows}").types
    except duckdb.BinderException:
        return
    shown = "" if str(bound) in ("DOUBLE", "FLOAT") else "::VARCHAR"
    whole = connection.sql(
        f"SELECT g, {aggregate_sql(call)}{shown} FROM {rows} GROUP BY g ORDER BY g"
    ).fetchall()
    exported = Aggregate(function, arguments, state.storage, exports=state)
    parts = connection.sql(
        f"SELECT g, {aggregate_sql(exported)} AS s FROM {rows} GROUP BY g, task ORDER BY task"
    )
    (stored,) = connection.sql(f"SELECT NULL::{state.storage}").types
    if parts.types[1] != stored:
        say(f"{function} {types}: its state is {parts.types[1]}, not {stored}")
    moved = parts.to_arrow_table()
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, moved.schema) as writer:
        writer.write_table(moved)
    connection.register("moved", pa.ipc.open_stream(sink.getvalue()).read_all())
    merges = Aggregate(function, (Column("s", ""),), "", merges=state)
    again = Aggregate(function, (Column("s", ""),), "", merges=state, exports=state)
    once = f"(SELECT g, CAST(s AS {state.storage}) AS s FROM moved)"
    twice = f"(SELECT g, {aggregate_sql(again)} AS s FROM {once} GROUP BY g)"
    for source in (once, twice):
        merged = connection.sql(
            f"SELECT g, {aggregate_sql(merges)} AS a FROM {source} GROUP BY g ORDER BY g"
        )
        if merged.types[1] != bound:
            say(f"{function} {types} is {merged.types[1]}, not {bound}")
        found = merged.project(f"g, a{shown}").fetchall()
        if not same_value(found, whole):
            say(f"{function} {types}: {found}, not {whole}")
    connection.unregister("moved")


def same_value(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        both_nan = math.isnan(one) and math.isnan(other)
        return both_nan or math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-12)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same_value, one, other))
    return bool(one == other)


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
