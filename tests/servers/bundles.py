"""The code of a function as it would be uploaded, built once a test run for this machine."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from starling_py.deploy.bundle import Bundle, build_bundle
from starling_py.deploy.contents import COORDINATOR, WORKER, Contents
from starling_py.deploy.errors import WheelsMissing
from starling_py.deploy.platform import this_platform


@pytest.fixture(scope="session")
def wheels() -> Path:
    """Kept between runs: a build takes about 80 MB from the package index."""
    return Path(__file__).parents[2] / "build/wheels"


@pytest.fixture(scope="session")
def built(wheels: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The bundle of a worker for this machine."""
    return _build(tmp_path_factory.mktemp("bundle"), WORKER, wheels)


@pytest.fixture(scope="session")
def built_coordinator(wheels: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The bundle of a coordinator for this machine."""
    return _build(tmp_path_factory.mktemp("bundle"), COORDINATOR, wheels)


def _build(folder: Path, contents: Contents, wheels: Path) -> Bundle:
    if not sys.platform.startswith("linux"):
        pytest.skip("functions run on Linux")
    try:
        return build_bundle(folder / "bundle.zip", this_platform(), contents, cache=wheels)
    except WheelsMissing as error:
        pytest.skip(f"the package index cannot be reached: {error}")
