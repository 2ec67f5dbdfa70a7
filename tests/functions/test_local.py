"""The local Lambda behaves as Lambda does, seen through boto3, and leaves nothing behind."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import boto3
import msgspec
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from click.testing import CliRunner
from lambda_processes import processes_of, until

from starling_py.catalog.errors import UsageError
from starling_py.cli.lambda_ import lambda_
from starling_py.cli.lambda_local import local
from starling_py.local_lambda.server import LocalLambda
from starling_py.local_lambda.settings import FunctionSettings
from starling_py.shuffle.locations import S3Location
from starling_py.shuffle.s3_options import S3Options
from starling_py.worker.payload import VERSION, Invocation, as_text, pack

DOCS = Path(__file__).parents[2] / "docs/cli.md"

CODE = """
import json, os, sys, time
from pathlib import Path

def handle(event, context):
    event = event or {}
    print("said", event.get("say", "nothing"))
    if "count" in event:
        with open(event["count"], "a") as counted:
            counted.write("x")
    if event.get("fail"):
        raise RuntimeError("as told")
    time.sleep(event.get("sleep", 0))
    return {
        "pid": os.getpid(),
        "environment": sorted(os.environ),
        "name": context.function_name,
        "memory": context.memory_limit_in_mb,
        "left": context.get_remaining_time_in_millis(),
        "arn": context.invoked_function_arn,
        "tmp": os.environ["TMPDIR"],
        "path": sys.path,
        "modules": sorted(name for name in sys.modules if "starling" in name),
        "pad": "x" * event.get("pad", 0),
    }
"""


class Served:
    """A local Lambda with one function, and a client of it."""

    def __init__(self, server: LocalLambda) -> None:
        self.server = server
        self.client = boto3.client(
            "lambda",
            endpoint_url=server.endpoint,
            region_name="us-east-1",
            aws_access_key_id="testing",
            aws_secret_access_key="testing",  # noqa: S106 - nobody checks it
            config=Config(retries={"total_max_attempts": 1}, max_pool_connections=64),
        )

    def invoke(self, event: object = None, **options):
        return self.client.invoke(
            FunctionName="starling-worker", Payload=json.dumps(event or {}).encode(), **options
        )

    def call(self, event: object = None, **options):
        return json.loads(self.invoke(event, **options)["Payload"].read())


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    folder = tmp_path / "bundle"
    folder.mkdir()
    (folder / "code.py").write_text(CODE)
    (folder / "told.py").write_text(CODE)
    return folder


@pytest.fixture
def serve(place, bundle):
    served = []

    def make(**settings) -> Served:
        values = {"bundle": bundle, "handler": "told.handle"} | settings
        served.append(Served(place.serve(**values)))
        return served[-1]

    yield make
    for one in served:
        one.client.close()


def refused(call) -> tuple[str, int]:
    with pytest.raises(ClientError) as caught:
        call()
    response = caught.value.response
    return response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]


def test_a_function_sees_what_lambda_shows(serve, place):
    served = serve(memory=2048, timeout=30)
    response = served.invoke({"say": "hello"}, LogType="Tail")
    assert response["ExecutedVersion"] == "$LATEST"
    assert "FunctionError" not in response
    log = base64.b64decode(response["LogResult"]).decode()
    assert re.search(r"^START RequestId: \S+ Version: \$LATEST\nsaid hello\nEND RequestId: ", log)
    assert "Memory Size: 2048 MB" in log
    seen = json.loads(response["Payload"].read())
    assert (seen["name"], seen["memory"]) == ("starling-worker", "2048")
    assert 0 < seen["left"] <= 30_000
    assert seen["arn"] == "arn:aws:lambda:us-east-1:000000000000:function:starling-worker"
    assert seen["tmp"].startswith(str(place.folder))
    names = [name for name in seen["environment"] if not name.startswith(("AWS_", "LC_"))]
    # The client of the runtime adds the last one.
    expected = ["LAMBDA_TASK_ROOT", "LANG", "PATH", "PYTHONPATH", "TMPDIR", "TZ", "_HANDLER"]
    assert sorted(set(names) - {"_X_AMZN_TRACE_ID"}) == expected


def test_a_bundle_has_nothing_else_on_its_path(serve, bundle, tmp_path):
    archive = tmp_path / "bundle.zip"
    with zipfile.ZipFile(archive, "w") as written:
        written.write(bundle / "told.py", "told.py")
    for where in (bundle, archive):
        seen = serve(bundle=where).call()
        assert not any("site-packages" in path for path in seen["path"])
        assert seen["modules"] == []


def test_cold_and_warm_instances(serve):
    served = serve()
    first, second = served.call(), served.call()
    assert first["pid"] == second["pid"]
    with ThreadPoolExecutor(3) as pool:
        pids = {seen["pid"] for seen in pool.map(lambda _: served.call({"sleep": 0.5}), range(3))}
    assert len(pids) == 3
    statistics = served.server.statistics()
    assert (statistics.calls, statistics.cold, statistics.warm) == (5, 3, 2)


def test_more_calls_than_the_account_allows(serve):
    served = serve(limits={"concurrency": 2})

    def call(_):
        try:
            served.call({"sleep": 1.0})
        except ClientError as error:
            return error.response
        return None

    with ThreadPoolExecutor(6) as pool:
        answers = [answer for answer in pool.map(call, range(6)) if answer]
    assert len(answers) == 4
    for answer in answers:
        assert answer["Error"]["Code"] == "TooManyRequestsException"
        assert answer["ResponseMetadata"]["HTTPStatusCode"] == 429
        assert answer["Reason"] == "ConcurrentInvocationLimitExceeded"
    assert served.server.statistics().most_in_flight == 2


def test_new_instances_come_at_a_rate(serve):
    """Three at once, then none for a long time; warm ones are not counted."""
    served = serve(limits={"scaling_burst": 3, "scaling_rate": 0.001})

    def call(_):
        try:
            return served.call({"sleep": 2.0})["pid"]
        except ClientError as error:
            return error.response["Reason"]

    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(call, range(6)))
    refusals = [answer for answer in answers if isinstance(answer, str)]
    assert refusals == ["FunctionInvocationRateLimitExceeded"] * 3
    assert len(set(answers) - set(refusals)) == 3
    assert served.call()["pid"] in answers
    statistics = served.server.statistics()
    assert (statistics.cold, statistics.warm, statistics.throttled) == (3, 1, 3)


def test_the_scaling_rate_gives_more_with_time(serve):
    served = serve(limits={"scaling_burst": 1, "scaling_rate": 5.0})
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(served.call, {"sleep": 2.0})
        until(lambda: served.server.statistics().in_flight == 1)
        time.sleep(0.3)
        served.call()
        slow.result()
    assert served.server.statistics().cold == 2


def test_calls_are_billed_by_their_time(serve):
    served = serve()
    served.call({"sleep": 0.2})
    served.call({"sleep": 0.2})
    billed = served.server.statistics().billed
    assert billed >= 0.4
    assert round(billed * 1000) == pytest.approx(billed * 1000)


def test_a_call_takes_the_time_that_lambda_takes_to_make_it(serve):
    served = serve(faults={"latency": 0.3})
    begun = time.monotonic()
    served.call()
    assert time.monotonic() - begun >= 0.3


def test_an_instance_that_died_while_it_was_idle(serve):
    served = serve()
    first = served.call()["pid"]
    os.kill(first, signal.SIGKILL)
    until(lambda: not Path(f"/proc/{first}").exists())
    assert served.call()["pid"] != first
    assert served.server.statistics().failed == 0


def test_the_same_seed_gives_the_same_faults(serve):
    def outcomes():
        served = serve(faults={"seed": 5, "throttle": 0.3, "crash": 0.2, "timeout": 0.2})
        found = []
        for _ in range(12):
            try:
                response = served.invoke()
                payload = json.loads(response["Payload"].read())
                found.append(payload.get("errorType", "ok"))
            except ClientError as error:
                found.append(error.response["Error"]["Code"])
        return found

    first = outcomes()
    assert first == outcomes()
    assert {"ok", "Runtime.ExitError", "Sandbox.Timedout", "TooManyRequestsException"} == set(first)


def test_an_error_of_the_handler(serve):
    response = serve().invoke({"fail": True}, LogType="Tail")
    assert response["FunctionError"] == "Unhandled"
    assert response["StatusCode"] == 200
    error = json.loads(response["Payload"].read())
    assert (error["errorType"], error["errorMessage"]) == ("RuntimeError", "as told")
    assert "[ERROR] RuntimeError: as told" in base64.b64decode(response["LogResult"]).decode()


def test_payloads_have_a_limit_both_ways(serve):
    served = serve()
    assert served.call({"say": "x" * (5 << 20)})["name"] == "starling-worker"
    code = refused(lambda: served.invoke({"say": "x" * (6 << 20)}))
    assert code == ("RequestTooLargeException", 413)
    response = served.invoke({"pad": 7 << 20})
    assert response["FunctionError"] == "Unhandled"
    error = json.loads(response["Payload"].read())
    assert error["errorType"] == "Function.ResponseSizeTooLarge"
    assert served.call()["name"] == "starling-worker"


def test_a_payload_that_is_not_json(serve):
    served = serve()
    code = refused(lambda: served.client.invoke(FunctionName="starling-worker", Payload=b"{"))
    assert code == ("InvalidRequestContentException", 400)


def test_an_asynchronous_call_is_tried_three_times(serve, tmp_path):
    served = serve()
    counted = tmp_path / "counted"
    event = {"count": str(counted), "fail": True}
    response = served.invoke(event, InvocationType="Event")
    assert response["StatusCode"] == 202
    until(lambda: counted.exists() and len(counted.read_text()) == 3)
    time.sleep(0.2)
    assert len(counted.read_text()) == 3
    served.invoke({"count": str(counted)}, InvocationType="Event")
    until(lambda: len(counted.read_text()) == 4)
    code = refused(lambda: served.invoke({"say": "x" * (1 << 20)}, InvocationType="Event"))
    assert code[1] == 413


def test_a_dry_run_calls_nothing(serve):
    served = serve()
    assert served.invoke(InvocationType="DryRun")["StatusCode"] == 204
    assert served.server.statistics().calls == 0


def test_what_may_be_asked(serve):
    served = serve(memory=1024, timeout=77, reserved=7, limits={"concurrency": 50})
    found = served.client.get_function_configuration(FunctionName="starling-worker")
    assert (found["MemorySize"], found["Timeout"], found["State"]) == (1024, 77, "Active")
    assert "AWS_SECRET_ACCESS_KEY" not in found["Environment"]["Variables"]
    own = served.client.get_function_concurrency(FunctionName="starling-worker")
    assert own["ReservedConcurrentExecutions"] == 7
    account = served.client.get_account_settings()["AccountLimit"]
    assert account["ConcurrentExecutions"] == 50
    assert account["UnreservedConcurrentExecutions"] == 43
    code = refused(lambda: served.client.get_function_configuration(FunctionName="none"))
    assert code == ("ResourceNotFoundException", 404)
    assert refused(served.client.list_functions)[1] == 404


def test_what_does_not_speak_http_does_no_harm(serve):
    import socket

    served = serve()
    port = int(served.server.endpoint.rpartition(":")[2])
    for words in (b"\r\n\r\n", b"GET\r\n\r\n", b"\x00" * 100_000, b"GET / HTTP/1.1\r\n"):
        with socket.create_connection(("127.0.0.1", port), 5) as connection:
            connection.sendall(words)
    with socket.create_connection(("127.0.0.1", port), 5) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nContent-Length: -5\r\n\r\n")
    assert served.call()["name"] == "starling-worker"


def test_a_client_that_goes_away(serve):
    served = serve()
    impatient = boto3.client(
        "lambda",
        endpoint_url=served.server.endpoint,
        region_name="us-east-1",
        aws_access_key_id="testing",
        aws_secret_access_key="testing",  # noqa: S106 - nobody checks it
        config=Config(retries={"total_max_attempts": 1}, read_timeout=0.5),
    )
    with contextlib.closing(impatient), pytest.raises(Exception, match="timeout"):
        impatient.invoke(FunctionName="starling-worker", Payload=b'{"sleep": 2}')
    until(lambda: served.server.statistics().in_flight == 0)
    assert served.call()["name"] == "starling-worker"


def test_a_port_that_is_taken(serve):
    served = serve()
    port = int(served.server.endpoint.rpartition(":")[2])
    with pytest.raises(UsageError, match=str(port)), LocalLambda(port=port):
        pass


def test_a_bundle_that_is_none(tmp_path):
    wrong = tmp_path / "bundle.zip"
    wrong.write_text("no zip")
    for bundle in (wrong, tmp_path / "missing"):
        server = LocalLambda([FunctionSettings(bundle=bundle)], folder=tmp_path)
        with pytest.raises(UsageError, match=re.escape(bundle.name)), server:
            pass
    assert list(tmp_path.iterdir()) == [wrong]


@pytest.fixture
def command(tmp_path):
    """Start ``starling lambda local`` and return its process and its endpoint."""
    running = []
    folder = tmp_path / "served"
    folder.mkdir()

    def start():
        process = subprocess.Popen(
            [sys.executable, "-m", "starling_py.cli", "lambda", "local", "--port", "0"],
            env={
                **os.environ,
                "TMPDIR": str(folder),
                "PYTHONUNBUFFERED": "1",
                "AWS_ACCESS_KEY_ID": "testing",
                "AWS_SECRET_ACCESS_KEY": "testing",
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        running.append(process)
        line = process.stdout.readline()
        return (
            process,
            re.fullmatch(r"starling-worker at (http://127\.0\.0\.1:\d+)\n", line)[1],
            folder,
        )

    yield start
    for process in running:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()


def called_once(endpoint: str) -> None:
    client = boto3.client(
        "lambda",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="testing",
        aws_secret_access_key="testing",  # noqa: S106 - nobody checks it
    )
    answer = json.loads(client.invoke(FunctionName="starling-worker")["Payload"].read())
    assert answer["error"]["code"] == "BAD_INVOCATION"
    client.close()


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)],
)
def test_the_command_leaves_nothing(command, number, code):
    process, endpoint, folder = command()
    called_once(endpoint)
    assert len(processes_of(folder)) == 1
    process.send_signal(number)
    assert process.wait(30) == code
    until(lambda: processes_of(folder) == [])
    until(lambda: list(folder.iterdir()) == [])


def test_a_busy_instance_ends_with_a_killed_server(command, plans):
    """It would notice by itself only when it asks for the next call."""
    process, endpoint, folder = command()
    spec = plans.spec("SELECT count(*) AS c0 FROM range(1000000000000) a", ["BIGINT"])
    location = S3Location("none", "none", S3Options(endpoint="http://127.0.0.1:1"))
    event = Invocation(VERSION, location, location.options, as_text(pack(spec)))
    client = boto3.client(
        "lambda",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="testing",
        aws_secret_access_key="testing",  # noqa: S106 - nobody checks it
    )
    client.invoke(
        FunctionName="starling-worker", InvocationType="Event", Payload=msgspec.json.encode(event)
    )
    client.close()
    (pid,) = until(lambda: processes_of(folder))
    until(lambda: _seconds(pid) > 1.5)
    process.kill()
    until(lambda: processes_of(folder) == [])
    until(lambda: list(folder.iterdir()) == [])


def _seconds(pid: int) -> float:
    """Return the CPU seconds of a process: more than it takes to start means that it works."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_the_command_is_described():
    text = DOCS.read_text(encoding="utf-8")
    found = re.search(
        r"^## `starling lambda local`\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE
    )
    described = set(re.findall(r"`(--?[a-z][a-z-]*)[^`]*`", found[1]))
    assert described == {flag for option in local.params for flag in option.opts}
    assert all(option.help for option in local.params)


@pytest.mark.parametrize(
    "words",
    [
        ["--port", "99999"],
        ["--memory", "64"],
        ["--timeout", "901"],
        ["--throttle", "1.5"],
        ["--crash", "-1"],
        ["--latency", "-1"],
        ["--burst", "0"],
    ],
)
def test_what_cannot_be_served(words):
    done = CliRunner().invoke(lambda_, ["local", *words])
    assert done.exit_code == 2
    assert "is not in the range" in done.output


def test_the_group_lists_its_commands():
    listed = CliRunner().invoke(lambda_, ["--help"]).output
    assert "local" in listed


def test_help_loads_no_server():
    code = (
        "import sys\n"
        "from click.testing import CliRunner\n"
        "from starling_py.cli.main import main\n"
        "for words in ['lambda', '--help'], ['lambda', 'local', '--help']:\n"
        "    assert CliRunner().invoke(main, words).exit_code == 0\n"
        "sys.stdout.write(str(sorted({'asyncio', 'boto3', 'duckdb'} & set(sys.modules))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60)
    assert (done.stdout, done.stderr) == (b"[]", b"")


def test_threads_end_with_the_server(serve):
    before = set(threading.enumerate())
    served = serve()
    served.call()
    served.server.__exit__()
    until(lambda: not {t for t in set(threading.enumerate()) - before if "lambda" in t.name})
