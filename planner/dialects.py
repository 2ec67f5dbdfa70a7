"""Other dialects of SQL, put into DuckDB's by sqlglot, and what sqlglot would change silently.

sqlglot says what it cannot put into another dialect. Where it does not say so and the meaning would
be another, the tree is changed here, or the construct refused by name.
"""

from __future__ import annotations

import logging
import re
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from starling_py.planner.errors import SqlSyntaxError, Unsupported
from starling_py.planner.pointing import pointed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlglot import exp

__all__ = ["DIALECTS", "Transpiled", "check_dialect", "transpile", "untranslated"]

DIALECTS = (
    "athena",
    "bigquery",
    "databricks",
    "duckdb",
    "hive",
    "mysql",
    "postgres",
    "presto",
    "redshift",
    "snowflake",
    "spark",
    "trino",
)
"""Those whose constructs are tested."""

_UNCHANGED = re.compile(r"\s*(SHOW|DROP|DESCRIBE\s+[\w.\"`]+\s*;?\s*$)", re.IGNORECASE)
_PREFIX = re.compile(
    r"\s*(EXPLAIN(\s*\(\s*FORMAT\s+\w+\s*\))?|DESCRIBE|SUMMARIZE)\s+(?=SELECT|WITH|VALUES|\(|COPY"
    r"|CREATE|FROM)",
    re.IGNORECASE,
)
_COPY = re.compile(r"\s*COPY\s*\(", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Transpiled:
    """A statement in DuckDB's SQL. With ``integer_division`` ``7 / 2`` is 3 in it."""

    text: str
    integer_division: bool = False


def check_dialect(dialect: str) -> str:
    """Return a known dialect's name.

    Raises
    ------
    Unsupported
        With the names of those that are known.
    """
    found = dialect.strip().lower()
    if found not in DIALECTS:
        raise Unsupported(
            f"there is no dialect {dialect!r}", hint=f"dialects are {', '.join(DIALECTS)}"
        )
    return found


def transpile(text: str, dialect: str) -> Transpiled:
    """Return a statement of a dialect in DuckDB's.

    A statement in DuckDB's own dialect stays as it is, whether sqlglot could read it or not.

    Raises
    ------
    SqlSyntaxError
        With line, column and caret, when it is not SQL of ``dialect``.
    Unsupported
        When a construct has no equivalent, or nobody knows the dialect.
    """
    dialect = check_dialect(dialect)
    if dialect == "duckdb" or _UNCHANGED.match(text):
        return Transpiled(text)
    from sqlglot import Dialect

    integers = bool(Dialect.get_or_raise(dialect).TYPED_DIVISION)
    prefix = _PREFIX.match(text)
    start = prefix.end() if prefix else 0
    copy = _COPY.match(text, start)
    if copy is None:
        return Transpiled(text[:start] + _query(text, start, len(text), dialect), integers)
    end = _closing(text, copy.end(), dialect)
    inside = _query(text, copy.end(), end, dialect)
    return Transpiled(text[: copy.end()] + inside + text[end:], integers)


def untranslated(error: SqlSyntaxError) -> Unsupported:
    """Return the error for a statement that DuckDB does not understand after all."""
    first = error.message.splitlines()[0].partition(" (line")[0]
    return Unsupported(
        f"the statement cannot be put into DuckDB's SQL: {first}",
        hint="Say it another way, or write the statement in DuckDB's own dialect.",
    )


def _closing(text: str, start: int, dialect: str) -> int:
    """Return where the parenthesis closes that opened before ``start``."""
    from sqlglot import tokenize

    depth = 1
    with _typed(text, dialect):
        for token in tokenize(text[start:], read=dialect):
            kind = token.token_type.name
            depth += (kind == "L_PAREN") - (kind == "R_PAREN")
            if depth == 0:
                return start + token.start
    raise SqlSyntaxError("the parenthesis behind COPY is not closed")


def _query(text: str, start: int, end: int, dialect: str) -> str:
    import sqlglot
    from sqlglot.errors import ErrorLevel

    from starling_py.planner.dialect_fixes import fixed

    # What stands before is blank, so that lines and columns are those of the user's text.
    blank = re.sub(r"\S", " ", text[:start])
    with _typed(text, dialect), _quiet():
        found = [tree for tree in sqlglot.parse(blank + text[start:end], read=dialect) if tree]
        if not found:
            raise SqlSyntaxError("the statement is empty")
        if len(found) > 1:
            raise Unsupported("one statement at a time, please")
        tree: exp.Expr = fixed(found[0], dialect)
        return str(tree.sql("duckdb", unsupported_level=ErrorLevel.RAISE))


@contextmanager
def _typed(text: str, dialect: str) -> Iterator[None]:
    """Turn sqlglot's errors into the engine's."""
    from sqlglot.errors import ParseError, SqlglotError, TokenError, UnsupportedError

    try:
        yield
    except ParseError as error:
        first = error.errors[0] if error.errors else {}
        line, column = int(first.get("line") or 1), int(first.get("col") or 1)
        what = str(first.get("description") or error)
        raise SqlSyntaxError(pointed(text, what, line, column)) from None
    except TokenError as error:
        raise SqlSyntaxError(str(error).splitlines()[0]) from None
    except UnsupportedError as error:
        raise Unsupported(f"{dialect}: {str(error).splitlines()[0]}") from None
    except SqlglotError as error:
        raise SqlSyntaxError(str(error).splitlines()[0]) from None
    except RecursionError:
        raise Unsupported(f"{dialect}: the statement is nested too deeply") from None


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep sqlglot's warnings from the log: what they are about is refused."""
    logger = logging.getLogger("sqlglot")
    logger.addFilter(_nothing)
    try:
        yield
    finally:
        logger.removeFilter(_nothing)


def _nothing(_: logging.LogRecord) -> bool:
    return False
