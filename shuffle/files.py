"""Files written whole or not at all, and read without a copy where that pays."""

from __future__ import annotations

import errno
import os
import secrets
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
from starling_py.shuffle.objects import Buffer, ByteRange

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["create_file", "read_error", "read_file", "replace_file", "store_error"]

_MAPPED_BYTES = 1 << 18  # from here on mapping a file beats reading it
_BATCH = 512  # buffers per writev, below every IOV_MAX


def replace_file(path: Path, parts: Sequence[Buffer]) -> int:
    """Write a file over what is there; return its size."""
    _make_folder(path)
    temporary = _temporary(path)
    try:
        size = _write_named(temporary, parts)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return size


def create_file(path: Path, parts: Sequence[Buffer]) -> int:
    """Write a file that must not exist yet (else ``FileExistsError``); return its size."""
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

    Not every file system knows such files, and some answer ``EPERM`` in a folder that has just been
    deleted: then the answer is ``None``, and writing under a name says what is wrong.
    """
    flag = getattr(os, "O_TMPFILE", None)
    if flag is None:
        return None
    try:
        return os.open(folder, flag | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.EPERM):
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


def read_file(path: Path, key: str, wanted: ByteRange | None) -> Buffer:
    """Return the wanted bytes, or all; large ones as a memory map that needs no descriptor."""
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


def read_error(error: OSError, key: str) -> StoreError:
    """Return the store's error for what the system said to a read of ``key``."""
    if isinstance(error, FileNotFoundError | IsADirectoryError | NotADirectoryError):
        return ObjectMissing(f"there is no object {key}")
    return store_error(error, key)


def store_error(error: OSError, key: str) -> StoreError:
    """Return the store's error for what the system said to any other request for ``key``."""
    reason = error.strerror or str(error)
    if isinstance(error, FileExistsError):
        return ObjectExists(f"there already is an object {key}")
    if isinstance(error, PermissionError):
        return StoreDenied(f"no access to {key}: {reason}")
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StoreFull(f"no room for {key}: {reason}")
    return StoreError(f"{key}: {reason}")
