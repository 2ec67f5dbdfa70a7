"""The tree of a parsed statement, as ``json_serialize_sql`` gives it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, cast

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import duckdb

__all__ = ["parsed", "walk"]

_NAME_START = re.compile(rb"[A-Za-z_\x80-\xff]")


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


def parsed(connection: duckdb.DuckDBPyConnection, text: str) -> tuple[str, dict[str, Any]]:
    """Return a text with ``$name`` for ``:name``, and its tree or the error that there is.

    Only where DuckDB's grammar has no use for the colon, as it has in ``list[a:b]``. Where that
    does not make it a statement, text and tree are as they were given.
    """
    before = now = _tree(connection, text)
    changed = text
    while now["error"] and now.get("position") is not None:
        data = changed.encode()
        at = int(now["position"])
        if data[at : at + 1] != b":" or not _NAME_START.match(data, at + 1):
            return text, before
        changed = (data[:at] + b"$" + data[at + 1 :]).decode()
        now = _tree(connection, changed)
    return changed, now


def _tree(connection: duckdb.DuckDBPyConnection, text: str) -> dict[str, Any]:
    row = connection.execute(
        "SELECT json_serialize_sql(?, skip_null := true, skip_empty := true)", [text]
    ).fetchone()
    return cast("dict[str, Any]", msgspec.json.decode(cast("tuple[str]", row)[0]))
