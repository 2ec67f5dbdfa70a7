"""``starling lambda build``: the code of a function, as one file."""

from __future__ import annotations

from pathlib import Path

import click

from starling_py.cli.options import platform_options
from starling_py.cli.report import count, note, size

__all__ = ["build"]


@click.command()
@click.option(
    "--output",
    "-o",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="The zip file to write.",
)
@platform_options
@click.option(
    "--dockerfile",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write a Dockerfile too, for a container image of the bundle.",
)
@click.option(
    "--coordinator",
    is_flag=True,
    help="Make the bundle of the function that coordinates detached queries instead.",
)
def build(output: Path, arch: str, python: str, dockerfile: Path | None, coordinator: bool) -> None:
    """Make the bundle of a worker: what runs in a function on AWS Lambda.

    Wheels are downloaded for that platform, whatever this machine is, in the versions that are
    installed here. Building again gives the same bytes.
    """
    from starling_py.deploy.bundle import build_bundle, size_table
    from starling_py.deploy.contents import COORDINATOR, WORKER
    from starling_py.deploy.deployment import dockerfile as text
    from starling_py.deploy.platform import Platform

    contents = COORDINATOR if coordinator else WORKER
    bundle = build_bundle(output, Platform.parse(arch, python), contents)
    if dockerfile is not None:
        dockerfile.write_text(text(contents.handler), encoding="utf-8")
    note(size_table(bundle.sizes))
    click.echo(
        f"{output}: {count(bundle.files, 'file')}, {size(bundle.zipped)}, "
        f"{size(bundle.unzipped)} unpacked, SHA-256 {bundle.digest}"
    )
