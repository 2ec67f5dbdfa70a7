"""From SQL text to a frozen plan of stages: the planner's one door."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from difflib import get_close_matches
from itertools import count
from typing import TYPE_CHECKING

from starling_py.operators.plan import Estimate, ResultColumn, Stage, StagePlan
from starling_py.operators.quoting import encode_path
from starling_py.planner.adapter.operators import adapt
from starling_py.planner.algebra import Node, Plan, Scan, outputs, walk
from starling_py.planner.bind import Binder, Bound, Wording
from starling_py.planner.combining import chosen_combiners
from starling_py.planner.copying import Query
from starling_py.planner.dialects import transpile, untranslated
from starling_py.planner.distribute.distributor import distribute
from starling_py.planner.edits import edited
from starling_py.planner.errors import (
    CannotDistribute,
    SqlSyntaxError,
    UnknownTable,
    row_id_refused,
)
from starling_py.planner.footers import FactsByTable, Footers
from starling_py.planner.names import Names
from starling_py.planner.price import priced
from starling_py.planner.remote import fetched_bytes, on_s3
from starling_py.planner.rules.inline_ctes import inline_ctes
from starling_py.planner.rules.join_order import order_joins
from starling_py.planner.rules.prune_columns import prune_columns
from starling_py.planner.rules.rename import drop_renames
from starling_py.planner.rules.simplify_marks import simplify_marks
from starling_py.planner.rules.unnest_in_place import unnest_in_place
from starling_py.planner.sizing import PlanOptions, Sizing
from starling_py.planner.stages import freeze
from starling_py.planner.statements import given_to
from starling_py.planner.statistics import Estimator
from starling_py.planner.storage import parquet_columns, plain_columns
from starling_py.planner.types import unquoted
from starling_py.planner.virtual import with_virtual_columns
from starling_py.planner.whole import WholeStatement

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starling_py.operators.task import SinkColumn
    from starling_py.planner.copying import Copy
    from starling_py.planner.parameters import Given, Parameters
    from starling_py.planner.source import Source
    from starling_py.planner.statements import Statement
    from starling_py.planner.tables import Catalog, Table

__all__ = ["PlanOptions", "Planner"]

_RULES = (
    inline_ctes,
    drop_renames,
    unnest_in_place,
    simplify_marks,
    drop_renames,
    order_joins,
    prune_columns,
)
"""In this order: each one finds more when those before it have run."""


class Planner:
    """Plans statements; usable from several threads. ``close`` it when done."""

    def __init__(self) -> None:
        self._binder = Binder()
        self._facts = FactsByTable()

    def close(self) -> None:
        self._binder.close()

    def read(self, sql: str, dialect: str = "duckdb", parameters: Parameters = ()) -> Statement:
        """Return which kind of statement a text is, and its parts in DuckDB's SQL.

        Parameters
        ----------
        parameters
            The values of the statement's parameters, as DuckDB's Python client takes them.

        Raises
        ------
        SqlError
            When it is not SQL, or a statement that is refused.
        """
        made = transpile(sql, dialect)
        offset = 0 if made.text == sql else None
        try:
            statement = self._binder.read(made.text, offset, integer_division=made.integer_division)
        except SqlSyntaxError as error:
            raise error if offset == 0 else untranslated(error) from None
        return given_to(statement, parameters)

    def describe(self, query: Query, catalog: Catalog, shown: str) -> list[tuple[object, ...]]:
        """Return the rows of a DESCRIBE. No data is read.

        Parameters
        ----------
        shown
            The user's own text, for errors.
        """
        resolved, _ = self._bound(query, catalog, shown, describing=True)
        return self._binder.describe(
            resolved.wording.described,
            resolved.tables,
            resolved.given,
            integer_division=query.integer_division,
        )

    def copied(self, columns: Sequence[ResultColumn], copy: Copy) -> tuple[SinkColumn, ...]:
        """Return the columns of the files of a COPY.

        Raises
        ------
        SqlError
            When an option is wrong, or the files cannot carry a type.
        """
        parquet = copy.format == "parquet"
        made = parquet_columns(columns) if parquet else plain_columns(columns)
        stored = [ResultColumn(column.name, column.stored) for column in made]
        passed = f", {copy.options.passed}" if copy.options.passed else ""
        self._binder.check_copy(stored, f"FORMAT {copy.format}{passed}")
        return made

    def table_columns(
        self, columns: Sequence[ResultColumn], names: Sequence[str]
    ) -> tuple[SinkColumn, ...]:
        """Return the columns of the files of a new table. The first have other ``names``.

        Raises
        ------
        SqlError
            When names are wrong, or the files cannot carry a type.
        """
        return parquet_columns(self._binder.table_columns(columns, names), restored=True)

    def plan(
        self,
        sql: str,
        catalog: Catalog,
        options: PlanOptions,
        query: str,
        part: Query | None = None,
    ) -> StagePlan:
        """Return the plan of a statement.

        Parameters
        ----------
        sql
            One statement in ``options.dialect``.
        catalog
            Where its tables come from.
        query
            The query's id.
        part
            The query in the statement that is to be planned, where :meth:`read` has found one.

        Raises
        ------
        SqlError
            When the statement is not SQL, names what does not exist, or is refused.
        """
        started = time.perf_counter()
        if part is None:
            made = transpile(sql, options.dialect)
            part = Query(made.text, 0 if made.text == sql else None, made.integer_division)
        resolved, bound = self._bound(part, catalog, sql)
        bound_at = time.perf_counter()
        given = resolved.given
        whole = WholeStatement(
            resolved.wording.text,
            bound.result,
            resolved.tables,
            Footers(self._facts),
            Sizing(options),
            lambda: None if given is None else self._binder.variables(given),
        )
        stages = priced(_stages(resolved, bound, whole), options)
        return StagePlan(
            query=query,
            sql=sql,
            stages=stages,
            result=bound.result,
            settings=self._binder.settings_with(integer_division=part.integer_division),
            roots=tuple(encode_path(root) for root in catalog.roots()),
            bind_seconds=bound_at - started,
            plan_seconds=time.perf_counter() - bound_at,
            balance_rows=options.balance_rows,
        )

    def _bound(
        self, query: Query, catalog: Catalog, shown: str, *, describing: bool = False
    ) -> tuple[_Resolved, Bound]:
        try:
            source = self._binder.parse(query.text, query.parameters, describing=describing)
        except SqlSyntaxError as error:
            raise untranslated(error) if query.offset is None else error from None
        resolved = _resolve(source, catalog, query.offset)
        try:
            return resolved, self._binder.bind(
                resolved.wording,
                resolved.tables,
                shown,
                resolved.given,
                integer_division=query.integer_division,
            )
        except UnknownTable as error:
            raise _with_nearest(error, source, catalog) from None


@dataclass(frozen=True, slots=True)
class _Resolved:
    """The statement over table names that the binder and a worker know."""

    wording: Wording
    tables: dict[str, Table]
    given: Given | None


def _resolve(source: Source, catalog: Catalog, offset: int | None) -> _Resolved:
    """Find the tables and files that a statement names, and put names in the place of files."""
    found: dict[str, Table] = {}
    for name in source.tables:
        table = catalog.find(name)
        if table is None and _is_path(name):
            table = catalog.open_paths((name,), {})
        if table is not None:
            found[name] = table
    names: list[str] = []
    for call in source.files:
        taken = {name.lower() for name in (*source.tables, *found)}
        names.append(next(n for at in count() if (n := f"files_{at}") not in taken))
        found[names[-1]] = catalog.open_paths(call.patterns, call.options)
    own = {column.name.lower() for table in found.values() for column in table.columns}
    if source.names_row_id and found and "rowid" not in own:
        raise row_id_refused()
    virtual = tuple(name for name in source.names_virtual if name not in own)
    tables = {name: with_virtual_columns(table, virtual) for name, table in found.items()}
    hiding = frozenset(found) - frozenset(names) | {""}
    given = source.given
    described = made = edited(source, tuple(names), virtual, hiding)
    if given is not None:
        made = edited(source, tuple(names), virtual, hiding, given.spelled())

    def origin(position: int) -> int | None:
        # Of a text in another dialect it is not known which word became which.
        return None if offset is None else offset + made.origin(position)

    return _Resolved(Wording(made.text, described.text, origin), tables, given)


def _is_path(name: str) -> bool:
    return "/" in name or name.lower().endswith((".parquet", ".parq"))


def _with_nearest(error: UnknownTable, source: Source, catalog: Catalog) -> UnknownTable:
    """Return the error with the nearest names of the whole catalog, not only of bound tables."""
    message = "\n".join(
        line for line in error.message.splitlines() if not line.startswith("Did you mean")
    )
    missing = [name for name in source.tables if catalog.find(name) is None]
    known = {name.lower(): name for name in catalog.names()}
    near = [n for m in missing for n in get_close_matches(m.lower(), list(known), 1)]
    hint = f"did you mean {known[near[0]]}?" if near else None
    if not near and known:
        hint = f"tables are {', '.join(sorted(known.values())[:8])}"
    return UnknownTable(message, hint=hint)


def _stages(resolved: _Resolved, bound: Bound, whole: WholeStatement) -> tuple[Stage, ...]:
    try:
        if bound.plan is None:
            raise CannotDistribute(bound.reason)
        return _distributed(resolved, bound, whole)
    except CannotDistribute as unknown:
        reason = unknown.reason
    except RecursionError:
        reason = "the statement is nested too deeply"
    return whole.fallback(bound.plan, reason)


def _distributed(resolved: _Resolved, bound: Bound, whole: WholeStatement) -> tuple[Stage, ...]:
    footers, sizing = whole.footers, whole.sizing
    names = Names()
    plan = adapt(bound.plan or {}, resolved.tables, names)
    types = [unquoted(column.type) for column in outputs(plan.root)]
    if types != [unquoted(column.type) for column in bound.result]:
        raise CannotDistribute("the plan's types are not those that DESCRIBE gives")
    for rule in _RULES:
        plan = rule(plan, footers)
    estimator = Estimator(footers, dict(plan.ctes))
    scans = _scans(plan)
    fits = sizing.options.tasks is None and sizing.fits_one_task(_scanned_bytes(scans, estimator))
    if any(on_s3(scan.table) for scan in scans):
        # As one composed stage, which fetches the columns that it needs, and not as it is written.
        fetched = sum(fetched_bytes(scan, footers.kept(scan)) for scan in scans)
        if fits and sizing.fits_one_fetch(fetched):
            sizing = replace(sizing, options=replace(sizing.options, tasks=1))
    elif fits:
        relation = estimator.estimate(plan.root)
        estimate = Estimate(rows=relation.rows, bytes=relation.bytes)
        return (whole.stage(estimate, scans=scans),)
    stages = freeze(distribute(plan, estimator, footers, sizing, names), footers, sizing)
    return chosen_combiners(stages, sizing.options)


def _scans(plan: Plan) -> list[Scan]:
    roots: list[Node] = [*(definition for _, definition in plan.ctes), plan.root]
    return [node for root in roots for node in walk(root) if isinstance(node, Scan)]


def _scanned_bytes(scans: Sequence[Scan], estimator: Estimator) -> float:
    total = 0.0
    for scan in scans:
        facts = estimator.estimate(scan).columns.values()
        total += sum(f.rows for f in scan.table.files) * sum(fact.width for fact in facts)
    return total
