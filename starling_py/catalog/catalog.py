"""The tables of a data folder, of named patterns, and of paths inside a statement.

Folders and patterns may be local or on S3.
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from starling_py.catalog.disk_cache import DiskCache, cache_folder
from starling_py.catalog.errors import (
    AccessDenied,
    AmbiguousTable,
    EmptyTable,
    NoFiles,
    UsageError,
)
from starling_py.catalog.footer import FooterCache
from starling_py.catalog.hive import fold
from starling_py.catalog.listing import (
    Listed,
    files_of_folder,
    files_of_patterns,
    is_folder,
    is_hidden,
    is_parquet,
    listed_file,
    root_of,
    table_name,
)
from starling_py.catalog.manifest import Found, files_of_manifest
from starling_py.catalog.options import ReadOptions, parse
from starling_py.catalog.probe import Probe
from starling_py.catalog.remote import RemoteFiles
from starling_py.catalog.remote_footer import RemoteFooters
from starling_py.catalog.table import ParquetTable
from starling_py.shuffle.locations import is_remote

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from starling_py.shuffle.buckets import Buckets

__all__ = ["FileCatalog"]


@dataclass(frozen=True, slots=True)
class _Source:
    """Where a named table comes from: a folder, a file, or a pattern."""

    name: str
    path: str
    shown: str
    pattern: bool = False
    file: Listed | None = None


@dataclass(slots=True)
class _Known:
    """The last state of a table, and whether it was checked since the last refresh."""

    files: list[Listed]
    table: ParquetTable
    fresh: bool = True


class FileCatalog:
    """Implements ``planner.tables.Catalog`` over Parquet files, local and on S3.

    Footers are read when a table is first used and again only for files that changed. A table that
    cannot be read raises its error when it is used, not when tables are listed. Nobody is asked for
    what is on S3 before a table is.

    Parameters
    ----------
    data
        A folder, or ``s3://bucket/prefix``, of which every sub-folder and Parquet file is a table.
    tables
        Patterns (or folders, or files) by table name. They go before those of ``data``.
    buckets
        Opens the way to S3, when it is first used; without it everything is local.
    cache
        Where footers of files on S3 are kept from one process to the next; see ``cache_folder``.

    Raises
    ------
    UsageError
        When ``data`` is not a folder, or a name is empty. Whether there is anything at
        ``s3://bucket/prefix`` shows when it is first used.
    """

    def __init__(
        self,
        data: str | os.PathLike[str] | None = None,
        tables: Mapping[str, str] | None = None,
        *,
        buckets: Callable[[], Buckets] | None = None,
        cache: str | os.PathLike[str] | None = None,
    ) -> None:
        self._lock = threading.RLock()
        self._probe = Probe()
        self._remote = RemoteFiles(buckets, self._probe)
        self._disk = DiskCache(cache_folder(os.environ) if cache is None else Path(cache))
        self._footers = FooterCache(RemoteFooters(buckets, self._disk).get)
        self._shown = None if data is None else os.fspath(data)
        self._url = self._shown if self._shown and is_remote(self._shown) else None
        local = self._shown is not None and self._url is None
        self._folder = str(Path(self._shown or "").absolute()) if local else None
        self._base = str(Path.cwd())
        self._patterns = dict(tables or {})
        self._known: dict[tuple[str, str], _Known] = {}
        self._sources: dict[str, list[_Source]] | None = None
        self._opened: set[str] = set()
        if any(not name for name in self._patterns):
            raise UsageError("a table needs a name")
        if self._shown == "":
            raise UsageError("the path of the data folder is empty")
        for url in filter(is_remote, (self._shown or "", *self._patterns.values())):
            self._remote.check(url)
        if self._folder is not None and not is_folder(self._folder):
            exists = os.path.lexists(self._folder)
            raise UsageError(
                f"{self._shown} is not a folder" if exists else f"no such folder: {self._shown}",
                hint=f"for one file write --table name={self._shown}" if exists else None,
            )

    @property
    def folder(self) -> str | None:
        """The data folder as it was given."""
        return self._shown

    def refresh(self) -> None:
        """Forget which tables were looked at: the next use lists folders and checks files again."""
        with self._lock:
            self._sources = None
            self._opened.clear()
            for known in self._known.values():
                known.fresh = False

    def names(self) -> tuple[str, ...]:
        """Return the names of all tables, in order."""
        listed = (sources[0].name for sources in self._list().values())
        return tuple(sorted(listed, key=lambda name: (fold(name), name)))

    def find(self, name: str) -> ParquetTable | None:
        """Return the table that SQL calls ``name``, or ``None``.

        Raises
        ------
        TableError
            When there is such a table and it cannot be read.
        """
        with self._lock:
            sources = self._list().get(fold(name))
            if sources is None:
                return None
            if len(sources) > 1:
                both = " and ".join(source.shown for source in sources)
                raise AmbiguousTable(f"the table {sources[0].name} could be {both}")
            source = sources[0]
            key = ("table", fold(name))
            known = self._known.get(key)
            if known is not None and known.fresh:
                return known.table
            found = self._files(source)
            return self._keep(key, source.name, found.files, ReadOptions(), found.types)

    def open_paths(self, patterns: tuple[str, ...], options: Mapping[str, object]) -> ParquetTable:
        """Return the files of ``FROM 'pattern'`` or ``read_parquet([patterns], option = value)``.

        Raises
        ------
        TableError
            When no file matches or the files cannot be read as one table.
        Unsupported
            For an option that the catalog does not know.
        """
        read = parse(options)
        key = ("paths", repr((patterns, sorted(options.items()))))
        with self._lock:
            self._opened.update(root_of(one) for one in patterns if not is_remote(one))
            known = self._known.get(key)
            if known is not None and known.fresh:
                return known.table
            return self._keep(key, ", ".join(patterns), self._matches(patterns), read)

    def roots(self) -> tuple[str, ...]:
        """Return the absolute folders that hold every local file of this catalog's tables."""
        with self._lock:
            found = set(self._opened)
            if self._folder is not None:
                found.add(self._folder)
            named = [one for one in self._patterns.values() if not is_remote(one)]
            found.update(root_of(self._absolute(pattern)) for pattern in named)
            return tuple(sorted(found))

    def close(self) -> None:
        """Release what the catalog holds open and forget its footers."""
        with self._lock:
            self._probe.close()
            self._disk.close()
            self._known.clear()
            self._footers.clear()

    def _keep(
        self,
        key: tuple[str, str],
        name: str,
        files: list[Listed],
        options: ReadOptions,
        types: Mapping[str, str] | None = None,
    ) -> ParquetTable:
        known = self._known.get(key)
        if known is not None and known.files == files:
            known.fresh = True
            return known.table
        table = ParquetTable(name, files, self._footers, self._probe, options, types)
        self._known[key] = _Known(files, table)
        return table

    def _list(self) -> dict[str, list[_Source]]:
        with self._lock:
            if self._sources is None:
                self._sources = self._look()
            return self._sources

    def _look(self) -> dict[str, list[_Source]]:
        found: dict[str, list[_Source]] = {}
        if self._url is not None:
            sources = [
                _Source(table.name, table.url, table.url, file=table.file)
                for table in self._remote.tables(self._url)
            ]
        elif self._folder is not None and self._shown is not None:
            sources = _tables_of_folder(self._folder, self._shown)
        else:
            sources = []
        for source in sources:
            found.setdefault(fold(source.name), []).append(source)
        named: dict[str, list[_Source]] = {}
        for name, pattern in self._patterns.items():
            source = _Source(name, pattern, f"--table {name}={pattern}", pattern=True)
            named.setdefault(fold(name), []).append(source)
        return found | named

    def _files(self, source: _Source) -> Found:
        if source.file is not None:
            return Found([source.file])
        if is_remote(source.path):
            return self._remote_files(source)
        if not source.pattern:
            if not is_folder(source.path):
                return Found([listed_file(source.path, source.shown, "")])
            folder, shown = source.path, source.shown
        elif is_folder(self._absolute_path(source.path)):
            folder, shown = self._absolute_path(source.path), source.path
        else:
            try:
                return Found(files_of_patterns((source.path,), self._probe, self._base))
            except NoFiles as error:
                raise NoFiles(f"table {source.name}: {error.message}", hint=error.hint) from error
        folder, shown = folder.rstrip("/") or "/", shown.rstrip("/")
        managed = files_of_manifest(folder, shown, source.name)
        if managed is not None:
            return managed
        files = files_of_folder(folder, shown)
        if not files:
            raise EmptyTable(f"table {source.name}: the folder {shown} holds no Parquet files")
        return Found(files)

    def _remote_files(self, source: _Source) -> Found:
        look = self._remote.table if source.pattern else self._remote.below
        try:
            found = look(source.path, source.name)
        except NoFiles as error:
            raise NoFiles(f"table {source.name}: {error.message}", hint=error.hint) from error
        if not found.files:
            raise EmptyTable(f"table {source.name}: there are no Parquet files in {source.path}")
        return found

    def _matches(self, patterns: tuple[str, ...]) -> list[Listed]:
        urls = tuple(dict.fromkeys(filter(is_remote, patterns)))
        remote = dict(zip(urls, self._remote.match_all(urls), strict=True))
        found: list[Listed] = []
        for pattern in patterns:
            found += remote.get(pattern) or files_of_patterns((pattern,), self._probe)
        return found

    def _absolute(self, pattern: str) -> str:
        return pattern if pattern.startswith(("/", "file://")) else f"{self._base}/{pattern}"

    def _absolute_path(self, path: str) -> str:
        return self._absolute(path).removeprefix("file://")


def _tables_of_folder(folder: str, shown: str) -> list[_Source]:
    try:
        with os.scandir(folder) as entries:
            seen = [entry for entry in entries if not is_hidden(entry.name)]
    except PermissionError as error:
        raise AccessDenied(f"cannot list the folder {shown}: permission denied") from error
    except OSError as error:
        raise UsageError(f"cannot list the folder {shown}: {error.strerror}") from error
    found: list[_Source] = []
    for entry in sorted(seen, key=lambda entry: os.fsencode(entry.name)):
        path = f"{shown.rstrip('/')}/{entry.name}"
        if entry.is_dir() or is_parquet(entry.name):
            found.append(_Source(table_name(entry.name), entry.path, path))
    return found
