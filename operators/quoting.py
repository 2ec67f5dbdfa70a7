"""Text that stands for a name, a string or a file in a DuckDB statement, and paths on the wire."""

from __future__ import annotations

from starling_py.shuffle.locations import decode_path, encode_path

__all__ = ["as_pattern", "decode_path", "encode_path", "identifier", "literal", "parquet_path"]


def identifier(name: str) -> str:
    """Return ``name`` as a quoted identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str | None) -> str:
    """Return ``text`` as a string literal, or ``NULL``.

    A NUL cannot stand in the text of a statement, so ``chr(0)`` puts it in.
    """
    if text is None:
        return "NULL"
    plain = "'" + text.replace("'", "''") + "'"
    return "(" + plain.replace("\0", "' || chr(0) || '") + ")" if "\0" in text else plain


def parquet_path(path: str) -> str:
    """Return a string literal with which ``read_parquet`` opens exactly the file ``path``."""
    return literal(as_pattern(path))


def as_pattern(path: str) -> str:
    """Return the pattern that matches exactly ``path``.

    DuckDB takes ``*``, ``?`` and ``[`` in a path for a pattern; a class of one character matches
    that character only.
    """
    return "".join(f"[{char}]" if char in "*?[" else char for char in path)
