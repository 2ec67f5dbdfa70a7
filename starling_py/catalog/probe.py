"""DuckDB's own word on patterns, columns and types: asked, so that it need not be imitated."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, NamedTuple

from starling_py.catalog.errors import TableError
from starling_py.operators.quoting import literal, parquet_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import duckdb

__all__ = ["Described", "Probe"]


_COMPARABLE = {
    "BIGINT": "{}",
    "DATE": "epoch_us({0}::TIMESTAMP) // 86400000000",
    "INTEGER": "{}",
    "SMALLINT": "{}",
    "TIMESTAMP": "epoch_us({})",
}


class Described(NamedTuple):
    """A column as DESCRIBE shows it."""

    name: str
    type: str


class Probe:
    """A small DuckDB instance that is opened when first asked. Threads take turns."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._connection: duckdb.DuckDBPyConnection | None = None

    def glob(self, pattern: str, prefix: str = "") -> list[str]:
        """Return the paths of the files that ``read_parquet(pattern)`` reads, in its order.

        A folder stands for all ``.parquet`` files below it. ``prefix`` is the literal start of
        the path, in which no character is special.
        """
        start = parquet_path(prefix)
        found = self._ask(f"SELECT file FROM glob({start} || {literal(pattern)})")
        if not found and os.path.isdir(prefix + pattern):  # noqa: PTH112 - as it was typed
            inside = parquet_path((prefix + pattern).rstrip("/"))
            found = self._ask(f"SELECT file FROM glob({inside} || '/**/*.parquet')")
        return [str(row[0]) for row in found]

    def describe(self, path: str) -> tuple[Described, ...]:
        """Return the columns of one Parquet file."""
        return self._describe(f"{parquet_path(path)}, hive_partitioning = false")

    def matching(self, pattern: str, names: Sequence[str]) -> set[str]:
        """Return which names of files or folders match one part of a pattern."""
        sql = "SELECT name FROM (SELECT unnest(?::VARCHAR[]) AS name) WHERE name GLOB ?"
        return {str(row[0]) for row in self._ask(sql, [list(names), pattern])}

    def describe_hive(
        self, paths: Iterable[str], types: Mapping[str, str] | None, *, autocast: bool
    ) -> tuple[Described, ...]:
        """Return the columns of Parquet files together with those of their folders."""
        listed = ", ".join(parquet_path(path) for path in paths)
        text = f"[{listed}], hive_partitioning = true, hive_types_autocast = {autocast}"
        if types:
            named = ", ".join(f"{literal(key)}: {literal(value)}" for key, value in types.items())
            text += f", hive_types = {{{named}}}"
        return self._describe(text)

    def comparable(self, values: Sequence[str], type_: str) -> dict[str, object]:
        """Return the comparable form (see ``ColumnRange``) of texts cast to a type, where known."""
        if type_ == "VARCHAR":
            return dict(zip(values, values, strict=True))
        form = _COMPARABLE.get(type_)
        if not form or not values:
            return {}
        listed = ", ".join(literal(value) for value in values)
        cast = form.format(f"TRY_CAST(v AS {type_})")
        rows = self._ask(f"SELECT v, {cast} FROM (SELECT unnest([{listed}]) AS v)")
        return {str(value): known for value, known in rows if known is not None}

    def _describe(self, arguments: str) -> tuple[Described, ...]:
        rows = self._ask(f"DESCRIBE SELECT * FROM read_parquet({arguments})")
        return tuple(Described(str(row[0]), str(row[1])) for row in rows)

    def _ask(self, sql: str, values: Sequence[object] = ()) -> list[tuple[object, ...]]:
        import duckdb

        with self._lock:
            if self._connection is None:
                self._connection = duckdb.connect(
                    ":memory:",
                    config={
                        "threads": 1,
                        "python_enable_replacements": False,
                        "autoinstall_known_extensions": False,
                        "autoload_known_extensions": False,
                        # Stand-ins of different files have the same path.
                        "enable_external_file_cache": False,
                    },
                )
            try:
                return list(self._connection.execute(sql, list(values)).fetchall())
            except UnicodeEncodeError as error:
                raise TableError("a file's name is not valid UTF-8") from error
            except duckdb.Error as error:
                raise TableError(str(error).splitlines()[0]) from error

    def close(self) -> None:
        """Close the instance; a later question opens it again."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None
