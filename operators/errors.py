"""What can go wrong with a task.

::

    StarlingError
    └── TaskError
        ├── TaskFailed      the statement failed on its data, or is not what was declared
        ├── WorkerDied      the process of a worker ended while it held the task
        ├── TaskTimedOut
        ├── OutOfMemory
        ├── FileChanged     a scanned file is not the one that was planned for
        ├── BadParquet      a scanned file cannot be read
        └── Cancelled
"""

from __future__ import annotations

from starling_py.shuffle.dbapi import DataError, OperationalError
from starling_py.shuffle.errors import StarlingError

__all__ = [
    "INTERRUPTED",
    "BadParquet",
    "Cancelled",
    "FileChanged",
    "OutOfMemory",
    "TaskError",
    "TaskFailed",
    "TaskTimedOut",
    "WorkerDied",
]

INTERRUPTED = "Query interrupted"
"""The text of the RuntimeError that DuckDB makes of Ctrl-C."""


class TaskError(StarlingError, OperationalError):
    """A task did not give its answer."""

    code = "TASK"


class TaskFailed(TaskError, DataError):
    """The statement of a task failed: on its data, or because it is not what was declared."""

    code = "TASK_FAILED"


class WorkerDied(TaskError):
    """The worker ended before it reported."""

    code = "WORKER_DIED"


class TaskTimedOut(TaskError):
    """The task had not reported by its deadline."""

    code = "TASK_TIMED_OUT"


class OutOfMemory(TaskError):
    """The task needs more memory than a worker has."""

    code = "OUT_OF_MEMORY"


class FileChanged(TaskError):
    """A scanned file vanished, or differs in size or modification time from the planned one."""

    code = "FILE_CHANGED"


class BadParquet(TaskError, DataError):
    """A scanned file is damaged, or may not be read."""

    code = "BAD_PARQUET"


class Cancelled(TaskError):
    """The query was cancelled."""

    code = "CANCELLED"
