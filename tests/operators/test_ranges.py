"""Outputs by ranges: sorted rows in partitions of equal size, and the keys at which they begin."""

from __future__ import annotations

import msgspec
import pytest

from starling_py.operators.task import RangePartitioning, SinglePartition
from starling_py.shuffle.index import PartitionRun
from starling_py.shuffle.partition import BOUND_BYTES
from starling_py.shuffle.read import read_runs

KEY = "create_sort_key(c0, 'DESC NULLS FIRST', '', 'ASC NULLS LAST')"
RANGES = (RangePartitioning(KEY, "c0 DESC NULLS FIRST", 4),)


def rows(store, spec, report, first, last):
    entries = report.index.partitions[first:last]
    run = PartitionRun(spec.key, report.index.nonce, first, last, entries)
    return read_runs(store, (run,)).column(0).to_pylist()


def test_partitions_follow_one_another(plans, shuffle_room):
    spec = plans.spec("SELECT (i * 7 % 10)::INTEGER FROM range(10) t(i)", ("INTEGER",), (), RANGES)
    report = shuffle_room.report(spec)
    assert report.error is None
    assert rows(shuffle_room.store, spec, report, 0, 4) == list(range(9, -1, -1))
    assert [entry.rows for entry in report.index.partitions] == [2, 3, 2, 3]
    connection = shuffle_room.instance.connection
    keys = [
        connection.execute(f"SELECT {KEY} FROM (SELECT {n}::INTEGER AS c0)").fetchone()[0]
        for n in (9, 7, 4, 2, 0)
    ]
    assert report.bounds == tuple(keys)
    assert list(report.bounds) == sorted(report.bounds)


def test_few_rows_none_and_long_keys(plans, shuffle_room):
    spec = plans.spec("SELECT NULL::INTEGER WHERE false", ("INTEGER",), (), RANGES)
    assert shuffle_room.report(spec).bounds == ()
    spec = plans.spec("SELECT i::INTEGER FROM range(2) t(i)", ("INTEGER",), (), RANGES)
    report = shuffle_room.report(spec)
    assert (len(report.bounds), report.index.rows) == (3, 2)
    spec = plans.spec("SELECT repeat('x', 500)", ("VARCHAR",), (), RANGES)
    assert [len(bound) for bound in shuffle_room.report(spec).bounds] == [BOUND_BYTES] * 2


def test_what_loses_tells_the_bounds_of_what_won(plans, shuffle_room):
    first = plans.spec("SELECT i::INTEGER FROM range(8) t(i)", ("INTEGER",), (), RANGES)
    won = shuffle_room.report(first)
    second = msgspec.structs.replace(
        first, nonce="other", statement="SELECT i::INTEGER FROM range(100, 130) t(i)"
    )
    lost = shuffle_room.report(second)
    assert lost.index == won.index
    assert lost.bounds == won.bounds


@pytest.mark.parametrize("beside", [SinglePartition(), RANGES[0]])
def test_it_stands_alone(plans, shuffle_room, beside):
    spec = plans.spec("SELECT 1", ("INTEGER",), (), (*RANGES, beside))
    assert "beside others" in shuffle_room.report(spec).error.message
