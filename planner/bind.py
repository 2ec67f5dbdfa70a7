"""DuckDB as the binder: names, types, decorrelation and simplification come from it.

An in-memory instance holds *empty* tables with the catalog's schemas and serializes the logical
plan. It is a closed box: it reads no file and loads no extension.
"""

from __future__ import annotations

import json
import re
import threading
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import duckdb
import msgspec

from starling_py.operators.plan import ResultColumn
from starling_py.operators.quoting import identifier
from starling_py.operators.task import Setting
from starling_py.planner.errors import (
    BindError,
    CannotDistribute,
    SqlError,
    UnknownColumn,
    UnknownTable,
    Unsupported,
)
from starling_py.planner.pointing import point_at, syntax_error
from starling_py.planner.source import Source, parse
from starling_py.planner.statements import read_statement

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from starling_py.operators.task import Variables
    from starling_py.planner.parameters import Given, Parameters
    from starling_py.planner.statements import Statement
    from starling_py.planner.tables import Table

__all__ = ["SESSION_SETTINGS", "Binder", "Wording"]

SESSION_SETTINGS = (
    "TimeZone",
    "Calendar",
    "default_null_order",
    "default_order",
    "default_collation",
    "integer_division",
    "ieee_floating_point_ops",
    "order_by_non_integer_literal",
    "scalar_subquery_error_on_multiple_rows",
)
"""Settings that change what a statement means; frozen into the plan and applied by every worker."""

_DIVISION = "integer_division"

_OPTIMIZERS = frozenset(("expression_rewriter", "filter_pullup", "filter_pushdown", "deliminator"))
"""The only optimizers that run: with more, plans no longer serialize or rely on empty tables."""

_SERIALIZE = """SELECT json_serialize_plan(
    ?, skip_null := false, skip_empty := false, skip_default := false, optimize := true)"""

_BARE_NUMBER = re.compile(r'("value":\s*)(-?)(nan|inf|infinity)\b', re.IGNORECASE)

_USERS_FAULT = frozenset(("binder", "catalog", "parser", "syntax"))


class Binder:
    """One DuckDB instance that binds statements; usable from several threads, one at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._connection = duckdb.connect(
            config={
                "python_enable_replacements": False,
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
                "enable_external_access": False,
                "threads": 1,
            }
        )
        # Values of parameters go to workers as Arrow data.
        self._connection.execute("SET arrow_lossless_conversion = true")
        names = self._connection.execute("SELECT name FROM duckdb_optimizers()").fetchall()
        off = ",".join(sorted(name for (name,) in names if name not in _OPTIMIZERS))
        self._connection.execute(f"SET disabled_optimizers = '{off}'")
        self._schemas: dict[str, tuple[tuple[str, str], ...]] = {}
        rows = self._connection.execute(
            "SELECT name, value FROM duckdb_settings() WHERE list_contains(?, name)",
            [list(SESSION_SETTINGS)],
        ).fetchall()
        self.settings = tuple(Setting(name, value) for name, value in sorted(rows))

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    def read(self, text: str, offset: int | None, *, integer_division: bool = False) -> Statement:
        """Return what a text is (see :func:`starling_py.planner.statements.read_statement`)."""
        with self._lock:
            return read_statement(self._connection, text, offset, integer_division=integer_division)

    def settings_with(self, *, integer_division: bool) -> tuple[Setting, ...]:
        """Return the settings that give a statement its meaning."""
        if not integer_division:
            return self.settings
        return tuple(
            Setting(each.name, "true") if each.name == _DIVISION else each for each in self.settings
        )

    def describe(
        self,
        text: str,
        tables: Mapping[str, Table],
        given: Given | None,
        *,
        integer_division: bool = False,
    ) -> list[tuple[object, ...]]:
        """Return the rows of a DESCRIBE that :meth:`bind` has found to be right."""
        with self._lock, self._session(None, integer_division=integer_division) as session:
            self._make_tables(tables)
            return session.execute(text, _values(given)).fetchall()

    def check_copy(self, columns: Sequence[ResultColumn], options: str) -> None:
        """Raise what DuckDB says against the options of a COPY of such columns."""
        try:
            with self._lock:
                copied = f"COPY ({_empty(columns)}) TO '/starling' ({options})"
                self._connection.execute(f"EXPLAIN {copied}").fetchall()
        except duckdb.PermissionException:
            return  # only the path is wrong
        except duckdb.Error as error:
            raise BindError(_plain(error)) from None

    def table_columns(
        self, columns: Sequence[ResultColumn], names: Sequence[str]
    ) -> tuple[ResultColumn, ...]:
        """Return the columns of a table that is made of a query with such columns.

        ``names`` are given to the first of them. Names differ, and a NULL has a type.
        """
        listed = f"({', '.join(map(identifier, names))})" if names else ""
        table = "temp.starling_new_table"
        try:
            with self._lock:
                made = f"CREATE OR REPLACE TEMP TABLE starling_new_table{listed}"
                self._connection.execute(f"{made} AS {_empty(columns)}").fetchall()
                rows = self._connection.execute(f"DESCRIBE {table}").fetchall()
                self._connection.execute(f"DROP TABLE {table}").fetchall()
        except duckdb.Error as error:
            raise BindError(_plain(error)) from None
        return tuple(ResultColumn(str(row[0]), str(row[1])) for row in rows)

    def parse(self, text: str, parameters: Parameters = (), *, describing: bool = False) -> Source:
        """Return what the text names (see :func:`starling_py.planner.source.parse`)."""
        with self._lock:
            try:
                return parse(self._connection, text, parameters, describing=describing)
            except RecursionError:
                raise Unsupported("the statement is nested too deeply to be read") from None

    def variables(self, given: Given) -> Variables:
        """Return the values of parameters as a worker takes them."""
        with self._lock:
            return given.variables(self._connection)

    def bind(
        self,
        wording: Wording,
        tables: Mapping[str, Table],
        shown: str,
        given: Given | None = None,
        *,
        integer_division: bool = False,
    ) -> Bound:
        """Bind a statement against empty tables of these schemas.

        Parameters
        ----------
        wording
            Names tables by the keys of ``tables``.
        shown
            The user's own text, for errors.
        given
            The values of the parameters.
        integer_division
            Whether 7 / 2 is 3.

        Raises
        ------
        SqlError
            What DuckDB's parser or binder says, with line, column and caret.
        """
        with self._lock, self._session(given, integer_division=integer_division) as session:
            self._make_tables(tables)
            try:
                serialized = _serialize(session, wording.text)
            except CannotDistribute as unreadable:
                return Bound(_describe(session, wording, shown, given), None, unreadable.reason)
            except RecursionError:
                reason = "the plan is nested too deeply"
                return Bound(_describe(session, wording, shown, given), None, reason)
            if serialized["error"] and serialized["error_type"] in _USERS_FAULT:
                raise _sql_error(serialized, shown, wording.origin)
            result = _describe(session, wording, shown, given)
        if serialized["error"]:
            reason = str(serialized["error_message"]).splitlines()[0]
            return Bound(result, None, f"DuckDB cannot serialize the plan: {reason}")
        return Bound(result, serialized["plans"][0], "")

    @contextmanager
    def _session(
        self, given: Given | None, *, integer_division: bool
    ) -> Iterator[duckdb.DuckDBPyConnection]:
        """Yield a session of the instance, of its own where variables or settings are in it."""
        if given is None and not integer_division:
            yield self._connection
            return
        with closing(self._connection.cursor()) as session:
            if integer_division:
                session.execute(f"SET SESSION {_DIVISION} = true").fetchall()
            if given is not None:
                given.set_in(session)
            yield session

    def _make_tables(self, tables: Mapping[str, Table]) -> None:
        # DuckDB finds a table by any case of its name.
        made: dict[str, tuple[str, Table]] = {}
        for name, table in tables.items():
            key = name.lower()
            other, known = made.setdefault(key, (name, table))
            if known is not table and known.files != table.files:
                raise Unsupported(f"{other} and {name} differ by case alone")
            schema = tuple((column.name, column.type) for column in table.columns)
            if self._schemas.get(key) == schema:
                continue
            columns = ", ".join(f"{identifier(column)} {type_}" for column, type_ in schema)
            self._schemas.pop(key, None)
            self._connection.execute(f"CREATE OR REPLACE TABLE {identifier(name)} ({columns})")
            self._schemas[key] = schema


@dataclass(frozen=True, slots=True)
class Wording:
    """A statement in DuckDB's SQL.

    ``text`` reads the values of parameters from variables; ``described`` still has the
    parameters, after which DuckDB names columns. ``origin`` tells where in the user's text a byte
    of ``text`` comes from, where that is known.
    """

    text: str
    described: str
    origin: Callable[[int], int | None] = int


def _values(given: Given | None) -> dict[str, object]:
    return {} if given is None else dict(given.values)


def _serialize(connection: duckdb.DuckDBPyConnection, text: str) -> dict[str, Any]:
    row = connection.execute(_SERIALIZE, [text]).fetchone()
    return decode_plan(cast("tuple[str]", row)[0])


def _describe(
    connection: duckdb.DuckDBPyConnection, wording: Wording, shown: str, given: Given | None
) -> tuple[ResultColumn, ...]:
    try:
        rows = connection.execute(f"DESCRIBE {wording.described}", _values(given)).fetchall()
    except duckdb.PermissionException as error:
        first = str(error).splitlines()[0]
        raise BindError(first, hint="Starling reads Parquet files only.") from None
    except duckdb.Error as error:
        raise BindError(str(error).split("\n\nLINE", maxsplit=1)[0]) from None
    if not rows:
        raise BindError(f"no result columns: {shown[:60]}")
    return tuple(ResultColumn(str(row[0]), str(row[1])) for row in rows)


@dataclass(frozen=True, slots=True)
class Bound:
    """A bound statement: its columns as DESCRIBE gives them, and its serialized plan or why not."""

    result: tuple[ResultColumn, ...]
    plan: Mapping[str, Any] | None
    reason: str


def _plain(error: duckdb.Error) -> str:
    """Return the first line of DuckDB's message, without the name of its kind."""
    first = str(error).strip().splitlines()[0]
    return first.partition("Error: ")[2] or first


def _empty(columns: Sequence[ResultColumn]) -> str:
    items = (f"CAST(NULL AS {column.type}) AS {identifier(column.name)}" for column in columns)
    return f"SELECT {', '.join(items)} WHERE false"


def decode_plan(text: str) -> dict[str, Any]:
    """Decode DuckDB's JSON, in which NaN and infinities stand bare.

    Raises
    ------
    CannotDistribute
        When it is not JSON even so.
    """
    try:
        return cast("dict[str, Any]", msgspec.json.decode(text))
    except msgspec.DecodeError:
        words = {"nan": "NaN", "inf": "Infinity", "infinity": "Infinity"}
        fixed = _BARE_NUMBER.sub(lambda m: m[1] + m[2] + words[m[3].lower()], text)
        fixed = fixed.replace("-NaN", "NaN")
        try:
            return cast("dict[str, Any]", json.loads(fixed))
        except json.JSONDecodeError as error:
            raise CannotDistribute(f"the serialized plan is no JSON: {error}") from None


def _sql_error(
    error: Mapping[str, Any], shown: str, origin: Callable[[int], int | None]
) -> SqlError:
    if error["error_type"] in ("parser", "syntax"):
        return syntax_error(shown, error)
    message = str(error["error_message"])
    position = error.get("position")
    pointed = point_at(shown, message, None if position is None else origin(int(position)))
    match error.get("error_subtype"):
        case "MISSING_ENTRY" if error.get("type") == "Table":
            return UnknownTable(pointed)
        case "COLUMN_NOT_FOUND":
            return UnknownColumn(pointed)
    return BindError(pointed)
