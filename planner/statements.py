"""Which kind of statement a text is, and the parts of those that are not queries.

DuckDB's own parser says whether a text is SQL at all; its tokens are enough to take apart the few
statements around a query that the engine answers itself. What it does not answer is refused by
name, with what to use instead.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from starling_py.planner.copying import Copy, CopyOptions, Query, copy_options
from starling_py.planner.errors import ParameterError, Unsupported
from starling_py.planner.pointing import syntax_error
from starling_py.planner.refusals import refusal
from starling_py.planner.tokens import Tokens, unquoted_name
from starling_py.planner.tree import parsed

if TYPE_CHECKING:
    from collections.abc import Callable

    import duckdb

    from starling_py.planner.parameters import Parameters

__all__ = [
    "Copy",
    "CopyOptions",
    "CreateTable",
    "Describe",
    "DropTable",
    "Explain",
    "Query",
    "ShowTables",
    "Statement",
    "given_to",
    "read_statement",
    "with_query",
]


@dataclass(frozen=True, slots=True)
class Describe:
    """``DESCRIBE query`` or ``DESCRIBE table``: columns and no rows are looked at."""

    query: Query


@dataclass(frozen=True, slots=True)
class ShowTables:
    """``SHOW TABLES``, or with ``columns`` as well ``SHOW ALL TABLES``."""

    columns: bool


@dataclass(frozen=True, slots=True)
class Explain:
    """``EXPLAIN statement``, with ``json`` in that format."""

    statement: Statement
    json: bool


@dataclass(frozen=True, slots=True)
class CreateTable:
    """``CREATE TABLE name AS query``. ``columns`` are other names for the query's, or none."""

    name: str
    query: Query
    columns: tuple[str, ...] = ()
    replace: bool = False
    if_not_exists: bool = False
    rows: bool = True


@dataclass(frozen=True, slots=True)
class DropTable:
    """``DROP TABLE name``."""

    name: str
    if_exists: bool


Statement = Query | Describe | ShowTables | Explain | Copy | CreateTable | DropTable

_BLANK = re.compile(r"(?:\s+|--[^\n]*(?:\n|\Z)|/\*.*?\*/)*", re.DOTALL)
_WORD = re.compile(r"[A-Za-z_]+")
_OTHERS = frozenset(("SHOW", "DESCRIBE", "DESC", "EXPLAIN", "COPY", "CREATE", "DROP"))
_HINT_EXPLAIN = "`starling query --stats` shows what a statement took."
_HINT_CREATE = "CREATE TABLE name AS SELECT … makes a table."


def read_statement(
    connection: duckdb.DuckDBPyConnection,
    text: str,
    offset: int | None = 0,
    *,
    integer_division: bool = False,
) -> Statement:
    """Return what a text in DuckDB's SQL is.

    Queries are not looked into: planning them says what is wrong with them.

    Parameters
    ----------
    offset
        Where in the user's text this one begins, in bytes, or ``None`` where it is another text.
    integer_division
        Whether 7 / 2 is 3 in its dialect.

    Raises
    ------
    SqlSyntaxError
        With line, column and caret.
    Unsupported
        For a statement that the engine does not run.
    """
    blank = _BLANK.match(text)
    word = _WORD.match(text, blank.end() if blank else 0)
    first = word[0].upper() if word else ""
    if first not in _OTHERS:
        return Query(text, offset, integer_division)
    tokens = Tokens(_checked(connection, text))
    tokens.drop_semicolons()
    match first:
        case "EXPLAIN":
            json = _explained_as_json(tokens)
            start = None if offset is None else offset + tokens.start
            inner = read_statement(
                connection, tokens.source(), start, integer_division=integer_division
            )
            return Explain(inner, json)
        case "COPY":
            copy = _copy(tokens, offset)
            return replace(copy, query=replace(copy.query, integer_division=integer_division))
        case "CREATE":
            made = _create(tokens, offset)
            return replace(made, query=replace(made.query, integer_division=integer_division))
        case "DROP":
            return _drop(tokens)
    return _show(tokens, Query(text, offset, integer_division))


def given_to(statement: Statement, parameters: Parameters) -> Statement:
    """Return a statement whose query has these values for its parameters.

    Raises
    ------
    ParameterError
        When it has no query.
    """
    given = with_query(statement, lambda query: replace(query, parameters=parameters))
    if parameters and given == statement:
        raise ParameterError("the statement has no parameters, values were given")
    return given


def with_query(statement: Statement, change: Callable[[Query], Query]) -> Statement:
    """Return a statement with what ``change`` makes of its query, if it has one."""
    match statement:
        case Query():
            return change(statement)
        case Describe() | Copy() | CreateTable():
            return replace(statement, query=change(statement.query))
        case Explain():
            return replace(statement, statement=with_query(statement.statement, change))
    return statement


def _checked(connection: duckdb.DuckDBPyConnection, text: str) -> str:
    """Return the text, or raise DuckDB's own error for what is not SQL, or several statements."""
    try:
        text, tree = parsed(connection, text)
    except RecursionError:
        tree = {"error": False}  # what is wrong would be told in a tree without depth
    if tree["error"] and tree.get("error_type") != "not implemented":
        raise syntax_error(text, tree)
    if len(connection.extract_statements(text)) > 1:
        raise Unsupported("one statement at a time, please")
    return text


def _show(tokens: Tokens, query: Query) -> Statement:
    words = tuple(token.word for token in tokens.rest())
    match words:
        case (
            ("SHOW",) | ("DESCRIBE",) | ("DESC",) | ("SHOW" | "DESCRIBE" | "DESC", "ALL", "TABLES")
        ):
            return ShowTables(columns=True)
        case ("SHOW" | "DESCRIBE" | "DESC", "TABLES"):
            return ShowTables(columns=False)
        case ("SHOW", *_, "FROM" | "IN", _) | ("SHOW", "DATABASES" | "SCHEMAS" | "VARIABLES"):
            raise Unsupported(
                f"{tokens.source()} is not supported", hint="SHOW TABLES lists the tables."
            )
    return Describe(query)


def _explained_as_json(tokens: Tokens) -> bool:
    tokens.take("EXPLAIN")
    if tokens.take("ANALYZE"):
        raise Unsupported("EXPLAIN ANALYZE is not supported", hint=_HINT_EXPLAIN)
    if tokens.peek() != "(" or tokens.peek(1) not in ("FORMAT", "ANALYZE"):
        return False
    options = [token.text.strip("'").upper() for token in tokens.group()]
    if options not in (["FORMAT", "JSON"], ["FORMAT", "TEXT"], ["FORMAT", "DEFAULT"]):
        what = " ".join(options)
        raise Unsupported(f"EXPLAIN ({what}) is not supported", hint="FORMAT is text or json.")
    return options[1] == "JSON"


def _copy(tokens: Tokens, offset: int | None) -> Copy:
    tokens.take("COPY")
    query = _copied(tokens, offset)
    if tokens.take("FROM"):
        raise refusal("COPY … FROM")
    if not tokens.take("TO"):
        raise refusal("COPY FROM DATABASE")
    target = tokens.string()
    if target is None:
        raise Unsupported("the target of COPY must be a path in quotes")
    tokens.take("WITH")
    options = copy_options(tokens) if tokens.peek() else ()
    return Copy(query, target, CopyOptions(options))


def _copied(tokens: Tokens, offset: int | None) -> Query:
    if tokens.peek() == "(":
        start, end = tokens.span_of_group()
        return Query(tokens.text(start, end), None if offset is None else offset + start)
    start = tokens.start
    while tokens.peek() not in ("TO", "FROM", "(", ""):
        tokens.skip()
    table = tokens.text(start, tokens.end_of_last)
    columns = "*"
    if tokens.peek() == "(":
        first, last = tokens.span_of_group()
        columns = tokens.text(first, last)
    return Query(f"SELECT {columns} FROM {table}", None)


def _create(tokens: Tokens, offset: int | None) -> CreateTable:
    tokens.take("CREATE")
    replace = bool(tokens.take("OR") and tokens.take("REPLACE"))
    if tokens.peek() in ("TEMP", "TEMPORARY"):
        raise refusal("CREATE TEMPORARY TABLE")
    if not tokens.take("TABLE"):
        raise refusal(f"CREATE {tokens.peek()}")
    if_not_exists = False
    if tokens.take("IF"):
        tokens.take("NOT")
        if_not_exists = tokens.take("EXISTS")
    name = _table_name(tokens)
    columns: tuple[str, ...] = ()
    if tokens.peek() == "(":
        inside = tokens.group()
        names = inside[::2]
        commas = inside[1::2]
        plain = all(token.is_name for token in names) and all(c.word == "," for c in commas)
        if not plain or not inside or tokens.peek() != "AS":
            raise Unsupported(
                "CREATE TABLE with types of columns is not supported", hint=_HINT_CREATE
            )
        columns = tuple(unquoted_name(token.text) for token in names)
    if not tokens.take("AS"):
        clause = " ".join(filter(None, (tokens.peek(), tokens.peek(1))))
        hint = "COPY … TO 'folder' (FORMAT parquet, PARTITION_BY (…)) writes a folder for each key."
        raise Unsupported(f"{clause} in CREATE TABLE is not supported", hint=hint)
    rows = True
    if tokens.ends_with("WITH", "NO", "DATA"):
        tokens.drop(3)
        rows = False
    elif tokens.ends_with("WITH", "DATA"):
        tokens.drop(2)
    query = Query(tokens.source(), None if offset is None else offset + tokens.start)
    return CreateTable(name, query, columns, replace, if_not_exists, rows)


def _drop(tokens: Tokens) -> DropTable:
    tokens.take("DROP")
    if not tokens.take("TABLE"):
        raise refusal(f"DROP {tokens.peek()}")
    if_exists = bool(tokens.take("IF") and tokens.take("EXISTS"))
    name = _table_name(tokens)
    if tokens.peek():
        raise Unsupported(f"{tokens.peek()} in DROP TABLE is not supported")
    return DropTable(name, if_exists)


def _table_name(tokens: Tokens) -> str:
    """Return a table's name; like DuckDB's own, the one schema is main."""
    parts = [tokens.name()]
    while tokens.take("."):
        parts.append(tokens.name())
    if [part.lower() for part in parts[:-1]] not in ([], ["main"], ["memory", "main"]):
        raise Unsupported(
            f"there is no schema {'.'.join(parts[:-1])}", hint="Tables have no schema."
        )
    return parts[-1]
