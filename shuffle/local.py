"""Objects as files of a local directory, for processes of one machine."""

from __future__ import annotations

import contextlib
import itertools
import os
from pathlib import Path
from typing import TYPE_CHECKING

from starling_py.shuffle.errors import ObjectMissing
from starling_py.shuffle.files import (
    create_file,
    read_error,
    read_file,
    replace_file,
    store_error,
)
from starling_py.shuffle.keys import key_of_parts, path_parts
from starling_py.shuffle.meter import Meter
from starling_py.shuffle.objects import Buffer, ByteRange, ObjectInfo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

__all__ = ["LocalStore"]

_ATTEMPTS = 100  # how often a folder may vanish under a put before that is an error


class LocalStore:
    """A directory as an object store.

    A put writes a temporary file in the target's folder and links or renames it, so an object is
    seen whole or not at all, and of any number of processes that put if absent one wins. Nothing
    is forced to disk: objects are scratch. Large reads are memory maps, which stay valid after
    the object's deletion. A key cannot be both an object and a folder of others.

    Parameters
    ----------
    root
        The directory; it is created with the first put.
    meter
        Counts the requests; by default one of the store's own.
    """

    def __init__(self, root: Path, *, meter: Meter | None = None) -> None:
        self._root = Path(root)
        self._meter = meter or Meter(billed=False)

    @property
    def meter(self) -> Meter:
        return self._meter

    @property
    def root(self) -> Path:
        return self._root

    def get(self, key: str) -> Buffer:
        return self._read(key, None)

    def get_range(self, key: str, wanted: ByteRange) -> Buffer:
        return self._read(key, wanted)

    def get_ranges(self, key: str, wanted: Sequence[ByteRange]) -> list[Buffer]:
        return [self._read(key, part) for part in wanted]

    def get_start(self, key: str, most: int) -> Buffer:
        data: Buffer = b""
        try:
            with self._path(key).open("rb") as file:
                data = file.read(most)
        except OSError as error:
            raise read_error(error, key) from error
        finally:
            self._meter.count("get", bytes_in=len(data))
        return data

    def put(self, key: str, parts: Sequence[Buffer]) -> None:
        self._write(key, parts, replace_file)

    def put_if_absent(self, key: str, parts: Sequence[Buffer]) -> None:
        self._write(key, parts, create_file)

    def head(self, key: str) -> ObjectInfo:
        self._meter.count("head")
        path = self._path(key)
        try:
            status = path.stat()
        except OSError as error:
            raise read_error(error, key) from error
        if not path.is_file():
            raise ObjectMissing(f"there is no object {key}")
        return _info(key, status)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        self._meter.count("list")
        folder = self._root
        parts = prefix.split("/")[:-1]
        if parts:
            folder = folder.joinpath(*path_parts("/".join(parts)))
        found = []
        try:
            for path in _files(folder):
                key = key_of_parts(path.relative_to(self._root).parts)
                if key.startswith(prefix):
                    # An object may have been deleted since its folder was read.
                    with contextlib.suppress(FileNotFoundError):
                        found.append(_info(key, path.stat()))
        except OSError as error:
            raise store_error(error, prefix) from error
        return iter(sorted(found, key=lambda info: info.key))

    def delete(self, keys: Iterable[str]) -> None:
        for key in keys:
            self._meter.count("delete")
            path = self._path(key)
            try:
                path.unlink(missing_ok=True)
            except (NotADirectoryError, IsADirectoryError):
                continue
            except OSError as error:
                raise store_error(error, key) from error
            self._prune(path.parent)

    def close(self) -> None:
        """Do nothing: between calls the store holds nothing open."""

    def _path(self, key: str) -> Path:
        return self._root.joinpath(*path_parts(key))

    def _read(self, key: str, wanted: ByteRange | None) -> Buffer:
        data: Buffer = b""
        try:
            data = read_file(self._path(key), key, wanted)
        except OSError as error:
            raise read_error(error, key) from error
        finally:
            self._meter.count("get", bytes_in=len(data))
        return data

    def _write(
        self, key: str, parts: Sequence[Buffer], store: Callable[[Path, Sequence[Buffer]], int]
    ) -> None:
        size = 0
        try:
            path = self._path(key)
            for attempt in itertools.count(1):
                try:
                    size = store(path, parts)
                    break
                except FileNotFoundError:
                    # A delete pruned the folder between its creation and its use.
                    if attempt == _ATTEMPTS:
                        raise
        except OSError as error:
            raise store_error(error, key) from error
        finally:
            self._meter.count("put", bytes_out=size)

    def _prune(self, folder: Path) -> None:
        while folder != self._root:
            try:
                folder.rmdir()
            except OSError:
                return  # not empty, or somebody else was faster
            folder = folder.parent


def _files(folder: Path) -> Iterator[Path]:
    def give_up(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError | NotADirectoryError):
            raise error

    for place, _, names in os.walk(folder, onerror=give_up):
        for name in names:
            if not name.startswith("."):
                yield Path(place, name)


def _info(key: str, status: os.stat_result) -> ObjectInfo:
    return ObjectInfo(key, status.st_size, f"{status.st_ino:x}-{status.st_mtime_ns:x}")
