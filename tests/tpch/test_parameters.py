"""Drawn parameters: from the specification's lists, in their places, the same for the same seed."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from starling_py.tpch import words
from starling_py.tpch.parameters import VALIDATION, draw, substituted
from starling_py.tpch.texts import NUMBERS, ordering, text

# How often each part stands in its text, where it is not once.
TIMES = {4: {0: 2}, 5: {1: 2}, 6: {0: 2, 1: 2}, 7: {0: 2, 1: 2}, 10: {0: 2}, 11: {0: 2}}
TIMES |= {12: {1: 2}, 14: {0: 2}, 15: {0: 2}, 20: {1: 2}, 22: {0: 2}, 2: {2: 2}, 3: {1: 2}}

SEEDS = st.integers(0, 2**32)
QUERIES = st.sampled_from(list(NUMBERS))


@pytest.mark.parametrize("number", NUMBERS)
def test_what_varies_stands_in_the_text_of_validation(number: int):
    for at, part in enumerate(VALIDATION[number]):
        assert text(number).count(part) == TIMES.get(number, {}).get(at, 1), part
    assert substituted(number, VALIDATION[number]) == text(number)


@given(QUERIES, SEEDS, st.integers(0, 5))
def test_drawn_values_are_in_their_places(number: int, seed: int, stream: int):
    values = draw(number, seed, stream)
    assert values == draw(number, seed, stream)
    made = substituted(number, values)
    # Nothing else differs: what stands between the parts is as it was.
    ends = "|".join(map(re.escape, sorted(VALIDATION[number], key=len, reverse=True)))
    between = [re.escape(piece) for piece in re.split(ends, text(number))]
    assert re.fullmatch("(?s:.+?)".join(between), made)
    for value in values:
        assert value in made


def test_seeds_and_streams_differ():
    def everything(seed: int, stream: int) -> list[tuple[str, ...]]:
        return [draw(number, seed, stream) for number in NUMBERS]

    assert everything(1, 0) != everything(2, 0)
    assert everything(1, 0) != everything(1, 1)
    # Each parameter takes more than one value.
    for number in NUMBERS:
        seen = [draw(number, seed) for seed in range(40)]
        columns = list(zip(*seen, strict=True))
        if number == 11:
            assert set(columns.pop()) == {"0.0001"}  # that depends on the scale alone
        assert all(len(set(column)) > 1 for column in columns)
    assert draw(11, 0, scale=100_000.0)[1] == "0.000000001"


def test_a_wrong_number_of_values_is_refused():
    with pytest.raises(ValueError, match="argument"):
        substituted(1, ())


def test_the_words_are_those_of_the_data(oracle):
    def values(sql: str) -> set[str]:
        return {row[0] for row in oracle.run(sql)[0].rows}

    assert values("SELECT n_name FROM nation") == set(words.NATIONS)
    pairs = oracle.run("SELECT n_name, r_name FROM nation, region WHERE r_regionkey = n_regionkey")
    assert dict(pairs[0].rows) == words.NATIONS
    assert values("SELECT DISTINCT c_mktsegment FROM customer") == set(words.SEGMENTS)
    assert values("SELECT DISTINCT l_shipmode FROM lineitem") == set(words.MODES)
    assert values("SELECT DISTINCT unnest(string_split(p_name, ' ')) FROM part") == set(
        words.COLOURS
    )
    kinds = values("SELECT DISTINCT p_type FROM part")
    assert {tuple(kind.split()) for kind in kinds} == {
        (a, b, c) for a in words.TYPES[0] for b in words.TYPES[1] for c in words.TYPES[2]
    }
    containers = values("SELECT DISTINCT p_container FROM part")
    assert containers == {f"{a} {b}" for a in words.CONTAINERS[0] for b in words.CONTAINERS[1]}
    assert values("SELECT DISTINCT left(c_phone, 2) FROM customer") == set(map(str, range(10, 35)))


@settings(max_examples=20, deadline=None)
@given(QUERIES, SEEDS, st.sampled_from([0.01, 1.0, 300.0, 1e5]))
def test_duckdb_takes_the_texts(oracle, number: int, seed: int, scale: float):
    made = substituted(number, draw(number, seed, scale=scale))
    described = oracle.describe(made)
    assert described == oracle.describe(text(number))
    ordering(made, tuple(name for name, _ in described))
    oracle.run(made)
