"""Which modules of this package a module needs, read off the syntax trees."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING

from starling_py.deploy.errors import DeployError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["needed_modules"]

_PACKAGE = "starling_py"


def needed_modules(entries: Sequence[str]) -> dict[str, Path]:
    """Return the source files of modules and of all that they import of this package.

    Imports inside functions count, for they may happen; imports for annotations never do. Nothing
    is imported to find out.

    Returns
    -------
    dict
        Sorted, from the path in a bundle, such as ``starling_py/shuffle/keys.py``, to the file.

    Raises
    ------
    DeployError
        If there is no such module.
    """
    found: dict[str, Path] = {}
    waiting = list(entries)
    seen: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        path = _source(name)
        if path is None:
            raise DeployError(f"there is no module {name} to put into a bundle")
        parts = name.split(".")
        file = "__init__.py" if path.name == "__init__.py" else None
        found["/".join([*parts, file] if file else [*parts[:-1], path.name])] = path
        waiting.extend(".".join(parts[:length]) for length in range(1, len(parts)))
        waiting.extend(_imports(path))
    return dict(sorted(found.items()))


def _source(name: str) -> Path | None:
    root = Path(__file__).parents[1]
    place = root.joinpath(*name.split(".")[1:])
    for path in (place / "__init__.py", place.with_name(f"{place.name}.py")):
        if path.is_file():
            return path
    return None


def _imports(path: Path) -> Iterator[str]:
    for node in _executed(ast.parse(path.read_bytes(), str(path))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if _is_ours(alias.name))
        elif isinstance(node, ast.ImportFrom) and _is_ours(node.module or ""):
            yield str(node.module)
            # What is named may be a module or something in one.
            names = (f"{node.module}.{alias.name}" for alias in node.names)
            yield from (name for name in names if _source(name))


def _is_ours(name: str) -> bool:
    return name == _PACKAGE or name.startswith(f"{_PACKAGE}.")


def _executed(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes of a tree but those that only a type checker looks at."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            for other in node.orelse:
                yield other
                yield from _executed(other)
            continue
        yield node
        yield from _executed(node)
