"""Starling: SQL over Parquet with workers that exist only while the query runs.

``starling_py.connect(data="folder").execute("SELECT …").fetchall()`` is the shortest use. What
this package names is imported when it is first asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starling_py.connection import Connection, connect
    from starling_py.cursor import Cursor
    from starling_py.dbapi import (
        BINARY,
        DATETIME,
        NUMBER,
        ROWID,
        STRING,
        Binary,
        Date,
        DateFromTicks,
        Time,
        TimeFromTicks,
        Timestamp,
        TimestampFromTicks,
        apilevel,
        paramstyle,
        threadsafety,
    )
    from starling_py.errors import (
        DatabaseError,
        DataError,
        Error,
        IntegrityError,
        InterfaceError,
        InternalError,
        NotSupportedError,
        OperationalError,
        ProgrammingError,
        SqlError,
        StarlingError,
        StoreError,
        TaskError,
        UsageError,
        Warning,  # noqa: A004 - PEP 249 gives the name
    )
    from starling_py.shuffle.meter import RequestCounts
    from starling_py.shuffle.s3_options import S3Options

__all__ = [
    "BINARY",
    "DATETIME",
    "NUMBER",
    "ROWID",
    "STRING",
    "Binary",
    "Connection",
    "Cursor",
    "DataError",
    "DatabaseError",
    "Date",
    "DateFromTicks",
    "Error",
    "IntegrityError",
    "InterfaceError",
    "InternalError",
    "NotSupportedError",
    "OperationalError",
    "ProgrammingError",
    "RequestCounts",
    "S3Options",
    "SqlError",
    "StarlingError",
    "StoreError",
    "TaskError",
    "Time",
    "TimeFromTicks",
    "Timestamp",
    "TimestampFromTicks",
    "UsageError",
    "Warning",
    "__version__",
    "apilevel",
    "connect",
    "paramstyle",
    "threadsafety",
]

_DBAPI = (
    *("BINARY", "DATETIME", "NUMBER", "ROWID", "STRING"),
    *("Binary", "Date", "DateFromTicks", "Time", "TimeFromTicks", "Timestamp"),
    *("TimestampFromTicks", "apilevel", "paramstyle", "threadsafety"),
)
_HOMES = {
    **dict.fromkeys(_DBAPI, "starling_py.dbapi"),
    "Connection": "starling_py.connection",
    "Cursor": "starling_py.cursor",
    "RequestCounts": "starling_py.shuffle.meter",
    "S3Options": "starling_py.shuffle.s3_options",
    "connect": "starling_py.connection",
}


def __getattr__(name: str) -> object:
    if name == "__version__":
        from importlib.metadata import version

        return version("starling-py")
    if name in __all__:
        return getattr(import_module(_HOMES.get(name, "starling_py.errors")), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
