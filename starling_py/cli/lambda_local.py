"""``starling lambda local``: a Lambda on this machine."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import click

__all__ = ["local"]

_PASSED_ON = (
    "AWS_ACCESS_KEY_ID",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
)


@click.command()
@click.option(
    "--port",
    default=9090,
    show_default=True,
    metavar="N",
    type=click.IntRange(0, 65_535),
    help="0 for any free one.",
)
@click.option("--name", default="starling-worker", show_default=True, help="Of the function.")
@click.option(
    "--bundle",
    type=click.Path(path_type=Path, exists=True),
    help="Zip or folder with the function's code. By default what is installed here.",
)
@click.option(
    "--memory",
    default=1769,
    show_default=True,
    metavar="MB",
    type=click.IntRange(128, 10_240),
    help="Of each instance, which also decides on its threads.",
)
@click.option(
    "--timeout",
    default=900,
    show_default=True,
    metavar="SECONDS",
    type=click.IntRange(1, 900),
    help="For one call.",
)
@click.option(
    "--concurrency",
    default=1000,
    show_default=True,
    metavar="N",
    type=click.IntRange(1),
    help="Calls that may run at once.",
)
@click.option(
    "--burst",
    default=1000,
    show_default=True,
    metavar="N",
    type=click.IntRange(1),
    help="New instances at first.",
)
@click.option(
    "--rate",
    default=100.0,
    show_default=True,
    metavar="N",
    type=click.FloatRange(0),
    help="New instances a second after that.",
)
@click.option(
    "--latency",
    default=0.0,
    metavar="SECONDS",
    type=click.FloatRange(0),
    help="What each call waits before it begins.",
)
@click.option(
    "--throttle",
    default=0.0,
    metavar="SHARE",
    type=click.FloatRange(0, 1),
    help="Calls to refuse: 0.1 is a tenth.",
)
@click.option(
    "--crash",
    default=0.0,
    metavar="SHARE",
    type=click.FloatRange(0, 1),
    help="Calls whose function crashes.",
)
@click.option(
    "--expire",
    default=0.0,
    metavar="SHARE",
    type=click.FloatRange(0, 1),
    help="Calls that run out of time.",
)
@click.option("--seed", default=0, metavar="N", help="Chooses the calls that go wrong.")
def local(
    port: int,
    name: str,
    bundle: Path | None,
    memory: int,
    timeout: int,
    concurrency: int,
    burst: int,
    rate: float,
    latency: float,
    throttle: float,
    crash: float,
    expire: float,
    seed: int,
) -> None:
    """Serve Lambda's Invoke API on the loopback, until Ctrl-C.

    The function runs in processes of AWS's own runtime client. Its role has the AWS keys and the
    endpoint of this command's environment.
    """
    from starling_py.local_lambda.server import LocalLambda
    from starling_py.local_lambda.settings import Faults, FunctionSettings, Limits

    environment = {key: os.environ[key] for key in _PASSED_ON if os.environ.get(key)}
    function = FunctionSettings(
        name, memory=memory, timeout=timeout, bundle=bundle, environment=environment
    )
    server = LocalLambda(
        [function],
        limits=Limits(concurrency=concurrency, scaling_burst=burst, scaling_rate=rate),
        faults=Faults(seed=seed, throttle=throttle, crash=crash, timeout=expire, latency=latency),
        port=port,
        region=os.environ.get("AWS_REGION") or "us-east-1",
    )
    with server:
        click.echo(f"{name} at {server.endpoint}")
        threading.Event().wait()
