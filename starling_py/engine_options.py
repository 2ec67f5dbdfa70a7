"""How an engine runs tasks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from starling_py.access import S3Access
from starling_py.coordinator.machine import available_cores
from starling_py.coordinator.transport import Transport
from starling_py.invokers.protocol import PAYLOAD_BYTES

if TYPE_CHECKING:
    from pathlib import Path

    from starling_py.invokers.function_client import FunctionClient
    from starling_py.shuffle.locations import S3Location

__all__ = ["EngineOptions"]


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """How an engine runs tasks.

    Parameters
    ----------
    workers
        How many tasks run at once.
    stage_workers
        How many of them may be of one stage; by default all.
    isolation
        ``"thread"`` runs them in this process, ``"process"`` in a process each.
    memory
        Bytes for the objects of the shuffle and all workers together; 0 stands for 80 % of what
        is free when the engine is made.
    seconds
        How long a query may take.
    attempts
        How often a task is tried, where trying again makes sense.
    attempt_seconds
        How long one attempt may take.
    scratch
        Where the directory for spilled and exchanged data is made; by default the machine's
        directory for temporary files.
    objects
        Where on S3 tasks put what they hand to one another; by default in this process's memory,
        or for processes in the scratch directory.
    access
        The ways to S3.
    payload
        Bytes of data that travel in a report or a spec instead of S3.
    doublewrite
        Put each object on S3 twice.
    function
        Runs the tasks on AWS Lambda, whatever ``isolation`` says; needs ``objects``.
    """

    workers: int = field(default_factory=available_cores)
    isolation: Literal["thread", "process"] = "thread"
    memory: int = 0
    seconds: float = 86_400.0
    attempts: int = 2
    attempt_seconds: float = float("inf")
    scratch: Path | None = None
    objects: S3Location | None = None
    access: S3Access = field(default_factory=S3Access)
    payload: int = PAYLOAD_BYTES
    doublewrite: bool = False
    function: FunctionClient | None = None
    stage_workers: int | None = None

    @property
    def transport(self) -> Transport:
        """How outputs travel: on one machine uncompressed and through the store."""
        if self.objects is None:
            return Transport()
        return Transport("lz4", self.payload, self.doublewrite)
