"""The handler: what it accepts, what it leaves, and what it loads."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from importlib.metadata import version

import hypothesis.strategies as st
import msgspec
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from s3_servers import BUCKET, KEY_ID, SECRET

from starling_py.operators.errors import Cancelled, OutOfMemory, TaskTimedOut
from starling_py.operators.quoting import encode_path
from starling_py.operators.run import run_task
from starling_py.operators.task import FileSink, ScanInput, ShuffleInput, SinkColumn, TaskReport
from starling_py.shuffle.index import PartitionRun
from starling_py.shuffle.locations import S3Location
from starling_py.shuffle.s3_options import S3Options
from starling_py.worker.errors import BadInvocation, FunctionMismatch
from starling_py.worker.function import SCRATCH_VARIABLE, FunctionWorker
from starling_py.worker.payload import (
    RELEASE,
    VERSION,
    Invocation,
    Outcome,
    as_text,
    call_key,
    from_text,
    pack,
    unpack_report,
    unpack_spec,
)
from starling_py.worker.size import function_threads, instance_limit, scan_room

ROLE = {"AWS_ACCESS_KEY_ID": KEY_ID, "AWS_SECRET_ACCESS_KEY": SECRET}


class Context:
    """What Lambda tells of a call."""

    def __init__(self, seconds: float = 60.0, memory: int = 1769) -> None:
        self.memory_limit_in_mb = str(memory)
        self.aws_request_id = "request"
        self._ends = time.monotonic() + seconds

    def get_remaining_time_in_millis(self) -> int:
        return int((self._ends - time.monotonic()) * 1000)


class Called:
    """A worker of a function, called in this process."""

    def __init__(self, worker: FunctionWorker, location: S3Location) -> None:
        self.worker = worker
        self.location = location

    def event(self, **changes) -> dict:
        values = {"version": VERSION, "store": self.location, "data": self.location.options}
        return msgspec.to_builtins(Invocation(**(values | changes)))

    def answer(self, event: object, context: Context | None = None) -> Outcome:
        raw = self.worker.answer(event, context or Context())
        return msgspec.json.decode(json.dumps(raw), type=Outcome)

    def run(self, spec, context: Context | None = None):
        outcome = self.answer(self.event(spec=as_text(pack(spec))), context)
        assert outcome.error is None, outcome.error
        return unpack_report(from_text(outcome.report))

    def refused(self, event: object) -> str:
        outcome = self.answer(event)
        assert outcome.error is not None
        assert outcome.report == outcome.outcome_key == ""
        assert outcome.error.code == BadInvocation.code
        return outcome.error.message


def rows_of(report) -> list[dict]:
    """Return the rows of a report that carries its output."""
    (entry,) = report.index.partitions
    data = report.inline[entry.offset : entry.offset + entry.length]
    return pa.ipc.open_stream(data).read_all().to_pylist()


@pytest.fixture
def called(place, tmp_path):
    worker = FunctionWorker(ROLE, tmp_path / "tmp")
    yield Called(worker, place.location)
    worker.close()


def test_the_version_is_that_of_the_package():
    assert version("starling-py") == RELEASE


def test_limits_come_from_the_size_of_the_function(called, plans):
    spec = plans.spec(
        "SELECT current_setting('threads')::BIGINT, current_setting('memory_limit')",
        ["BIGINT", "VARCHAR"],
        inline_limit=1000,
    )
    for memory, threads in ((3538, 2), (5307, 3), (10240, 6)):
        report = called.run(spec, Context(memory=memory))
        tenths = instance_limit(memory << 20) * 10 // (1 << 30)
        assert rows_of(report) == [{"c0": threads, "c1": f"{tenths / 10} GiB"}]


@pytest.mark.parametrize(
    ("mebibytes", "threads"),
    [(128, 1), (1769, 1), (2048, 1), (3008, 2), (3538, 2), (5307, 3), (7076, 4), (10240, 6)],
)
def test_threads_follow_the_memory(mebibytes, threads):
    assert function_threads(mebibytes) == threads


def test_a_task_that_fails_tells_no_value(called, plans):
    spec = plans.spec("SELECT md5(range::VARCHAR)::INTEGER FROM range(1)", ["INTEGER"])
    message = called.run(spec).error.message
    assert "Could not convert string '…' to INT32" in message


def test_a_task_that_runs_out_of_time_says_so(called, plans):
    endless = f"SELECT count(*) AS c0 FROM range(1000000000000) WHERE {os.getpid()} > 0"
    report = called.run(plans.spec(endless, ["BIGINT"]), Context(seconds=1.0))
    assert report.error.code == TaskTimedOut.code
    assert report.error.origin.query == "q"
    one = plans.spec("SELECT 1::BIGINT", ["BIGINT"], inline_limit=1000)
    assert called.run(one).error is None


def test_a_task_that_does_not_stop_is_left_to_itself(called, plans, monkeypatch):
    free = threading.Event()
    used = []

    def stuck(_, store, instance, **__):
        used.extend([store, instance])
        free.wait(30)

    with monkeypatch.context() as patch:
        patch.setattr("starling_py.worker.timed.run_task", stuck)
        spec = plans.spec("SELECT 1::BIGINT", ["BIGINT"], inline_limit=1000)
        context = Context(seconds=1.0)
        report = called.run(spec, context)
        assert context.get_remaining_time_in_millis() > 0
    assert report.error.code == TaskTimedOut.code

    def noted(spec, store, instance, **options):
        used.extend([store, instance])
        return run_task(spec, store, instance, **options)

    # What comes next has a DuckDB and connections of its own.
    monkeypatch.setattr("starling_py.worker.timed.run_task", noted)
    assert called.run(spec).error is None
    assert len(set(map(id, used))) == len(used) == 4
    used[0].close()
    free.set()


def test_a_task_is_stopped_outside_of_statements_too(called, plans, monkeypatch):
    def patient(spec, *_, cancelled, **__):
        cancelled.wait(30)
        error = Cancelled("as asked").record()
        return TaskReport(spec.query, 0, 0, 1, "as asked", error=error)

    monkeypatch.setattr("starling_py.worker.timed.run_task", patient)
    report = called.run(plans.spec("SELECT 1::BIGINT", ["BIGINT"]), Context(seconds=1.0))
    assert (report.error.code, report.worker) == (TaskTimedOut.code, "as asked")


def test_the_folder_is_empty_after_a_task_that_spills(called, plans, tmp_path):
    spec = plans.spec(
        "SELECT sum(r)::BIGINT FROM (SELECT row_number() OVER (ORDER BY hash(range)) AS r"
        " FROM range(3000000))",
        ["BIGINT"],
        inline_limit=1000,
    )
    assert called.run(spec, Context(memory=308)).error is None
    left = [path for path in (tmp_path / "tmp").rglob("*") if path.is_file()]
    assert left == []


def test_warm_state_is_kept(called, plans, place):
    file = place.upload(plans.parquet("x.parquet", "SELECT range AS x FROM range(1000)"))
    read = plans.scan({"x": "BIGINT"}, (file,))
    scan = ScanInput(read.name, read.columns, (file,))
    gets = []
    for _ in range(2):
        spec = plans.spec("SELECT sum(x)::BIGINT FROM input_0", ["BIGINT"], [scan], inline_limit=99)
        report = called.run(msgspec.structs.replace(spec, inline_limit=1000))
        gets.append(report.metrics.requests.get)
    # The second one has the footer already.
    assert gets[0] == gets[1] + 1


def test_a_function_that_is_too_small_for_a_task_fetches_nothing(called, plans, place, monkeypatch):
    file = place.upload(plans.parquet("x.parquet", "SELECT hash(range) AS x FROM range(10000)"))
    scan = ScanInput("input_0", plans.scan({"x": "UBIGINT"}, (file,)).columns, (file,))
    spec = plans.spec("SELECT count(x) FROM input_0", ["BIGINT"], [scan], inline_limit=1000)
    with monkeypatch.context() as patch:
        patch.setattr("starling_py.worker.function.scan_room", lambda _: 70_000)
        report = called.run(spec)
    assert report.error.code == OutOfMemory.code
    assert re.search(r"would fetch 0\.1 MB .* has room for 0\.1 MB", report.error.message)
    # The footer at most.
    assert report.metrics.requests.bytes_in < 70_000
    assert called.run(spec).error is None
    assert scan_room(512 << 20) == 268 << 20


@pytest.mark.parametrize(
    "event",
    [
        None,
        7,
        "text",
        [],
        {},
        {"version": 1},
        {"version": VERSION},
        {"version": VERSION, "store": {"type": "local", "path": "/"}, "data": {}, "spec": "x"},
        {"version": VERSION, "store": {"type": "s3", "bucket": "b"}, "data": {}},
        {"version": VERSION, "store": {"type": "s3", "bucket": "b"}, "data": {}, "spec": "*"},
        {"version": VERSION, "store": {"type": "s3", "bucket": "b"}, "data": {}, "x": 1},
        {"version": VERSION, "store": {"type": "s3", "bucket": 1}, "data": {}, "spec": "x"},
    ],
)
def test_an_event_that_is_none_of_ours(called, event):
    called.refused(event)


def test_an_event_of_another_version(called):
    outcome = called.answer(called.event(spec="AAAA") | {"version": "0.0.1+1"})
    assert outcome.error.code == FunctionMismatch.code
    assert outcome.version == VERSION


def test_an_error_that_nobody_expects_is_told_by_its_kind(called, plans, monkeypatch):
    def fail(*_):
        raise ValueError("secret value")

    monkeypatch.setattr("starling_py.worker.function.admit", fail)
    outcome = called.answer(called.event(spec=as_text(pack(plans.spec("SELECT 1", ["INTEGER"])))))
    assert (outcome.error.code, outcome.error.message) == ("TASK_FAILED", "ValueError")


def test_an_error_does_not_quote_the_event(called):
    event = called.event(spec="AAAA")
    event["store"]["options"]["encryption"] = "secret value"
    message = called.refused(event)
    assert "secret" not in message
    assert "$.store.options.encryption" in message


SPEC_BYTES = st.binary(max_size=200)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=SPEC_BYTES)
def test_any_bytes_are_no_spec(called, data):
    called.refused(called.event(spec=as_text(data) or "A"))


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(where=st.integers(0, 10_000), value=st.integers(1, 255))
def test_a_damaged_spec_is_refused_or_is_a_spec(where, value, plans):
    packed = bytearray(pack(plans.spec("SELECT 1", ["INTEGER"], nonce="ab", key="q/a")))
    packed[where % len(packed)] ^= value
    try:
        spec = unpack_spec(bytes(packed))
    except BadInvocation:
        return
    assert spec.columns is not None


def test_a_spec_that_unpacks_to_too_much(called):
    size = (1 << 40).to_bytes(8, "little")
    assert "allowed" in called.refused(called.event(spec=as_text(size + b"x" * 100)))


def test_a_task_that_names_another_querys_objects(called, plans):
    def refused(spec):
        return called.refused(called.event(spec=as_text(pack(spec))))

    run = PartitionRun("other/stage-0000/task-000000.shuffle", "n", 0, 1)
    read = ShuffleInput("input_0", (), (run,))
    assert "another query" in refused(plans.spec("SELECT 1", ["INTEGER"], [read]))
    assert "another query" in refused(plans.spec("SELECT 1", ["INTEGER"], key="other/x"))
    assert "key" in refused(plans.spec("SELECT 1", ["INTEGER"], key="q/../../x"))
    assert "not valid" in refused(plans.spec("SELECT 1", ["INTEGER"], query="a/b", key="a/b/c"))
    assert "not valid" in refused(plans.spec("SELECT 1", ["INTEGER"], nonce="../x"))


def test_a_task_that_reads_files_of_the_functions_machine(called, plans):
    file = plans.parquet("x.parquet", "SELECT range AS x FROM range(10)")
    read = plans.scan({"x": "BIGINT"}, (file,))
    scan = ScanInput(read.name, read.columns, (file,))
    spec = plans.spec("SELECT sum(x)::BIGINT FROM input_0", ["BIGINT"], [scan])
    assert "not on S3" in called.refused(called.event(spec=as_text(pack(spec))))
    # Nor by way of its statement.
    path = plans.folder / "x.parquet"
    for roots in ((), (encode_path(str(plans.folder)),), (encode_path("/"),)):
        spec = plans.spec(f"SELECT sum(x)::BIGINT FROM '{path}'", ["BIGINT"], roots=roots)
        report = called.run(spec)
        assert report.error is not None
        assert report.index is None


def test_a_task_that_writes_where_its_query_may_not(called, plans, place, tmp_path):
    columns = (SinkColumn("x", "INTEGER", "INTEGER"),)
    lake = f"s3://{BUCKET}/{place.prefix}/lake"

    def refused(folder, stem="part", extension=".parquet"):
        sink = FileSink(encode_path(folder), stem, extension, "parquet", "", columns)
        spec = plans.spec("SELECT 1", ["VARCHAR", "BIGINT", "BIGINT"], sink=sink)
        return called.refused(called.event(spec=as_text(pack(spec))))

    assert "not on S3" in refused(str(tmp_path))
    for folder in (lake, f"{lake}/.starling-other", f"{lake}/.starling-q/deeper", f"{lake}/q"):
        assert "may not" in refused(folder)
    hidden = f"{lake}/.starling-q"
    assert "names" in refused(hidden, stem="../part")
    assert "names" in refused(hidden, extension=".parquet/x")


def test_a_function_writes_below_its_own_scratch_only(place, plans, tmp_path):
    url = f"s3://{BUCKET}/{place.prefix}"
    spec = as_text(pack(plans.spec("SELECT 1::BIGINT", ["BIGINT"], inline_limit=1000)))
    worker = FunctionWorker(ROLE | {SCRATCH_VARIABLE: url}, tmp_path / "tmp")
    for location, allowed in (
        (S3Location(BUCKET, place.prefix, place.location.options), True),
        (S3Location(BUCKET, f"{place.prefix}/deeper", place.location.options), True),
        (S3Location(BUCKET, f"{place.prefix}2", place.location.options), False),
        (S3Location(BUCKET, "", place.location.options), False),
        (S3Location("other", place.prefix, place.location.options), False),
        (S3Location(BUCKET, f"{place.prefix}/../x", place.location.options), False),
    ):
        called = Called(worker, location)
        if allowed:
            assert called.answer(called.event(spec=spec)).error is None
        else:
            assert place.prefix not in called.refused(called.event(spec=spec))
    worker.close()


def test_a_spec_in_the_store(called, plans, place):
    store = place.server.store(place.prefix)
    spec = plans.spec("SELECT 1::BIGINT", ["BIGINT"], inline_limit=1000)
    key = call_key("q", spec.nonce, "spec")
    store.put(key, [pack(spec)])
    assert called.answer(called.event(spec_key=key)).error is None
    other = call_key("r", spec.nonce, "spec")
    store.put(other, [pack(spec)])
    assert "another query" in called.refused(called.event(spec_key=other))
    assert "key" in called.refused(called.event(spec_key="q/stage-0000/task-000000.shuffle"))
    missing = called.answer(called.event(spec_key=call_key("q", "none", "spec")))
    assert missing.error.code == "OBJECT_MISSING"
    store.delete([key, other])
    store.close()


def test_no_credentials_are_a_typed_error(place, tmp_path, plans):
    worker = FunctionWorker({}, tmp_path / "tmp")
    called = Called(worker, place.location)
    spec = as_text(pack(plans.spec("SELECT 1::BIGINT", ["BIGINT"])))
    assert called.answer(called.event(spec=spec)).error.code == "CREDENTIALS_MISSING"
    worker.close()


def test_public_data_needs_no_credentials_of_its_own(called, plans):
    event = called.event(
        spec=as_text(pack(plans.spec("SELECT 1::BIGINT", ["BIGINT"], inline_limit=1000))),
        data=S3Options(anonymous=True),
    )
    assert called.answer(event).error is None


def test_what_a_cold_start_loads():
    code = (
        # pyarrow takes numpy where it is installed; a bundle has none.
        "import sys; sys.modules['numpy'] = None\n"
        "import starling_py.worker.handler\n"
        "heavy = {'boto3', 'botocore', 'click', 'rich', 'sqlglot', 'pandas',"
        " 'hypothesis', 'starling_py.planner', 'starling_py.invokers',"
        " 'starling_py.coordinator', 'starling_py.catalog'}\n"
        "sys.stdout.write(str(sorted(heavy & set(sys.modules))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60, check=True)
    assert done.stdout == b"[]"


def test_a_cold_start_loads_only_what_a_bundle_holds():
    code = (
        "import sys, starling_py.worker.handler\n"
        "names = {'.'.join(name.split('.')[:2]) for name in sys.modules"
        " if name.startswith('starling_py.')}\n"
        "sys.stdout.write(str(sorted(names)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60, check=True)
    rooms = ["starling_py.operators", "starling_py.shuffle", "starling_py.worker"]
    assert done.stdout.decode() == str(rooms)
