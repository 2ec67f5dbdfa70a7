"""Tables that are being written: what is there already, so that it need not be made again."""

from __future__ import annotations

import fcntl
import shutil
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from starling_py.tpch.errors import OutputRefused
from starling_py.tpch.tables import StoredTable

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["MANIFEST", "Manifest", "Unfinished", "unfinished"]

MANIFEST = "_tpch.json"
_LOCK = "_lock"
_TABLES = "tables"


class Manifest(msgspec.Struct, frozen=True):
    """Which pieces of which tables are there."""

    scale: float
    parts: int
    done: tuple[str, ...] = ()
    tables: tuple[StoredTable, ...] = ()
    complete: bool = False


class Unfinished:
    """A hidden folder with the pieces of tables that are complete."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder = folder
        self.manifest = manifest

    @property
    def tables(self) -> Path:
        """The folder that will be the tables'."""
        return self.folder / _TABLES

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """Give a folder for a piece; what is still in it at the end is removed."""
        with tempfile.TemporaryDirectory(dir=self.folder, ignore_cleanup_errors=True) as scratch:
            yield Path(scratch)

    def take(self, made: Path, piece: str) -> None:
        """Add the files of a piece, which is complete."""
        for path in sorted(made.rglob("*.parquet")):
            target = self.tables / path.relative_to(made)
            target.parent.mkdir(exist_ok=True)
            path.rename(target)
        manifest = msgspec.structs.replace(self.manifest, done=(*self.manifest.done, piece))
        new = self.folder / f"{MANIFEST}.new"
        new.write_bytes(msgspec.json.encode(manifest))
        new.rename(self.folder / MANIFEST)
        self.manifest = manifest

    def forget(self) -> None:
        """Let nothing of it be taken for done."""
        self.manifest = msgspec.structs.replace(self.manifest, done=())


@contextmanager
def unfinished(folder: Path, wanted: Manifest) -> Iterator[Unfinished]:
    """Open what there is of a folder that is to be written, or begin with nothing.

    At the end it is removed, unless the writing ends by an error when some of it is done.

    Raises
    ------
    OutputRefused
        If another process is at work on it.
    """
    hidden = folder.with_name(f".{folder.name}.unfinished")
    hidden.mkdir(exist_ok=True)
    with (hidden / _LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OutputRefused(f"{folder} is being written by another process") from None
        made = Unfinished(hidden, _known(hidden, wanted))
        made.tables.mkdir(exist_ok=True)
        keep = False
        try:
            yield made
        except BaseException:
            keep = bool(made.manifest.done)
            raise
        finally:
            if not keep:
                shutil.rmtree(hidden, ignore_errors=True)


def _known(hidden: Path, wanted: Manifest) -> Manifest:
    """Return what is done of just these tables; remove what is of others, or left over."""
    found = None
    with suppress(OSError, msgspec.DecodeError):
        found = msgspec.json.decode((hidden / MANIFEST).read_bytes(), type=Manifest)
    same = found is not None and (found.scale, found.parts) == (wanted.scale, wanted.parts)
    for path in hidden.iterdir():
        if path.name != _LOCK and not (same and path.name in (MANIFEST, _TABLES)):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
    return found if found is not None and same else wanted
