"""A bundle for the interpreter at hand, a small one for AWS, and AWS on this machine."""

from __future__ import annotations

import contextlib
import os
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from s3_servers import S3Server

from starling_py.deploy.aws import Aws
from starling_py.deploy.bundle import Bundle, Manifest, read_bundle
from starling_py.deploy.contents import COORDINATOR, WORKER
from starling_py.worker.payload import VERSION


@pytest.fixture(scope="session")
def unpacked(built: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unpacked")
    with zipfile.ZipFile(built.path) as archive:
        archive.extractall(folder)
    return folder


@pytest.fixture
def make_bundle(tmp_path: Path) -> Callable[..., Bundle]:
    """Make bundles that say what they are and do nothing."""

    def make(name: str = "small.zip", **changes: object) -> Bundle:
        manifest = Manifest(VERSION, WORKER.handler, "arm64", "3.13", ())
        path = tmp_path / name
        with zipfile.ZipFile(path, "w") as archive:
            text = msgspec.json.encode(msgspec.structs.replace(manifest, **changes))
            archive.writestr("starling-bundle.json", text)
        return read_bundle(path)

    return make


@pytest.fixture
def small(make_bundle: Callable[..., Bundle]) -> Bundle:
    return make_bundle()


@pytest.fixture
def small_coordinator(make_bundle: Callable[..., Bundle]) -> Bundle:
    return make_bundle("coordinator.zip", handler=COORDINATOR.handler)


@pytest.fixture
def pair(small: Bundle, small_coordinator: Bundle) -> tuple[Bundle, Bundle]:
    """The bundles of a worker and a coordinator."""
    return small, small_coordinator


@pytest.fixture
def cloud(moto: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """moto, to which the environment leads."""
    for name, value in moto.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    return moto


@pytest.fixture
def aws(cloud: S3Server) -> Iterator[Aws]:
    assert os.environ["AWS_ENDPOINT_URL"] == cloud.endpoint
    with contextlib.closing(Aws()) as made:
        yield made
