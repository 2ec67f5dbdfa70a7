"""What a worker of a given memory may use: a process, or a function on AWS Lambda."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starling_py.shuffle.prices import Architecture

__all__ = [
    "LEAST_FUNCTION",
    "function_architecture",
    "function_threads",
    "instance_limit",
    "scan_room",
]

_MEBIBYTE = 1 << 20
_RUNTIME = 180 * _MEBIBYTE
_LEAST_LIMIT = 64 * _MEBIBYTE

LEAST_FUNCTION = 512 * _MEBIBYTE
"""Below this the runtime takes most of a function's memory."""

_MEBIBYTES_PER_CORE = 1769
_STEPS = (3008, 5307, 7076, 8845)
"""Mebibytes up to which a function sees 2, 3, 4 and 5 cores; above the last it sees 6."""


def instance_limit(size: int) -> int:
    """Return the memory limit of the DuckDB in a worker of ``size`` bytes.

    Python, its libraries and what DuckDB uses beyond its limit take 180 MiB; of the rest half is
    for the output, which is there twice while it is cut into partitions.
    """
    return max((size - _RUNTIME) // 2, _LEAST_LIMIT)


def scan_room(size: int) -> int:
    """Return how many bytes of tables a worker of ``size`` bytes may hold while it reads them."""
    return max(size - _RUNTIME - _LEAST_LIMIT, 0)


def function_architecture() -> Architecture:
    """Return the processor that this process runs on, as Lambda calls it."""
    return "arm64" if platform.machine() in ("aarch64", "arm64") else "x86_64"


def function_threads(mebibytes: int) -> int:
    """Return how many threads a function of this size can keep busy.

    Its share of the CPU grows with its memory, over a number of cores that grows in steps.
    """
    seen = 2 + sum(mebibytes > step for step in _STEPS)
    return min(max(round(mebibytes / _MEBIBYTES_PER_CORE), 1), seen)
