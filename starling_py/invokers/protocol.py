"""What the coordinator asks of the place where tasks run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from starling_py.operators.task import TaskReport, TaskSpec
    from starling_py.shuffle.objects import ObjectStore

__all__ = ["PAYLOAD_BYTES", "Invoker"]

PAYLOAD_BYTES = 3 << 20
"""Of data in one spec or report: what a function call carries, less its encoding as text."""


class Invoker(Protocol):
    """Runs attempts of tasks over one object store."""

    @property
    def slots(self) -> int:
        """How many attempts run at once; more than that wait for their turn."""
        ...

    @property
    def memory_limit(self) -> int:
        """The memory limit of a task's DuckDB, in bytes."""
        ...

    @property
    def store(self) -> ObjectStore: ...

    async def invoke(self, spec: TaskSpec) -> TaskReport:
        """Run one attempt and return its report, which may carry an error.

        When the awaiting asyncio task is cancelled, the attempt is stopped, and the cancellation
        goes on as soon as the attempt has ended, after a bounded time.

        Raises
        ------
        StarlingError
            If no worker reported: ``WorkerDied``, ``OutOfMemory`` …
        """
        ...

    async def close(self) -> None:
        """Stop what runs and leave nothing behind; the store stays open."""
        ...
