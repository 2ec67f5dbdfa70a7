"""The invoker that an engine's options ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starling_py.coordinator.machine import default_memory
from starling_py.invokers.functions import LambdaInvoker
from starling_py.invokers.processes import ProcessInvoker
from starling_py.invokers.threads import ThreadInvoker
from starling_py.shuffle.locations import LocalLocation, encode_path, open_location
from starling_py.shuffle.memory import MemoryStore

if TYPE_CHECKING:
    from pathlib import Path

    from starling_py.engine_options import EngineOptions
    from starling_py.invokers.protocol import Invoker
    from starling_py.shuffle.objects import ObjectStore

__all__ = ["chosen_invoker"]

_INSTANCE_OVERHEAD = 60 << 20
_LEAST_INSTANCE = 64 << 20


def chosen_invoker(options: EngineOptions, scratch: Path) -> Invoker:
    """Return the place where tasks run, with the store that they share.

    Parameters
    ----------
    scratch
        A private directory for what is spilled and exchanged on this machine.
    """
    access = options.access
    if options.function is not None:
        if options.objects is None:
            raise ValueError("functions hand their outputs to one another through S3")
        return LambdaInvoker(
            options.function, options.workers, location=options.objects, access=access
        )
    memory = options.memory or default_memory()
    if options.isolation == "process":
        return ProcessInvoker(
            options.workers,
            memory=memory,
            scratch=scratch,
            location=options.objects or LocalLocation(encode_path(str(scratch / "objects"))),
            access=access,
        )
    store: ObjectStore
    if options.objects is None:
        # Half for what tasks hand to one another; what does not fit goes to files.
        store = MemoryStore(budget=memory // 2, spill_directory=scratch)
    else:
        store = open_location(options.objects, access.source)
    share = memory // 2 // options.workers - _INSTANCE_OVERHEAD
    return ThreadInvoker(
        options.workers,
        store,
        memory_limit=max(share, _LEAST_INSTANCE),
        temp_directory=scratch,
        buckets=lambda: access.buckets,
    )
