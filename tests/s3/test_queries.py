"""Answers over data on S3, exchanged through S3, whatever goes wrong on the way."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from faults import AtRandom
from s3_proxy import FaultProxy

from starling_py import RequestCounts
from starling_py.coordinator.transport import Transport
from starling_py.prices import request_dollars
from starling_py.tpch.texts import NUMBERS
from starling_py.tpch.verify import verify

SEED = int(os.environ.get("CHAOS_SEED", "3"))
BROKEN = 0.05
QUARTER = {("direct", False): 0, ("direct", True): 1, ("combined", False): 2, ("combined", True): 3}
"""Which queries each way runs, together all; with ``make chaos`` each runs all."""


@pytest.mark.parametrize("doublewrite", [False, True], ids=["once", "twice"])
@pytest.mark.parametrize("shuffle", ["direct", "combined"])
def test_tpch_when_one_request_in_twenty_fails(
    reach,
    tpch_folder: Path,
    tpch_url: str,
    make_proxy,
    monkeypatch,
    shuffle: str,
    doublewrite: bool,
):
    proxy: FaultProxy = make_proxy(
        reach.server, AtRandom(SEED, BROKEN), slow_seconds=0.02, seed=SEED
    )
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
    # At this scale nearly everything would travel in the reports.
    monkeypatch.setattr(Transport, "inline_limit", lambda *_: 0)
    queries = NUMBERS
    if "CHAOS_SCALE" not in os.environ:
        queries = NUMBERS[QUARTER[shuffle, doublewrite] :: len(QUARTER)]
    before = {thread.name for thread in threading.enumerate()}
    outcomes = list(
        verify(
            tpch_folder,
            queries=queries,
            tasks=4,
            workers=2,
            copy=tpch_url,
            scratch=reach.scratch,
            shuffle=shuffle,
            doublewrite=doublewrite,
        )
    )
    different = {each.query: each.difference for each in outcomes if each.difference}
    assert different == {}, f"seed {SEED}"
    assert [outcome.query for outcome in outcomes] == list(queries)
    moved = sum((outcome.requests for outcome in outcomes), RequestCounts())
    assert moved.put >= len(queries) * (9 if doublewrite else 4)
    assert proxy.injected().total() > 0.02 * proxy.counts().requests
    assert reach.left() == []
    assert {thread.name for thread in threading.enumerate()} <= before


@pytest.mark.parametrize("isolation", ["thread", "process"])
def test_data_and_scratch_on_s3(reach, numbers: str, isolation: str):
    with reach.connect(numbers, tasks=3, isolation=isolation) as connection:
        rows = connection.execute(
            "SELECT g, count(*), sum(k), max(t) FROM numbers GROUP BY g ORDER BY g"
        )
        groups = [range(g, 10_000, 7) for g in range(7)]
        expected = [
            (g, len(group), sum(group), max(map(str, group))) for g, group in enumerate(groups)
        ]
        assert rows.fetchall() == expected
        assert rows.run.requests.get > 0
        assert rows.run.planning_requests.list > 0
        # Tasks that ran here are an estimate, requests were paid for, and none are counted twice.
        price = rows.run.price
        assert price.paid == pytest.approx(request_dollars(rows.run.requests))
        assert [item.name for item in price.items if item.estimated] == ["calls", "compute"]
    assert reach.left() == []


def test_data_on_s3_and_scratch_here(reach, numbers: str):
    with reach.connect(numbers, tasks=2, scratch=None) as connection:
        cursor = connection.execute("SELECT count(DISTINCT t) FROM numbers WHERE k >= 2500")
        assert cursor.fetchall() == [(7500,)]
        assert cursor.run.requests.put == 0


def test_files_named_in_the_statement(reach, numbers: str):
    with reach.connect() as connection:
        files = f"read_parquet('{numbers}/*/[01].parquet', filename = true)"
        sql = f"SELECT count(*), min(filename) FROM {files}"
        assert connection.execute(sql).fetchall() == [(5000, f"{numbers}/numbers/0.parquet")]


@pytest.mark.parametrize("tasks", [None, 3])
def test_what_cannot_be_distributed_runs_above_scans(reach, numbers: str, tasks: int | None):
    with reach.connect(numbers, tasks=tasks) as connection:
        cursor = connection.execute("SELECT k, lag(k) OVER (ORDER BY k) AS b FROM numbers LIMIT 2")
        assert cursor.fetchall() == [(0, None), (1, 0)]
        sql = "SELECT struct_update({'a': k}, a := k + 1) FROM numbers ORDER BY k LIMIT 2"
        cursor = connection.execute(sql)
        assert cursor.fetchall() == [({"a": 1},), ({"a": 2},)]
        last = cursor.run.plan.stages[-1]
        assert last.fallback
        # Nothing is fetched of the columns that it does not read.
        sources = {column.name: column.source for column in last.inputs[0].columns}
        assert [name for name, source in sources.items() if source == "field"] == ["k"]


def test_row_groups_are_pruned_before_anything_is_fetched(reach, numbers: str):
    with reach.connect(numbers) as connection:
        connection.execute("SELECT sum(k) FROM numbers").fetchall()  # the footers are known then
        every = connection.execute("SELECT sum(k) FROM numbers").run.requests
        one = connection.execute("SELECT sum(k) FROM numbers WHERE k < 100").run.requests
        none = connection.execute("SELECT sum(k) FROM numbers WHERE k < 0").run.requests
        assert none.get < one.get < every.get
        assert one.bytes_in < every.bytes_in / 2


def test_a_column_is_all_that_is_fetched(reach, numbers: str):
    with reach.connect(numbers, s3={"gap": 0}) as connection:
        for _ in range(2):  # once for each worker, which remembers footers
            connection.execute("SELECT sum(k) FROM numbers").fetchall()
        narrow = connection.execute("SELECT sum(g) FROM numbers").run.requests
        wide = connection.execute("SELECT sum(g), max(t), sum(k) FROM numbers").run.requests
        counted = connection.execute("SELECT count(*) FROM numbers").run.requests
        # A column is read to count rows, and this is the smallest.
        assert counted.bytes_in <= narrow.bytes_in < wide.bytes_in / 2


def test_requests_for_the_columns_of_a_pivot_are_counted(reach, numbers: str):
    pivot = "PIVOT (SELECT g, k FROM numbers) ON g {} USING sum(k)"
    with reach.connect(numbers) as connection:
        connection.execute(pivot.format("")).fetchall()  # the footers are known then
        told = connection.execute(pivot.format("IN (0, 1, 2, 3, 4, 5, 6)")).run
        asked = connection.execute(pivot.format("")).run
    # What tasks fetched to find the values is in the bill of the statement.
    assert asked.planning_requests.get > told.planning_requests.get
    assert asked.price.paid > told.price.paid
