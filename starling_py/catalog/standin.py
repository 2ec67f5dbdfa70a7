"""Local files in place of those on S3: what DuckDB reads to tell a file's columns."""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from starling_py.catalog.errors import TableError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["hive_stand_ins", "stand_in"]

_MAGIC = b"PAR1"
_LONGEST_NAME = 255
_NO_NUMBER = "text"
_IN_MEMORY = "/dev/shm"  # noqa: S108 - its folders have random names, and are our own


@contextmanager
def stand_in(size: int, footer: bytes) -> Iterator[str]:
    """Yield the path of a file of a size that has a footer and nothing else."""
    descriptor, path = _open_sparse()
    try:
        os.ftruncate(descriptor, size)
        os.pwrite(descriptor, _MAGIC, 0)
        _write(descriptor, footer, size - len(footer))
        yield path or f"/proc/self/fd/{descriptor}"
    except OSError as error:
        raise TableError(f"cannot make a temporary file: {error.strerror}") from error
    finally:
        os.close(descriptor)
        if path:
            Path(path).unlink(missing_ok=True)


@contextmanager
def hive_stand_ins(path: str, folders: Sequence[Mapping[str, str]]) -> Iterator[list[str]]:
    """Yield paths to the file ``path`` below folders that have the same keys and values.

    A key's type depends on the set of its values, whichever stand together in a path: there are
    only as many paths as the key with most values needs.

    Parameters
    ----------
    folders
        Of each file, all with the same keys.
    """
    values = {key: list(dict.fromkeys(one[key] for one in folders)) for key in folders[0]}
    try:
        with tempfile.TemporaryDirectory(prefix="starling-", dir=_quick_folder()) as top:
            made = []
            for number in range(max(map(len, values.values()))):
                parts = [
                    _folder(key, known[min(number, len(known) - 1)])
                    for key, known in values.items()
                ]
                folder = Path(top, *parts)
                folder.mkdir(parents=True, exist_ok=True)
                link = folder / f"{number}.parquet"
                link.symlink_to(path)
                made.append(str(link))
            yield made
    except OSError as error:
        raise TableError(f"cannot make temporary folders: {error.strerror}") from error


def _folder(key: str, value: str) -> str:
    name = f"{key}={value}"
    # No number and no date is as long as that.
    return name if len(name.encode()) <= _LONGEST_NAME else f"{key}={_NO_NUMBER}"


def _quick_folder() -> str | None:
    """Return a folder in memory, or ``None`` for the usual place: a disk takes 50 times as long."""
    return _IN_MEMORY if os.access(_IN_MEMORY, os.W_OK | os.X_OK) else None


def _open_sparse() -> tuple[int, str]:
    """Return a new file, and its path unless it is only in memory."""
    try:
        return os.memfd_create("starling"), ""
    except (AttributeError, OSError):
        return tempfile.mkstemp(prefix="starling-", suffix=".parquet")


def _write(descriptor: int, data: bytes, offset: int) -> None:
    rest = memoryview(data)
    while rest:
        written = os.pwrite(descriptor, rest, offset)
        rest, offset = rest[written:], offset + written
