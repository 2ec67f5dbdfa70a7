"""A place that statements write below: a folder of this machine, or a prefix of a bucket."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from starling_py.catalog.errors import OutputError
from starling_py.interruption import held
from starling_py.shuffle.locations import encode_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    Moves = Sequence[tuple[str, str]]

__all__ = ["Folder", "LocalFolder"]


class Folder(Protocol):
    """Files by name: paths below the folder, with slashes. Errors are typed and name the file."""

    @property
    def root(self) -> str:
        """The percent-encoded folder that tasks must be able to write below, or empty."""
        ...

    def told(self, name: str) -> str:
        """Return what a task is told of a file or folder: a percent-encoded path or URL."""
        ...

    def shown(self, name: str) -> str:
        """Return what the user is told of it."""
        ...

    def check(self) -> None:
        """Raise ``OutputError`` if nothing can be written here."""
        ...

    def begin(self, name: str) -> None:
        """Make a folder for what is not to be seen yet."""
        ...

    def names(self, below: str) -> list[str]:
        """Return the names of all files below a folder, hidden ones too; none where it is not."""
        ...

    def folders(self) -> list[str]:
        """Return the names of the folders in this one, hidden ones too."""
        ...

    def is_file(self, name: str) -> bool: ...

    def is_folder(self, name: str) -> bool:
        """Return whether there is a folder that no file can take the place of."""
        ...

    def read(self, name: str) -> bytes | None:
        """Return the bytes of a file, or ``None`` where there is none."""
        ...

    def write(self, name: str, data: bytes, *, create: bool = False) -> None:
        """Write a file at once, over what is there.

        With ``create`` a file that is there raises ``FileExistsError`` or ``ObjectExists``.
        """
        ...

    def move(self, moves: Moves) -> None:
        """Give files other names, each at once and over what is there."""
        ...

    def publish(self, moves: Moves, target: str, staging: str, *, replace: bool) -> None:
        """Make a folder of files: first names are in ``staging``, second ones below ``target``.

        With ``replace`` what was in the folder before is gone afterwards; without it, a folder of
        this machine that has something in it raises ``FileExistsError``.
        """
        ...

    def delete(self, names: Iterable[str]) -> None:
        """Remove files that exist, and folders that have nothing in them any more."""
        ...

    def clear(self, name: str) -> None:
        """Remove a folder and everything below it; do nothing where there is none."""
        ...


class LocalFolder:
    """A folder of this machine. ``shown`` is its path as the user knows it."""

    def __init__(self, path: str, shown: str) -> None:
        self._path = Path(path).absolute()
        self._shown = shown.rstrip("/")

    @property
    def root(self) -> str:
        return encode_path(str(self._path))

    def told(self, name: str) -> str:
        return encode_path(str(self._path / name))

    def shown(self, name: str) -> str:
        return f"{self._shown}/{name}" if self._shown not in ("", ".") else name

    def check(self) -> None:
        if not self._path.is_dir():
            raise OutputError(f"there is no folder {self._shown or '.'}")
        if not os.access(self._path, os.W_OK | os.X_OK):
            raise OutputError(f"cannot write to the folder {self._shown or '.'}: permission denied")

    def begin(self, name: str) -> None:
        with self._told(name):
            (self._path / name).mkdir()

    def names(self, below: str) -> list[str]:
        found: list[str] = []
        with self._told(below):
            for folder, _, files in os.walk(self._path / below):
                at = Path(folder).relative_to(self._path).as_posix()
                found += [f"{at}/{file}" for file in files]
        return sorted(found)

    def folders(self) -> list[str]:
        with self._told(""), os.scandir(self._path) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))

    def is_file(self, name: str) -> bool:
        return (self._path / name).is_file()

    def is_folder(self, name: str) -> bool:
        return (self._path / name).is_dir()

    def read(self, name: str) -> bytes | None:
        with self._told(name):
            try:
                return (self._path / name).read_bytes()
            except (FileNotFoundError, NotADirectoryError):
                return None

    def write(self, name: str, data: bytes, *, create: bool = False) -> None:
        path = self._path / name
        if create:
            with self._told(name, exists=True), path.open("xb") as file:
                file.write(data)
            return
        with self._told(name):
            part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
            try:
                part.write_bytes(data)
                part.replace(path)
            finally:
                part.unlink(missing_ok=True)

    def move(self, moves: Moves) -> None:
        for source, target in moves:
            with self._told(target):
                (self._path / target).parent.mkdir(parents=True, exist_ok=True)
                (self._path / source).replace(self._path / target)

    def publish(self, moves: Moves, target: str, staging: str, *, replace: bool) -> None:
        made, old = f"{staging}/new", f"{staging}/old"
        with self._told(target):
            (self._path / made).mkdir()
        self.move([(source, f"{made}/{inner}") for source, inner in moves])
        # Signals wait: between the two there is neither the old folder nor the new one.
        with held(), self._told(target, exists=True):
            aside = replace and (self._path / target).is_dir()
            if aside:
                (self._path / target).rename(self._path / old)
            try:
                (self._path / made).rename(self._path / target)
            except OSError as error:
                if aside:
                    (self._path / old).rename(self._path / target)
                if error.errno == errno.ENOTEMPTY:
                    raise FileExistsError(errno.EEXIST, "the folder exists") from error
                raise

    def delete(self, names: Iterable[str]) -> None:
        for name in names:
            path = self._path / name
            with self._told(name):
                path.unlink(missing_ok=True)
            if path.parent != self._path:
                with suppress(OSError):
                    path.parent.rmdir()  # if that was all there was in it

    def clear(self, name: str) -> None:
        shutil.rmtree(self._path / name, ignore_errors=True)

    @contextmanager
    def _told(self, name: str, *, exists: bool = False) -> Iterator[None]:
        """Let errors be typed and name the file, with ``exists`` but for ``FileExistsError``."""
        try:
            yield
        except OSError as error:
            if exists and isinstance(error, FileExistsError):
                raise
            reason = (error.strerror or str(error)).lower()
            raise OutputError(f"cannot write {self.shown(name)}: {reason}") from error
