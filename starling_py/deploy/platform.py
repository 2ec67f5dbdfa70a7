"""Where a bundle runs."""

from __future__ import annotations

import platform
import re
import sys
from dataclasses import dataclass
from typing import Literal, cast

from starling_py.catalog.errors import UsageError

__all__ = ["Architecture", "Platform", "this_platform"]

Architecture = Literal["arm64", "x86_64"]

_MACHINES = {"arm64": "aarch64", "x86_64": "x86_64"}
_VERSION = re.compile(r"3\.([1-9]\d?)")
_OLDEST = (3, 11)
_GLIBC = range(17, 35)
"""Amazon Linux 2023, on which functions run from Python 3.12 on, has glibc 2.34."""


@dataclass(frozen=True, slots=True)
class Platform:
    """An architecture, in Lambda's spelling, and a version of Python."""

    architecture: Architecture
    python: tuple[int, int]

    @classmethod
    def parse(cls, architecture: str, python: str) -> Platform:
        """Return the platform of an architecture and a version such as ``3.13``.

        Raises
        ------
        UsageError
            If there is none.
        """
        if architecture not in _MACHINES:
            raise UsageError(f"there is no architecture {architecture}: arm64 or x86_64")
        found = _VERSION.fullmatch(python)
        if found is None or (3, int(found[1])) < _OLDEST:
            raise UsageError(f"{python!r} is not a version of Python such as 3.13")
        return cls(cast("Architecture", architecture), (3, int(found[1])))

    @property
    def version(self) -> str:
        """The version of Python as text."""
        return ".".join(map(str, self.python))

    @property
    def runtime(self) -> str:
        """Lambda's name for the version of Python."""
        return f"python{self.version}"

    @property
    def tags(self) -> tuple[str, ...]:
        """The platform tags of wheels that run there, newest first."""
        machine = _MACHINES[self.architecture]
        return (
            *(f"manylinux_2_{minor}_{machine}" for minor in reversed(_GLIBC)),
            f"manylinux2014_{machine}",
        )


def this_platform() -> Platform:
    """Return the platform of the interpreter at hand."""
    machine = platform.machine().lower()
    architecture = "arm64" if machine in ("arm64", "aarch64") else "x86_64"
    return Platform.parse(architecture, f"{sys.version_info[0]}.{sys.version_info[1]}")
