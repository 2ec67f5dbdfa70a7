"""The user's text: which statement it is, which tables and files it names, where an error points.

DuckDB's own parser reads DuckDB's SQL (``json_serialize_sql`` gives its tree with positions in
bytes).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import duckdb

from starling_py.planner.errors import ParameterError, SqlSyntaxError, Unsupported
from starling_py.planner.parameters import (
    Given,
    Parameters,
    Use,
    given,
    refuse_unnamed,
    uses,
)
from starling_py.planner.pointing import syntax_error
from starling_py.planner.refusals import refusal
from starling_py.planner.tree import parsed, walk

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["FileCall", "Source", "Star", "parse"]

_FILE_FUNCTIONS = frozenset(("read_parquet", "parquet_scan"))
_SYSTEM_SCHEMAS = frozenset(("information_schema", "pg_catalog"))
_SYSTEM_TABLES = frozenset(("sqlite_master", "sqlite_schema", "sqlite_temp_master"))
_SYSTEM_FUNCTIONS = ("duckdb_", "pragma_")
SESSION_FUNCTIONS = frozenset(
    (
        "current_connection_id",
        "current_query",
        "current_query_id",
        "current_transaction_id",
        "currval",
        "nextval",
        "setseed",
        "setval",
        "stats",
        "txid_current",
        "vector_type",
    )
)
"""Functions whose answer depends on the session, or on how it keeps its vectors."""
_NEEDS_A_TREE = re.compile(
    r"read_parquet|parquet_scan|filename|file_row_number|rowid|[?$:]|duckdb_\w+|pragma_\w+"
    r"|information_schema|pg_catalog|sqlite_\w+",
    re.IGNORECASE,
)
_TABLES_HINT = "`starling tables` lists the tables."
VIRTUAL_COLUMNS = ("filename", "file_row_number")
"""Columns that DuckDB lets a Parquet scan name although ``*`` leaves them out."""


@dataclass(frozen=True, slots=True)
class FileCall:
    """A call of ``read_parquet`` in a FROM clause, at bytes ``start`` to ``end`` of the text."""

    patterns: tuple[str, ...]
    options: Mapping[str, object]
    aliased: bool
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Star:
    """A ``*`` at bytes ``start`` to ``end``, -1 where it is qualified or has an EXCLUDE.

    ``tables`` are those directly in its FROM clause; calls of read_parquet are the empty name.
    """

    start: int
    end: int
    tables: frozenset[str]


@dataclass(frozen=True, slots=True)
class Source:
    """One parsed SELECT (or VALUES, FROM, DESCRIBE …).

    ``tables`` are the names in FROM clauses, CTEs among them. ``names_virtual`` are the virtual
    columns that the text mentions; ``names_row_id`` tells whether it mentions ``rowid``.
    ``parameters`` are those outside of ``files``, ``given`` are their values.
    """

    text: str
    tables: tuple[str, ...]
    files: tuple[FileCall, ...]
    stars: tuple[Star, ...]
    names_virtual: tuple[str, ...]
    names_row_id: bool
    parameters: tuple[Use, ...] = ()
    given: Given | None = None


def parse(
    connection: duckdb.DuckDBPyConnection,
    text: str,
    parameters: Parameters = (),
    *,
    describing: bool = False,
) -> Source:
    """Parse DuckDB SQL, in which ``:name`` may stand for ``$name``.

    Parameters
    ----------
    describing
        Whether the text is a DESCRIBE, which only the binder looks at.

    Raises
    ------
    SqlSyntaxError
        With line, column and caret.
    Unsupported
        For anything that is not one SELECT.
    ParameterError
        When the values do not fit the statement's parameters.
    """
    try:
        text, tree = parsed(connection, text)
    except RecursionError:
        return _unread(connection, text, parameters)
    if tree["error"]:
        if tree.get("error_type") == "not implemented":
            if str(tree.get("error_message")).startswith("Mixing named and positional"):
                raise ParameterError("named and positional parameters do not mix")
            raise _refusal(connection, text)
        raise syntax_error(text, tree)
    statements = tree.get("statements") or []
    if not statements:
        raise SqlSyntaxError("the statement is empty")
    if len(statements) > 1:
        raise Unsupported("one statement at a time, please")
    nodes = list(walk(statements[0]["node"]))
    found = uses([node for node in nodes if node.get("class") == "PARAMETER"])
    named = {str(entry["key"]).lower() for entry in statements[0].get("named_param_map") or []}
    if named != {use.name for use in found}:
        raise Unsupported("a parameter stands where the engine does not find it")
    if not describing:
        refuse_unnamed(nodes)
    return _Collector(text, found, given(connection, found, parameters)).collect(nodes)


def _unread(connection: duckdb.DuckDBPyConnection, text: str, parameters: Parameters) -> Source:
    """Return what can be known of a statement whose tree is too deep to be looked at."""
    found = _NEEDS_A_TREE.search(text)
    if found:
        raise Unsupported(f"{found[0]} in a statement that is nested so deeply is not supported")
    tables = tuple(sorted(connection.get_table_names(text)))
    return Source(text, tables, (), (), (), False, given=given(connection, (), parameters))


def _refusal(connection: duckdb.DuckDBPyConnection, text: str) -> Unsupported:
    """Return the error for what is not one SELECT."""
    try:
        several = len(connection.extract_statements(text)) > 1
    except Exception:  # noqa: BLE001 - only for the words of an error message
        several = False
    kind = _kind(connection, text)
    if several and kind == "SELECT":
        return Unsupported("one statement at a time, please")
    return refusal(kind)


def _kind(connection: duckdb.DuckDBPyConnection, text: str) -> str:
    try:
        statements = connection.extract_statements(text)
        name = statements[0].type.name
    except Exception:  # noqa: BLE001 - only for the name in an error message
        name = text.split()[0] if text.split() else "empty"
    name = str(name).removesuffix("_STATEMENT").replace("_", " ").upper()
    # DuckDB makes several statements of a PIVOT whose columns are not given.
    return "PIVOT without IN" if name == "MULTI" else name


class _Collector:
    def __init__(self, text: str, found: Sequence[Use], values: Given | None) -> None:
        self._text = text
        self._uses = found
        self._given = values
        self._tables: dict[str, None] = {}
        self._files: list[FileCall] = []
        self._stars: list[Star] = []
        self._names: set[str] = set()

    def collect(self, nodes: Iterable[Mapping[str, Any]]) -> Source:
        for node in nodes:
            kind = node.get("type")
            if kind == "BASE_TABLE":
                self._base_table(node)
            elif kind == "TABLE_FUNCTION":
                self._function(node)
            elif kind == "SELECT_NODE":
                self._select(node)
            elif kind == "FUNCTION":
                _check_session(str(node.get("function_name", "")).lower())
            elif kind == "COLUMN_REF":
                self._names.add(str(node["column_names"][-1]).lower())
            elif kind == "SHOW_REF" and not node.get("query"):
                self._show(node)
        outside = tuple(
            use
            for use in self._uses
            if not any(call.start <= use.start < call.end for call in self._files)
        )
        return Source(
            self._text,
            tuple(self._tables),
            tuple(self._files),
            tuple(self._stars),
            tuple(name for name in VIRTUAL_COLUMNS if name in self._names),
            "rowid" in self._names,
            outside,
            None if self._given is None else self._given.only(use.name for use in outside),
        )

    def _select(self, node: Mapping[str, Any]) -> None:
        tables = _from_names(node.get("from_table"))
        for item in node.get("select_list") or []:
            if item.get("type") != "STAR" or item.get("columns"):
                continue
            at = item.get("query_location", 0)
            plain = not (item.get("exclude_list") or item.get("relation_name"))
            end = at + item.get("query_location_length", 0) if plain else -1
            self._stars.append(Star(at, end, tables))

    def _base_table(self, node: Mapping[str, Any]) -> None:
        name, schema = str(node.get("table_name", "")), str(node.get("schema_name", ""))
        if schema.lower() in _SYSTEM_SCHEMAS or name.lower() in _SYSTEM_TABLES:
            raise Unsupported(f"there are no system tables: {schema or name}", hint=_TABLES_HINT)
        self._tables[name] = None

    def _show(self, node: Mapping[str, Any]) -> None:
        name = str(node.get("table_name", "")).strip('"')
        if node.get("show_type") in ("DESCRIBE", "SHOW", "SUMMARY") and name:
            self._tables[name] = None
            return
        raise Unsupported("SHOW is not supported", hint=_TABLES_HINT)

    def _function(self, node: Mapping[str, Any]) -> None:
        function = node["function"]
        name = str(function.get("function_name", "")).lower()
        if name.startswith(_SYSTEM_FUNCTIONS):
            raise Unsupported(f"there are no system tables: {name}()", hint=_TABLES_HINT)
        if name not in _FILE_FUNCTIONS:
            return
        patterns: tuple[str, ...] = ()
        options: dict[str, object] = {}
        for argument in function.get("arguments") or []:
            inner = argument["expression"]
            if argument.get("name"):
                options[str(argument["name"]).lower()] = self._value(inner)
            elif inner.get("type") == "COMPARE_EQUAL":
                options[str(inner["left"]["column_names"][-1]).lower()] = self._value(
                    inner["right"]
                )
            else:
                paths = self._value(inner)
                patterns += tuple(map(str, paths)) if isinstance(paths, list) else (str(paths),)
        start = node["query_location"]
        aliased = bool(node.get("alias"))
        end = self._closing(start)
        self._files.append(FileCall(patterns, options, aliased, start, end))

    def _value(self, expression: Mapping[str, Any]) -> object:
        return _value(expression, self._given.values if self._given is not None else {})

    def _closing(self, start: int) -> int:
        """Return the byte behind the parenthesis that closes the call which starts at ``start``."""
        data = self._text.encode()
        depth = 0
        for at, kind in duckdb.tokenize(self._text):
            if at < start or kind != duckdb.token_type.operator:
                continue
            if data[at] == ord("("):
                depth += 1
            elif data[at] == ord(")"):
                depth -= 1
                if depth == 0:
                    return at + 1
        return len(data)


def _check_session(name: str) -> None:
    """Refuse a function that reads or changes what a session is: a query has many."""
    if name == "setseed":
        hint = "hash(column, 42) gives every row a number that is the same each time."
        raise Unsupported("setseed() is not supported: tasks have no common random()", hint=hint)
    if name in SESSION_FUNCTIONS:
        raise Unsupported(f"{name}() is not supported: a query runs in many sessions")


def _from_names(node: object) -> frozenset[str]:
    """Return the tables directly in a FROM clause; calls of read_parquet are the empty name."""
    match node:
        case {"type": "JOIN", "left": left, "right": right}:
            return _from_names(left) | _from_names(right)
        case {"type": "BASE_TABLE", "table_name": str(name)}:
            return frozenset((name,))
        case {"type": "TABLE_FUNCTION", "function": {"function_name": str(name)}}:
            return frozenset(("",)) if name.lower() in _FILE_FUNCTIONS else frozenset()
    return frozenset()


def _value(expression: Mapping[str, Any], values: Mapping[str, object]) -> object:
    match expression.get("class"):
        case "CONSTANT":
            literal = expression.get("literal") or {}
            text = literal.get("text", "")
            return text == "true" if literal.get("kind") == "BOOLEAN" else text
        case "PARAMETER":
            return values.get(str(expression["identifier"]).lower())
        case "FUNCTION" if expression.get("function_name") == "list_value":
            items = expression.get("arguments") or []
            return [_value(item["expression"], values) for item in items]
        case "FUNCTION" if expression.get("function_name") == "struct_pack":
            members = expression.get("arguments") or []
            return {
                str(item.get("name", "")): _value(item["expression"], values) for item in members
            }
        case "COLUMN_REF":
            return ".".join(expression["column_names"])
    raise Unsupported("read_parquet takes constant arguments only")
