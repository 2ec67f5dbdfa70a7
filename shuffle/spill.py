"""Files in a private directory, for what does not fit into memory."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import weakref
from pathlib import Path
from typing import TYPE_CHECKING

from starling_py.shuffle.errors import StoreError
from starling_py.shuffle.files import store_error
from starling_py.shuffle.local import LocalStore

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starling_py.shuffle.objects import Buffer

__all__ = ["SpillFiles"]


class SpillFiles:
    """Numbered files, in a directory that is created with the first of them.

    The directory goes with ``close``, with the object, or with the interpreter, whichever is first.

    Parameters
    ----------
    parent
        Where the directory is created; by default among the machine's temporary files.
    """

    def __init__(self, parent: Path | None = None) -> None:
        self._parent = parent
        self._lock = threading.Lock()
        self._store: LocalStore | None = None
        self._remove: weakref.finalize[..., SpillFiles] | None = None
        self._closed = False
        self._written = 0

    @property
    def written(self) -> int:
        """Bytes ever written."""
        return self._written

    def put(self, key: str, number: int, parts: Sequence[Buffer]) -> None:
        """Write file ``number``. ``key`` is what errors speak of."""
        store = self._open(key)
        try:
            store.put_if_absent(str(number), parts)
        except StoreError as error:  # it speaks of the file, whose name says nothing
            raise type(error)(f"{key} could not be spilled to a file: {error.message}") from error
        with self._lock:
            closed = self._closed
            self._written += sum(memoryview(part).nbytes for part in parts)
        if closed:
            # The directory was removed before this put brought it back.
            _remove(str(store.root), os.getpid())
            raise StoreError("the store is closed")

    def get(self, number: int) -> Buffer:
        """Return the contents of a file; ``ObjectMissing`` where there is none."""
        return self._open("").get(str(number))

    def delete(self, number: int) -> None:
        """Remove a file, if it is there."""
        store = self._store
        if store is not None:
            store.delete((str(number),))

    def close(self) -> None:
        """Remove the files and their directory. Contents that were handed out stay valid."""
        with self._lock:
            self._closed = True
            remove = self._remove
        if remove is not None:
            remove()

    def _open(self, key: str) -> LocalStore:
        with self._lock:
            if self._closed:
                raise StoreError("the store is closed")
            if self._store is None:
                try:
                    root = tempfile.mkdtemp(prefix="starling-spill-", dir=self._parent)
                except OSError as error:
                    raise store_error(error, key) from error
                self._store = LocalStore(Path(root))
                self._remove = weakref.finalize(self, _remove, root, os.getpid())
            return self._store


def _remove(root: str, process: int) -> None:
    if os.getpid() == process:  # not in a fork, whose parent still reads the files
        shutil.rmtree(root, ignore_errors=True)
