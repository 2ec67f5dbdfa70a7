"""How a connection runs queries: the options of ``connect`` and of the command line, checked."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, cast

from starling_py.catalog.errors import UsageError
from starling_py.leftovers import split_scratch
from starling_py.prices import Prices, load_prices

if TYPE_CHECKING:
    import os

__all__ = ["Config", "Isolation", "Shuffle", "Target", "parse_size", "resolve"]

Isolation = Literal["thread", "process"]
Shuffle = Literal["auto", "direct", "combined"]
Target = Literal["local", "lambda"]

LEAST_MEMORY = 64 << 20
MOST_TASKS = 10_000
"""Of a stage; each costs a few milliseconds, however little it has to do."""
MOST_WORKERS = 1_000
FUNCTION = "starling-worker"
FUNCTION_WORKERS = 64
"""Unless told otherwise; no more than Lambda allows are used."""

_SIZE = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([kmgt]?)(i?)(b?)\s*", re.IGNORECASE)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


@dataclass(frozen=True, slots=True)
class Config:
    """What is the same for all queries of a connection.

    ``tasks`` of ``None`` lets the planner choose for each stage. ``memory``, in bytes, is for the
    shuffled data and all workers together. ``scratch`` is the URL under which tasks leave on S3
    what they hand to one another, or ``None`` for this machine. With the target ``"lambda"`` tasks
    run in ``function``; ``cores`` and ``memory`` are then this machine's and of no use to them.
    """

    tasks: int | None
    workers: int
    cores: int
    isolation: Isolation
    memory: int
    scratch: str | None = None
    shuffle: Shuffle = "auto"
    doublewrite: bool = False
    target: Target = "local"
    function: str = FUNCTION
    stage_workers: int | None = None
    dialect: str = "duckdb"
    prices: Prices = field(default_factory=Prices)


def resolve(
    tasks: int | None = None,
    workers: int | None = None,
    isolation: str = "thread",
    memory: int | str | None = None,
    scratch: str | None = None,
    shuffle: str = "auto",
    *,
    doublewrite: bool = False,
    target: str = "local",
    function: str | None = None,
    stage_workers: int | None = None,
    dialect: str = "duckdb",
    prices: Prices | str | os.PathLike[str] | None = None,
) -> Config:
    """Return the options with their defaults filled in from the machine.

    Raises
    ------
    UsageError
        For a number that is out of range, an unknown isolation or a size that is none.
    Unsupported
        For an unknown dialect.
    """
    for name, number, most in (
        ("tasks", tasks, MOST_TASKS),
        ("workers", workers, MOST_WORKERS),
        ("stage_workers", stage_workers, MOST_WORKERS),
    ):
        if number is None:
            continue
        if not isinstance(number, int) or isinstance(number, bool):
            raise UsageError(f"{name} must be a whole number, not {number!r}")
        if not 1 <= number <= most:
            raise UsageError(f"{name} must be from 1 to {most:,}, not {number}")
    if isolation not in ("thread", "process"):
        raise UsageError(f"isolation must be 'thread' or 'process', not {isolation!r}")
    if shuffle not in ("auto", "direct", "combined"):
        raise UsageError(f"shuffle must be 'auto', 'direct' or 'combined', not {shuffle!r}")
    if scratch is not None:
        split_scratch(scratch)
    if doublewrite and scratch is None:
        raise UsageError(
            "doublewrite is for a shuffle on S3", hint="name a scratch: s3://bucket/prefix"
        )
    if target not in ("local", "lambda"):
        raise UsageError(f"target must be 'local' or 'lambda', not {target!r}")
    if target == "lambda" and scratch is None:
        raise UsageError(
            "functions exchange rows through S3", hint="name a scratch: s3://bucket/prefix"
        )
    if function is not None and target != "lambda":
        raise UsageError("a function is for the target 'lambda'")
    from starling_py.coordinator.machine import available_cores
    from starling_py.planner.dialects import check_dialect

    cores = available_cores()
    return Config(
        tasks=tasks,
        workers=workers or (FUNCTION_WORKERS if target == "lambda" else cores),
        cores=cores,
        isolation=cast("Isolation", isolation),
        memory=_memory(memory),
        scratch=scratch,
        shuffle=cast("Shuffle", shuffle),
        doublewrite=doublewrite,
        target=cast("Target", target),
        function=function or FUNCTION,
        stage_workers=stage_workers,
        dialect=check_dialect(dialect),
        prices=prices if isinstance(prices, Prices) else load_prices(prices),
    )


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
