"""Objects as files of a local directory, for processes of one machine."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from starling_py.shuffle.errors import (
    CorruptObject,
    ObjectExists,
    ObjectMissing,
    StoreDenied,
    StoreError,
    StoreFull,
)
from starling_py.shuffle.keys import key_of_parts, path_parts
from starling_py.shuffle.meter import Meter
from starling_py.shuffle.objects import Buffer, ByteRange, ObjectInfo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

__all__ = ["LocalStore"]

_MAPPED_BYTES = 1 << 18  # from here on mapping a file beats reading it
_BATCH = 512  # buffers per writev, below every IOV_MAX
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
        self._meter = meter or Meter()

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

    def put(self, key: str, parts: Sequence[Buffer]) -> None:
        self._write(key, parts, _replace)

    def put_if_absent(self, key: str, parts: Sequence[Buffer]) -> None:
        self._write(key, parts, _create)

    def head(self, key: str) -> ObjectInfo:
        self._meter.count("head")
        path = self._path(key)
        try:
            status = path.stat()
        except OSError as error:
            raise _read_error(error, key) from error
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
            raise _store_error(error, prefix) from error
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
                raise _store_error(error, key) from error
            self._prune(path.parent)

    def close(self) -> None:
        """Do nothing: between calls the store holds nothing open."""

    def _path(self, key: str) -> Path:
        return self._root.joinpath(*path_parts(key))

    def _read(self, key: str, wanted: ByteRange | None) -> Buffer:
        data: Buffer = b""
        try:
            data = _read_file(self._path(key), key, wanted)
        except OSError as error:
            raise _read_error(error, key) from error
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
            raise _store_error(error, key) from error
        finally:
            self._meter.count("put", bytes_out=size)

    def _prune(self, folder: Path) -> None:
        while folder != self._root:
            try:
                folder.rmdir()
            except OSError:
                return  # not empty, or somebody else was faster
            folder = folder.parent


def _replace(path: Path, parts: Sequence[Buffer]) -> int:
    _make_folder(path)
    temporary = _temporary(path)
    try:
        size = _write_named(temporary, parts)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return size


def _create(path: Path, parts: Sequence[Buffer]) -> int:
    _make_folder(path)
    handle = _open_unnamed(path.parent)
    if handle is None:
        temporary = _temporary(path)
        try:
            size = _write_named(temporary, parts)
            path.hardlink_to(temporary)
        finally:
            temporary.unlink(missing_ok=True)
        return size
    try:
        size = _write_all(handle, parts)
        # Only with a directory handle, even an unused one, does os.link follow the symbolic link.
        os.link(f"/proc/self/fd/{handle}", path, src_dir_fd=handle, follow_symlinks=True)
    finally:
        os.close(handle)
    return size


def _open_unnamed(folder: Path) -> int | None:
    """Open a file that has no name yet, so that a killed process leaves nothing behind.

    Not every file system knows such files: then the answer is ``None``.
    """
    flag = getattr(os, "O_TMPFILE", None)
    if flag is None:
        return None
    try:
        return os.open(folder, flag | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL):
            return None
        raise


def _make_folder(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        if path.parent.is_file():
            raise NotADirectoryError(errno.ENOTDIR, "a part of the key is an object") from error
        # It was a folder, and a delete has pruned it before mkdir looked twice.
        raise FileNotFoundError(errno.ENOENT, "the folder vanished") from error


def _temporary(path: Path) -> Path:
    return path.parent / f".{secrets.token_hex(8)}"


def _write_named(path: Path, parts: Sequence[Buffer]) -> int:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        return _write_all(handle, parts)
    finally:
        os.close(handle)


def _write_all(handle: int, parts: Sequence[Buffer]) -> int:
    views = [view for view in (memoryview(part).cast("B") for part in parts) if view.nbytes]
    size = 0
    first = 0
    while first < len(views):
        written = os.writev(handle, views[first : first + _BATCH])
        size += written
        while first < len(views) and written >= views[first].nbytes:
            written -= views[first].nbytes
            first += 1
        if written:
            views[first] = views[first][written:]
    return size


def _read_file(path: Path, key: str, wanted: ByteRange | None) -> Buffer:
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        size = os.fstat(handle).st_size
        part = wanted or ByteRange(0, size)
        if part.offset + part.length > size:
            raise _past_end(key, part, size)
        if part.length < _MAPPED_BYTES:
            return _read_all(handle, part)
    finally:
        os.close(handle)
    with pa.memory_map(str(path)) as file:
        # Opened again by name: the object may have been replaced in between.
        size = file.size()
        part = wanted or ByteRange(0, size)
        if part.offset + part.length > size:
            raise _past_end(key, part, size)
        file.seek(part.offset)
        return memoryview(file.read_buffer(part.length))


def _read_all(handle: int, part: ByteRange) -> bytes:
    data = os.pread(handle, part.length, part.offset)
    while len(data) < part.length:
        more = os.pread(handle, part.length - len(data), part.offset + len(data))
        if not more:
            raise OSError(errno.EIO, "the file ends early")
        data += more
    return data


def _past_end(key: str, wanted: ByteRange, size: int) -> CorruptObject:
    return CorruptObject(
        f"{key}: {wanted.length} bytes from {wanted.offset} are wanted, the object has {size}"
    )


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


def _read_error(error: OSError, key: str) -> StoreError:
    if isinstance(error, FileNotFoundError | IsADirectoryError | NotADirectoryError):
        return ObjectMissing(f"there is no object {key}")
    return _store_error(error, key)


def _store_error(error: OSError, key: str) -> StoreError:
    reason = error.strerror or str(error)
    if isinstance(error, FileExistsError):
        return ObjectExists(f"there already is an object {key}")
    if isinstance(error, PermissionError):
        return StoreDenied(f"no access to {key}: {reason}")
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StoreFull(f"no room for {key}: {reason}")
    return StoreError(f"{key}: {reason}")
