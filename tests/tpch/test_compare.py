"""Each rule of the comparison, and that it catches what it is there for."""

from __future__ import annotations

import math
from decimal import Decimal

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from starling_py.tpch.compare import Answer, answer, difference

NAMES = ("name", "amount", "price")
TYPES = ("VARCHAR", "DOUBLE", "DECIMAL(15,2)")
ROWS = (
    ("ant", 1.5, Decimal("10.00")),
    ("bee", 2.5, Decimal("20.00")),
    ("cat", 3.5, Decimal("30.00")),
)


def made(rows=ROWS, names=NAMES, types=TYPES) -> Answer:
    return Answer(names, types, tuple(rows))


def changed(row: int, column: int, value: object) -> Answer:
    rows = [list(each) for each in ROWS]
    rows[row][column] = value
    return made(tuple(tuple(each) for each in rows))


def test_equal_answers_have_no_difference():
    assert difference(made(), made(), order=(0,)) is None


def test_an_answer_without_rows_equals_itself():
    assert difference(made(()), made(())) is None


def test_a_missing_row_is_named():
    found = difference(made(), made(ROWS[:2]))
    assert found == "2 rows, expected 3: missing row (cat, 3.5, 30.00)"


def test_a_surplus_row_is_named():
    found = difference(made(), made((*ROWS, ("dog", 4.5, Decimal("40.00")))))
    assert found == "4 rows, expected 3: unexpected row (dog, 4.5, 40.00)"


def test_a_row_twice_for_another_row_is_a_difference():
    found = difference(made(), made((ROWS[0], ROWS[0], ROWS[2])))
    assert found is not None
    assert "missing row (bee" in found
    assert "unexpected row (ant" in found


def test_the_order_counts_where_the_query_orders():
    swapped = made((ROWS[1], ROWS[0], ROWS[2]))
    found = difference(made(), swapped, order=(0,))
    assert found == "rows are out of order; row 1 has name 'bee', expected 'ant'"


def test_the_order_is_free_where_the_query_does_not_order():
    assert difference(made(), made(reversed(ROWS))) is None


def test_every_order_key_counts():
    rows = (("a", 1.0, Decimal(1)), ("a", 2.0, Decimal(2)))
    assert difference(made(rows), made(reversed(rows)), order=(0,)) is None
    assert difference(made(rows), made(reversed(rows)), order=(0, 2)) is not None


def test_a_wrong_type_is_a_difference():
    found = difference(made(), made(types=("VARCHAR", "FLOAT", "DECIMAL(15,2)")))
    assert found == "column 'amount' is FLOAT, expected DOUBLE"


def test_a_value_of_another_kind_is_a_difference_even_when_python_calls_it_equal():
    assert difference(made(), changed(0, 2, 10.0)) is not None
    assert difference(made(), changed(0, 2, 10)) is not None


def test_a_wrong_name_is_a_difference_also_in_its_case():
    found = difference(made(), made(names=("name", "Amount", "price")))
    assert found == "column 2 is named 'Amount', expected 'amount'"


def test_another_number_of_columns_is_a_difference():
    fewer = made(tuple(row[:2] for row in ROWS), NAMES[:2], TYPES[:2])
    assert difference(made(), fewer) == "2 columns, expected 3"


def test_swapped_columns_of_one_type_are_a_difference():
    one = Answer(("a", "b"), ("INTEGER", "INTEGER"), ((1, 2),))
    assert difference(one, Answer(("a", "b"), one.types, ((2, 1),))) is not None


def test_a_decimal_off_by_one_unit_is_a_difference():
    assert difference(made(), changed(2, 2, Decimal("30.01"))) is not None


def test_a_large_decimal_off_by_one_unit_is_a_difference():
    wide = Decimal("123456789012345678901234567890.1234")
    rows = (("a", 1.0, wide),)
    off = (("a", 1.0, wide + Decimal("0.0001")),)
    assert difference(made(rows), made(rows)) is None
    assert difference(made(rows), made(off)) is not None


def test_floats_are_compared_to_a_relative_1e_9():
    assert difference(made(), changed(1, 1, 2.5 * (1 + 5e-10))) is None
    assert difference(made(), changed(1, 1, 2.5 * (1 + 5e-9))) is not None


def test_the_tolerance_of_floats_is_relative_near_zero_too():
    tiny = (("a", 1e-30, Decimal(1)),)
    assert difference(made(tiny), made((("a", 2e-30, Decimal(1)),))) is not None
    assert difference(made(tiny), made((("a", 0.0, Decimal(1)),))) is not None


def test_the_tolerance_holds_for_order_keys():
    assert difference(made(), changed(1, 1, 2.5 * (1 + 5e-10)), order=(1,)) is None
    assert difference(made(), changed(1, 1, 2.5 * (1 + 5e-9)), order=(1,)) is not None


def test_nan_equals_nan_only():
    assert difference(changed(0, 1, math.nan), changed(0, 1, math.nan), order=(1,)) is None
    assert difference(changed(0, 1, math.nan), made()) is not None
    assert difference(made(), changed(0, 1, math.nan)) is not None
    assert difference(changed(0, 1, math.nan), changed(0, 1, None)) is not None


def test_infinities_keep_their_sign():
    assert difference(changed(0, 1, math.inf), changed(0, 1, math.inf)) is None
    assert difference(changed(0, 1, math.inf), changed(0, 1, -math.inf)) is not None


@pytest.mark.parametrize("column", [0, 1, 2])
def test_null_equals_null_only(column: int):
    assert difference(changed(0, column, None), changed(0, column, None), order=(column,)) is None
    assert difference(changed(0, column, None), made()) is not None
    assert difference(made(), changed(0, column, None)) is not None


def test_null_is_not_an_empty_string():
    assert difference(changed(0, 0, None), changed(0, 0, "")) is not None


def test_rows_that_tie_are_compared_as_a_multiset():
    tied = (("b", 1.0, Decimal(7)), ("a", 2.0, Decimal(7)), ("c", 3.0, Decimal(8)))
    other = (tied[1], tied[0], tied[2])
    assert difference(made(tied), made(other), order=(2,)) is None
    twice = (tied[1], tied[1], tied[2])
    assert difference(made(tied), made(twice), order=(2,)) is not None


def test_a_row_must_not_move_between_ties():
    rows = (("a", 1.0, Decimal(7)), ("b", 1.0, Decimal(8)))
    moved = (("b", 1.0, Decimal(7)), ("a", 1.0, Decimal(8)))
    assert difference(made(rows), made(moved), order=(2,)) is not None


def test_a_limit_may_cut_through_ties_anywhere():
    everything = (
        ("a", 1.0, Decimal(9)),
        ("b", 1.0, Decimal(7)),
        ("c", 1.0, Decimal(7)),
        ("d", 1.0, Decimal(7)),
        ("e", 1.0, Decimal(6)),
    )

    def limited(*rows: int, **kwargs: object) -> str | None:
        return difference(
            made(everything[:3]), made([everything[row] for row in rows]), order=(2,), **kwargs
        )

    known = {"limit": 3, "unlimited": lambda: made(everything)}
    assert limited(0, 1, 3, **known) is None
    assert limited(0, 3, 2, **known) is None
    assert limited(0, 3, 3, **known) is not None
    assert limited(0, 1, 4, **known) is not None
    assert limited(1, 2, 3, **known) is not None
    # Without a LIMIT, or with one that cuts nothing, the tied rows must be those.
    assert limited(0, 1, 3) is not None
    assert limited(0, 1, 3, limit=4, unlimited=lambda: made(everything)) is not None


def test_only_the_last_ties_are_free_at_a_limit():
    everything = (
        ("a", 1.0, Decimal(9)),
        ("b", 1.0, Decimal(9)),
        ("c", 1.0, Decimal(7)),
        ("x", 1.0, Decimal(7)),
    )
    wrong = (("a", 1.0, Decimal(9)), ("a", 1.0, Decimal(9)), everything[2])
    found = difference(
        made(everything[:3]), made(wrong), order=(2,), limit=3, unlimited=lambda: made(everything)
    )
    assert found is not None


def test_the_answer_without_limit_is_asked_for_only_when_needed():
    def never() -> Answer:
        raise AssertionError

    assert difference(made(), made(), order=(0,), limit=3, unlimited=never) is None


def test_nested_values_are_compared_inside():
    kind = ("STRUCT(a DOUBLE)[]",)
    one = Answer(("v",), kind, (([{"a": 1.0}, {"a": None}],),))
    near = Answer(("v",), kind, (([{"a": 1.0 + 1e-12}, {"a": None}],),))
    far = Answer(("v",), kind, (([{"a": 1.1}, {"a": None}],),))
    assert difference(one, near) is None
    assert difference(one, far) is not None


rows_strategy = st.lists(
    st.tuples(
        st.one_of(st.none(), st.sampled_from(["a", "b"])),
        st.one_of(st.none(), st.floats(), st.sampled_from([1.0, 2.0])),
        st.decimals(-9, 9, places=2),
    ),
    max_size=12,
)


@given(rows_strategy, st.randoms(use_true_random=False))
def test_any_permutation_is_the_same_multiset(rows, random):
    shuffled = list(rows)
    random.shuffle(shuffled)
    assert difference(made(rows), made(shuffled)) is None


@given(rows_strategy.filter(bool), st.data())
def test_any_changed_cell_is_found(rows, data):
    row = data.draw(st.integers(0, len(rows) - 1))
    wrong = list(rows)
    wrong[row] = (*rows[row][:2], rows[row][2] + 100)
    assert difference(made(rows), made(wrong)) is not None
    assert difference(made(rows), made(wrong), order=(2,)) is not None


@given(st.lists(st.tuples(st.floats(0.5, 2.0), st.floats(0.5, 2.0)), max_size=8), st.data())
def test_rows_of_floats_are_paired_whatever_their_last_bits(rows, data):
    nudge = st.floats(-5e-11, 5e-11)
    near = [
        tuple(value * (1 + data.draw(nudge)) for value in row)
        for row in data.draw(st.permutations(rows))
    ]
    kinds = ("DOUBLE", "DOUBLE")
    assert (
        difference(Answer(("a", "b"), kinds, tuple(rows)), Answer(("a", "b"), kinds, tuple(near)))
        is None
    )


def test_arrow_tables_become_answers_with_columns_of_one_name():
    table = pa.Table.from_arrays([pa.array([1, None]), pa.array(["x", "y"])], names=["a", "a"])
    made_answer = answer(table, [("a", "BIGINT"), ("a", "VARCHAR")])
    assert made_answer.rows == ((1, "x"), (None, "y"))


def test_a_table_with_other_columns_than_described_is_refused():
    with pytest.raises(ValueError, match="1 columns in Arrow, 2 described"):
        answer(pa.table({"a": [1]}), [("a", "BIGINT"), ("b", "BIGINT")])


@pytest.mark.parametrize("lossless", [False, True])
def test_128_bit_integers_are_integers_however_arrow_carries_them(lossless: bool):
    values = [-(10**30), 0, 10**30, None]
    with duckdb.connect() as connection:
        connection.execute(f"SET arrow_lossless_conversion = {lossless}")
        listed = ", ".join("NULL" if value is None else str(value) for value in values)
        table = connection.sql(f"SELECT unnest([{listed}])::HUGEINT AS h").to_arrow_table()
    assert [row[0] for row in answer(table, [("h", "HUGEINT")]).rows] == values
