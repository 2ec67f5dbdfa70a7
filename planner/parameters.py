"""Parameters of a statement: where they stand in its text, and the values they are given.

A value never becomes text: DuckDB types it and holds it in a session variable, and the statement
reads the variable in the parameter's place. The binder folds it into a constant of that type.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import duckdb

from starling_py.operators.errors import INTERRUPTED
from starling_py.operators.task import InputColumn, Variables
from starling_py.planner.errors import ParameterError, Unsupported
from starling_py.planner.tree import walk
from starling_py.planner.types import INTEGERS

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Given", "Parameters", "Use", "given", "refuse_unnamed", "uses"]

Parameters = Sequence[object] | Mapping[str, object]
"""Values for ``?`` and ``$1`` in their order, or for ``$name`` by name."""

_SHOWN = 5
_WHOLE_NUMBERS = INTEGERS | {"HUGEINT", "UHUGEINT"}


@dataclass(frozen=True, slots=True)
class Use:
    """A parameter at bytes ``start`` to ``end`` of the text.

    ``name`` is its number, or its name in lower case: names differ by more than case.
    """

    name: str
    start: int
    end: int


def uses(nodes: Sequence[Mapping[str, Any]]) -> tuple[Use, ...]:
    """Return the parameters among the nodes of a parsed statement, in the order of the text."""
    found = set()
    for node in nodes:
        start = int(node.get("query_location", 0))
        end = start + int(node.get("query_location_length", 0))
        found.add(Use(str(node["identifier"]).lower(), start, end))
    return tuple(sorted(found, key=lambda use: use.start))


def refuse_unnamed(nodes: Sequence[Mapping[str, Any]]) -> None:
    """Refuse a statement in which the name that DuckDB makes up for a parameter may be a value.

    The variable that stands for the parameter makes up another one. It does not matter to the
    columns of the answer, whose names are known, but to whole rows and to what finds columns by
    their names.

    Raises
    ------
    Unsupported
        Which asks to name the column.
    """
    selects = [node for node in nodes[1:] if node.get("type") == "SELECT_NODE"]
    items = [item for node in selects for item in node.get("select_list") or []]
    if not any(not item.get("alias") and _has_parameter(item) for item in items):
        return
    rows = {str(node.get("alias", "")).lower() for node in nodes if node.get("type") == "SUBQUERY"}
    rows |= {str(node["key"]).lower() for node in nodes if "key" in node and "value" in node}
    for node in nodes:
        kind = node.get("type")
        if kind == "COLUMN_REF" and str(node["column_names"][-1]).lower() in rows:
            break
        if kind == "SHOW_REF" or (kind == "STAR" and node.get("columns")):
            break
    else:
        return
    raise Unsupported(
        "a column without a name has a parameter where names of columns are data",
        hint="name it: SELECT ? AS x",
    )


def _has_parameter(item: Mapping[str, Any]) -> bool:
    return any(node.get("class") == "PARAMETER" for node in walk(item))


@dataclass(frozen=True, slots=True)
class Given:
    """The values of a statement's parameters by name, and their DuckDB types."""

    values: Mapping[str, object]
    types: Mapping[str, str]

    def only(self, names: Iterable[str]) -> Given | None:
        """Return the values of some parameters, or ``None`` for no names."""
        kept = dict.fromkeys(names)
        if not kept:
            return None
        return Given({n: self.values[n] for n in kept}, {n: self.types[n] for n in kept})

    def spelled(self) -> dict[str, str]:
        """Return the SQL that stands for each parameter.

        DuckDB takes whole numbers without a cast for literals and gives them the type of what
        they meet, but text without a cast is what it takes a text parameter for.
        """
        spelled = {}
        for number, (name, type_) in enumerate(self.types.items(), 1):
            read = f"getvariable('starling_parameter_{number}')"
            spelled[name] = f"CAST({read} AS {type_})" if type_ in _WHOLE_NUMBERS else read
        return spelled

    def set_in(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Give the connection's session a variable for each value."""
        for number, value in enumerate(self.values.values(), 1):
            connection.execute(f"SET VARIABLE starling_parameter_{number} = ?", [value]).fetchall()

    def variables(self, connection: duckdb.DuckDBPyConnection) -> Variables:
        """Return the values as a worker takes them."""
        import pyarrow as pa

        columns = tuple(
            InputColumn(f"starling_parameter_{number}", type_)
            for number, type_ in enumerate(self.types.values(), 1)
        )
        items = ", ".join(f"${at} AS {column.name}" for at, column in enumerate(columns, 1))
        row = connection.sql(f"SELECT {items}", params=list(self.values.values()))
        table = row.to_arrow_table()
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        return Variables(columns, sink.getvalue().to_pybytes())


def given(
    connection: duckdb.DuckDBPyConnection, found: Sequence[Use], parameters: Parameters
) -> Given | None:
    """Return the values of all parameters of a statement, or ``None`` where it has none.

    Raises
    ------
    ParameterError
        For values without a parameter or the other way round, and for a value of no SQL type.
    """
    values = _matched(dict.fromkeys(use.name for use in found), parameters)
    if not values:
        return None
    try:
        types = _types(connection, list(values.values()))
    except Exception:
        # A value's own code may raise anything while it is read.
        for name, value in values.items():
            _check(connection, name, value)
        raise
    return Given(values, dict(zip(values, types, strict=True)))


def _matched(names: Mapping[str, object], parameters: Parameters) -> dict[str, object]:
    """Return the values by name, in the order in which the statement names them first."""
    if isinstance(parameters, str | bytes) or not isinstance(parameters, Sequence | Mapping):
        raise ParameterError(
            f"parameters are a list, a tuple or a mapping, not {type(parameters).__name__}"
        )
    values: dict[str, object] = {}
    if isinstance(parameters, Mapping):
        for key, value in parameters.items():
            name = str(key).removeprefix("$").lower()
            if name in values:
                raise ParameterError(f"two values for ${name}: names differ by more than case")
            values[name] = value
    else:
        values = {str(number): value for number, value in enumerate(parameters, 1)}
        if names and not any(name.isdecimal() for name in names):
            raise ParameterError(
                f"the statement's parameters have names: {_listed(names)}",
                hint="give their values as a mapping",
            )
        if len(values) != len(names):
            wanted = f"{len(names)} parameter{'' if len(names) == 1 else 's'}"
            raise ParameterError(
                f"the statement has {wanted or 'no parameters'}, {len(values)} "
                f"value{' was' if len(values) == 1 else 's were'} given",
                hint=_hint(names),
            )
    missing = [name for name in names if name not in values]
    if missing:
        raise ParameterError(f"no value for {_listed(missing)}", hint=_hint(names))
    excess = [name for name in values if name not in names]
    if excess:
        raise ParameterError(f"the statement has no {_listed(excess)}", hint=_hint(names))
    return {name: values[name] for name in names}


def _listed(names: Sequence[str] | Mapping[str, object]) -> str:
    shown = ", ".join(f"${name}" for name in list(names)[:_SHOWN])
    return f"{shown} …" if len(names) > _SHOWN else shown


def _hint(names: Mapping[str, object]) -> str:
    return f"its parameters are {_listed(names)}" if names else "it has no parameters"


def _types(connection: duckdb.DuckDBPyConnection, values: list[object]) -> tuple[str, ...]:
    items = ", ".join(f"typeof(${number})" for number in range(1, len(values) + 1))
    (row,) = connection.execute(f"SELECT {items}", values).fetchall()
    return tuple(map(str, row))


def _check(connection: duckdb.DuckDBPyConnection, name: str, value: object) -> None:
    try:
        _types(connection, [value])
    except Exception as error:
        # As above; but neither Ctrl-C, of which DuckDB makes this, nor want of memory is its fault.
        if isinstance(error, MemoryError) or str(error) == INTERRUPTED:
            raise
        kind = type(value).__name__
        if isinstance(error, duckdb.NotImplementedException):
            raise ParameterError(
                f"the value of ${name}, of the Python type {kind}, has no SQL type",
                hint="DuckDB's Python client says which types have one",
            ) from None
        what = (str(error).splitlines() or [type(error).__name__])[0]
        raise ParameterError(f"the value of ${name}, of the Python type {kind}: {what}") from None
