"""Statements that the engine does not run, each by name and with what to use instead."""

from __future__ import annotations

from starling_py.planner.errors import Unsupported

__all__ = ["refusal"]

_FILES = "Starling answers SELECT, VALUES, FROM and WITH over Parquet files."
_READ_ONLY = (
    "Files are not changed in place: CREATE OR REPLACE TABLE … AS SELECT … writes a table anew."
)
_PATHS = (
    "A query reads files by name: FROM 'path/*.parquet' or FROM 's3://bucket/prefix/*.parquet'."
)
_SETTINGS = "Settings are options of the connection or of the command line."
_BOX = "The engine is a closed box: it loads no extensions and opens no databases."
_ALONE = "Every statement stands for itself, and is seen whole or not at all."

_INSTEAD = {
    "ALTER": _READ_ONLY,
    "ANALYZE": "Statistics come from the footers of the files.",
    "ATTACH": _PATHS,
    "CALL": _FILES,
    "CHECKPOINT": _ALONE,
    "COMMENT": _READ_ONLY,
    "COPY … FROM": "CREATE TABLE name AS FROM 'path/*.parquet' makes a table of files.",
    "COPY FROM DATABASE": _BOX,
    "CREATE FUNCTION": "A common table expression (WITH) goes into the statement itself.",
    "CREATE INDEX": "Row groups are skipped by the statistics in the files' footers.",
    "CREATE MACRO": "A common table expression (WITH) goes into the statement itself.",
    "CREATE SCHEMA": "Tables have no schema.",
    "CREATE SEQUENCE": "row_number() OVER (ORDER BY …) numbers rows.",
    "CREATE TEMPORARY TABLE": "CREATE TABLE name AS …, and DROP TABLE name at the end; or WITH.",
    "CREATE TYPE": "ENUM ('a', 'b') may stand wherever a type does.",
    "CREATE VIEW": "CREATE TABLE name AS … keeps an answer; WITH goes into the statement itself.",
    "DEALLOCATE": _ALONE,
    "DELETE": _READ_ONLY,
    "DETACH": _BOX,
    "DROP": "DROP TABLE removes what CREATE TABLE … AS made.",
    "EXECUTE": _ALONE,
    "EXPORT": "COPY table TO 'folder' (FORMAT parquet) writes a table.",
    "IMPORT": _PATHS,
    "INSERT": "COPY (query) TO 'folder' (FORMAT parquet, APPEND) adds files to a folder.",
    "INSTALL": _BOX,
    "LOAD": _BOX,
    "MERGE": _READ_ONLY,
    "PIVOT without IN": "PIVOT … ON column IN (values) names the columns.",
    "PRAGMA": _SETTINGS,
    "PREPARE": _ALONE,
    "RESET": _SETTINGS,
    "SET": _SETTINGS,
    "TRANSACTION": _ALONE,
    "TRUNCATE": _READ_ONLY,
    "UPDATE": _READ_ONLY,
    "USE": "Tables have no schema.",
    "VACUUM": _READ_ONLY,
}


def refusal(name: str) -> Unsupported:
    """Return the error for a statement of this name."""
    first = name.split()[0] if name else ""
    hint = _INSTEAD.get(name) or _INSTEAD.get(first) or _FILES
    return Unsupported(f"{name} statements are not supported", hint=hint)
