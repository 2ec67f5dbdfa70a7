"""Each way in which a call can fail is an error of its own kind, and says nothing it should not."""

from __future__ import annotations

import asyncio
import os
import secrets
import subprocess
import sys
import time

import msgspec
import pytest
from s3_servers import KEY_ID

from starling_py.errors import (
    BadInvocation,
    CredentialsMissing,
    FunctionBroken,
    FunctionDenied,
    FunctionError,
    FunctionMismatch,
    FunctionMissing,
    FunctionThrottled,
    FunctionTooSmall,
    FunctionUnavailable,
    OutOfMemory,
    TaskTimedOut,
    WorkerDied,
)
from starling_py.invokers.function_client import VERSION_VARIABLE, FunctionClient
from starling_py.operators.task import TaskReport
from starling_py.shuffle.errors import StoreUnavailable
from starling_py.shuffle.format import EncodedObject
from starling_py.shuffle.index import ObjectIndex
from starling_py.shuffle.retry import RetryPolicy
from starling_py.shuffle.s3 import S3Store
from starling_py.shuffle.write import _put_copy
from starling_py.worker.payload import VERSION, Outcome, as_text, call_key, keep, pack

QUICK = RetryPolicy(attempts=3, base=0.001, cap=0.01, deadline=10.0)
ENDLESS = f"SELECT count(*) AS c0 FROM range(1000000000000) WHERE {os.getpid()} > 0"

# Functions that are not Starling's, and do what no task may.
STRANGE = """
import os, signal, time

def hang(event, context):
    time.sleep(1000)

def grow(event, context):
    held = []
    while True:
        held.append(os.urandom(1 << 22))

def leave(event, context):
    os._exit(7)

def crash(event, context):
    os.kill(os.getpid(), signal.SIGSEGV)
    time.sleep(10)

def fail(event, context):
    raise ValueError("secret data of the task")

def other(event, context):
    return {"hello": "world"}

def newer(event, context):
    return {"version": "9.9.9+9", "error": {"code": "X", "message": "y"}}

def large(event, context):
    return "x" * (7 << 20)

def nap(event, context):
    time.sleep(3)
    return {"hello": "world"}

def speak(event, context):
    print("a word of the function")
    return {"version": os.environ.get("AWS_LAMBDA_FUNCTION_VERSION")}
"""


@pytest.fixture
def strange(place, tmp_path):
    """Serve one of the strange functions."""
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    (bundle / "strange.py").write_text(STRANGE)
    (bundle / "broken.py").write_text("raise ImportError('no such library')")
    (bundle / "wrong.py").write_text("def handle(:\n")

    def serve(handler: str, **settings):
        return place.serve(handler=handler, bundle=bundle, **settings)

    return serve


@pytest.fixture
def spec(plans):
    return plans.spec("SELECT 42::BIGINT", ["BIGINT"])


@pytest.mark.parametrize(
    ("handler", "kind", "words"),
    [
        ("strange.hang", TaskTimedOut, "timed out after 1.00 s"),
        ("strange.grow", OutOfMemory, "more memory"),
        ("strange.leave", WorkerDied, "exit status 7"),
        ("strange.crash", WorkerDied, "signal: segmentation fault"),
        ("strange.fail", FunctionMismatch, "ValueError"),
        ("strange.other", FunctionMismatch, "does not answer"),
        ("strange.newer", FunctionMismatch, r"9\.9\.9\+9.*0\.1\.0"),
        ("strange.large", BadInvocation, "too large"),
        ("strange.nothing", FunctionBroken, "HandlerNotFound"),
        ("strange", FunctionBroken, "MalformedHandlerName"),
        ("broken.handle", FunctionBroken, "ImportModuleError"),
        ("wrong.handle", FunctionBroken, "UserCodeSyntaxError"),
        ("missing.handle", FunctionBroken, "ImportModuleError"),
    ],
)
def test_a_function_that_ends_without_a_report(place, strange, spec, handler, kind, words):
    timeout = 1 if handler.endswith("hang") else 60
    lamb = strange(handler, timeout=timeout, memory=512)
    with pytest.raises(FunctionError if kind is FunctionMismatch else kind, match=words) as caught:
        place.ask(place.invoker(lamb), spec)
    assert type(caught.value) is kind
    assert "secret" not in f"{caught.value} {caught.value.hint}"


def test_after_a_crash_there_is_a_new_instance(place, strange, spec):
    lamb = strange("strange.leave")
    for _ in range(2):
        with pytest.raises(WorkerDied):
            place.ask(place.invoker(lamb), spec)
    assert (lamb.statistics().cold, lamb.statistics().warm) == (2, 0)


def test_a_task_that_fails_reports_it(place, plans):
    lamb = place.serve()
    bad = plans.spec("SELECT error('no')::BIGINT", ["BIGINT"])
    good = plans.spec("SELECT 42::BIGINT", ["BIGINT"], inline_limit=1000)
    reports = place.ask(place.invoker(lamb), bad, good)
    assert reports[0].error.code == "TASK_FAILED"
    assert reports[1].error is None


@pytest.mark.parametrize("spec_seconds", [100.0, 1.0])
def test_a_task_is_stopped_in_time_to_report(place, plans, spec_seconds):
    lamb = place.serve(timeout=3)
    place.ask(place.invoker(lamb), plans.spec("SELECT 1::BIGINT", ["BIGINT"], inline_limit=1000))
    slow = plans.spec(ENDLESS, ["BIGINT"], deadline=time.time() + spec_seconds)
    (report,) = place.ask(place.invoker(lamb), slow)
    assert report.error.code == TaskTimedOut.code
    assert report.error.origin.query == "q"
    # The instance lives, and runs what comes next.
    next_one = plans.spec("SELECT 1::BIGINT", ["BIGINT"], inline_limit=1000)
    (report,) = place.ask(place.invoker(lamb), next_one)
    assert report.error is None
    assert lamb.statistics().cold == 1
    assert lamb.statistics().failed == 0


def test_throttled_calls_get_through(place, plans):
    lamb = place.serve(limits={"concurrency": 2})
    specs = [plans.spec("SELECT 1::BIGINT", ["BIGINT"], inline_limit=1000) for _ in range(12)]
    invoker = place.invoker(lamb, 6)
    # What the account allows is known beforehand …
    assert invoker.slots == 2
    # … but somebody else may use it, too.
    others = place.invoker(lamb, 6)
    place.ask(others, *specs[:6])
    reports = place.ask(invoker, *specs[6:])
    assert all(report.error is None for report in reports)
    assert lamb.statistics().most_in_flight == 2
    assert lamb.statistics().throttled == 0


def test_as_many_calls_are_in_flight_as_are_wanted(place, strange, plans):
    """More than the ten connections that boto3 keeps unless it is told otherwise."""
    lamb = strange("strange.nap")
    invoker = place.invoker(lamb, 16)
    specs = [plans.spec("SELECT 1::BIGINT", ["BIGINT"]) for _ in range(16)]

    async def ask():
        found = await asyncio.gather(*map(invoker.invoke, specs), return_exceptions=True)
        await invoker.close()
        return found

    assert {type(one) for one in asyncio.run(ask())} == {FunctionMismatch}
    invoker.store.close()
    assert lamb.statistics().most_in_flight == 16


def test_calls_that_are_throttled_for_too_long_fail(place, spec):
    lamb = place.serve(faults={"throttle": 1.0})
    with pytest.raises(FunctionThrottled):
        place.ask(place.invoker(lamb, throttles=QUICK), spec)
    assert lamb.statistics().throttled == QUICK.attempts


def test_half_of_the_calls_are_throttled(place, plans):
    lamb = place.serve(faults={"throttle": 0.5, "seed": 3})
    specs = [plans.spec("SELECT 1::BIGINT", ["BIGINT"], inline_limit=1000) for _ in range(20)]
    reports = place.ask(place.invoker(lamb, 4), *specs)
    assert all(report.error is None for report in reports)
    assert lamb.statistics().throttled > 5
    assert lamb.statistics().calls == 20


def test_new_instances_come_at_a_limited_rate(place, plans):
    lamb = place.serve(limits={"scaling_burst": 1, "scaling_rate": 5.0})
    specs = [plans.spec("SELECT 1::BIGINT", ["BIGINT"], inline_limit=1000) for _ in range(4)]
    place.ask(place.invoker(lamb, 4), *specs)
    assert lamb.statistics().throttled > 0


def test_a_service_that_fails_is_asked_again(place, plans, spec):
    lamb = place.serve(faults={"unavailable": 0.4})
    specs = [plans.spec("SELECT 1::BIGINT", ["BIGINT"], inline_limit=1000) for _ in range(10)]
    patient = RetryPolicy(attempts=30, base=0.001, cap=0.01, deadline=60.0)
    place.ask(place.invoker(lamb, faults=patient), *specs)
    assert lamb.statistics().calls == 10
    down = place.serve(faults={"unavailable": 1.0})
    with pytest.raises(FunctionUnavailable):
        place.ask(place.invoker(down, faults=QUICK), spec)


def test_a_service_that_is_gone(place, spec):
    lamb = place.serve()
    invoker = place.invoker(lamb, faults=QUICK)
    lamb.__exit__()
    with pytest.raises(FunctionUnavailable, match="EndpointConnectionError"):
        place.ask(invoker, spec)


def test_no_such_function(place):
    lamb = place.serve()
    with pytest.raises(FunctionMissing, match="no function elsewhere in us-east-1") as caught:
        place.invoker(lamb, name="elsewhere")
    assert "starling deploy" in caught.value.hint


def test_a_function_in_another_region(place):
    lamb = place.serve()
    arn = "arn:aws:lambda:eu-west-1:123456789012:function:starling-worker"
    with pytest.raises(FunctionMissing, match="is in eu-west-1, and us-east-1"):
        place.invoker(lamb, name=arn)
    assert place.invoker(lamb, name=arn.replace("eu-west-1", "us-east-1")).slots == 2


@pytest.mark.parametrize("action", ["GetFunctionConfiguration", "InvokeFunction"])
def test_a_denied_action_is_named(place, spec, action):
    lamb = place.serve(faults={"denied": frozenset({f"lambda:{action}"})})
    with pytest.raises(FunctionDenied, match=f"lambda:{action} is not allowed") as caught:
        place.ask(place.invoker(lamb), spec)
    assert "arn:" not in str(caught.value)


def test_the_limit_of_the_account_need_not_be_known(place):
    lamb = place.serve(faults={"denied": frozenset({"lambda:GetAccountSettings"})})
    assert place.invoker(lamb, 3).slots == 3


def test_a_function_that_may_not_run(place):
    with pytest.raises(FunctionThrottled, match="concurrency is 0"):
        place.invoker(place.serve(reserved=0))
    assert place.invoker(place.serve(reserved=3), 9).slots == 3


def test_a_function_that_is_too_small(place):
    with pytest.raises(FunctionTooSmall, match="128 MiB"):
        place.invoker(place.serve(memory=128))


def test_a_function_of_another_version_is_refused_before_it_is_called(place):
    lamb = place.serve(environment={VERSION_VARIABLE: "0.0.9+1"})
    with pytest.raises(FunctionMismatch, match=r"0\.0\.9\+1") as caught:
        place.invoker(lamb)
    assert "deploy starling-worker again" in caught.value.hint
    assert lamb.statistics().calls == 0


@pytest.mark.parametrize("name", ["not a name!", ""])
def test_a_name_that_cannot_be_one(place, name):
    lamb = place.serve()
    with pytest.raises(FunctionError):
        place.invoker(lamb, name=name)


def test_no_credentials(place, monkeypatch):
    lamb = place.serve()
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    client = place.client(lamb)
    with pytest.raises(CredentialsMissing):
        client.facts()
    client.close()


def test_no_region(place, monkeypatch):
    lamb = place.serve()
    monkeypatch.delenv("AWS_REGION")
    with pytest.raises(FunctionError, match="no AWS region"):
        FunctionClient("starling-worker", connections=1, endpoint=lamb.endpoint)


def test_no_profile():
    with pytest.raises(CredentialsMissing, match="profile"):
        FunctionClient("starling-worker", connections=1, region="us-east-1", profile="nobody")


def test_a_large_spec_goes_through_the_store(place, plans):
    import base64

    noise = base64.b64encode(os.urandom(6 << 20)).decode()
    lamb = place.serve()
    spec = plans.spec(f"SELECT length('{noise}')::BIGINT", ["BIGINT"], inline_limit=1000)
    (report,) = place.ask(place.invoker(lamb), spec)
    assert report.error is None
    assert place.left() == []


def test_a_large_report_goes_through_the_store(place, plans):
    # Far more than the coordinator would ask for in one report.
    spec = plans.spec(
        "SELECT hash(range)::VARCHAR || md5(range::VARCHAR) FROM range(200000)",
        ["VARCHAR"],
        inline_limit=1 << 30,
    )
    lamb = place.serve()
    (report,) = place.ask(place.invoker(lamb), spec)
    assert report.error is None
    assert len(report.inline) > 6 << 20
    assert place.left() == []


def test_errors_and_logs_name_neither_keys_nor_buckets(place, plans, caplog):
    caplog.set_level("DEBUG", logger="starling_py")
    lamb = place.serve(faults={"denied": frozenset({"lambda:InvokeFunction"})})
    with pytest.raises(FunctionDenied) as caught:
        place.ask(place.invoker(lamb), plans.spec("SELECT 1::BIGINT", ["BIGINT"]))
    chain, error = [], caught.value
    while error is not None:
        chain.append(f"{error!r} {error}")
        error = error.__cause__
    for text in (*chain, caplog.text):
        assert KEY_ID not in text
        assert place.location.bucket not in text


def test_what_is_logged_of_the_store_names_no_bucket(place, grouped, caplog, monkeypatch):
    def refuse(error):
        def refusing(*_):
            raise error from ValueError(f"s3://{place.location.bucket}")

        return refusing

    down = StoreUnavailable(f"{place.location.bucket} cannot be reached")
    with monkeypatch.context() as patch:
        patch.setattr(S3Store, "delete", refuse(down))
        place.run(place.serve(), grouped())
    assert "was not removed (STORE_UNAVAILABLE)" in caplog.text
    with monkeypatch.context() as patch:
        patch.setattr(S3Store, "put_if_absent", refuse(down))
        store = place.server.store(place.prefix)
        _put_copy(store, "q/key", EncodedObject(ObjectIndex("n", ()), (b"x",), 1))
    assert "q/key has no copy (STORE_UNAVAILABLE)" in caplog.text
    assert place.location.bucket not in caplog.text
    store.delete([info.key for info in store.list("")])
    store.close()


def test_a_function_logs_nothing(place, plans):
    import base64

    import boto3

    from starling_py.worker.payload import VERSION, Invocation, as_text, pack

    lamb = place.serve()
    client = boto3.client("lambda", endpoint_url=lamb.endpoint, region_name="us-east-1")
    for statement in ("SELECT 1::BIGINT", "SELECT error('secret')::BIGINT"):
        spec = pack(plans.spec(statement, ["BIGINT"], inline_limit=1000))
        event = Invocation(VERSION, place.location, place.access.options, as_text(spec))
        answer = client.invoke(
            FunctionName="starling-worker", LogType="Tail", Payload=msgspec.json.encode(event)
        )
        assert b"error" in answer["Payload"].read()
        lines = base64.b64decode(answer["LogResult"]).decode().splitlines()
        assert [line.split()[0] for line in lines] == ["START", "END", "REPORT"]
    client.close()


def test_the_client_ends_with_calls_in_flight(strange):
    """A client's process is not kept by a call that has not been answered."""
    lamb = strange("strange.hang", timeout=6)
    program = f"""
import asyncio, sys, time
from starling_py.invokers.call_threads import CallThreads
from starling_py.invokers.function_client import FunctionClient
client = FunctionClient(
    "starling-worker", connections=1, endpoint={lamb.endpoint!r}, region="us-east-1"
)
threads = CallThreads("call", 1)
threads.submit(lambda: client.call(b"{{}}"))
time.sleep(1)
begun = time.monotonic()
threads.close(0.1)
assert time.monotonic() - begun < 3
"""
    begun = time.monotonic()
    done = subprocess.run([sys.executable, "-c", program], timeout=60, capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
    assert time.monotonic() - begun < 60
    assert lamb.statistics().calls == 1


def test_what_cannot_be_removed_after_a_call_does_not_hide_how_it_went(place, plans, monkeypatch):
    invoker = place.invoker(place.serve())
    asked = plans.spec(f"SELECT 1 -- {secrets.token_hex(8_000_000)}", ["INTEGER"])
    given = plans.spec("SELECT 1", ["INTEGER"], nonce="given")
    report = TaskReport(given.query, given.stage, given.task, given.attempt, "w")
    kept = Outcome(VERSION, report=as_text(pack(report)))
    key = call_key(given.query, given.nonce, "outcome")
    keep(invoker.store, key, msgspec.json.encode(kept))

    def call(body):
        if asked.nonce.encode() in body:
            raise FunctionDenied("not allowed")
        return msgspec.json.encode(Outcome(VERSION, outcome_key=key))

    def fail(_):
        raise StoreUnavailable("it cannot be reached")

    async def asking():
        with pytest.raises(FunctionDenied):
            await invoker.invoke(asked)
        assert await invoker.invoke(given) == report
        await invoker.close()

    with monkeypatch.context() as patched:
        patched.setattr(invoker._client, "call", call)  # noqa: SLF001
        patched.setattr(invoker.store, "delete", fail)
        asyncio.run(asking())
    invoker.store.delete([key, call_key(asked.query, asked.nonce, "spec")])
    invoker.store.close()
