"""The tree of a parsed statement, as ``json_serialize_sql`` gives it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["walk"]


def walk(tree: object) -> Iterator[Mapping[str, Any]]:
    """Yield every object of a JSON tree, without recursion: statements can be deep."""
    stack = [tree]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            yield item
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(reversed(item))
