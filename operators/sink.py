"""A task's answer as files: written by DuckDB's COPY, and for S3 sent from here.

Nobody sees the files yet. They lie in a folder of the attempt's own, and the coordinator gives
those of the accepted attempts their names once all tasks have reported.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from starling_py.operators.errors import TaskFailed
from starling_py.operators.quoting import decode_path, identifier, literal
from starling_py.shuffle.errors import StoreError
from starling_py.shuffle.files import read_file
from starling_py.shuffle.locations import is_remote

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from starling_py.operators.instance import Instance
    from starling_py.operators.task import FileSink, TaskSpec
    from starling_py.shuffle.buckets import Buckets

__all__ = ["Writer"]

_SCHEMA = pa.schema([("file", pa.string()), ("rows", pa.int64()), ("bytes", pa.int64())])
_NUMBER = re.compile(r"\d+")


@dataclass(frozen=True, slots=True)
class Writer:
    """Writes what one attempt of a task answers.

    ``buckets`` opens the way to S3, and is called only when the sink is there. ``check`` is called
    between files; it raises to stop.
    """

    spec: TaskSpec
    sink: FileSink
    instance: Instance
    buckets: Callable[[], Buckets] | None
    check: Callable[[], None]

    def write(self, statement: str) -> pa.Table:
        """Run a SELECT into files; return their paths below the sink's folder, rows and bytes.

        An error leaves nothing behind.
        """
        target = decode_path(self.sink.folder)
        attempt = f"{self.spec.task:06d}-{self.spec.nonce}"
        remote = is_remote(target)
        folder = (self.instance.files if remote else Path(target)) / attempt
        try:
            # Not its parents: they are gone when the query has ended.
            folder.mkdir(mode=0o777)
            rows = self._copy(statement, folder)
            files = sorted((path for path in folder.rglob("*") if path.is_file()), key=_in_order)
            if remote:
                self._send(files, folder, f"{target}/{attempt}")
            return self._table(files, folder, attempt, rows)
        except BaseException:  # also for Ctrl-C
            shutil.rmtree(folder, ignore_errors=True)
            raise
        finally:
            if remote:
                shutil.rmtree(folder, ignore_errors=True)

    def _copy(self, statement: str, folder: Path) -> dict[str, int]:
        """Return the rows of each file; where only their sum is known, of the empty name."""
        sink, spec = self.sink, self.spec
        given = [f"c{number}" for number in range(len(sink.columns))]
        names = ", ".join(map(identifier, given))
        # The line break ends a comment that the statement may end with.
        answer = f"({statement}\n) AS answer({names})"
        self._check_types(f"SELECT * FROM {answer}")
        items = ", ".join(
            f"{_stored(name, column.type, column.stored)} AS {identifier(column.name)}"
            for name, column in zip(given, sink.columns, strict=True)
        )
        name = f"{sink.stem}-{spec.task:06d}"
        told = "RETURN_STATS" if sink.format == "parquet" else "RETURN_FILES"
        options = [f"FORMAT {sink.format}", told]
        if sink.several:
            path = folder
            options += [
                f"FILENAME_PATTERN {literal(name + '_{i}')}",
                f"FILE_EXTENSION {literal(sink.extension.removeprefix('.'))}",
                "OVERWRITE_OR_IGNORE",
            ]
        else:
            path = folder / f"{name}{sink.extension}"
            options.append("USE_TMP_FILE false")
        if sink.options:
            options.append(sink.options)
        copy = f"COPY (SELECT {items} FROM {answer}) TO {literal(str(path))} ({', '.join(options)})"
        result = self.instance.connection.execute(copy).fetchall()
        if sink.format == "parquet":
            return {str(row[0]): int(row[1]) for row in result}
        return {"": int(result[0][0])}

    def _check_types(self, statement: str) -> None:
        found = self.instance.connection.sql(statement).types
        for column, actual in zip(self.sink.columns, map(str, found), strict=True):
            if column.type != actual and self.instance.type_name(column.type) != actual:
                raise TaskFailed(f"column {column.name} is {actual}, {column.type} was declared")

    def _send(self, files: Sequence[Path], folder: Path, url: str) -> None:
        if self.buckets is None:
            raise StoreError(f"this worker cannot write {url}: it was told no way to S3")
        for path in files:
            self.check()
            inner = path.relative_to(folder).as_posix()
            store, key = self.buckets().locate(f"{url}/{inner}")
            store.put(key, [read_file(path, key, None)])

    def _table(
        self, files: Sequence[Path], folder: Path, attempt: str, rows: dict[str, int]
    ) -> pa.Table:
        made: list[dict[str, Any]] = []
        for path in files:
            known = rows.get(str(path), rows.pop("", 0))
            inner = path.relative_to(folder).as_posix()
            size = path.stat().st_size
            made.append({"file": f"{attempt}/{inner}", "rows": known, "bytes": size})
        return pa.Table.from_pylist(made, schema=_SCHEMA)


def _stored(name: str, type_: str, stored: str) -> str:
    return identifier(name) if type_ == stored else f"CAST({identifier(name)} AS {stored})"


def _in_order(path: Path) -> tuple[str, list[int], str]:
    """Put part_10 behind part_9, as DuckDB writes them."""
    return str(path.parent), [int(digits) for digits in _NUMBER.findall(path.name)], path.name
