"""``starling deploy``, ``status`` and ``undeploy``: workers on AWS Lambda come and go."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from starling_py.cli.options import Number, platform_options
from starling_py.cli.report import count, note

if TYPE_CHECKING:
    from starling_py.deploy.aws import Aws
    from starling_py.deploy.bundle import Bundle
    from starling_py.deploy.contents import Contents
    from starling_py.deploy.deployment import Deployment

__all__ = ["deploy", "status", "undeploy"]

_F = TypeVar("_F", bound=Callable[..., object])
_KEPT = (1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365)


def _place_options(command: _F) -> _F:
    """Add ``--name`` and ``--region``."""
    command = click.option(
        "--region", metavar="REGION", help="As AWS_REGION or the AWS configuration unless given."
    )(command)
    return click.option(
        "--name",
        default="starling",
        show_default=True,
        metavar="NAME",
        help="Of the deployment: its stack, and the beginning of its function's name.",
    )(command)


@click.command()
@click.option("--bucket", metavar="BUCKET", help="For scratch and code; made if it is not there.")
@click.option(
    "--prefix",
    default="starling",
    show_default=True,
    metavar="PREFIX",
    help="In the bucket, below which everything is.",
)
@_place_options
@click.option(
    "--memory",
    type=click.IntRange(512, 10240),
    default=3538,
    show_default=True,
    metavar="MIB",
    help="Of the function, from 512 to 10240; it has a vCPU for each 1769.",
)
@click.option(
    "--disk",
    type=click.IntRange(512, 10240),
    default=512,
    show_default=True,
    metavar="MIB",
    help="Of the function, to spill to, from 512 to 10240.",
)
@click.option(
    "--timeout",
    type=click.IntRange(10, 900),
    default=900,
    show_default=True,
    metavar="SECONDS",
    help="That a task may take, from 10 to 900.",
)
@click.option(
    "--concurrency",
    type=Number(min=1),
    metavar="N",
    help="Keep N concurrent executions for this function, and let it have no more.",
)
@click.option(
    "--log-days",
    type=click.Choice([str(days) for days in _KEPT]),
    default="7",
    show_default=True,
    help="How long logs are kept.",
)
@click.option(
    "--data",
    multiple=True,
    metavar="URL",
    help="Let the function read s3://bucket/prefix; may be given several times.",
)
@click.option(
    "--write",
    "written",
    multiple=True,
    metavar="URL",
    help="Let COPY and CREATE TABLE write below s3://bucket/prefix; may be given several times.",
)
@click.option(
    "--data-key",
    "data_keys",
    multiple=True,
    metavar="ARN",
    help="A KMS key that data is encrypted with, read or written; may be given several times.",
)
@click.option("--kms-key", metavar="ARN", help="Encrypt scratch and code with this KMS key.")
@click.option(
    "--subnet",
    "subnets",
    multiple=True,
    metavar="ID",
    help="Run in a VPC, in this subnet; may be given several times.",
)
@click.option(
    "--security-group",
    "security_groups",
    multiple=True,
    metavar="ID",
    help="For the VPC; may be given several times.",
)
@platform_options
@click.option(
    "--bundle",
    "bundle_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Deploy what `starling lambda build` made, instead of building.",
)
@click.option(
    "--coordinator-bundle",
    "coordinator_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Deploy what `starling lambda build --coordinator` made, instead of building.",
)
@click.option(
    "--print-template", is_flag=True, help="Print the CloudFormation template; do no more."
)
def deploy(
    bucket: str | None,
    prefix: str,
    name: str,
    region: str | None,
    memory: int,
    disk: int,
    timeout: int,
    concurrency: int | None,
    log_days: str,
    data: tuple[str, ...],
    written: tuple[str, ...],
    data_keys: tuple[str, ...],
    kms_key: str | None,
    subnets: tuple[str, ...],
    security_groups: tuple[str, ...],
    arch: str,
    python: str,
    bundle_file: Path | None,
    coordinator_file: Path | None,
    print_template: bool,
) -> None:
    """Put workers on AWS Lambda, or change those that are there.

    Makes the functions, their roles, their logs and a bucket, unless that is there, as one
    CloudFormation stack. Nothing costs money while no query runs.
    """
    from starling_py.deploy import deployment
    from starling_py.deploy.contents import COORDINATOR, WORKER
    from starling_py.deploy.settings import Settings

    if print_template:
        click.echo(deployment.template(), nl=False)
        return
    if bucket is None:
        raise click.UsageError("Missing option '--bucket'.")
    settings = Settings(
        bucket=bucket,
        prefix=prefix,
        name=name,
        memory=memory,
        disk=disk,
        timeout=timeout,
        concurrency=concurrency,
        log_days=int(log_days),
        data=data,
        written=written,
        data_keys=data_keys,
        kms_key=kms_key,
        subnets=subnets,
        security_groups=security_groups,
    )
    with ExitStack() as stack:
        aws = stack.enter_context(_aws(region))
        bundle = stack.enter_context(_bundle(bundle_file, WORKER, arch, python))
        platform = bundle.manifest.platform
        coordinator = stack.enter_context(
            _bundle(coordinator_file, COORDINATOR, platform.architecture, platform.version)
        )
        done = deployment.deploy(aws, settings, bundle, coordinator, told=note)
    _show(done)


@click.command()
@_place_options
@click.option(
    "--format",
    "format_",
    type=click.Choice(("text", "json")),
    default="text",
    show_default=True,
    help="For people or for programs.",
)
def status(name: str, region: str | None, format_: str) -> None:
    """Show what is deployed on AWS Lambda, and whether this version can use it."""
    from starling_py.deploy import deployment

    with _aws(region) as aws:
        found = deployment.status(aws, name)
    if format_ == "json":
        import msgspec

        click.echo(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())
    else:
        _show(found)


@click.command()
@_place_options
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
def undeploy(name: str, region: str | None, yes: bool) -> None:
    """Remove workers from AWS Lambda, with their role, logs, code and scratch objects.

    A bucket that `starling deploy` made is removed too; another one stays.
    """
    from starling_py.deploy import deployment

    with _aws(region) as aws:
        found = deployment.status(aws, name)
        if not yes:
            if not sys.stdin.isatty():
                raise click.UsageError("Nobody is there to ask: give --yes.")
            also = f", and the bucket {found.bucket}" if found.made_bucket else ""
            click.confirm(
                f"Remove the deployment {name} from {found.region}{also}?", abort=True, err=True
            )
        deployment.undeploy(aws, name, told=note)
    click.echo(f"{name} is removed from {found.region}")


@contextmanager
def _aws(region: str | None) -> Iterator[Aws]:
    from starling_py.deploy.aws import Aws

    aws = Aws(region)
    try:
        yield aws
    finally:
        aws.close()


@contextmanager
def _bundle(file: Path | None, contents: Contents, arch: str, python: str) -> Iterator[Bundle]:
    import tempfile

    from starling_py.deploy.bundle import build_bundle, read_bundle
    from starling_py.deploy.platform import Platform

    if file is not None:
        yield read_bundle(file)
        return
    platform = Platform.parse(arch, python)
    with tempfile.TemporaryDirectory(prefix="starling-bundle-") as folder:
        what = "worker" if contents.base is None else "coordinator"
        note(f"building the {what} for Python {platform.version} on {platform.architecture}")
        yield build_bundle(Path(folder) / "bundle.zip", platform, contents)


def _show(found: Deployment) -> None:
    rows = [("deployment", f"{found.name} in {found.region}: {found.state}")]
    if found.function:
        reserved = f", {count(found.concurrency, 'execution')} at once" if found.concurrency else ""
        rows += [
            ("function", found.function),
            ("runs", f"{found.runtime} on {found.architecture}, {found.memory} MiB{reserved}"),
            (
                "version",
                found.version if found.fits else f"{found.version}: deploy again to use it",
            ),
        ]
    rows += [
        ("coordinator", found.coordinator),
        ("scratch", found.scratch),
        ("logs", found.log_group),
    ]
    for label, value in rows:
        if value:
            click.echo(f"{label:<12}{value}")
