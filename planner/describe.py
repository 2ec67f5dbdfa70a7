"""The algebra as indented text, inputs below what reads them: for debugging and for tests."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from starling_py.operators.task import HashPartitioning, RangePartitioning
from starling_py.planner import algebra
from starling_py.planner.algebra import JoinKind, inputs
from starling_py.planner.expressions import Column, Expression, aggregate_sql, order_sql, sql
from starling_py.planner.windowing import window_sql

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from starling_py.operators.task import Partitioning
    from starling_py.planner.fragments import Draft

__all__ = ["describe", "describe_plan", "describe_stages"]

_PLAIN_NAME = re.compile(r'"([a-z_][a-z0-9_]*)"')


def describe_plan(plan: algebra.Plan) -> str:
    """Return a plan's CTEs by number, each as ``with``, and its root."""
    parts = [f"with {number}\n{_indented(describe(node))}" for number, node in plan.ctes]
    return "\n".join([*parts, describe(plan.root)])


def describe_stages(drafts: Sequence[Draft]) -> str:
    """Return stages with their numbers of tasks and their outputs."""
    parts = []
    for draft in drafts:
        made = ", ".join(map(_partitioning, draft.outputs)) or "nothing"
        tasks = draft.fragment.tasks
        head = f"stage {draft.number}: {tasks} task{'s' if tasks > 1 else ''}, {made}"
        parts.append(f"{head}\n{_indented(describe(draft.fragment.node))}")
    return "\n".join(parts)


def describe(node: algebra.Node) -> str:
    """Return an operator on one line, and its inputs indented below it."""
    return "\n".join([_line(node), *(_indented(describe(child)) for child in inputs(node))])


def _line(node: algebra.Node) -> str:
    match node:
        case algebra.Scan(table=table, conditions=conditions, replicated=replicated, cut=cut):
            line = f"scan {table.name}: {', '.join(map(_scanned, node.scanned))}"
            line += _where(conditions)
            if cut is not None:
                line += f" cut by {cut.column} at {', '.join(map(str, cut.bounds))}"
            return line + (" whole" if replicated else "")
        case algebra.StageRead(columns=columns, stage=stage, output=output, delivery=delivery):
            return f"read stage {stage}.{output} {delivery}: {_names(columns)}"
        case algebra.CteRead(cte=cte, columns=columns):
            return f"read with {cte}: {_names(columns)}"
        case algebra.Values(columns=columns, rows=rows):
            given = (f"({', '.join(map(_text, row))})" for row in rows)
            return f"values {_names(columns)}: {', '.join(given) or 'no rows'}"
        case algebra.Filter(conditions=conditions):
            return f"filter{_where(conditions)}"
        case algebra.Project(items=items):
            shown = (i.name if i.passes else f"{i.name} = {_text(i.expression)}" for i in items)
            return f"project {', '.join(shown)}"
        case algebra.Join():
            return _join(node)
        case algebra.Group(keys=keys, aggregates=aggregates):
            calls = [f"{name} = {_plain(aggregate_sql(call))}" for name, call in aggregates]
            by = f" by {_names(keys)}" if keys else ""
            return f"group{by}: {', '.join(calls)}" if calls else f"distinct {_names(keys)}"
        case algebra.GroupingSets(keys=keys, sets=sets):
            by = ", ".join(f"({', '.join(keys[at][1].name for at in one)})" for one in sets)
            out = ", ".join(f"{name} = {key.name}" for name, key in keys)
            calls = [f"{name} = {_plain(aggregate_sql(call))}" for name, call in node.aggregates]
            calls += [
                f"{name} = grouping({', '.join(keys[at][1].name for at in of)})"
                for name, of in node.groupings
            ]
            return f"group by sets {by}: {', '.join([out, *calls])}"
        case algebra.DistinctOn(keys=keys, order=order):
            ordered = f" first by {_plain(order_sql(order))}" if order else ""
            return f"distinct on {_names(keys)}{ordered}"
        case algebra.Unnest(lists=lists):
            shown = (f"{column.name} = {_text(made)}" for column, made in lists)
            return f"unnest {', '.join(shown)}"
        case algebra.Sample(method=method, amount=amount, percent=percent):
            return f"sample {method} {amount}{' percent' if percent else ''}"
        case algebra.TableCall(text=text, columns=columns):
            return f"call {text}: {_names(columns)}"
        case algebra.Recursive(cte=cte, columns=columns):
            return f"recursive with {cte}: {_names(columns)}"
        case algebra.Window(calls=calls):
            shown = (f"{name} = {_plain(window_sql(call))}" for name, call in calls)
            return f"window {', '.join(shown)}"
        case algebra.Sort(keys=keys):
            return f"sort {_plain(order_sql(keys))}"
        case algebra.Limit(count=count, offset=offset):
            most = "all" if count is None else str(count)
            most = most if node.percent is None else f"{node.percent} percent"
            return f"limit {most}{f' offset {offset}' if offset else ''}"
        case algebra.SetOperation(kind=kind, all=every, columns=columns):
            return f"{kind.lower()}{' all' if every else ''}: {_names(columns)}"


def _scanned(item: algebra.ScannedColumn) -> str:
    stem = item.name.rpartition("_")[0]
    return item.name if stem == item.column.name.lower() else f"{item.name} = {item.column.name}"


def _join(node: algebra.Join) -> str:
    compared = [f"{_text(c.left)} {c.operator} {_text(c.right)}" for c in node.conditions]
    parts = " and ".join([*compared, *map(_text, node.residual)])
    mark = f" as {node.mark}" if node.kind in (JoinKind.MARK, JoinKind.SINGLE) else ""
    kind = f"asof {node.kind.lower()}" if node.asof else node.kind.lower()
    return f"{kind} join{mark}{f' on {parts}' if parts else ''}"


def _partitioning(output: Partitioning) -> str:
    if isinstance(output, RangePartitioning):
        return f"{output.count} partitions sorted by {_plain(output.order)}"
    if not isinstance(output, HashPartitioning):
        return "one partition"
    nulls = ", NULLs anywhere" if output.spread_nulls else ""
    return f"{output.count} partitions by {_plain(', '.join(output.keys))}{nulls}"


def _where(conditions: Sequence[Expression]) -> str:
    return f" where {' and '.join(map(_text, conditions))}" if conditions else ""


def _names(columns: Iterable[Column]) -> str:
    return ", ".join(column.name for column in columns)


def _text(expression: Expression) -> str:
    return _plain(sql(expression))


def _plain(text: str) -> str:
    return _PLAIN_NAME.sub(r"\1", text)


def _indented(text: str) -> str:
    return "  " + text.replace("\n", "\n  ")
