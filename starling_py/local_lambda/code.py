"""Where a function's code is, and how a process of the runtime client finds it."""

from __future__ import annotations

import importlib.util
import os
import zipfile
from dataclasses import dataclass
from pathlib import Path

from starling_py.catalog.errors import UsageError

__all__ = ["Code", "prepare"]

_RUNTIME = ("awslambdaric", "runtime_client", "simplejson", "snapshot_restore_py")


@dataclass(frozen=True, slots=True)
class Code:
    """``root`` is the directory in which the process runs; ``options`` are the interpreter's."""

    root: Path
    path: str
    options: tuple[str, ...]


def prepare(bundle: Path | None, folder: Path) -> Code:
    """Return how to run a bundle, or what is installed here.

    Parameters
    ----------
    folder
        For what has to be unpacked; exists, and is empty.

    Raises
    ------
    UsageError
        If the runtime client is not installed or there is no such bundle.
    """
    runtime = _runtime(folder / "runtime")
    if bundle is None:
        package = Path(__file__).resolve().parents[2]
        paths = [str(package), *filter(None, [os.environ.get("PYTHONPATH")])]
        return Code(folder, os.pathsep.join(paths), ("-P",))
    if not bundle.exists():
        raise UsageError(f"there is no bundle {bundle}")
    root = bundle.resolve()
    if root.is_file():
        root = folder / "task"
        try:
            with zipfile.ZipFile(bundle) as archive:
                archive.extractall(root)
        except zipfile.BadZipFile as error:
            raise UsageError(f"{bundle} is no zip file") from error
    # Without site, nothing that is installed here is found but the runtime client.
    return Code(root, os.pathsep.join([str(root), str(runtime)]), ("-S",))


def _runtime(folder: Path) -> Path:
    """Make a folder with the runtime client and nothing else, as Lambda has one."""
    folder.mkdir()
    for name in _RUNTIME:
        found = importlib.util.find_spec(name)
        if found is None or found.origin is None:
            raise UsageError(
                "the Lambda runtime client is not installed",
                hint="pip install 'starling-py[lambda-local]'",
            )
        origin = Path(found.origin)
        place = origin.parent if origin.name == "__init__.py" else origin
        (folder / place.name).symlink_to(place)
    return folder
