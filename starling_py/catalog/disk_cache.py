"""Footers of files on S3, kept on disk from one process to the next."""

from __future__ import annotations

import hashlib
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Mapping, Sequence
    from typing import TypeVar

    T = TypeVar("T")

__all__ = ["DiskCache", "cache_folder"]

_LIMIT = 256 << 20
_FILE = "footers-1.db"
_PATIENCE = 2.0
_BATCH = 500
_DAY = 86_400.0
_SCHEMA = """
CREATE TABLE IF NOT EXISTS footers (
    key BLOB PRIMARY KEY, used REAL, size INTEGER, checksum BLOB, data BLOB
);
CREATE INDEX IF NOT EXISTS footers_used ON footers (used, size);
"""


def cache_folder(environment: Mapping[str, str]) -> Path | None:
    """Return where footers are kept unless somebody says otherwise, or ``None`` for nowhere.

    That is ``STARLING_CACHE_DIR``, or ``starling`` in the user's folder for such things.
    """
    given = environment.get("STARLING_CACHE_DIR")
    if given:
        return Path(given) / "footers"
    shared = environment.get("XDG_CACHE_HOME", "")
    if shared.startswith("/"):
        return Path(shared) / "starling" / "footers"
    try:
        return Path.home() / ".cache" / "starling" / "footers"
    except RuntimeError:
        return None


class DiskCache:
    """Bytes by key, in a database that several processes share.

    It never fails: what is damaged, locked or not allowed is as if it were not there. Bytes that
    come back are those that were put.

    Parameters
    ----------
    folder
        Made when something is put; ``None`` keeps nothing.
    limit
        Bytes beyond which those that nobody has used for longest go.
    patience
        Seconds to wait for another process that writes.
    """

    def __init__(
        self, folder: Path | None, limit: int = _LIMIT, *, patience: float = _PATIENCE
    ) -> None:
        self._folder = folder
        self._limit = limit
        self._patience = patience
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None

    def get(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """Return what there is."""
        found: dict[bytes, bytes] = {}

        def read(connection: sqlite3.Connection) -> None:
            now = time.time()
            stale: list[bytes] = []
            for start in range(0, len(keys), _BATCH):
                some = keys[start : start + _BATCH]
                marks = ", ".join("?" * len(some))
                rows = connection.execute(
                    f"SELECT key, used, checksum, data FROM footers WHERE key IN ({marks})",
                    some,
                )
                for key, used, checksum, data in rows:
                    if checksum == _checksum(key, data):
                        found[key] = data
                        if not now - _DAY < used <= now:
                            stale.append(key)
            if stale:
                with connection:
                    connection.executemany(
                        "UPDATE footers SET used = ? WHERE key = ?", [(now, key) for key in stale]
                    )

        if keys:
            self._try(read, make=False)
        return found

    def put(self, items: Mapping[bytes, bytes]) -> None:
        """Keep bytes, in place of those that nobody has used for longest."""

        def write(connection: sqlite3.Connection) -> None:
            now = time.time()
            connection.executescript(_SCHEMA)
            with connection:
                connection.execute("BEGIN IMMEDIATE")
                connection.executemany(
                    "INSERT OR REPLACE INTO footers VALUES (?, ?, ?, ?, ?)",
                    [
                        (key, now, len(data), _checksum(key, data), data)
                        for key, data in items.items()
                    ],
                )
                self._make_room(connection)

        if items:
            self._try(write, make=True)

    def close(self) -> None:
        """Close the database; later use opens it again."""
        with self._lock:
            self._close()

    def _make_room(self, connection: sqlite3.Connection) -> None:
        total = connection.execute("SELECT coalesce(sum(size), 0) FROM footers").fetchone()[0]
        gone: list[tuple[int]] = []
        oldest = connection.execute("SELECT rowid, size FROM footers ORDER BY used, rowid")
        while total > self._limit:
            row, size = next(oldest)
            gone.append((row,))
            total -= size
        oldest.close()
        connection.executemany("DELETE FROM footers WHERE rowid = ?", gone)

    def _try(self, use: Callable[[sqlite3.Connection], None], *, make: bool) -> None:
        # Loaded when it is needed: only tables on S3 need it.
        try:
            import sqlite3
        except ImportError:
            return
        with self._lock:
            try:
                connection = self._open(make=make)
                if connection is not None:
                    use(connection)
            except (sqlite3.OperationalError, sqlite3.ProgrammingError, OSError):
                self._close()  # locked, full, not allowed …
            except sqlite3.Error:
                self._close()
                self._drop()

    def _open(self, *, make: bool) -> sqlite3.Connection | None:
        if self._connection is not None or self._folder is None:
            return self._connection
        import sqlite3

        path = self._folder / _FILE
        if make:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        elif not path.exists():
            return None
        connection = sqlite3.connect(
            path, timeout=self._patience, isolation_level=None, check_same_thread=False
        )
        try:
            # What a crash of the machine damages is found out, and was only a copy.
            connection.execute("PRAGMA synchronous = OFF")
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        return connection

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _drop(self) -> None:
        if self._folder is None:
            return
        for name in (_FILE, f"{_FILE}-journal"):
            try:
                (self._folder / name).unlink(missing_ok=True)
            except OSError:
                return


def _checksum(key: bytes, data: object) -> bytes:
    if not isinstance(data, bytes):
        return b""
    return hashlib.blake2b(data, key=key[:64], digest_size=16).digest()
