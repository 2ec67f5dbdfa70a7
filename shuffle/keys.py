"""What a key may look like, and how it becomes a path."""

from __future__ import annotations

from urllib.parse import quote, unquote

from starling_py.shuffle.errors import StoreError

__all__ = ["check_key", "key_of_parts", "path_parts"]


def check_key(key: str) -> str:
    """Return the key, or raise ``StoreError`` where it has an empty, ``.`` or ``..`` part."""
    if any(part in ("", ".", "..") for part in key.split("/")):
        raise StoreError(f"{key!r} cannot be a key: a part of it is empty, '.' or '..'")
    return key


def path_parts(key: str) -> list[str]:
    """Return the file names of a key's parts: percent-encoded, and none starts with a dot."""
    return [_encoded(part) for part in check_key(key).split("/")]


def key_of_parts(parts: tuple[str, ...]) -> str:
    """Return the key whose ``path_parts`` these are."""
    return "/".join(unquote(part) for part in parts)


def _encoded(part: str) -> str:
    name = quote(part, safe="")
    return f"%2E{name[1:]}" if name.startswith(".") else name
