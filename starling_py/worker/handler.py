"""The entry point of the function on AWS Lambda: ``starling_py.worker.handler.handle``."""

from __future__ import annotations

import functools
import os
import shutil
import tempfile
from pathlib import Path

from starling_py.worker.function import CallContext, FunctionWorker

__all__ = ["handle"]


def handle(event: object, context: CallContext) -> dict[str, object]:
    """Run the task of an event and return its report, or a typed error; see ``payload``."""
    return _worker().answer(event, context)


@functools.cache
def _worker() -> FunctionWorker:
    folder = Path(tempfile.gettempdir()) / "starling-function"
    # A function's /tmp outlives its process, and no other process uses it.
    shutil.rmtree(folder, ignore_errors=True)
    return FunctionWorker(os.environ, folder)
