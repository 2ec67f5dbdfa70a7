"""How a connection runs queries: the options of ``connect`` and of the command line, checked."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, cast

from starling_py.catalog.errors import UsageError

__all__ = ["Config", "Isolation", "parse_size", "resolve"]

Isolation = Literal["thread", "process"]

LEAST_MEMORY = 64 << 20
MOST_TASKS = 10_000
"""Of a stage; each costs a few milliseconds, however little it has to do."""
MOST_WORKERS = 1_000

_SIZE = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([kmgt]?)(i?)(b?)\s*", re.IGNORECASE)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


@dataclass(frozen=True, slots=True)
class Config:
    """What is the same for all queries of a connection.

    ``tasks`` of ``None`` lets the planner choose for each stage. ``memory``, in bytes, is for the
    shuffled data and all workers together.
    """

    tasks: int | None
    workers: int
    cores: int
    isolation: Isolation
    memory: int


def resolve(
    tasks: int | None = None,
    workers: int | None = None,
    isolation: str = "thread",
    memory: int | str | None = None,
) -> Config:
    """Return the options with their defaults filled in from the machine.

    Raises
    ------
    UsageError
        For a number that is out of range, an unknown isolation or a size that is none.
    """
    for name, number, most in (("tasks", tasks, MOST_TASKS), ("workers", workers, MOST_WORKERS)):
        if number is None:
            continue
        if not isinstance(number, int) or isinstance(number, bool):
            raise UsageError(f"{name} must be a whole number, not {number!r}")
        if not 1 <= number <= most:
            raise UsageError(f"{name} must be from 1 to {most:,}, not {number}")
    if isolation not in ("thread", "process"):
        raise UsageError(f"isolation must be 'thread' or 'process', not {isolation!r}")
    from starling_py.coordinator.machine import available_cores

    cores = available_cores()
    return Config(tasks, workers or cores, cores, cast("Isolation", isolation), _memory(memory))


def parse_size(text: str) -> int:
    """Return a size such as ``512MB``, ``1.5GiB`` or ``1000000`` in bytes.

    As in DuckDB, ``MB`` is a million bytes and ``MiB`` is 1024 · 1024.

    Raises
    ------
    UsageError
        When the text is no size.
    """
    found = _SIZE.fullmatch(text)
    if found is None or (found[3] and not found[2]):
        raise UsageError(f"{text!r} is not a size", hint="write for example 512MB or 2GB")
    base = 1024 if found[3] else 1000
    return int(float(found[1]) * base ** _POWERS[found[2].lower()])


def _memory(given: int | str | None) -> int:
    from starling_py.coordinator.machine import default_memory

    if given is None:
        return max(default_memory(), LEAST_MEMORY)
    size = parse_size(given) if isinstance(given, str) else given
    if not isinstance(size, int) or isinstance(size, bool):
        raise UsageError(f"memory must be bytes or a text such as '2GB', not {given!r}")
    if size < LEAST_MEMORY:
        raise UsageError(f"memory must be at least {LEAST_MEMORY >> 20}MiB, not {given}")
    return size
