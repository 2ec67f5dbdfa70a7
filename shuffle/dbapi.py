"""The exception classes that PEP 249 names.

They live on the ground floor so that the errors of every room can be of the right one, and are
mixed in: ``class SqlError(StarlingError, ProgrammingError)``. ``starling_py`` shows them all::

    Error
    ├── InterfaceError
    └── DatabaseError
        ├── DataError
        ├── OperationalError
        ├── IntegrityError
        ├── InternalError
        ├── ProgrammingError
        └── NotSupportedError
"""

from __future__ import annotations

__all__ = [
    "DataError",
    "DatabaseError",
    "Error",
    "IntegrityError",
    "InterfaceError",
    "InternalError",
    "NotSupportedError",
    "OperationalError",
    "ProgrammingError",
    "Warning",
]


class Warning(Exception):  # noqa: A001 - PEP 249 gives the name
    """Nothing raises it; PEP 249 asks for the name."""


class Error(Exception):
    """Base of every error that the engine raises on purpose."""


class InterfaceError(Error):
    """The connection or cursor was used in a way that it does not allow."""


class DatabaseError(Error):
    """Anything to do with the data, the statement or the run."""


class DataError(DatabaseError):
    """The data is not what it should be: a division by zero, a file that is damaged."""


class OperationalError(DatabaseError):
    """The run failed for a reason that is not in the statement."""


class IntegrityError(DatabaseError):
    """Nothing raises it: tables have no constraints."""


class InternalError(DatabaseError):
    """The engine itself is at fault."""


class ProgrammingError(DatabaseError):
    """The statement or an option is wrong."""


class NotSupportedError(DatabaseError):
    """The statement asks for something that the engine does not do."""
