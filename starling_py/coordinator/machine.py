"""What of the machine the engine may use by default."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["available_cores", "available_memory", "default_memory"]

_CGROUP = Path("/sys/fs/cgroup")


def available_cores() -> int:
    """Return how many cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def default_memory() -> int:
    """Return 80 % of the memory that is free for this process now, in bytes."""
    return available_memory() * 4 // 5


def available_memory() -> int:
    """Return the machine's available memory, or what the control group leaves of it."""
    found = [_machine_memory(), *_cgroup_memory()]
    return max(min(found), 0)


def _machine_memory() -> int:
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _cgroup_memory() -> list[int]:
    """Return what each limit above this process leaves free (versions 2 and 1)."""
    free: list[int] = []
    try:
        lines = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return free
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            base, limit, used = _CGROUP, "memory.max", "memory.current"
        elif "memory" in controllers.split(","):
            base, limit, used = (
                _CGROUP / "memory",
                "memory.limit_in_bytes",
                "memory.usage_in_bytes",
            )
        else:
            continue
        folder = base / path.lstrip("/")
        # Inside a container the path is often that of the host, and the limit is at the root.
        for place in (folder, *folder.parents):
            left = _left(place, limit, used)
            if left is not None:
                free.append(left)
            if place == base:
                break
    return free


def _left(folder: Path, limit: str, used: str) -> int | None:
    try:
        most = int((folder / limit).read_text(encoding="ascii"))
        return most - int((folder / used).read_text(encoding="ascii")) + _reclaimable(folder)
    except (OSError, ValueError):
        return None  # there is no limit, or "max"


def _reclaimable(folder: Path) -> int:
    """Return the bytes of cached files, which count as used."""
    for line in (folder / "memory.stat").read_text(encoding="ascii").splitlines():
        name, _, value = line.partition(" ")
        if name == "inactive_file":
            return int(value)
    return 0
