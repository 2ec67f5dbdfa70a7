"""A DuckDB instance as a closed box: it reads the roots of a task and nothing else."""

from __future__ import annotations

import shutil
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import duckdb

from starling_py.operators.footers import Footers
from starling_py.operators.quoting import as_pattern, decode_path, identifier, literal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from starling_py.operators.task import TaskSpec

__all__ = ["Instance"]

_MEBIBYTE = 1 << 20
_LEAST_MEMORY = 64 * _MEBIBYTE
"""What a statement keeps of its memory, however much the files of its scans take."""
_FILES = "files"

_REORDERING = "join_order,partial_aggregate_pushdown"
"""Without the first, the second takes joins for cheaper than aggregates whatever their sizes."""


class Instance:
    """One in-memory DuckDB, used by one task at a time and kept between tasks.

    Only :meth:`interrupt` may be called from another thread than the one that runs the task.

    Parameters
    ----------
    temp_directory
        Where this instance alone spills and finds :attr:`files`; removed by :meth:`close`.

    Attributes
    ----------
    footers
        Those of files on S3 that tasks have read lately.
    room
        Bytes that what stands in for files may take, where more would end the process.
    """

    def __init__(self, temp_directory: Path) -> None:
        self._temp_directory = temp_directory
        self._connection: duckdb.DuckDBPyConnection | None = None
        self._roots: frozenset[str] = frozenset()
        self._threads = 0
        self._memory_limit = 0
        self._settings: tuple[tuple[str, str], ...] = ()
        self._types: dict[str, str] = {}
        self.footers = Footers()
        self.room: int | None = None

    @property
    def files(self) -> Path:
        """A folder that every task may read, for what stands in for files elsewhere."""
        return self._temp_directory / _FILES

    @property
    def connection(self) -> duckdb.DuckDBPyConnection:
        """The connection, which exists from the first task on."""
        if self._connection is None:
            raise RuntimeError("no task has been prepared")
        return self._connection

    @contextmanager
    def prepared(self, spec: TaskSpec) -> Iterator[duckdb.DuckDBPyConnection]:
        """Yield a connection with the roots, limits and settings of ``spec``."""
        roots = frozenset(decode_path(root) for root in spec.roots)
        if self._connection is None or not roots <= self._roots:
            self._open(roots)
        try:
            self._configure(spec)
            yield self.connection
        except (duckdb.FatalException, duckdb.InternalException, duckdb.InterruptException):
            # After the first two DuckDB answers nothing more; the third may have hit the
            # statements that remove the views of the inputs.
            self.close()
            raise
        finally:
            if self._leftovers():
                self.close()

    def _open(self, roots: frozenset[str]) -> None:
        self.close()
        self.files.mkdir(mode=0o700, parents=True, exist_ok=True)
        connection = duckdb.connect(
            ":memory:",
            config={
                "threads": 1,
                "async_threads": 0,
                "temp_directory": str(self._temp_directory),
                "python_enable_replacements": False,
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
                "allow_community_extensions": False,
            },
        )
        self._connection = connection
        self._roots = roots
        self._threads = 1
        self._run("SET enable_progress_bar = false")
        self._run("SET arrow_lossless_conversion = true")
        self._run("SET parquet_metadata_cache = true")
        # A stand-in has different bytes of its file each time.
        self._run("SET enable_external_file_cache = false")
        # DuckDB asks for the path as it stands in read_parquet, which is a pattern, and for the
        # path that this finds.
        folders = roots | {str(self.files)}
        allowed = folders | {as_pattern(folder) for folder in folders}
        listed = ", ".join(literal(root) for root in sorted(allowed))
        self._run(f"SET allowed_directories = [{listed}]")
        # From here on neither of the two can be changed, nor the directory for spilling.
        self._run("SET enable_external_access = false")

    def _configure(self, spec: TaskSpec) -> None:
        if spec.threads != self._threads:
            self._run(f"SET threads = {max(1, spec.threads)}")
            self._threads = spec.threads
        if spec.memory_limit != self._memory_limit:
            self._run(f"SET memory_limit = '{max(spec.memory_limit, 16 * _MEBIBYTE)}B'")
            self._memory_limit = spec.memory_limit
        wanted = tuple((setting.name, setting.value) for setting in spec.settings)
        if spec.keeps_join_order:
            wanted += (("disabled_optimizers", _REORDERING),)
        if wanted != self._settings:
            self._reset()
            for name, value in wanted:
                # Remembered one by one, so that a setting that fails leaves the others known.
                self._run(f"SET {identifier(name)} = {literal(value)}")
                self._settings += ((name, value),)

    def _reset(self) -> None:
        for name, _ in self._settings:
            self._run(f"RESET {identifier(name)}")
        self._settings = ()

    def _run(self, statement: str) -> None:
        # A result that is not drained keeps the connection busy.
        self.connection.execute(statement).fetchall()

    def type_name(self, declared: str) -> str:
        """Return DuckDB's own spelling of a type, for comparisons."""
        known = self._types.get(declared)
        if known is None:
            known = str(self.connection.sql(f"SELECT CAST(NULL AS {declared})").types[0])
            self._types[declared] = known
        return known

    def lend_memory(self, size: int) -> None:
        """Take memory from DuckDB for the rest of the task."""
        limit = max(self._memory_limit - size, min(self._memory_limit, _LEAST_MEMORY))
        # What is in use cannot be taken.
        with suppress(duckdb.OutOfMemoryException):
            self._run(f"SET memory_limit = '{limit}B'")
            self._memory_limit = limit

    def interrupt(self) -> None:
        """Stop the statement that runs; without one, do nothing."""
        connection = self._connection
        if connection is not None:
            # The task may be closing it at this moment.
            with suppress(duckdb.Error):
                connection.interrupt()

    def _leftovers(self) -> bool:
        try:
            return any(
                found.name != _FILES or any(found.iterdir())
                for found in self._temp_directory.iterdir()
            )
        except FileNotFoundError:
            return False

    def close(self) -> None:
        """Close DuckDB and remove what it spilled. The next task opens it again."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
        self._threads = self._memory_limit = 0
        self._settings = ()
        shutil.rmtree(self._temp_directory, ignore_errors=True)
