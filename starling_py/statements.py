"""Statements beside queries: what each of them does, and what it answers."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, assert_never

from msgspec import structs

from starling_py.operators.plan import ResultColumn, StagePlan
from starling_py.planner.errors import Unsupported
from starling_py.planner.statements import (
    Copy,
    CreateTable,
    Describe,
    DropTable,
    Explain,
    Query,
    ShowTables,
)
from starling_py.prices import price_run
from starling_py.runs import QueryRun, new_id, summary
from starling_py.shuffle.meter import RequestCounts, metered
from starling_py.shuffle.rows import Rows
from starling_py.writing.run import copy_plan, copy_to, create_as, drop, table_plan

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from starling_py.planner.statements import Statement
    from starling_py.results import Result
    from starling_py.session import Session
    from starling_py.shuffle.meter import Meter
    from starling_py.shuffle.prices import Prices
    from starling_py.writing.run import Outcome

__all__ = ["plan_statement", "run_statement"]

_DESCRIBED = ("column_name", "column_type", "null", "key", "default", "extra")
_COUNT = [("Count", "BIGINT")]
_EXPLAINED = ("explain_key", "explain_value")


def run_statement(session: Session, sql: str, statement: Statement) -> tuple[Result, QueryRun]:
    """Run a statement that is not a query, and return what it answers.

    Parameters
    ----------
    sql
        The user's own text.
    """
    with metered() as meter:
        match statement:
            case Describe(query=query):
                rows = session.planning.describe(sql, query)
                columns = [(name, "VARCHAR") for name in _DESCRIBED]
                return _answer(session, sql, columns, rows, meter.snapshot())
            case ShowTables(columns=with_columns):
                columns, rows = _tables(session, with_columns=with_columns)
                return _answer(session, sql, columns, rows, meter.snapshot())
            case Explain(statement=explained, json=json):
                text = _explained(
                    plan_statement(session, sql, explained), session.config.prices, json=json
                )
                columns = [(name, "VARCHAR") for name in _EXPLAINED]
                rows = [("distributed_plan", text)]
                return _answer(session, sql, columns, rows, meter.snapshot())
            case Query():
                plan = session.planning.plan(sql, statement)
            case Copy():
                outcome = copy_to(session, sql, statement)
                return _counted(session, outcome, statement, meter)
            case CreateTable():
                made = create_as(session, sql, statement)
                if made is None:
                    return _answer(session, sql, _COUNT, [], meter.snapshot())
                return _counted(session, made, statement, meter)
            case DropTable():
                drop(session, statement)
                return _answer(session, sql, [("Success", "BOOLEAN")], [], meter.snapshot())
            case _:
                assert_never(statement)
    return session.run_plan(plan, meter.snapshot())


def plan_statement(session: Session, sql: str, statement: Statement) -> StagePlan:
    """Return the plan of a statement that has one.

    Raises
    ------
    Unsupported
        If it has none.
    """
    match statement:
        case Query():
            return session.planning.plan(sql, statement)
        case Explain(statement=explained):
            return plan_statement(session, sql, explained)
        case Describe() | ShowTables() | DropTable():
            raise Unsupported("the statement has no plan: no task runs for it")
        case Copy():
            return copy_plan(session, sql, statement)
        case CreateTable():
            return table_plan(session, sql, statement)
        case _:
            assert_never(statement)


def _tables(
    session: Session, *, with_columns: bool
) -> tuple[list[tuple[str, str]], list[tuple[object, ...]]]:
    """Return the columns and rows of SHOW TABLES; what cannot be read has no columns."""
    if not with_columns:
        return [("name", "VARCHAR")], [(name,) for name in session.planning.names()]
    rows: list[tuple[object, ...]] = []
    for table in session.planning.tables():
        names = [column.name for column in table.columns]
        types = [column.type for column in table.columns]
        rows.append(("memory", "main", table.name, names, types, False))
    columns = [
        *(("database", "VARCHAR"), ("schema", "VARCHAR"), ("name", "VARCHAR")),
        *(("column_names", "VARCHAR[]"), ("column_types", "VARCHAR[]"), ("temporary", "BOOLEAN")),
    ]
    return columns, rows


def _explained(plan: StagePlan, prices: Prices, *, json: bool) -> str:
    if json:
        import msgspec

        return msgspec.json.format(msgspec.json.encode(plan), indent=2).decode()
    from starling_py.cli.stages import plan_text

    return plan_text(plan, prices)


def _counted(
    session: Session, outcome: Outcome, statement: Copy | CreateTable, meter: Meter
) -> tuple[Result, QueryRun]:
    """Return how many rows were written, and if that was asked for into which files."""
    columns = list(_COUNT)
    row: list[object] = [outcome.rows]
    if isinstance(statement, Copy) and statement.options.has("RETURN_FILES"):
        columns.append(("Files", "VARCHAR[]"))
        row.append(list(outcome.files))
    plan = structs.replace(outcome.plan, result=_result(columns))
    # The meter has counted the coordinator's requests; those of tasks are in their reports.
    run = summary(plan, outcome.ran, 1, RequestCounts(), session.pricing)
    asked = run.requests + meter.snapshot()
    price = price_run(plan, outcome.ran.metrics.attempts, asked, session.pricing)
    run = replace(run, requests=asked, price=price)
    return session.opened(plan, [Rows.of(_table(columns, [row]))], run)


def _result(columns: Sequence[tuple[str, str]]) -> tuple[ResultColumn, ...]:
    return tuple(ResultColumn(name, type_) for name, type_ in columns)


def _table(columns: Sequence[tuple[str, str]], rows: Sequence[Sequence[object]]) -> pa.Table:
    import pyarrow as pa

    kinds = {
        "VARCHAR": pa.string(),
        "VARCHAR[]": pa.list_(pa.string()),
        "BOOLEAN": pa.bool_(),
        "BIGINT": pa.int64(),
    }
    arrays = [
        pa.array([row[at] for row in rows], kinds[type_]) for at, (_, type_) in enumerate(columns)
    ]
    return pa.table(arrays, names=[f"c{at}" for at in range(len(columns))])


def _answer(
    session: Session,
    sql: str,
    columns: Sequence[tuple[str, str]],
    rows: Sequence[Sequence[object]],
    requests: RequestCounts,
) -> tuple[Result, QueryRun]:
    """Return an answer for which no task has run."""
    plan = StagePlan(new_id(), sql, (), _result(columns), (), ())
    run = QueryRun(
        query=plan.query,
        plan=plan,
        stages=0,
        tasks=0,
        rows=len(rows),
        shuffled_bytes=0,
        shuffled_rows=0,
        requests=requests,
        planning_requests=requests,
        bind_seconds=0.0,
        plan_seconds=0.0,
        run_seconds=0.0,
        cpu_seconds=0.0,
        peak_rss=(),
        reports=(),
        price=price_run(plan, (), requests, session.pricing),
    )
    return session.opened(plan, [Rows.of(_table(columns, rows))], run)
