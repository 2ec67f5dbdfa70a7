"""How a plan is run, and which failures of a task are not the end of its query."""

from __future__ import annotations

from dataclasses import dataclass, field

from starling_py.coordinator.transport import Transport
from starling_py.operators.errors import OutOfMemory, TaskTimedOut, WorkerDied
from starling_py.shuffle.errors import (
    CorruptObject,
    ObjectMissing,
    StoreDenied,
    StoreError,
    StoreUnavailable,
)

__all__ = ["DIVIDED", "MEMORY_DIVISIONS", "RETRIED", "Options"]


@dataclass(frozen=True, slots=True)
class Options:
    """How a plan is run.

    ``slots`` attempts are in flight at most, ``stage_slots`` of one stage. ``memory_limit`` is that
    of a task's DuckDB, in bytes. ``deadline`` is that of the query, in seconds since the epoch.
    With ``divides`` a task that ran out of time or memory is divided in two, where its input can
    be, before it is tried again.
    """

    slots: int
    memory_limit: int
    deadline: float
    attempt_seconds: float = float("inf")
    max_attempts: int = 2
    transport: Transport = field(default_factory=Transport)
    divides: bool = False
    stage_slots: int | None = None


RETRIED = frozenset(
    kind.code
    for kind in (
        WorkerDied,
        TaskTimedOut,
        CorruptObject,
        StoreError,
        ObjectMissing,
        StoreDenied,
        StoreUnavailable,
    )
)
"""Codes of errors after which a task may be tried again as it is."""

DIVIDED = frozenset((TaskTimedOut.code, OutOfMemory.code))
"""Codes of errors of a task that was too large."""

MEMORY_DIVISIONS = 3
"""How often a task is divided for want of memory: of a row group all is fetched in any case."""
