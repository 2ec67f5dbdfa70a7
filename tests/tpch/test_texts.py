"""The query texts: all there, accepted by DuckDB, ordered and limited as the specification says."""

from __future__ import annotations

import pytest

from starling_py.tpch.texts import NUMBERS, numbers, ordering, text

LIMITS = {2: 100, 3: 10, 10: 20, 18: 100, 21: 100}
UNORDERED = {6, 14, 17, 19}


@pytest.mark.parametrize("number", NUMBERS)
def test_order_and_limit_are_those_of_the_specification(number: int, oracle):
    sql = text(number)
    names = tuple(name for name, _ in oracle.describe(sql))
    found = ordering(sql, names)
    assert found.limit == LIMITS.get(number)
    assert (not found.columns) == (number in UNORDERED)
    assert "LIMIT" not in found.unlimited
    assert oracle.describe(found.unlimited) == oracle.describe(sql)


def test_order_keys_are_positions_in_the_answer():
    assert ordering("SELECT a, b, c FROM t ORDER BY C DESC, 1", ("a", "b", "c")).columns == (2, 0)


def test_an_order_by_something_outside_the_answer_is_refused():
    with pytest.raises(ValueError, match="not a column of the answer"):
        ordering("SELECT a FROM t ORDER BY b", ("a",))


def test_an_order_in_a_subquery_is_not_the_root_s():
    found = ordering("SELECT a FROM (SELECT a FROM t ORDER BY a LIMIT 3) s", ("a",))
    assert found.columns == ()
    assert found.limit is None


@pytest.mark.parametrize(
    ("selection", "expected"),
    [("1", (1,)), ("1,5-7", (1, 5, 6, 7)), ("3, 3, 1-3", (3, 1, 2)), ("1-22", tuple(NUMBERS))],
)
def test_selections(selection: str, expected: tuple[int, ...]):
    assert numbers(selection) == expected


@pytest.mark.parametrize("selection", ["", "0", "23", "7-5", "1,", "a", "1-", "-1", "1-23"])
def test_bad_selections_are_refused(selection: str):
    with pytest.raises(ValueError, match=r"query|queries|backwards"):
        numbers(selection)


@pytest.mark.parametrize("number", [0, 23, -1])
def test_there_are_22_queries(number: int):
    with pytest.raises(ValueError, match="1 to 22"):
        text(number)
