"""The coordinator's function as Lambda calls it: what it accepts, and what its log shows."""

from __future__ import annotations

import base64
import time

import boto3
import msgspec
import pytest
from s3_servers import BUCKET

from starling_py.detached.files import QueryFiles
from starling_py.detached.handler import answer
from starling_py.detached.state import Claim, Request, Start
from starling_py.runs import new_id
from starling_py.shuffle.locations import S3Location
from starling_py.shuffle.retry import RetryPolicy
from starling_py.worker.payload import VERSION

COORDINATOR = "starling-coordinator"
PRIVATE = "do-not-tell"


class Context:
    memory_limit_in_mb = "1769"
    aws_request_id = "1"

    def get_remaining_time_in_millis(self) -> int:
        return 60_000


def code(event: object, scratch: str = "s3://there/scratch") -> str:
    said = answer(event, Context(), {"STARLING_SCRATCH": scratch})
    assert PRIVATE not in str(said)
    return said["error"]["code"]


def test_what_is_no_event_of_ours():
    good = msgspec.to_builtins(Start(VERSION, S3Location("there", "scratch/x"), new_id()))
    for event in (None, [], "x", {}, {"version": 1}, {"version": VERSION, PRIVATE: 1}):
        assert code(event) == "BAD_INVOCATION"
    assert code(good | {"version": "0.0.1+0"}) == "FUNCTION_MISMATCH"
    for change in (
        {"query": "../x"},
        {"query": PRIVATE},
        {"after": -1},
        {"after": PRIVATE},
        {"store": {"type": "local", "path": "/"}},
        {"store": {"type": "s3", "bucket": "elsewhere", "prefix": "scratch"}},
        {"store": {"type": "s3", "bucket": "there", "prefix": "scratches"}},
        {"more": 1},
    ):
        assert code(good | change) == "BAD_INVOCATION", change
    # This is no function: it could not call a successor.
    assert code(good) == "FUNCTION_MISMATCH"


@pytest.fixture
def called(numbers):
    """Call the coordinator and wait for its answer; return that and its log."""
    lamb = numbers.serve()
    client = boto3.client("lambda", endpoint_url=lamb.endpoint, region_name="us-east-1")
    numbers.stack.callback(client.close)

    def call(query: str, after: int = 0, **options: object) -> tuple[dict, str]:
        reach = msgspec.structs.replace(numbers.server.options(), **options)
        place = S3Location(BUCKET, numbers.prefix, reach)
        event = msgspec.json.encode(Start(VERSION, place, query, after))
        done = client.invoke(FunctionName=COORDINATOR, LogType="Tail", Payload=event)
        log = base64.b64decode(done["LogResult"]).decode()
        return msgspec.json.decode(done["Payload"].read()), log

    return call


@pytest.fixture
def request_of(numbers):
    """Store the request of a new query, and return its id and objects."""
    store = numbers.server.store(numbers.prefix)
    numbers.stack.callback(store.close)

    def make(sql: str) -> tuple[str, QueryFiles]:
        query = new_id()
        files = QueryFiles(store, query)
        options = numbers.server.options()
        deadline = time.time() + 100
        files.put_request(
            Request(
                sql,
                numbers.data,
                (),
                2,
                2,
                "auto",
                doublewrite=False,
                function="starling-worker",
                options=options,
                deadline=deadline,
            )
        )
        return query, files

    return make


def test_a_log_tells_nothing(numbers, called, request_of):
    query, files = request_of(f"SELECT CAST('{PRIVATE}' || k AS INTEGER) FROM numbers")
    said, log = called(query)
    assert said == {"version": VERSION, "how": "ended"}
    assert files.ending().error.code == "TASK_FAILED"
    said, other = called(new_id())
    assert said == {"version": VERSION, "how": "unknown"}
    # Nobody can go on with a state that is damaged.
    broken, files = request_of("SELECT 1")
    store = numbers.server.store(f"{numbers.prefix}/{broken}/detached")
    store.put("state-0001-000001", [b"\n".join((VERSION.encode(), PRIVATE.encode()))])
    store.close()
    said, damaged = called(broken)
    assert said == {"version": VERSION, "how": "ended"}
    assert files.ending().error.code == "BAD_INVOCATION"
    # What another call may mend is told to Lambda, by a code.
    options = {"endpoint": "http://127.0.0.1:9", "retry": RetryPolicy(attempts=1)}
    said, more = called(query, **options)
    assert said["errorMessage"] == "the coordinator could not go on: STORE_UNAVAILABLE"
    for text in (log, other, damaged, more):
        for word in (PRIVATE, BUCKET, numbers.prefix, "numbers", "127.0.0.1"):
            assert word not in text
    assert "Traceback" not in log + other + damaged


def test_coordinators_that_get_no_further_end_the_query(called, request_of):
    query, files = request_of("SELECT count(*) AS n FROM numbers")
    for number in range(1, 9):
        files.settle_claim(number, Claim(str(number), str(number), 0, number - 1))
    assert called(query, 8)[0]["how"] == "ended"
    error = files.ending().error
    assert error.code == "COORDINATOR_LOST"
    assert "8 coordinators have ended" in error.message


def test_a_state_of_another_version_is_refused(numbers, called, request_of):
    query, files = request_of("SELECT count(*) AS n FROM numbers")
    store = numbers.server.store(f"{numbers.prefix}/{query}/detached")
    store.put("plan", [b"0.0.1+0\nx"])
    store.close()
    assert called(query)[0]["how"] == "ended"
    error = files.ending().error
    assert error.code == "FUNCTION_MISMATCH"
    assert "the query is one of version 0.0.1+0, this is" in error.message
