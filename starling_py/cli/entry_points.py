"""Entry points of installed packages, found without ``importlib.metadata``.

To import that takes as long as all the rest of ``starling --help``.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

__all__ = ["entry_points"]

_FOLDERS = (".dist-info", ".egg-info")


def entry_points(group: str) -> dict[str, str]:
    """Return names and values of a group; of one name the value that is found first counts."""
    found: dict[str, str] = {}
    for place in dict.fromkeys(sys.path):
        for folder in _packages(place or os.curdir):
            for name, value in _listed(Path(folder, "entry_points.txt"), group):
                found.setdefault(name, value)
    return found


def _packages(place: str) -> list[str]:
    try:
        with os.scandir(place) as entries:
            return sorted(entry.path for entry in entries if entry.name.endswith(_FOLDERS))
    except OSError:
        return []  # a zip, or nothing


def _listed(file: Path, group: str) -> list[tuple[str, str]]:
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return []
    _, header, rest = text.partition(f"[{group}]")
    section, _, _ = rest.partition("\n[")
    lines = [line.partition("=") for line in section.splitlines() if header]
    return [(name.strip(), value.strip()) for name, equals, value in lines if equals]
