"""The objects of a listing as a tree of folders, searched in the order of a local search."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    Matching = Callable[[str, Sequence[str]], set[str]]

__all__ = ["ANY_DEPTH", "GLOB", "Tree", "has_glob"]

GLOB = "*?["
ANY_DEPTH = "**"
_SEVERAL = 2


def has_glob(text: str) -> bool:
    """Return whether any character of a pattern is special."""
    return any(character in GLOB for character in text)


@dataclass(slots=True)
class _Folder:
    files: list[str] = field(default_factory=list)
    folders: set[str] = field(default_factory=set)


_NOTHING = _Folder()


def _any(_: str) -> bool:
    return True


class Tree:
    """Folders and files by their keys.

    Parameters
    ----------
    sizes
        Bytes of each file. Some tools mark a folder with an empty object of its name, which is
        no file.
    """

    def __init__(self, sizes: Mapping[str, int]) -> None:
        self._folders: dict[str, _Folder] = {"": _Folder()}
        for key in sizes:
            self._folder(_parent(key))
        for key, size in sizes.items():
            if size or key not in self._folders:
                self._folder(_parent(key)).files.append(key)

    def _folder(self, path: str) -> _Folder:
        found = self._folders.get(path)
        if found is None:
            found = self._folders[path] = _Folder()
            self._folder(_parent(path)).folders.add(path)
        return found

    def search(
        self,
        pattern: Sequence[str],
        matching: Matching,
        wanted_folder: Callable[[str], bool] = _any,
        wanted_file: Callable[[str], bool] = _any,
    ) -> list[str]:
        """Return the keys of the files that a pattern matches, in DuckDB's order.

        That is folder by folder, in the order of the folders' paths. DuckDB first looks for two
        files, to see whether there are several, and sorts those of the folders which that took as
        if they were one.

        Parameters
        ----------
        pattern
            One part for each folder, and one for the file. ``**`` stands for any folders, and as
            the last part for all files below.
        matching
            Returns which of some names match a part.
        wanted_folder, wanted_file
            Return whether what has such a name counts.
        """
        names = [self._matched(part, matching) for part in pattern]
        last = len(pattern) - 1
        found: list[str] = []
        waiting: list[tuple[bytes, int, str]] = [(b"", 0, "")]
        while waiting:
            _, part, path = heapq.heappop(waiting)
            folder = self._folders.get(path, _NOTHING)
            deep = pattern[part] == ANY_DEPTH
            if deep or part < last:
                for below in folder.folders:
                    if (deep or _name(below) in names[part]) and wanted_folder(_name(below)):
                        heapq.heappush(waiting, (below.encode(), part + (not deep), below))
            if part < last:
                if deep:
                    heapq.heappush(waiting, (path.encode(), part + 1, path))
                continue
            first = len(found) < _SEVERAL
            found += sorted(
                (
                    key
                    for key in folder.files
                    if (deep or _name(key) in names[part]) and wanted_file(_name(key))
                ),
                key=str.encode,
            )
            if first:
                found.sort(key=str.encode)
        return found

    def _matched(self, part: str, matching: Matching) -> set[str]:
        if part == ANY_DEPTH:
            return set()
        if not has_glob(part):
            return {part}
        every = {_name(path) for path in self._folders}
        every.update(_name(key) for folder in self._folders.values() for key in folder.files)
        return matching(part, sorted(every))


def _parent(path: str) -> str:
    return path.rpartition("/")[0]


def _name(path: str) -> str:
    return path.rpartition("/")[2]
