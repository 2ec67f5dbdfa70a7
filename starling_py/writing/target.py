"""Where a statement writes: the folder or prefix above its target, and the target's name in it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from starling_py.catalog.errors import UsageError
from starling_py.catalog.remote import bucket_and_key
from starling_py.shuffle.locations import is_remote
from starling_py.writing.folder import LocalFolder
from starling_py.writing.prefix import RemoteFolder

if TYPE_CHECKING:
    from starling_py.access import S3Access
    from starling_py.writing.folder import Folder

__all__ = ["Target", "data_folder", "target_of"]


@dataclass(frozen=True, slots=True)
class Target:
    """A file or a folder: ``name`` in ``folder``."""

    folder: Folder
    name: str

    @property
    def shown(self) -> str:
        return self.folder.shown(self.name)


def target_of(path: str, access: S3Access) -> Target:
    """Return the target that a path, or the URL of one on S3, names.

    Raises
    ------
    UsageError
        If it cannot be written to.
    """
    if is_remote(path):
        bucket, key = bucket_and_key(path)
        prefix, _, name = key.rpartition("/")
        if not name:
            raise UsageError(f"{path} is a whole bucket: name a prefix in it")
        return Target(RemoteFolder(bucket, prefix, lambda: access.buckets), name)
    if "://" in path.removeprefix("file://"):
        raise UsageError(f"cannot write {path}: a target is a path here or a URL of S3")
    plain = os.path.normpath(path.removeprefix("file://")) if path else ""
    folder, name = os.path.split(plain)
    if name in ("", ".", "..") or "\0" in path:
        raise UsageError(f"cannot write to {path!r}: name a file or a folder")
    return Target(LocalFolder(folder or ".", folder), name)


def data_folder(shown: str | None, access: S3Access) -> Folder:
    """Return the folder in which the tables of a connection are.

    Raises
    ------
    UsageError
        If the connection has none.
    """
    if shown is None:
        raise UsageError(
            "there is no data folder to make tables in",
            hint="connect(data=…), or --data on the command line",
        )
    if is_remote(shown):
        bucket, key = bucket_and_key(shown)
        return RemoteFolder(bucket, key, lambda: access.buckets)
    return LocalFolder(shown, shown)
