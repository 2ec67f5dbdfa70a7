"""How long until many functions run: ``python tests/bench/two_levels.py [INSTANCES] [LATENCY]``.

All instances of a trivial function are warm, and each call takes LATENCY seconds to arrive. On one
level the client makes all calls; on two levels the functions that it calls make the others, with
the same code as the handler's. All of it shares the cores of this machine, which real functions do
not, so the model at the end takes from here only what one call costs its maker.
"""

from __future__ import annotations

import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from starling_py.invokers.call_groups import call_groups

ROUNDS = 5
HOLD = 1.0
MODELLED = 4096

HANDLER = """
import json, os, time
from starling_py.shuffle.s3_credentials import environment_credentials
from starling_py.worker.fan_out import Callee, FanOut

def handle(event, context):
    started = [time.time()]
    fan_out = None
    if event.get("others"):
        body = json.dumps({"hold": event["hold"]}).encode()
        bodies = [body] * event["others"]
        credentials = environment_credentials(os.environ)()
        fan_out = FanOut(Callee.of(os.environ), bodies, credentials, time.time() + 60)
        fan_out.wait_until_sent()
    time.sleep(max(event.get("until", 0) - time.time(), event.get("hold", 0)))
    if fan_out:
        for answer in fan_out.answers():
            started += json.loads(answer)
    return started
"""

SERVER = """
import sys, threading
from pathlib import Path
from starling_py.local_lambda.server import LocalLambda
from starling_py.local_lambda.settings import Faults, FunctionSettings, Limits
keys = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing",
        "PYTHONDONTWRITEBYTECODE": "1"}
function = FunctionSettings(handler="trivial.handle", environment=keys)
limits = Limits(concurrency=int(sys.argv[1]), init_seconds=600)
server = LocalLambda([function], limits=limits, faults=Faults(latency=float(sys.argv[2])))
with server:
    print(server.endpoint, flush=True)
    sys.stdin.read()
"""


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def last_start(client: Any, pool: ThreadPoolExecutor, groups: list[range]) -> float:
    """Return the seconds until the last function has started."""

    def invoke(group: range) -> list[float]:
        event = json.dumps({"hold": HOLD, "others": len(group) - 1}).encode()
        answer = client.invoke(FunctionName="starling-worker", Payload=event)["Payload"].read()
        return json.loads(answer)

    begun = time.time()
    started = [moment for found in pool.map(invoke, groups) for moment in found]
    if len(started) != sum(map(len, groups)):
        raise SystemExit("not all have started")
    return max(started) - begun


def modelled(calls: int, threshold: int, latency: float, cost: float) -> float:
    """Return the seconds until ``calls`` functions run, where one call costs its maker ``cost``."""
    groups = call_groups(calls, threshold)
    most = max(map(len, groups)) - 1
    return len(groups) * cost + latency + (most * cost + latency if most else 0.0)


def main() -> None:
    given = [float(word) for word in sys.argv[1:]]
    instances, latency = [*given, *(200.0, 0.05)[len(given) :]]
    count = int(instances)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "trivial.py").write_text(HANDLER)
        server = subprocess.Popen(
            [sys.executable, "-c", SERVER, str(count), str(latency)],
            env={**os.environ, "PYTHONPATH": folder},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        if server.stdout is None or server.stdin is None:
            raise SystemExit("no server")
        try:
            client = boto3.client(
                "lambda",
                endpoint_url=server.stdout.readline().strip(),
                region_name="us-east-1",
                aws_access_key_id="testing",
                aws_secret_access_key="testing",  # noqa: S106 - nobody checks it
                config=Config(
                    retries={"total_max_attempts": 1}, max_pool_connections=count, read_timeout=600
                ),
            )
            measure(client, count, latency)
        finally:
            server.stdin.close()
            server.wait(120)


def measure(client: Any, count: int, latency: float) -> None:
    with ThreadPoolExecutor(count) as pool:
        begun = time.time()
        warm = json.dumps({"until": time.time() + count * 0.25}).encode()
        list(
            pool.map(
                lambda _: client.invoke(FunctionName="starling-worker", Payload=warm)[
                    "Payload"
                ].read(),
                range(count),
            )
        )
        say(f"{count} instances are warm after {time.time() - begun:.0f} s")
        for name, threshold in (("one level ", count + 1), ("two levels", 2)):
            groups = call_groups(count, threshold)
            rounds = [last_start(client, pool, groups) for _ in range(ROUNDS)]
            say(
                f"{name}: the last of {count} has started after "
                f"{statistics.median(rounds):.2f} s (median of {ROUNDS}; best {min(rounds):.2f})"
            )
        used = time.process_time()
        for _ in range(count):
            client.invoke(FunctionName="starling-worker", Payload=b"{}")["Payload"].read()
        cost = (time.process_time() - used) / count
    say(f"a call costs its maker {cost * 1000:.2f} ms of CPU; with this and {latency} s a call:")
    for name, threshold in (("one level ", MODELLED + 1), ("two levels", 2)):
        say(f"{name}: {modelled(MODELLED, threshold, latency, cost):.2f} s until {MODELLED} run")
    say(
        f"({math.isqrt(MODELLED)} calls by the client, {math.isqrt(MODELLED) - 1} by each of those)"
    )


if __name__ == "__main__":
    main()
