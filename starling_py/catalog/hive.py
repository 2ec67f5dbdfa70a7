"""``key=value`` folders, read the way DuckDB reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

from starling_py.catalog.errors import TableError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["HIVE_NULL", "common_keys", "fold", "folder_keys", "value_text"]

HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"

_UPPER_TO_LOWER = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}


def fold(name: str) -> str:
    """Return ``name`` as DuckDB compares identifiers: without the case of ASCII letters."""
    return name.translate(_UPPER_TO_LOWER)


def folder_keys(path: str) -> dict[str, str]:
    """Return the keys and raw values of the folders of a path, in the order of their names.

    A folder counts when it has exactly one ``=``, not at its start. Of two folders with the same
    key the first counts. The file's own name does not count.
    """
    found: dict[str, str] = {}
    for folder in path.replace("\\", "/").split("/")[:-1]:
        key, equals, value = folder.partition("=")
        if equals and key and "=" not in value and "?" not in folder and "\n" not in folder:
            found.setdefault(key, value)
    return dict(sorted(found.items(), key=lambda item: item[0].encode("utf-8", "surrogateescape")))


def common_keys(found: Sequence[dict[str, str]]) -> tuple[str, ...]:
    """Return the keys of all files in order of name, or nothing unless all files have the same."""
    if not found:
        return ()
    keys = tuple(found[0])
    return keys if all(tuple(other) == keys for other in found) else ()


def value_text(raw: str, type_: str) -> str | None:
    """Return the text whose cast to ``type_`` is the folder's value, or ``None`` for NULL."""
    if raw == HIVE_NULL:
        return None
    if type_ != "VARCHAR" and (not raw or raw.upper() == "NULL"):
        return None
    try:
        return unquote_to_bytes(raw).decode("utf-8")
    except UnicodeDecodeError as error:
        raise TableError(f"the folder value {raw} does not decode to valid UTF-8") from error
