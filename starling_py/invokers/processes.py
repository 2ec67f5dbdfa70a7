"""Tasks in worker processes over a directory of objects."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from starling_py.invokers.process import WorkerProcess
from starling_py.operators.errors import WorkerDied
from starling_py.shuffle.locations import S3Location, open_location
from starling_py.worker.size import instance_limit

if TYPE_CHECKING:
    from pathlib import Path

    from starling_py.access import S3Access
    from starling_py.operators.task import TaskReport, TaskSpec
    from starling_py.shuffle.locations import StoreLocation
    from starling_py.shuffle.objects import ObjectStore

__all__ = ["ProcessInvoker", "instance_limit"]


class ProcessInvoker:
    """Worker processes, started when there is a task for them and replaced when they die.

    Parameters
    ----------
    workers
        How many processes.
    memory
        Bytes for all of them together.
    scratch
        A private directory for spilling.
    location
        Where the objects are.
    access
        The ways to S3.
    """

    def __init__(
        self,
        workers: int,
        *,
        memory: int,
        scratch: Path,
        location: StoreLocation,
        access: S3Access,
    ) -> None:
        source = access.source if isinstance(location, S3Location) else None
        self._store = open_location(location, source)
        size = memory // workers
        self._memory_limit = instance_limit(size)
        self._workers = [
            WorkerProcess(
                f"process-{number}", size=size, store=location, scratch=scratch, access=access
            )
            for number in range(workers)
        ]
        self._free = list(reversed(self._workers))
        self._turn = asyncio.Semaphore(workers)
        self._closed = False

    @property
    def slots(self) -> int:
        return len(self._workers)

    @property
    def memory_limit(self) -> int:
        return self._memory_limit

    @property
    def store(self) -> ObjectStore:
        return self._store

    async def invoke(self, spec: TaskSpec) -> TaskReport:
        async with self._turn:
            if self._closed:
                raise WorkerDied("the engine is closed")
            worker = self._free.pop()
            try:
                return await worker.run(spec)
            finally:
                self._free.append(worker)

    async def close(self) -> None:
        self._closed = True
        await asyncio.gather(*(worker.close() for worker in self._workers))
