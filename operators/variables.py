"""Session variables of a statement: what its parameters are given, with their exact types."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import pyarrow as pa

from starling_py.operators.quoting import identifier

if TYPE_CHECKING:
    from collections.abc import Iterator

    import duckdb

    from starling_py.operators.task import Variables

__all__ = ["bound_variables"]

_RELATION = "starling variables"


@contextmanager
def bound_variables(
    connection: duckdb.DuckDBPyConnection, variables: Variables | None
) -> Iterator[None]:
    """Set variables of the session; afterwards none of them is left."""
    if variables is None:
        yield
        return
    with pa.ipc.open_stream(variables.data) as reader:
        table = reader.read_all()
    names = [identifier(column.name) for column in variables.columns]
    try:
        connection.register(_RELATION, table)
        try:
            for name, column in zip(names, variables.columns, strict=True):
                # Arrow knows fewer types than DuckDB.
                value = f"SELECT CAST({name} AS {column.type}) FROM {identifier(_RELATION)}"
                connection.execute(f"SET VARIABLE {name} = ({value})").fetchall()
        finally:
            connection.unregister(_RELATION)
        yield
    finally:
        for name in names:
            connection.execute(f"RESET VARIABLE {name}").fetchall()
