"""Errors of the planner, and the one signal that never leaves it.

::

    StarlingError
    └── SqlError
        ├── SqlSyntaxError       with line, column and caret
        ├── UnknownTable         with the nearest name
        ├── UnknownColumn        with DuckDB's candidates
        ├── BindError            everything else that DuckDB's binder says
        ├── ParameterError       values that do not fit the statement's parameters
        ├── TableExists          a new table of a name that is taken
        └── Unsupported          a statement that the engine refuses by name
"""

from __future__ import annotations

from starling_py.shuffle.dbapi import NotSupportedError, ProgrammingError
from starling_py.shuffle.errors import StarlingError

__all__ = [
    "BindError",
    "CannotDistribute",
    "ParameterError",
    "SqlError",
    "SqlSyntaxError",
    "TableExists",
    "UnknownColumn",
    "UnknownTable",
    "Unsupported",
    "row_id_refused",
]


class SqlError(StarlingError, ProgrammingError):
    """The statement cannot be planned."""

    code = "SQL"


class SqlSyntaxError(SqlError):
    """The statement is not SQL."""

    code = "SQL_SYNTAX"


class UnknownTable(SqlError):
    """No table of the catalog has this name."""

    code = "UNKNOWN_TABLE"


class UnknownColumn(SqlError):
    """No table of the FROM clause has this column."""

    code = "UNKNOWN_COLUMN"


class BindError(SqlError):
    """DuckDB's binder refuses the statement."""

    code = "BIND"


class ParameterError(SqlError):
    """A parameter without a value, a value without a parameter, or one of no SQL type."""

    code = "PARAMETERS"


class TableExists(SqlError):
    """A new table has the name of one that is there."""

    code = "TABLE_EXISTS"


class Unsupported(SqlError, NotSupportedError):
    """A statement that the engine does not run."""

    code = "UNSUPPORTED"


class CannotDistribute(Exception):
    """The plan holds something that the planner does not know: the statement runs on one worker."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def row_id_refused() -> Unsupported:
    """Return the error for a statement that reads ``rowid``."""
    return Unsupported(
        "rowid is not supported: rows of Parquet files have no number of their own",
        hint="file_row_number counts the rows of each file.",
    )
