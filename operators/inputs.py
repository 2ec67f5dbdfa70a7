"""The inputs of a task, bound as relations of its connection under the statement's names."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa

from starling_py.operators.quoting import decode_path, identifier, parquet_path
from starling_py.operators.scan import (
    check_files,
    empty_relation,
    needs_file_index,
    scan_relation,
)
from starling_py.operators.task import InputColumn, ScanInput, ShuffleInput, TaskInput
from starling_py.shuffle.read import read_runs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from starling_py.shuffle.objects import ObjectStore

__all__ = ["BoundInputs", "bound_inputs", "bound_table"]


@dataclass(frozen=True, slots=True)
class BoundInputs:
    """The number of rows of all inputs, and what the statement needs in front of it."""

    rows: int
    preface: str


@contextmanager
def bound_inputs(
    connection: duckdb.DuckDBPyConnection,
    store: ObjectStore,
    inputs: Sequence[TaskInput],
    check: Callable[[], None],
    *,
    in_text: bool = False,
    reader: int = 0,
) -> Iterator[BoundInputs]:
    """Bind ``inputs``; afterwards nothing of them is left.

    Parameters
    ----------
    check
        Called before each input; raises to stop.
    in_text
        Put scans in front of the statement instead of making views of them: DuckDB binds a view
        once more than the statement, and opens its files each time.
    reader
        The number of the task among those that read the same outputs.
    """
    undo: list[Callable[[], object]] = []
    texts: list[str] = []
    rows = 0
    try:
        for wanted in inputs:
            check()
            if isinstance(wanted, ScanInput):
                check_files(wanted)
                if in_text:
                    texts.append(f"{identifier(wanted.name)} AS ({scan_relation(wanted)})")
                else:
                    _bind_scan(connection, wanted)
                    undo.append(_dropper(connection, _view(wanted.name)))
                rows += sum(file.last_row - file.first_row for file in wanted.files)
            else:
                rows += _bind_shuffle(connection, store, wanted, undo, reader)
        yield BoundInputs(rows, f"WITH {', '.join(texts)} " if texts else "")
    finally:
        for step in reversed(undo):
            step()


def _run(connection: duckdb.DuckDBPyConnection, statement: str) -> None:
    connection.execute(statement).fetchall()


def _dropper(connection: duckdb.DuckDBPyConnection, view: str) -> Callable[[], None]:
    return lambda: _run(connection, f"DROP VIEW IF EXISTS {view}")


def _view(name: str) -> str:
    # Where DuckDB keeps tables, so that a statement may say main.name and memory.main.name.
    return f"memory.main.{identifier(name)}"


def _bind_scan(connection: duckdb.DuckDBPyConnection, scan: ScanInput) -> None:
    shadowed: set[str] = set()
    if needs_file_index(scan) and _has_column(connection, scan, "file_index"):
        shadowed.add("file_index")
    create = f"CREATE OR REPLACE VIEW {_view(scan.name)} AS "
    try:
        _run(connection, create + scan_relation(scan, frozenset(shadowed)))
    except duckdb.BinderException as error:
        if 'adds column "file_row_number"' not in str(error):
            raise
        shadowed.add("file_row_number")
        _run(connection, create + scan_relation(scan, frozenset(shadowed)))


def _has_column(connection: duckdb.DuckDBPyConnection, scan: ScanInput, name: str) -> bool:
    path = parquet_path(decode_path(scan.files[0].path))
    found = connection.sql(f"SELECT * FROM read_parquet({path}, hive_partitioning = false)").columns
    return name in (column.lower() for column in found)


def _bind_shuffle(
    connection: duckdb.DuckDBPyConnection,
    store: ObjectStore,
    shuffled: ShuffleInput,
    undo: list[Callable[[], object]],
    reader: int,
) -> int:
    # A table in memory can be scanned any number of times, so ``reads`` makes no difference.
    columns = shuffled.columns
    table = read_runs(store, shuffled.runs, reader=reader) if shuffled.runs else None
    if table is None or table.num_rows == 0:
        empty = empty_relation((column.name, column.type) for column in columns)
        _run(connection, f"CREATE OR REPLACE VIEW {_view(shuffled.name)} AS {empty}")
        undo.append(_dropper(connection, _view(shuffled.name)))
        return 0
    _bind_table(connection, shuffled.name, table, columns, shuffled.condition, undo)
    return int(table.num_rows)


@contextmanager
def bound_table(
    connection: duckdb.DuckDBPyConnection,
    name: str,
    table: pa.Table,
    columns: Sequence[InputColumn],
) -> Iterator[None]:
    """Bind rows that crossed a stage, or will, as a relation of these columns."""
    undo: list[Callable[[], object]] = []
    try:
        _bind_table(connection, name, table, columns, "", undo)
        yield
    finally:
        for step in reversed(undo):
            step()


def _bind_table(
    connection: duckdb.DuckDBPyConnection,
    name: str,
    table: pa.Table,
    columns: Sequence[InputColumn],
    condition: str,
    undo: list[Callable[[], object]],
) -> None:
    table = _from_their_start(table).rename_columns([column.name for column in columns])
    if not condition and not any(_loses_its_type(column) for column in columns):
        connection.register(name, table)
        undo.append(lambda: connection.unregister(name))
        return
    raw = f"{name} as Arrow"
    connection.register(raw, table)
    undo.append(lambda: connection.unregister(raw))
    items = ", ".join(
        f"CAST({identifier(column.name)} AS {column.type}) AS {identifier(column.name)}"
        if _loses_its_type(column)
        else identifier(column.name)
        for column in columns
    )
    select = f"SELECT {items} FROM {identifier(raw)}"
    if condition:
        select = f"SELECT * FROM ({select}) WHERE {condition}"
    _run(connection, f"CREATE OR REPLACE VIEW {_view(name)} AS {select}")
    undo.append(_dropper(connection, _view(name)))


def _from_their_start(table: pa.Table) -> pa.Table:
    """Return the table with nested structs and unions copied out of the arrays they are cut from.

    DuckDB refuses a struct or union below another array that does not begin at its first value.
    """
    nested = [at for at, field in enumerate(table.schema) if _has_struct_below(field.type)]
    if not nested:
        return table
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.select(nested).schema) as writer:
        writer.write_table(table.select(nested))
    copied = pa.ipc.open_stream(sink.getvalue()).read_all()
    for number, at in enumerate(nested):
        table = table.set_column(at, table.schema.field(at), copied.column(number))
    return table


def _has_struct_below(kind: pa.DataType) -> bool:
    if isinstance(kind, pa.BaseExtensionType):
        kind = kind.storage_type
    below = [kind.field(number).type for number in range(kind.num_fields)]
    return any(pa.types.is_struct(t) or pa.types.is_union(t) or _has_struct_below(t) for t in below)


def _loses_its_type(column: InputColumn) -> bool:
    # Arrow's lossless conversion keeps every other type, nested ones too; a test sweeps them.
    return any(word in column.type.upper() for word in ("ENUM", "TUPLE("))
