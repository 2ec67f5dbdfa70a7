"""What machine, what versions, and how much memory a process has taken."""

from __future__ import annotations

import os
import platform
import resource
import shutil
import subprocess
import sys
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from starling_py.tpch.measurements import Machine, Versions

__all__ = ["forget_peak", "machine", "peak_memory", "versions"]

_GIT_SECONDS = 10.0
_RESET_PEAK = "5"


def machine() -> Machine:
    """Return what this machine is like."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return Machine(
        system=f"{platform.system()} {platform.release()}",
        processor=_processor(),
        cores=cores or 1,
        memory=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        load=os.getloadavg()[0],
    )


def versions() -> Versions:
    """Return what runs."""
    return Versions(
        starling=_version("starling-py"),
        commit=_commit(),
        python=platform.python_version(),
        duckdb=_version("duckdb"),
        pyarrow=_version("pyarrow"),
    )


def forget_peak() -> None:
    """Let the peak of this process begin anew, where the system can do that."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text(_RESET_PEAK, encoding="ascii")


def peak_memory() -> int:
    """Return the largest resident memory since the last ``forget_peak``, in bytes."""
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _processor() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _commit() -> str:
    """Return the commit of the engine's source, or nothing where it is not under git."""
    git = shutil.which("git")
    # Installed from a wheel into somebody's project, that project's commit would say nothing.
    folder = Path(__file__).resolve().parents[1]
    if git is None or not (folder / ".git").exists():
        return ""
    with suppress(OSError, subprocess.SubprocessError):
        found = subprocess.run(
            [git, "describe", "--always", "--abbrev=12", "--dirty=+", "--exclude=*"],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=_GIT_SECONDS,
            check=True,
        )
        return found.stdout.strip()
    return ""
