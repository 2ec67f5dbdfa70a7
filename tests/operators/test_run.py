"""One task: its statement, its output, its report, and what it leaves behind."""

from __future__ import annotations

import threading
import time
from contextlib import closing

import msgspec
import pytest
from lambda_processes import until
from scripted_s3 import Fault, open_store, serving

from starling_py.operators.errors import Cancelled, OutOfMemory, TaskFailed, TaskTimedOut
from starling_py.operators.run import run_task
from starling_py.operators.task import (
    HashPartitioning,
    InputColumn,
    ScanColumn,
    ScanInput,
    Setting,
    ShuffleInput,
    SinglePartition,
    TaskReport,
    TaskSpec,
)
from starling_py.shuffle.index import PartitionRun

VALUES = {
    "BOOLEAN": "true",
    "TINYINT": "-128",
    "UTINYINT": "255",
    "SMALLINT": "-1",
    "USMALLINT": "1",
    "INTEGER": "-1",
    "UINTEGER": "4294967295",
    "BIGINT": "-9223372036854775808",
    "UBIGINT": "18446744073709551615",
    "HUGEINT": "-170141183460469231731687303715884105728",
    "UHUGEINT": "340282366920938463463374607431768211455",
    "BIGNUM": "123456789012345678901234567890123456789012345",
    "FLOAT": "'nan'",
    "DOUBLE": "'-0.0'",
    "DECIMAL(4,1)": "-1.5",
    "DECIMAL(9,2)": "1.5",
    "DECIMAL(18,3)": "1.5",
    "DECIMAL(38,0)": "12345678901234567890123456789012345678",
    "VARCHAR": "'Grüße'",
    "BLOB": "'\\xAA\\x00'",
    "BIT": "'10101'",
    "UUID": "'eeccb8c5-9943-b2bb-bb5e-222f4e14b687'",
    "DATE": "'-infinity'",
    "TIME": "'01:02:03.000004'",
    "TIME_NS": "'01:02:03.000000004'",
    "TIMETZ": "'01:02:03+02'",
    "TIMESTAMP": "'2020-01-01 01:02:03.123456'",
    "TIMESTAMP_S": "'2020-01-01 01:02:03'",
    "TIMESTAMP_MS": "'2020-01-01 01:02:03.123'",
    "TIMESTAMP_NS": "'2020-01-01 01:02:03.123456789'",
    "TIMESTAMPTZ": "'2020-01-01 01:02:03+03'",
    "INTERVAL": "'3 months 2 days 1.5 seconds'",
    "ENUM('x', 'y''z')": "'y''z'",
    "ENUM('x', 'y')[]": "['y', NULL]",
    "STRUCT(e ENUM('p', 'q'), n INTEGER)": "{'e': 'q', 'n': 1}",
    "INTEGER[]": "[1, NULL]",
    "HUGEINT[][]": "[[1], []]",
    "INTEGER[2]": "[1, 2]",
    'STRUCT(a INTEGER, "B c" HUGEINT)': "{'a': 1, 'B c': 2}",
    "MAP(VARCHAR, UUID)": "MAP {'a': 'eeccb8c5-9943-b2bb-bb5e-222f4e14b687'}",
    "UNION(i INTEGER, s VARCHAR)": "'a'",
    "JSON": """'{"a": [1, null]}'""",
    "VARIANT": "5",
    "GEOMETRY": "'POINT (1 2)'",
    '"NULL"': "NULL",
}


@pytest.mark.parametrize("type_", VALUES)
@pytest.mark.parametrize("partitions", [1, 4])
def test_every_type_survives_the_shuffle(plans, shuffle_room, type_, partitions):
    outputs = (SinglePartition(),) if partitions == 1 else (HashPartitioning(("c0",), partitions),)
    value = f"CAST({VALUES[type_]} AS {type_})"
    produce = plans.spec(
        f"SELECT range AS c0, CASE WHEN range % 3 > 0 THEN {value} END AS c1 FROM range(50)",
        ["BIGINT", type_],
        outputs=outputs,
    )
    report = shuffle_room.report(produce)
    assert report.error is None
    runs = (PartitionRun(produce.key, produce.nonce, 0, partitions, report.index.partitions),)
    shuffled = ShuffleInput("input_0", plans.columns("BIGINT", type_), runs)
    expected = f"CASE WHEN c0 % 3 > 0 THEN {value} END"
    same = (
        f"SELECT count(*) FILTER (c1 IS NOT DISTINCT FROM {expected}), any_value(typeof(c1)),"
        f" any_value(typeof({expected})) FROM input_0"
    )
    check = plans.spec(same, ["BIGINT", "VARCHAR", "VARCHAR"], [shuffled])
    ((count, found, wanted),) = shuffle_room.rows(check)
    assert (count, found) == (50, wanted)
    again = plans.spec("SELECT c0, c1 FROM input_0", ["BIGINT", type_], [shuffled])
    assert shuffle_room.report(again).error is None
    assert shuffle_room.leftovers() == []


def test_a_spec_can_be_replayed_from_its_json(plans, room):
    file = plans.parquet("ä b.parquet", "SELECT range AS x FROM range(10)")
    spec = plans.spec(
        "SELECT x AS c0 FROM input_0 WHERE x % 2 = 0",
        ["BIGINT"],
        [ScanInput("input_0", (ScanColumn("x", "BIGINT", field="x"),), (file,))],
        outputs=(HashPartitioning(("c0",), 4, spread_nulls=True),),
    )
    text = msgspec.json.encode(spec)
    again = msgspec.json.decode(text, type=TaskSpec)
    assert again == spec
    report = room.report(again)
    assert msgspec.json.decode(msgspec.json.encode(report), type=TaskReport) == report
    assert sorted(room.read(spec, 0, 4)["c0"].to_pylist()) == [0, 2, 4, 6, 8]


def test_equal_keys_share_a_partition(plans, room):
    spec = plans.spec(
        "SELECT range % 97 AS c0, range AS c1 FROM range(1000)",
        ["BIGINT", "BIGINT"],
        outputs=(HashPartitioning(("c0",), 8),),
    )
    assert room.report(spec).error is None
    places: dict[int, set[int]] = {}
    rows = []
    for partition in range(8):
        for row in room.read(spec, partition, partition + 1).to_pylist():
            places.setdefault(row["c0"], set()).add(partition)
            rows.append(row["c1"])
    assert sorted(rows) == list(range(1000))
    assert all(len(found) == 1 for found in places.values())
    assert len(set.union(*places.values())) > 4


def test_several_outputs_follow_one_another(plans, room):
    spec = plans.spec(
        "SELECT range AS c0, -range AS c1 FROM range(100) -- with a comment",
        ["BIGINT", "BIGINT"],
        outputs=(HashPartitioning(("c0",), 3), SinglePartition(), HashPartitioning(("c1",), 2)),
    )
    report = room.report(spec)
    assert len(report.index.partitions) == 6
    for first, last in ((0, 3), (3, 4), (4, 6)):
        assert sorted(room.read(spec, first, last)["c0"].to_pylist()) == list(range(100))
    assert room.read(spec, 3, 4).column_names == ["c0", "c1"]


def test_columns_are_renamed_by_position(plans, room):
    spec = plans.spec("SELECT 1 AS a, 2 AS a, 3;", ["INTEGER"] * 3)
    assert room.table(spec).to_pylist() == [{"c0": 1, "c1": 2, "c2": 3}]
    hashed = plans.spec(
        "SELECT 1 AS a, 2 AS a, 3;",
        ["INTEGER"] * 3,
        outputs=(HashPartitioning(("c1", "c2"), 2),),
    )
    assert room.table(hashed).to_pylist() == [{"c0": 1, "c1": 2, "c2": 3}]


def test_order_survives_a_single_partition(plans, room):
    spec = plans.spec("SELECT range FROM range(10000) ORDER BY hash(range)", ["BIGINT"])
    found = [x for (x,) in room.rows(spec)]
    assert found != sorted(found)
    again = plans.spec("SELECT range FROM range(10000) ORDER BY hash(range)", ["BIGINT"])
    assert found == [x for (x,) in room.rows(again)]


def test_an_empty_shuffle_input_has_its_types(plans, room):
    columns = plans.columns("ENUM('x')", "HUGEINT")
    statement = "SELECT count(*), sum(c1), max(typeof(c0)) FROM input_0"
    spec = plans.spec(
        statement, ["BIGINT", "HUGEINT", "VARCHAR"], [ShuffleInput("input_0", columns, ())]
    )
    assert room.rows(spec) == [(0, None, None)]


def test_an_input_may_be_named_twice(plans, room):
    produce = plans.spec("SELECT range FROM range(1000)", ["BIGINT"])
    report = room.report(produce)
    run = PartitionRun(produce.key, produce.nonce, 0, 1, report.index.partitions)
    twice = ShuffleInput("input_0", plans.columns("BIGINT"), (run, run), reads=2)
    spec = plans.spec(
        "SELECT count(*) FROM input_0 a JOIN input_0 b ON a.c0 = b.c0", ["BIGINT"], [twice]
    )
    assert room.rows(spec) == [(4000,)]


def test_the_first_commit_wins_and_both_attempts_report_it(plans, room):
    spec = plans.spec("SELECT random()", ["DOUBLE"], nonce="first")
    first = room.report(spec)
    second = room.report(msgspec.structs.replace(spec, nonce="second", attempt=2))
    assert first.index == second.index
    assert second.index.nonce == "first"


FAILURES = [
    ("SELECT CAST('x' AS INTEGER)", "Could not convert string 'x'"),
    ("SELECT 1 % 0", "Division by zero"),
    ("SELECT (SELECT range FROM range(3))::INTEGER", "More than one row returned by a subquery"),
    ("SELECT 2147483647::INTEGER + 1::INTEGER", "Overflow"),
    ("SELECT error('boo')::INTEGER", "boo"),
    ("SELECT nothing", "nothing"),
    ("SELEC 1", "syntax error"),
    ("SELECT 1::BIGINT", "column c0 is BIGINT, INTEGER was declared"),
    ("SELECT 1, 2", "the statement has 2 columns, 1 were declared"),
]


@pytest.mark.parametrize(("statement", "message"), FAILURES)
def test_a_failing_statement_is_a_typed_error(plans, room, statement, message):
    run = PartitionRun("q/none", "", 0, 1)
    produce = plans.spec("SELECT 1", ["INTEGER"], key="q/none")
    assert room.report(produce).error is None
    inputs = [ShuffleInput("input_0", plans.columns("INTEGER"), (run,))]
    spec = plans.spec(statement, ["INTEGER"], inputs, query="q7", stage=3, task=5, attempt=2)
    report = room.report(spec, worker="w1")
    assert report.index is None
    assert report.worker == "w1"
    assert report.error.code == TaskFailed.code
    assert message in report.error.message
    assert "\n" not in report.error.message
    origin = report.error.origin
    assert (origin.query, origin.stage, origin.task, origin.attempt) == ("q7", 3, 5, 2)
    assert room.leftovers() == []
    assert room.rows(plans.spec("SELECT 1", ["INTEGER"])) == [(1,)]


def test_a_missing_object_is_a_store_error(plans, room):
    run = PartitionRun("q/none", "", 0, 1)
    spec = plans.spec(
        "FROM input_0", ["INTEGER"], [ShuffleInput("input_0", plans.columns("INTEGER"), (run,))]
    )
    assert room.report(spec).error.code == "OBJECT_MISSING"


def test_too_little_memory_is_a_typed_error(plans, room):
    spec = plans.spec(
        "SELECT len(list(range)) FROM range(100000000)", ["BIGINT"], memory_limit=32 << 20
    )
    assert room.report(spec).error.code == OutOfMemory.code


def test_spilling_leaves_no_file(plans, room, tmp_path):
    spec = plans.spec(
        "SELECT sum(r)::BIGINT FROM (SELECT row_number() OVER (ORDER BY hash(range)) AS r"
        " FROM range(3000000))",
        ["BIGINT"],
        memory_limit=40 << 20,
    )
    assert room.rows(spec) == [(3000000 * 3000001 // 2,)]
    assert not (tmp_path / "spill").exists() or not list((tmp_path / "spill").iterdir())


def test_a_running_statement_is_interrupted(plans, room):
    spec = plans.spec("SELECT count(*) FROM range(1000000000000)", ["BIGINT"])
    cancelled = threading.Event()
    reports = []
    thread = threading.Thread(target=lambda: reports.append(room.report(spec, cancelled=cancelled)))
    thread.start()
    time.sleep(0.2)
    cancelled.set()
    deadline = time.monotonic() + 30
    while thread.is_alive() and time.monotonic() < deadline:
        room.instance.interrupt()
        thread.join(0.02)
    assert reports[0].error.code == Cancelled.code
    assert room.rows(plans.spec("SELECT 1", ["INTEGER"])) == [(1,)]


def test_a_task_is_cancelled_while_it_waits_for_its_input(plans, room):
    cancelled = threading.Event()
    with serving() as server, closing(open_store(server)) as store:
        server.script.faults.extend([Fault(200, seconds=60)] * 5)
        runs = (PartitionRun("q/stage-0000/task-000000.shuffle", "n", 0, 1),)
        read = ShuffleInput("input_0", plans.columns("INTEGER"), runs)
        spec = plans.spec("SELECT count(*) FROM input_0", ["BIGINT"], [read])
        reports = []

        def run() -> None:
            reports.append(run_task(spec, store, room.instance, cancelled=cancelled))

        thread = threading.Thread(target=run)
        thread.start()
        until(lambda: server.script.in_flight)
        cancelled.set()
        thread.join(30)
        assert reports[0].error.code == Cancelled.code
        until(lambda: not server.script.in_flight)


def test_a_task_past_its_deadline_does_not_start(plans, room):
    spec = plans.spec("SELECT 1", ["INTEGER"], deadline=time.time() - 1)
    assert room.report(spec).error.code == TaskTimedOut.code


def test_session_settings_hold_for_their_query_only(plans, room):
    statement = "SELECT hour(CAST('2024-06-01 12:00:00+00' AS TIMESTAMPTZ)), 7 / 2 = 3"

    def answer(**settings):
        wanted = tuple(Setting(name, value) for name, value in settings.items())
        return room.rows(plans.spec(statement, ["BIGINT", "BOOLEAN"], settings=wanted))

    assert answer(TimeZone="Asia/Tokyo", integer_division="true") == [(21, True)]
    assert answer(TimeZone="UTC") == [(12, False)]
    assert answer(TimeZone="Asia/Tokyo") == [(21, False)]
    assert answer(default_null_order="nulls_first", TimeZone="UTC") == [(12, False)]


def test_a_setting_that_fails_is_forgotten(plans, room):
    bad = (Setting("TimeZone", "Asia/Tokyo"), Setting("no_such_setting", "1"))
    error = room.report(plans.spec("SELECT 1", ["INTEGER"], settings=bad)).error
    assert error.code == TaskFailed.code
    good = (Setting("TimeZone", "UTC"),)
    spec = plans.spec("SELECT current_setting('TimeZone')", ["VARCHAR"], settings=good)
    assert room.rows(spec) == [("UTC",)]


def test_metrics_tell_rows_bytes_and_memory(plans, room):
    produce = plans.spec("SELECT range FROM range(1000)", ["BIGINT"])
    first = room.report(produce)
    run = PartitionRun(produce.key, produce.nonce, 0, 1, first.index.partitions)
    shuffled = ShuffleInput("input_0", (InputColumn("c0", "BIGINT"),), (run,))
    spec = plans.spec("SELECT c0 FROM input_0 WHERE c0 < 10", ["BIGINT"], [shuffled])
    metrics = room.report(spec).metrics
    assert (metrics.rows_in, metrics.rows_out) == (1000, 10)
    assert metrics.bytes_in == first.metrics.bytes_out >= 8000
    assert metrics.bytes_out >= 80
    assert metrics.requests.requests == 0  # nobody charges for this machine's own store
    assert metrics.peak_rss > 10 << 20
    assert metrics.seconds >= metrics.statement_seconds > 0
