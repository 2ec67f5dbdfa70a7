"""The 22 queries through the engine, against plain DuckDB on the same files."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from starling_py.errors import StarlingError
from starling_py.tpch import verify as module
from starling_py.tpch.compare import Answer
from starling_py.tpch.texts import NUMBERS, text
from starling_py.tpch.verify import Oracle, Outcome, check_folder, totals, verify

WORKERS = 2

# What a scale factor of 0.01 answers; a harness that compares nothing with nothing is caught.
ROWS = {1: 4, 2: 4, 3: 10, 4: 5, 5: 5, 6: 1, 7: 4, 8: 2, 9: 173, 10: 20, 11: 359}
ROWS |= {12: 2, 13: 33, 14: 1, 15: 1, 16: 296, 17: 1, 18: 2, 19: 1, 20: 1, 21: 1, 22: 7}

# At this scale no part is of the brand and container of query 17, so that no row is left to move.
NOTHING_TO_MOVE = {17}


@pytest.mark.parametrize(
    ("tasks", "isolation"),
    [
        (None, "thread"),
        (3, "process"),
        (8, "thread"),
        pytest.param(None, "process", marks=pytest.mark.long),
        pytest.param(3, "thread", marks=pytest.mark.long),
        pytest.param(8, "process", marks=pytest.mark.long),
    ],
)
def test_all_queries_equal_plain_duckdb(tpch_folder: Path, tasks: int | None, isolation: str):
    outcomes = list(verify(tpch_folder, tasks=tasks, workers=WORKERS, isolation=isolation))
    assert [outcome.query for outcome in outcomes] == list(NUMBERS)
    different = {each.query: each.difference for each in outcomes if each.difference}
    assert different == {}
    assert {outcome.query: outcome.rows for outcome in outcomes} == ROWS
    if tasks is not None:
        # Every one of the 22 joins or groups: each must move data between stages, in tasks.
        idle = {each.query for each in outcomes if each.shuffled_bytes <= 0}
        assert idle <= NOTHING_TO_MOVE
        single = [each.query for each in outcomes if each.stages < 2 or each.tasks <= tasks]
        assert single == []


def test_queries_can_be_chosen_and_repeated(tpch_folder: Path):
    outcomes = list(verify(tpch_folder, queries=(6, 1), tasks=2, workers=WORKERS, repeat=2))
    assert [outcome.query for outcome in outcomes] == [6, 1]
    assert all(each.difference is None for each in outcomes)
    assert all(each.engine_seconds > 0 and each.duckdb_seconds > 0 for each in outcomes)


class OtherOracle(Oracle):
    """DuckDB with another text than the engine's: as if the engine answered wrongly."""

    sql = ""

    def describe(self, sql: str) -> list[tuple[str, str]]:
        return super().describe(self.sql or sql)

    def run(self, sql: str) -> tuple[Answer, float]:
        return super().run(self.sql or sql)


@pytest.mark.parametrize(
    ("right", "wrong", "difference"),
    [
        ("AS sum_qty", "AS qty", "column 3 is named 'sum_qty', expected 'qty'"),
        ("count(*)", "count(*)::INTEGER", "column 'count_order' is BIGINT, expected INTEGER"),
        ("interval 90 day", "interval 3000 day", "4 rows, expected 0"),
        ("interval 90 day", "interval 91 day", "missing row (N, O"),
        ("(1 + l_tax)", "(1 + l_tax + 0.00)", None),
    ],
)
def test_a_wrong_answer_is_reported(
    tpch_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    right: str,
    wrong: str,
    difference: str | None,
):
    monkeypatch.setattr(OtherOracle, "sql", text(1).replace(right, wrong))
    monkeypatch.setattr(module, "Oracle", OtherOracle)
    (outcome,) = verify(tpch_folder, queries=(1,), workers=WORKERS)
    assert (outcome.difference or "").startswith(difference or "")
    assert (outcome.difference is None) == (difference is None)


def test_an_engine_error_is_a_difference_and_the_rest_goes_on(
    tpch_folder: Path, monkeypatch: pytest.MonkeyPatch
):
    broken = {1: text(1), 6: "SELECT error(l_comment) AS revenue FROM lineitem"}
    monkeypatch.setattr(OtherOracle, "run", lambda self, _: Oracle.run(self, text(1)))
    monkeypatch.setattr(module, "Oracle", OtherOracle)
    monkeypatch.setattr(module, "text", broken.__getitem__)
    failed, fine = verify(tpch_folder, queries=(6, 1), workers=WORKERS)
    assert failed.difference is not None
    assert failed.difference.startswith("TASK_FAILED")
    assert math.isnan(failed.ratio)
    assert fine.difference is None


def test_a_folder_without_the_tables_is_refused(tmp_path: Path):
    with pytest.raises(StarlingError, match="no Parquet files of table 'lineitem'"):
        check_folder(tmp_path)


def test_totals_are_over_the_queries_that_both_answered():
    outcomes = [
        Outcome(1, None, engine_seconds=2.0, duckdb_seconds=1.0, peak_rss=(("w0", 5),)),
        Outcome(2, "different", engine_seconds=1.0, duckdb_seconds=2.0, peak_rss=(("w0", 9),)),
        Outcome(3, "failed", duckdb_seconds=50.0),
    ]
    total = totals(outcomes)
    assert (total.queries, total.different) == (3, 2)
    assert total.ratio == 1.0
    assert math.isclose(total.geometric_mean, 1.0)
    assert total.peak_rss == (("w0", 9),)


def test_totals_of_nothing_are_not_a_number():
    assert math.isnan(totals([Outcome(1, "failed")]).ratio)
