"""Workers on AWS Lambda come, answer TPC-H and go: ``python tests/demo/on_lambda.py DATA``.

Nothing leaves this machine. ministack stands for S3, CloudFormation, IAM and CloudWatch, and
``starling_py.local_lambda`` for the functions: it runs the bundle of this machine with the memory,
time and variables of the function that was deployed.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import socket
import subprocess
import sys
import tempfile
from contextlib import ExitStack, closing
from pathlib import Path
from urllib.parse import urlsplit

from account import things
from s3_servers import KEY_ID, SECRET, S3Server, running_server

from starling_py.deploy.aws import Aws
from starling_py.deploy.bundle import build_bundle
from starling_py.deploy.platform import this_platform
from starling_py.local_lambda.server import LocalLambda
from starling_py.local_lambda.settings import FunctionSettings, Limits
from starling_py.prices import FunctionSize, load_prices

BUCKET = "starling-demo"
LAKE = "lake"
MEBIBYTES = 1769
CONCURRENCY = 4
"""More would wait for one another on the cores of one machine."""


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


class Demo:
    """One run; everything that it starts ends with ``stack``."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self._stack = stack
        self._folder = folder
        say("== ministack stands for S3, CloudFormation, IAM and CloudWatch")
        self.server: S3Server = stack.enter_context(running_server("ministack", folder))
        say(self.server.endpoint)
        self._environment = {**os.environ, **self.server.environment()}
        os.environ.update(self.server.environment())
        os.environ["STARLING_CACHE_DIR"] = str(folder / "cache")
        self.aws = stack.enter_context(closing(Aws()))

    def starling(self, *words: str) -> str:
        """Run a command as it would be typed, and return its standard output."""
        shown = [word if len(word) < 60 else f"{word.split(maxsplit=1)[0]}…" for word in words]
        say(f"\n$ starling {shlex.join(shown)}")
        said = []
        with subprocess.Popen(
            [sys.executable, "-m", "starling_py.cli", *words],
            env={**self._environment, "PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as command:
            for line in command.stdout or ():
                said.append(line)
                say(line.rstrip())
        if command.returncode:
            raise SystemExit(command.returncode)
        return "".join(said)

    def upload(self, data: Path) -> str:
        """Put the tables into a bucket of their own and return their URL."""
        self.aws.call("s3", "create_bucket", Bucket=LAKE)
        files = sorted(data.rglob("*.parquet"))
        for path in files:
            key = f"tpch/{path.relative_to(data)}"
            self.aws.call("s3", "put_object", Bucket=LAKE, Key=key, Body=path.read_bytes())
        size = sum(path.stat().st_size for path in files)
        say(f"\n== {len(files)} files, {size / 1e6:.1f} MB, in s3://{LAKE}/tpch")
        return f"s3://{LAKE}/tpch"

    def serve(self, bundle: Path | None) -> LocalLambda:
        """Serve what was deployed."""
        if bundle is None:
            say("\n== The same code for this machine, to run it here")
            built = build_bundle(self._folder / "bundle.zip", this_platform())
            say(f"{built.zipped / 1e6:.0f} MB, unpacked {built.unzipped / 1e6:.0f} MB")
            bundle = built.path
        found = self.aws.call(
            "lambda", "get_function_configuration", FunctionName="starling-worker"
        )
        variables = found["Environment"]["Variables"]
        # On AWS the keys are those of the role, and the endpoint that of the region.
        role = {"AWS_ACCESS_KEY_ID": KEY_ID, "AWS_SECRET_ACCESS_KEY": SECRET}
        function = FunctionSettings(
            found["FunctionName"],
            found["Handler"],
            found["MemorySize"],
            found["Timeout"],
            bundle,
            {**variables, **role, "AWS_ENDPOINT_URL": self.server.endpoint},
        )
        limits = Limits(concurrency=CONCURRENCY, init_seconds=60.0)
        served = LocalLambda([function], limits=limits, folder=self._folder)
        self._stack.enter_context(served)
        self._environment["AWS_ENDPOINT_URL_LAMBDA"] = served.endpoint
        say(
            f"\n== The local Lambda runs {function.name}: {function.memory} MiB, "
            f"{function.timeout} s, {CONCURRENCY} calls at once, {served.endpoint}"
        )
        return served

    def undeploy(self) -> None:
        # The local Lambda knows functions only, and nothing of their deployment.
        self._environment.pop("AWS_ENDPOINT_URL_LAMBDA", None)
        self.starling("undeploy", "--yes")


def bill(lamb: LocalLambda) -> None:
    """Say what AWS would charge for the functions."""
    statistics = lamb.statistics()
    prices = load_prices()
    size = FunctionSize(MEBIBYTES << 20, "arm64")
    dollars = statistics.billed * prices.second(size) + statistics.calls * prices.call
    say(
        f"\n== Functions: {statistics.calls} calls, {statistics.cold} of them cold, at most "
        f"{statistics.most_in_flight} at once, {statistics.billed * size.gigabytes:.1f} "
        f"GB-seconds: ${dollars:.4f} (arm64 in {prices.region}, prices of {prices.date})"
    )


def gone(endpoint: str) -> bool:
    """Return whether nobody listens any more."""
    parts = urlsplit(endpoint)
    with socket.socket() as probe:
        return probe.connect_ex((parts.hostname or "", parts.port or 0)) != 0


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="folder of `starling tpch generate`")
    parser.add_argument("--show", default="3,12,18", help="queries whose answers are shown")
    parser.add_argument("--queries", default="1-22", help="queries that are compared with DuckDB")
    parser.add_argument(
        "--deployed",
        type=Path,
        nargs=2,
        metavar=("WORKER", "COORDINATOR"),
        help="bundles to deploy, instead of building",
    )
    parser.add_argument("--bundle", type=Path, help="bundle to run, instead of building")
    given = parser.parse_args(arguments)
    endpoints = []
    with tempfile.TemporaryDirectory(prefix="starling-demo-") as folder:
        with ExitStack() as stack:
            demo = Demo(stack, Path(folder))
            url = demo.upload(given.data)
            before = things(demo.aws)
            words = ["--data", url, "--memory", str(MEBIBYTES)]
            if given.deployed:
                worker, coordinator = map(str, given.deployed)
                words += ["--bundle", worker, "--coordinator-bundle", coordinator]
            demo.starling("deploy", "--bucket", BUCKET, *words)
            try:
                run(demo, url, given, endpoints)
            finally:
                demo.undeploy()
            left = {kind: names - before[kind] for kind, names in things(demo.aws).items()}
            endpoints.append(demo.server.endpoint)
        say("\n== What is left: " + ", ".join(f"{len(each)} {kind}" for kind, each in left.items()))
        still = [endpoint for endpoint in endpoints if not gone(endpoint)]
        say(f"== Ports still open: {len(still)} of {len(endpoints)}")
    if any(left.values()) or still:
        raise SystemExit("something is left")


def run(demo: Demo, url: str, given: argparse.Namespace, endpoints: list[str]) -> None:
    """Run TPC-H on what was deployed."""
    scratch = json.loads(demo.starling("status", "--format", "json"))["scratch"]
    on_lambda = ["--scratch", scratch, "--target", "lambda"]
    lamb = demo.serve(given.bundle)
    endpoints.append(lamb.endpoint)
    queries = Path(__file__).parents[2] / "tpch/queries"
    for number in filter(None, given.show.split(",")):
        file = queries / f"q{int(number):02}.sql"
        name = str(file.relative_to(Path.cwd())) if file.is_relative_to(Path.cwd()) else str(file)
        demo.starling("query", "--file", name, "--data", url, *on_lambda, "--tasks", "4", "--stats")
    here = ["--data", str(given.data), "--copy", url, "--queries", given.queries]
    demo.starling("tpch", "verify", *here, *on_lambda, "--tasks", "4")
    bill(lamb)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        raise SystemExit(130) from None
