"""The caller's own data frames and Arrow tables as tables: written down once, as Parquet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

import duckdb
import pyarrow as pa

from starling_py.catalog.errors import TableError, UsageError
from starling_py.catalog.manifest import MANIFEST, Manifest, ManifestColumn, ManifestFile
from starling_py.interruption import told
from starling_py.operators.plan import ResultColumn
from starling_py.operators.quoting import identifier, literal
from starling_py.planner.storage import parquet_columns

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["write_objects"]

_FILE = "part.parquet"


@runtime_checkable
class _ArrowStream(Protocol):
    """Arrow's PyCapsule interface: pyarrow, Polars, pandas 2.2, DuckDB and more have it."""

    def __arrow_c_stream__(self, requested_schema: object = None) -> object: ...


def write_objects(objects: Mapping[str, object], folder: Path) -> dict[str, str]:
    """Write each object as the table that DuckDB takes it for; return their folders by name.

    Raises
    ------
    UsageError
        For what is no table.
    Unsupported
        For a type that Parquet cannot carry.
    TableError
        When an object cannot be read, or written.
    """
    return {
        name: _write(name, given, folder / f"table-{number}")
        for number, (name, given) in enumerate(objects.items())
    }


def _write(name: str, given: object, folder: Path) -> str:
    folder.mkdir()
    config = {"python_enable_replacements": False, "autoload_known_extensions": False}
    with duckdb.connect(config={**config, "temp_directory": str(folder / "temp")}) as connection:
        try:
            with told():
                connection.register("given", _readable(name, given))
                _copy(connection, folder)
        except (duckdb.Error, pa.ArrowException) as error:
            first = str(error).splitlines()[0]
            raise TableError(f"table {name}: the object cannot be read: {first}") from error
    return str(folder)


def _copy(connection: duckdb.DuckDBPyConnection, folder: Path) -> None:
    rows = connection.execute("DESCRIBE FROM given").fetchall()
    columns = parquet_columns([ResultColumn(str(r[0]), str(r[1])) for r in rows], restored=True)
    items = ", ".join(
        f"CAST({identifier(column.name)} AS {column.stored}) AS {identifier(column.name)}"
        for column in columns
    )
    path = folder / _FILE
    copied = connection.execute(
        f"COPY (SELECT {items} FROM given) TO {literal(str(path))} (FORMAT parquet)"
    ).fetchall()
    manifest = Manifest(
        "",
        tuple(ManifestColumn(column.name, column.type) for column in columns),
        (ManifestFile(_FILE, int(copied[0][0]), path.stat().st_size),),
    )
    (folder / MANIFEST).write_bytes(manifest.encoded())


def _readable(name: str, given: object) -> object:
    """Return an object that DuckDB reads and that may be read twice."""
    module = type(given).__module__.partition(".")[0]
    if module == "pandas" and type(given).__name__ == "DataFrame":
        return given  # DuckDB looks into its objects
    if isinstance(given, _ArrowStream):
        return pa.table(given)
    raise UsageError(
        f"table {name}: a {type(given).__name__} is no table",
        hint="a table is a path or pattern, a pandas or Polars DataFrame, or Arrow data",
    )
