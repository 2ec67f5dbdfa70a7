"""What calls of functions cost: ``python tests/bench/functions.py [TASKS] [WORKERS]``.

A local Lambda in a process of its own runs trivial tasks whose outputs travel in the reports. The
CPU of this process per task is compared with that of boto3's ``invoke`` of the same payload from
as many threads. The service allows WORKERS calls at once, and the coordinator asks for four times
as many. Imports of the handler are listed by module.
"""

from __future__ import annotations

import asyncio
import os
import re
import resource
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import boto3
import msgspec
from botocore.config import Config

from starling_py.access import S3Access
from starling_py.coordinator.driver import Driver
from starling_py.coordinator.transport import Transport
from starling_py.events import Events
from starling_py.invokers.function_client import FunctionClient
from starling_py.invokers.functions import LambdaInvoker
from starling_py.operators.plan import Estimate, ResultColumn, Stage, StagePlan
from starling_py.operators.task import InputColumn, SinglePartition, TaskSpec
from starling_py.shuffle.locations import S3Location
from starling_py.shuffle.rows import whole
from starling_py.shuffle.s3_options import S3Options
from starling_py.worker.payload import VERSION, Invocation, as_text, pack

OPTIONS = S3Options(endpoint="http://127.0.0.1:1", region="us-east-1")
LOCATION = S3Location("bucket", "scratch", OPTIONS)
KEYS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}
SHOWN = 12
ROUNDS = 5

SERVER = """
import sys
from starling_py.local_lambda.server import LocalLambda
from starling_py.local_lambda.settings import FunctionSettings, Limits
keys = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}
function = FunctionSettings(environment=keys)
with LocalLambda([function], limits=Limits(concurrency=int(sys.argv[1]))) as server:
    print(server.endpoint, flush=True)
    sys.stdin.read()
    found = server.statistics()
    print(found.calls, found.most_in_flight, found.throttled, flush=True)
"""


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def plan(tasks: int) -> StagePlan:
    columns = (InputColumn("c0", "BIGINT"),)
    stage = Stage(
        0, "", "SELECT 1::BIGINT AS c0", columns, (), (SinglePartition(),), tasks, 1,
        Estimate(1.0, 1.0),
    )  # fmt: skip
    return StagePlan("q", "", (stage,), (ResultColumn("c0", "BIGINT"),), (), ())


def event() -> bytes:
    spec = TaskSpec(
        "q", 0, 0, 1, "ab", "q/stage-0000/task-000000.shuffle", "SELECT 1::BIGINT AS c0",
        (InputColumn("c0", "BIGINT"),), (), (SinglePartition(),), (), (), 1, 1 << 28,
        time.time() + 1000, codec="lz4", inline_limit=3000,
    )  # fmt: skip
    return msgspec.json.encode(Invocation(VERSION, LOCATION, OPTIONS, as_text(pack(spec))))


def by_boto3(endpoint: str, tasks: int, workers: int) -> float:
    client = boto3.client(
        "lambda",
        endpoint_url=endpoint,
        region_name="us-east-1",
        config=Config(retries={"total_max_attempts": 1}, max_pool_connections=workers),
    )
    body = event()

    def invoke(_: int) -> int:
        return len(client.invoke(FunctionName="starling-worker", Payload=body)["Payload"].read())

    cold = time.perf_counter()
    invoke(0)
    cold = time.perf_counter() - cold
    warm = []
    for _ in range(50):
        begun = time.perf_counter()
        invoke(0)
        warm.append(time.perf_counter() - begun)
    say(f"cold {cold * 1000:.0f} ms, warm {statistics.median(warm) * 1000:.1f} ms (median of 50)")
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(invoke, range(workers * 4)))
        begun, used = time.perf_counter(), cpu()
        list(pool.map(invoke, range(tasks)))
        used, seconds = cpu() - used, time.perf_counter() - begun
    say(f"boto3 alone: {used / tasks * 1000:.2f} ms CPU a call, {tasks / seconds:.0f} calls/s")
    return used / tasks


async def by_driver(endpoint: str, tasks: int, workers: int) -> float:
    client = FunctionClient(
        "starling-worker", connections=workers, endpoint=endpoint, region="us-east-1"
    )
    invoker = LambdaInvoker(client, 4 * workers, location=LOCATION, access=S3Access(OPTIONS))
    try:
        for count in (workers * 4, tasks):
            begun, used = time.perf_counter(), cpu()
            driver = Driver(
                plan(count), invoker, Events([]), seconds=600, transport=Transport("lz4", 3 << 20)
            )
            answer = await driver.run()
            used, seconds = cpu() - used, time.perf_counter() - begun
            if whole(answer.rows).num_rows != count:
                raise SystemExit("a wrong answer")
    finally:
        await invoker.close()
        invoker.store.close()
    say(f"coordinator: {used / tasks * 1000:.2f} ms CPU a task, {tasks / seconds:.0f} tasks/s")
    return used / tasks


def imports() -> None:
    own: dict[str, list[int]] = {}
    used = []
    for _ in range(ROUNDS):
        begun = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(
            [sys.executable, "-X", "importtime", "-c", "import starling_py.worker.handler"],
            capture_output=True,
            text=True,
            check=True,
        )
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        used.append(ended.ru_utime + ended.ru_stime - begun.ru_utime - begun.ru_stime)
        round_: dict[str, int] = {}
        for line in done.stderr.splitlines():
            found = re.match(r"import time:\s+(\d+) \|\s+\d+ \|\s+(\S+)", line)
            if found:
                top = found[2].partition(".")[0]
                round_[top] = round_.get(top, 0) + int(found[1])
        for name, micros in round_.items():
            own.setdefault(name, []).append(micros)
    least = {name: min(found) / 1000 for name, found in own.items()}
    say(
        f"imports: {min(used) * 1000:.0f} ms of CPU with the interpreter's start, "
        f"{sum(least.values()):.0f} ms of time by module (best of {ROUNDS})"
    )
    shown = sorted(least.items(), key=lambda item: -item[1])[:SHOWN]
    for name, milliseconds in shown:
        say(f"  {name:<16} {milliseconds:6.1f} ms")
    say(f"  {'others':<16} {sum(least.values()) - sum(ms for _, ms in shown):6.1f} ms")


def main() -> None:
    given = [int(word) for word in sys.argv[1:]]
    tasks, workers = [*given, *(1000, 8)[len(given) :]]
    os.environ.update(KEYS)
    imports()
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(workers)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    if server.stdout is None or server.stdin is None:
        raise SystemExit("no server")
    try:
        endpoint = server.stdout.readline().strip()
        alone = by_boto3(endpoint, tasks, workers)
        ours = asyncio.run(by_driver(endpoint, tasks, workers))
        say(f"beside boto3: {(ours - alone) * 1000:.2f} ms CPU a task")
        server.stdin.close()
        calls, most, throttled = server.stdout.readline().split()
        say(f"{calls} calls, at most {most} of {workers} allowed at once, {throttled} throttled")
    finally:
        server.stdin.close()
        server.wait(60)


if __name__ == "__main__":
    main()
