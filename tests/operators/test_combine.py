"""Tasks that put the partitions of several objects together."""

from __future__ import annotations

import threading

import msgspec
import pyarrow as pa
import pytest

from starling_py.operators.combine import combine
from starling_py.operators.errors import Cancelled
from starling_py.operators.run import run_task
from starling_py.operators.task import (
    HashPartitioning,
    SamePartitions,
    ShuffleInput,
    TaskReport,
    TaskSpec,
)
from starling_py.shuffle.format import Producer
from starling_py.shuffle.index import PartitionRun
from starling_py.shuffle.local import LocalStore
from starling_py.shuffle.read import read_runs
from starling_py.shuffle.write import commit_output, commit_partitions

TYPES = ("BIGINT", "VARCHAR")


class NoInstance:
    """What a combiner has in the place of a DuckDB."""


def produce(store, task: int, tables, inline=False) -> PartitionRun:
    """Store an object of partitions and return the run of all of them."""
    key = f"q/stage-0000/task-{task:06d}.shuffle"
    producer = Producer("q", 0, task, f"n{task}")
    if inline:
        made = commit_output(store, key, producer, tables, inline_limit=1 << 20)
        data = made.inline[made.index.partitions[0].offset :]
        return PartitionRun(key, f"n{task}", 0, len(tables), made.index.partitions, data)
    index = commit_partitions(store, key, producer, tables)
    return PartitionRun(key, f"n{task}", 0, len(tables), index.partitions)


def numbered(*rows) -> pa.Table:
    texts = pa.array([f"row {row}" for row in rows], pa.string())
    return pa.table({"c0": pa.array(rows, pa.int64()), "c1": texts})


def combining(plans, runs, count: int, types=TYPES, **changes) -> TaskSpec:
    return plans.spec(
        "",
        types,
        [ShuffleInput("input_0", plans.columns(*types), tuple(runs))],
        outputs=(SamePartitions(count),),
        **changes,
    )


def combined(spec, store, **options) -> TaskReport:
    return run_task(spec, store, NoInstance(), **options)


def slices(run: PartitionRun, first: int, last: int) -> PartitionRun:
    return msgspec.structs.replace(run, first=first, last=last, entries=run.entries[first:last])


def partition(store, spec, number: int) -> list[dict]:
    return read_runs(store, [PartitionRun(spec.key, "", number, number + 1)]).to_pylist()


@pytest.mark.parametrize("codec", ["none", "lz4"])
def test_partitions_have_all_rows_in_the_order_of_the_producers(plans, store, codec):
    runs = [
        produce(store, 0, [numbered(1, 2), numbered(), numbered(3), numbered(99)]),
        produce(store, 1, [numbered(), numbered(), numbered(99), numbered(4, 5)]),
        produce(store, 2, [numbered(6), numbered(), numbered(7), numbered(8)]),
    ]
    spec = combining(plans, [slices(run, 1, 4) for run in runs], 3, codec=codec)
    before = store.meter.snapshot()
    report = combined(spec, store)
    asked = store.meter.snapshot() - before
    assert report.error is None
    assert [entry.rows for entry in report.index.partitions] == [0, 3, 4]
    assert [row["c0"] for row in partition(store, spec, 1)] == [3, 99, 7]
    assert partition(store, spec, 2) == numbered(99, 4, 5, 8).to_pylist()
    assert (report.metrics.rows_in, report.metrics.rows_out) == (7, 7)
    assert report.metrics.bytes_in > 0 < report.metrics.bytes_out
    assert (asked.get, asked.put) == (3, 1)


def test_consumers_get_one_batch_a_partition(plans, store):
    runs = [produce(store, at, [numbered(at), numbered(at, at)]) for at in range(10)]
    spec = combining(plans, runs, 2)
    assert combined(spec, store).error is None
    table = read_runs(store, [PartitionRun(spec.key, "", 0, 2)])
    assert [len(batch) for batch in table.to_batches()] == [10, 20]


def test_rows_without_columns_count(plans, store):
    def bare(rows: int) -> pa.Table:
        return numbered(*range(rows)).select([])

    runs = [produce(store, 0, [bare(3), bare(0)]), produce(store, 1, [bare(4), bare(5)])]
    spec = combining(plans, runs, 2, ())
    report = combined(spec, store)
    assert [entry.rows for entry in report.index.partitions] == [7, 5]
    assert read_runs(store, [PartitionRun(spec.key, "", 0, 2)]).num_rows == 12


def test_nothing_at_all(plans, store):
    spec = combining(plans, [], 3)
    report = combined(spec, store)
    assert report.error is None
    assert [entry.rows for entry in report.index.partitions] == [0, 0, 0]


def test_reports_may_carry_what_is_combined_and_what_comes_out(plans, tmp_path):
    store = LocalStore(tmp_path / "objects")
    runs = [
        produce(store, 0, [numbered(1), numbered(2)], inline=True),
        produce(store, 1, [numbered(3), numbered(4)]),
    ]
    spec = combining(plans, runs, 2, inline_limit=1 << 20)
    before = store.meter.snapshot()
    report = combined(spec, store)
    asked = store.meter.snapshot() - before
    assert (asked.get, asked.put) == (1, 0)
    entries = report.index.partitions
    run = PartitionRun("none", "", 0, 2, entries, report.inline[entries[0].offset :])
    assert read_runs(store, [run])["c0"].to_pylist() == [1, 3, 2, 4]


def test_what_a_statement_writes(plans, shuffle_room):
    types = ("BIGINT", "HUGEINT", "VARCHAR[]", "STRUCT(a INTEGER, b VARCHAR)", "UUID")
    columns = (
        "range AS c0, range::HUGEINT AS c1, ['x' || range] AS c2, "
        "{'a': range::INTEGER, 'b': 'y'} AS c3, uuid() AS c4"
    )
    specs = [
        plans.spec(
            f"SELECT {columns} FROM range({first}, {first + 50})",
            types,
            outputs=(HashPartitioning(("c0",), 4),),
        )
        for first in (0, 50)
    ]
    indexes = [shuffle_room.report(spec).index for spec in specs]
    runs = [
        PartitionRun(spec.key, index.nonce, 1, 4, index.partitions[1:])
        for spec, index in zip(specs, indexes, strict=True)
    ]
    spec = combining(plans, runs, 3, types)
    assert shuffle_room.report(spec).error is None
    for number in range(3):
        parts = [shuffle_room.read(each, number + 1, number + 2) for each in specs]
        assert shuffle_room.read(spec, number, number + 1).equals(pa.concat_tables(parts))


def test_producers_that_do_not_agree(plans, store):
    runs = [
        produce(store, 0, [numbered(1)]),
        produce(store, 1, [pa.table({"c0": [1.5], "c1": ["x"]})]),
    ]
    report = combined(combining(plans, runs, 1), store)
    assert report.error.code == "CORRUPT_OBJECT"
    assert "do not agree" in report.error.message


def test_runs_of_different_partitions(plans, store):
    runs = [produce(store, at, [numbered(1), numbered(2)]) for at in range(2)]
    spec = combining(plans, [slices(runs[0], 0, 1), slices(runs[1], 1, 2)], 1)
    assert combined(spec, store).error.code == "CORRUPT_OBJECT"
    assert combined(combining(plans, runs, 1), store).error.code == "CORRUPT_OBJECT"


def test_the_first_attempt_wins(plans, store):
    runs = [produce(store, at, [numbered(at)]) for at in range(2)]
    spec = combining(plans, runs, 1)
    first = combined(spec, store)
    second = combined(msgspec.structs.replace(spec, attempt=2, nonce="other"), store)
    assert second.index == first.index
    assert second.index.nonce == spec.nonce


def test_it_can_be_cancelled_and_runs_out_of_time(plans, store):
    runs = [produce(store, at, [numbered(at)]) for at in range(2)]
    cancelled = threading.Event()
    cancelled.set()
    assert combined(combining(plans, runs, 1), store, cancelled=cancelled).error.code == "CANCELLED"
    late = combining(plans, runs, 1, deadline=1.0)
    assert combined(late, store).error.code == "TASK_TIMED_OUT"


def test_it_looks_between_objects_whether_to_stop(plans, store):
    runs = [produce(store, at, [numbered(at)]) for at in range(9)]
    looks = 0

    def check():
        nonlocal looks
        looks += 1
        if looks == 5:
            raise Cancelled("enough")

    with pytest.raises(Cancelled):
        combine(combining(plans, runs, 1), store, check)
    assert looks == 5


def test_a_combiner_runs_no_statement(plans, store):
    runs = [produce(store, 0, [numbered(1)])]
    spec = msgspec.structs.replace(combining(plans, runs, 1), statement="SELECT 1")
    assert combined(spec, store).error.code == "TASK_FAILED"
