"""Every operator and expression that a serialized plan can hold, and what becomes of it.

The names are those that the installed DuckDB carries: with one that is not listed here, a test
fails, and somebody has to decide.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import _duckdb
import pytest

from starling_py.planner.adapter.expressions import expression
from starling_py.planner.adapter.operators import OPERATORS, adapt
from starling_py.planner.bind import Binder, Wording
from starling_py.planner.errors import CannotDistribute
from starling_py.planner.names import Names

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from conftest import World

DISTRIBUTED = {
    "AGGREGATE_AND_GROUP_BY": "SELECT k, sum(v) FROM l GROUP BY k",
    "ANY_JOIN": "SELECT * FROM l JOIN r ON k = k2 OR id = id2",
    "ASOF_JOIN": "SELECT * FROM l ASOF JOIN r ON k = k2 AND id >= id2",
    "COMPARISON_JOIN": "SELECT * FROM l JOIN r ON k = k2",
    "CROSS_PRODUCT": "SELECT * FROM l, r",
    "CTE_REF": "WITH c AS MATERIALIZED (SELECT k FROM l) SELECT * FROM c a JOIN c b ON a.k = b.k",
    "DISTINCT": "SELECT DISTINCT ON (k) k, id FROM l ORDER BY k, id",
    "DUMMY_SCAN": "SELECT k + o FROM l, (SELECT 1 AS o)",
    "EMPTY_RESULT": "SELECT (SELECT count(*) FROM r WHERE k2 < k) FROM l",
    "EXCEPT": "SELECT k FROM l EXCEPT SELECT k2 FROM r",
    "EXPRESSION_GET": "SELECT * FROM l JOIN (VALUES (1), (2)) AS t(a) ON k = a",
    "FILTER": "SELECT k FROM l WHERE k + id > 7",
    "GET": "SELECT k FROM l WHERE k > 3",
    "INTERSECT": "SELECT k FROM l INTERSECT ALL SELECT k2 FROM r",
    "LIMIT": "SELECT k FROM l LIMIT 3",
    "MATERIALIZED_CTE": "WITH c AS MATERIALIZED (SELECT k FROM l) SELECT * FROM c, c AS d",
    "ORDER_BY": "SELECT k FROM l ORDER BY k",
    "PROJECTION": "SELECT k + 1 FROM l",
    "SAMPLE": "SELECT k FROM l TABLESAMPLE bernoulli(50%)",
    "UNION": "SELECT k FROM l UNION ALL SELECT k2 FROM r",
    "UNNEST": "SELECT unnest([k, id]) FROM l",
    "WINDOW": "SELECT sum(v) OVER (PARTITION BY k) FROM l",
}
ONE_WORKER = {
    "POSITIONAL_JOIN": "SELECT * FROM l POSITIONAL JOIN r",
    "RECURSIVE_CTE": "WITH RECURSIVE t(a) AS (SELECT k FROM l UNION SELECT a + 1 FROM t "
    "WHERE a < 5) SELECT * FROM t",
}
NO_TABLES = {"CHUNK_GET": "DESCRIBE SELECT k FROM l"}
NEVER = {
    "DELIM_GET": "DuckDB 2.0 makes CTEs of delimiter joins",
    "DELIM_JOIN": "DuckDB 2.0 makes CTEs of delimiter joins",
    "DEPENDENT_JOIN": "gone once subqueries are decorrelated",
    "EXTENSION_OPERATOR": "no extension is loaded",
    "INVALID": "no operator",
    "JOIN": "no operator of its own",
    "PIVOT": "bound as groups and lists",
    "SECURE_VIEW": "there are no views",
    "TOP_N": "made by an optimizer that is off",
    **dict.fromkeys(
        (
            *("ALTER", "ATTACH", "CONNECT", "COPY_DATABASE", "COPY_TO_FILE", "CREATE_INDEX"),
            *("CREATE_MACRO", "CREATE_SCHEMA", "CREATE_SECRET", "CREATE_SEQUENCE", "CREATE_TABLE"),
            *("CREATE_TRIGGER", "CREATE_TYPE", "CREATE_VIEW", "DELETE", "DETACH", "DISCONNECT"),
            *("DROP", "EXECUTE", "EXPLAIN", "EXPORT", "EXTERNAL_RESOURCE", "INSERT", "LOAD"),
            *("MERGE_INTO", "PRAGMA", "PREPARE", "RESET", "SET", "TRANSACTION", "TRIGGER"),
            *("UPDATE", "UPDATE_EXTENSIONS", "VACUUM"),
        ),
        "of statements that are no queries",
    ),
}

CLASSES = {
    "BOUND_AGGREGATE": "SELECT sum(v) FROM l",
    "BOUND_CASE": "SELECT CASE WHEN k > 3 THEN 1 END FROM l",
    "BOUND_COLUMN_REF": "SELECT u FROM l, unnest([k]) t(u)",
    "BOUND_CONJUNCTION": "SELECT k FROM l WHERE k > 3 OR id > 4",
    "BOUND_CONSTANT": "SELECT k + 1 FROM l",
    "BOUND_FUNCTION": "SELECT abs(k) FROM l",
    "BOUND_LAMBDA": "SELECT list_transform([k], lambda x: x + 1) FROM l",
    "BOUND_OPERATOR": "SELECT k IS NULL FROM l",
    "BOUND_REF": "SELECT k FROM l",
    "BOUND_UNNEST": "SELECT unnest([k]) FROM l",
    "BOUND_WINDOW": "SELECT rank() OVER (PARTITION BY g ORDER BY k) FROM l",
}
NO_CLASSES = {
    "BOUND_DEFAULT": "of INSERT",
    "BOUND_EXPANDED": "gone once it is bound",
    "BOUND_LAMBDA_REF": "a reference by position once it is bound",
    "BOUND_PARAMETER": "parameters are variables",
    "BOUND_SUBQUERY": "a join once it is planned",
    "LEGACY_BOUND_BETWEEN": "a function in DuckDB 2.0",
    "LEGACY_BOUND_CAST": "a function in DuckDB 2.0",
    "LEGACY_BOUND_COMPARISON": "a function in DuckDB 2.0",
}
OTHER_NAMES = {"BOUND_EXPORT_DATA", "BOUND_SUBQUERY_NODE", "BOUND_TABLE_REF"}

OVER = "OVER (PARTITION BY g ORDER BY id)"
TYPES = {
    "COMPARE_DISTINCT_FROM": "SELECT k IS DISTINCT FROM id FROM l",
    "COMPARE_EQUAL": "SELECT k = id FROM l",
    "COMPARE_GREATERTHAN": "SELECT k > id FROM l",
    "COMPARE_GREATERTHANOREQUALTO": "SELECT k >= id FROM l",
    "COMPARE_IN": "SELECT k IN (id, 3, 4) FROM l",
    "COMPARE_LESSTHAN": "SELECT k < id FROM l",
    "COMPARE_LESSTHANOREQUALTO": "SELECT k <= id FROM l",
    "COMPARE_NOTEQUAL": "SELECT k <> id FROM l",
    "COMPARE_NOT_DISTINCT_FROM": "SELECT k IS NOT DISTINCT FROM id FROM l",
    "CONJUNCTION_AND": "SELECT k > 3 AND id < 4 FROM l",
    "CONJUNCTION_OR": "SELECT k > 3 OR id < 4 FROM l",
    "OPERATOR_CAST": "SELECT CAST(k AS DOUBLE) FROM l",
    "OPERATOR_COALESCE": "SELECT coalesce(k, id) FROM l",
    "OPERATOR_IS_NOT_NULL": "SELECT k IS NOT NULL FROM l",
    "OPERATOR_IS_NULL": "SELECT k IS NULL FROM l",
    "OPERATOR_NOT": "SELECT NOT (k > 3 OR g LIKE 'a%') FROM l",
    "OPERATOR_TRY": "SELECT TRY(1 // k) FROM l",
    "WINDOW_AGGREGATE": f"SELECT sum(v) {OVER} FROM l",
    "WINDOW_CUME_DIST": f"SELECT cume_dist() {OVER} FROM l",
    "WINDOW_FILL": f"SELECT fill(k) {OVER} FROM l",
    "WINDOW_FIRST_VALUE": f"SELECT first_value(k) {OVER} FROM l",
    "WINDOW_LAG": f"SELECT lag(k) {OVER} FROM l",
    "WINDOW_LAST_VALUE": f"SELECT last_value(k) {OVER} FROM l",
    "WINDOW_LEAD": f"SELECT lead(k) {OVER} FROM l",
    "WINDOW_NTH_VALUE": f"SELECT nth_value(k, 2) {OVER} FROM l",
    "WINDOW_NTILE": f"SELECT ntile(2) {OVER} FROM l",
    "WINDOW_PERCENT_RANK": f"SELECT percent_rank() {OVER} FROM l",
    "WINDOW_RANK": f"SELECT rank() {OVER} FROM l",
    "WINDOW_RANK_DENSE": f"SELECT dense_rank() {OVER} FROM l",
    "WINDOW_ROW_NUMBER": f"SELECT row_number() {OVER} FROM l",
}
NO_TYPES = {
    "COMPARE_BETWEEN": "a function in DuckDB 2.0",
    "COMPARE_NOT_BETWEEN": "NOT of a function in DuckDB 2.0",
    "COMPARE_NOT_IN": "NOT of COMPARE_IN; read all the same",
    "OPERATOR_NULLIF": "CASE once it is bound",
    "OPERATOR_UNPACK": "gone once it is bound",
    "WINDOW_FUNCTION": "of extensions",
}
OTHER_TYPES = {
    *("OPERATOR_CHILD", "OPERATOR_EXPRESSION", "WINDOW_FUNCTION_ENTRY", "WINDOW_SELF_JOIN"),
}


@pytest.fixture(scope="module")
def binder() -> Iterator[Binder]:
    made = Binder()
    yield made
    made.close()


@pytest.fixture(scope="module")
def carried() -> frozenset[str]:
    """The names of enumerations in DuckDB's library."""
    data = Path(_duckdb.__file__).read_bytes()
    found = set()
    prefixes = ("LOGICAL_", "BOUND_", "LEGACY_", "WINDOW_", "OPERATOR_", "COMPARE_", "CONJUNCTION_")
    for prefix in prefixes:
        at = data.find(b"\0" + prefix.encode())
        while at >= 0:
            end = data.find(b"\0", at + 1)
            name = data[at + 1 : end].decode("ascii", "replace")
            if name.replace("_", "").isalpha() and name.isupper():
                found.add(name)
            at = data.find(b"\0" + prefix.encode(), at + 1)
    return frozenset(found)


def of(carried: frozenset[str], *prefixes: str) -> set[str]:
    return {name for name in carried if name.startswith(prefixes)}


def test_every_operator_is_listed(carried: frozenset[str]) -> None:
    names = {name.removeprefix("LOGICAL_") for name in of(carried, "LOGICAL_")}
    listed = {**DISTRIBUTED, **ONE_WORKER, **NO_TABLES, **NEVER}
    assert names - {"PLAN_STATEMENT"} == set(listed)
    assert set(OPERATORS) == {*DISTRIBUTED, *ONE_WORKER, *NO_TABLES}


def test_every_expression_is_listed(carried: frozenset[str]) -> None:
    classes = of(carried, "BOUND_", "LEGACY_BOUND_")
    assert classes - OTHER_NAMES == {*CLASSES, *NO_CLASSES}
    types = of(carried, "WINDOW_", "OPERATOR_", "COMPARE_", "CONJUNCTION_")
    assert types - OTHER_TYPES == {*TYPES, *NO_TYPES}


def serialized(world: World, binder: Binder, sql: str) -> Mapping[str, Any]:
    found = ((name, world.catalog.find(name)) for name in binder.parse(sql).tables)
    tables = {name: table for name, table in found if table}
    plan = binder.bind(Wording(sql, sql), tables, sql).plan
    assert plan is not None
    return plan


def holds(tree: object, key: str, value: str) -> bool:
    match tree:
        case dict():
            return tree.get(key) == value or any(holds(v, key, value) for v in tree.values())
        case list():
            return any(holds(item, key, value) for item in tree)
    return False


@pytest.mark.parametrize("name", DISTRIBUTED)
def test_distributed_operators(world: World, binder: Binder, name: str) -> None:
    sql = DISTRIBUTED[name]
    assert holds(serialized(world, binder, sql), "type", f"LOGICAL_{name}")
    plan = world.plan(sql, 3)
    assert not any(stage.fallback for stage in plan.stages)
    assert max(stage.tasks for stage in plan.stages) == 3


@pytest.mark.parametrize("name", ONE_WORKER)
def test_operators_on_one_worker(world: World, binder: Binder, name: str) -> None:
    sql = ONE_WORKER[name]
    assert holds(serialized(world, binder, sql), "type", f"LOGICAL_{name}")
    plan = world.plan(sql, 3)
    assert plan.stages[0].tasks == 3
    assert [stage.tasks for stage in plan.stages if stage.fallback] == [1]


@pytest.mark.parametrize("name", NO_TABLES)
def test_operators_without_tables(world: World, binder: Binder, name: str) -> None:
    sql = NO_TABLES[name]
    assert holds(serialized(world, binder, sql), "type", f"LOGICAL_{name}")
    assert not any(stage.fallback for stage in world.plan(sql, 3).stages)


@pytest.mark.parametrize("name", NEVER)
def test_other_operators_are_not_guessed_at(name: str) -> None:
    with pytest.raises(CannotDistribute, match=name):
        adapt({"type": f"LOGICAL_{name}", "children": []}, {}, Names())


@pytest.mark.parametrize("name", CLASSES)
def test_expression_classes(world: World, binder: Binder, name: str) -> None:
    assert holds(serialized(world, binder, CLASSES[name]), "expression_class", name)
    assert not any(stage.fallback for stage in world.plan(CLASSES[name], 3).stages)


@pytest.mark.parametrize("name", NO_CLASSES)
def test_other_expression_classes_are_not_guessed_at(name: str) -> None:
    with pytest.raises(CannotDistribute, match=name):
        expression({"expression_class": name, "type": name}, ())


@pytest.mark.parametrize("name", TYPES)
def test_expression_types(world: World, binder: Binder, name: str) -> None:
    assert holds(serialized(world, binder, TYPES[name]), "type", name)
    assert not any(stage.fallback for stage in world.plan(TYPES[name], 3).stages)
