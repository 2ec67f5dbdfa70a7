"""What can go wrong with a query that runs by itself, beside what can with any other.

::

    StarlingError
    └── DetachedError
        ├── QueryUnknown     there is no such query below this scratch
        ├── QueryRunning     it has not ended yet
        └── CoordinatorLost  its coordinators end again and again, and it gets no further
"""

from __future__ import annotations

from starling_py.shuffle.dbapi import OperationalError
from starling_py.shuffle.errors import StarlingError

__all__ = ["CoordinatorLost", "DetachedError", "QueryRunning", "QueryUnknown"]


class DetachedError(StarlingError, OperationalError):
    """Something is wrong with a query that runs by itself."""

    code = "DETACHED"


class QueryUnknown(DetachedError):
    """There is no such query, or nothing of it is left."""

    code = "QUERY_UNKNOWN"


class QueryRunning(DetachedError):
    """The query has not ended yet."""

    code = "QUERY_RUNNING"


class CoordinatorLost(DetachedError):
    """The coordinators of a query end again and again, and it gets no further."""

    code = "COORDINATOR_LOST"
