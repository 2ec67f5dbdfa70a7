"""Runs as data: statistics, JSON, and two runs side by side."""

from __future__ import annotations

import math
import statistics
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from starling_py import RequestCounts
from starling_py.tpch.errors import TpchError
from starling_py.tpch.measurements import (
    FORMAT,
    Execution,
    Machine,
    Measurements,
    Settings,
    Versions,
    geometric_mean,
    load,
    percentile,
    save,
)
from starling_py.tpch.summary import dollars, line, totals
from starling_py.tpch.versus import changes, overall, unlike

SECONDS = st.lists(st.floats(0.001, 1000), min_size=1, max_size=30)


def measured(*executions: Execution, seconds: float = 1.0, **settings) -> Measurements:
    engines = tuple(dict.fromkeys(each.engine for each in executions)) or ("starling",)
    queries = tuple(dict.fromkeys(each.query for each in executions))
    return Measurements(
        "power",
        "2026-11-26T12:00:00+00:00",
        1.0,
        Machine("Linux", "a processor", 2, 1 << 34, 0.5),
        Versions("0.1.0", "abc", "3.11", "2.0.0", "26.0.1"),
        Settings("data", queries, engines, **settings),
        seconds,
        executions,
    )


def ours(query: int, seconds: float, **more) -> Execution:
    return Execution("starling", query, seconds, **more)


@given(SECONDS)
def test_percentiles(values):
    assert percentile(values, 0) == min(values)
    assert percentile(values, 100) == max(values)
    assert percentile(values, 50) == pytest.approx(statistics.median(values))
    if len(values) > 1:
        quartiles = statistics.quantiles(values, n=4, method="inclusive")
        assert [percentile(values, p) for p in (25, 50, 75)] == pytest.approx(quartiles)


@given(SECONDS)
def test_geometric_mean(values):
    assert geometric_mean(values) == pytest.approx(statistics.geometric_mean(values))


def test_of_nothing_there_is_no_mean():
    assert math.isnan(percentile([], 50))
    assert math.isnan(geometric_mean([]))


def test_only_what_was_answered_and_not_to_warm_up_counts():
    run = measured(
        ours(1, 9.0, warm_up=True),
        ours(1, 2.0),
        ours(1, 4.0),
        ours(2, 1.0, error="TASK: it failed"),
        Execution("duckdb", 1, 3.0),
        Execution("duckdb", 2, 3.0),
    )
    assert run.median("starling", 1) == 3.0
    assert run.answered() == (1,)
    assert run.answered("duckdb") == (1, 2)
    assert [each.query for each in run.failures()] == [2]
    text = "\n".join(totals(run))
    assert "ratio of totals 1.00" in text
    assert "failed or different: Q2" in text


def test_a_run_survives_its_file(tmp_path: Path):
    run = measured(
        ours(1, 2.0, requests=RequestCounts(get=3, kms=1), dollars=1e-9),
        ours(1, 3.0, difference="1 rows, expected 2"),
        seed=7,
        tasks=8,
    )
    path = tmp_path / "deep" / "run.json"
    save(run, path)
    assert load(path) == run


@pytest.mark.parametrize("text", ["", "[]", '{"kind": "power"}', "\xff", None])
def test_what_is_no_run(tmp_path: Path, text: str | None):
    path = tmp_path / "run.json"
    if text is not None:
        path.write_text(text, encoding="latin-1")
    with pytest.raises(TpchError, match=r"run\.json"):
        load(path)


def test_a_later_version_is_refused(tmp_path: Path):
    path = tmp_path / "run.json"
    save(msgspec.structs.replace(measured(ours(1, 1.0)), format=FORMAT + 1), path)
    with pytest.raises(TpchError, match="later version"):
        load(path)


def test_an_unwritable_file_is_an_error(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(TpchError, match="cannot write"):
        save(measured(ours(1, 1.0)), tmp_path / "file" / "run.json")


@pytest.mark.parametrize(
    ("first", "second", "noise"),
    [
        ([1.0, 1.1], [2.0, 2.1], False),
        ([1.0, 2.0], [1.9, 3.0], True),
        ([1.0, 1.01], [1.03, 1.04], True),  # apart, but by less than 5 %
        ([1.0], [2.0, 2.1], None),
        ([1.0], [1.0], True),
    ],
)
def test_what_is_noise(first, second, noise):
    one = measured(*(ours(1, seconds) for seconds in first))
    other = measured(*(ours(1, seconds) for seconds in second))
    (change,) = changes(one, other)
    assert change.noise is noise
    assert change.ratio == pytest.approx(statistics.median(second) / statistics.median(first))


def test_two_runs():
    one = measured(ours(1, 1.0, dollars=1.0), ours(2, 4.0, dollars=2.0), ours(3, 1.0), tasks=8)
    other = measured(ours(1, 2.0, dollars=3.0), ours(2, 2.0, dollars=6.0))
    found = changes(one, other)
    assert [change.query for change in found] == [1, 2]
    total, mean, paid = overall(found, "starling")
    assert (total, mean, paid) == pytest.approx((0.8, 1.0, 3.0))
    assert unlike(one, other) == ["tasks: 8, auto"]
    assert changes(one, measured(Execution("duckdb", 1, 1.0))) == []


def test_a_query_without_an_answer_has_a_line():
    text = line([ours(4, 0.0, error="TASK: broken")], ("starling",))
    assert text.startswith("Q4 ")
    assert text.endswith("TASK: broken")


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (0.0, "$0"),
        (math.nan, "$0"),
        (0.00012345, "$0.00012"),
        (0.5, "$0.50"),
        (1234.5, "$1,234.50"),
    ],
)
def test_dollars(amount: float, text: str):
    assert dollars(amount) == text
