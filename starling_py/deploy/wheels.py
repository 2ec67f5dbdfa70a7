"""Wheels for another platform than this one, fetched once."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from starling_py.deploy.errors import WheelsMissing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starling_py.deploy.platform import Platform

__all__ = ["default_cache", "fetch_wheels"]

_SECONDS = 900.0
"""For about 80 MB, over a slow line."""


def default_cache() -> Path:
    """Return where wheels are kept between builds."""
    named = os.environ.get("STARLING_CACHE_DIR")
    if named:
        return Path(named) / "wheels"
    root = os.environ.get("XDG_CACHE_HOME")
    return (Path(root) if root else Path.home() / ".cache") / "starling" / "wheels"


def fetch_wheels(
    requirements: Sequence[str], platform: Platform, cache: Path | None = None
) -> tuple[Path, ...]:
    """Return a wheel for each pinned requirement, sorted by name; pip downloads what is not kept.

    Raises
    ------
    WheelsMissing
        If pip is not here or cannot find or reach them.
    """
    cache = cache or default_cache()
    wanted = "\n".join((platform.architecture, platform.version, *sorted(requirements)))
    folder = cache / hashlib.sha256(wanted.encode()).hexdigest()[:16]
    # The folder gets its name when it is complete.
    if not folder.is_dir():
        _download(requirements, platform, folder)
    wheels = tuple(sorted(folder.glob("*.whl")))
    if len(wheels) != len(requirements):
        raise WheelsMissing(
            f"{folder} holds {len(wheels)} wheels for {len(requirements)} requirements",
            hint="remove the folder and build again",
        )
    return wheels


def _download(requirements: Sequence[str], platform: Platform, folder: Path) -> None:
    if find_spec("pip") is None:
        raise WheelsMissing(
            "pip, which fetches the wheels, is not installed beside Starling",
            hint=f"{sys.executable} -m ensurepip, or `uv pip install pip`",
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    new = Path(tempfile.mkdtemp(prefix=".new-", dir=folder.parent))
    try:
        _run_pip(requirements, platform, new)
        # Whoever else fetched them at the same time has the same ones.
        with contextlib.suppress(FileExistsError, OSError):
            new.rename(folder)
        if not folder.is_dir():
            raise WheelsMissing(f"the wheels cannot be kept in {folder}")
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _run_pip(requirements: Sequence[str], platform: Platform, folder: Path) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "download"]
    command += ["--quiet", "--no-deps", "--only-binary=:all:", "--implementation=cp"]
    command += [f"--python-version={platform.version}", f"--dest={folder}"]
    command += [f"--platform={tag}" for tag in platform.tags]
    try:
        done = subprocess.run(
            [*command, *requirements],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise WheelsMissing(f"pip did not end within {_SECONDS:.0f} seconds") from error
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR:")]
        reason = (errors or done.stderr.splitlines() or ["no reason given"])[-1]
        raise WheelsMissing(
            f"pip found no wheels for Python {platform.version} on {platform.architecture}: "
            f"{reason.removeprefix('ERROR:').strip()}",
            hint="the versions are those installed here: " + ", ".join(requirements),
        )
