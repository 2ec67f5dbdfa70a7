"""Columns that nobody reads are not carried. An operator keeps at least one, for its row count."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from starling_py.planner.adapter.leaves import ROW_ID
from starling_py.planner.algebra import (
    CteRead,
    DistinctOn,
    Filter,
    Group,
    GroupingSets,
    Join,
    JoinKind,
    Limit,
    Named,
    Node,
    Plan,
    Project,
    Recursive,
    Sample,
    Scan,
    ScannedColumn,
    SetKind,
    SetOperation,
    Sort,
    StageRead,
    TableCall,
    Unnest,
    Values,
    Window,
    outputs,
    rewrite,
    with_columns,
)
from starling_py.planner.errors import row_id_refused
from starling_py.planner.expressions import (
    Aggregate,
    Column,
    Expression,
    Literal,
    OrderKey,
    references,
)
from starling_py.planner.tables import ColumnSource
from starling_py.planner.types import estimated_width

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starling_py.planner.footers import Footers

__all__ = ["prune_columns"]


def prune_columns(plan: Plan, _: Footers) -> Plan:
    """Return the plan in which every operator computes only what is used above it.

    Raises
    ------
    Unsupported
        When something still reads a table's row id.
    """
    pruner = _Pruner(plan)
    root = pruner.prune(plan.root, {column.name for column in outputs(plan.root)})
    ctes: list[tuple[int, Node]] = []
    # Later definitions read earlier ones, so what is needed is known from the end.
    for number, definition in reversed(plan.ctes):
        if not pruner.used[number]:
            # Its readers were joins for marks that nobody reads.
            continue
        columns = outputs(definition)
        needed = {columns[at].name for at in pruner.used[number]}
        made = pruner.prune(definition, needed)
        ctes.append((number, with_columns(made, _only(columns, needed))))
    ctes.reverse()
    final = _Positions({number: sorted(used) for number, used in pruner.used.items()})
    return Plan(
        tuple((number, final.apply(definition)) for number, definition in ctes),
        final.apply(root),
    )


def _only(columns: tuple[Column, ...], needed: set[str]) -> tuple[Column, ...]:
    return tuple(column for column in columns if column.name in needed)


class _Positions:
    """Second pass: reads of CTEs drop the positions that no reader uses."""

    def __init__(self, used: dict[int, list[int]]) -> None:
        self._used = used

    def apply(self, node: Node) -> Node:
        return rewrite(node, self._change)

    def _change(self, node: Node) -> Node:
        if isinstance(node, CteRead) and node.cte in self._used:
            return CteRead(node.cte, tuple(node.columns[at] for at in self._used[node.cte]))
        return node


class _Pruner:
    def __init__(self, plan: Plan) -> None:
        self.used: dict[int, set[int]] = {number: set() for number, _ in plan.ctes}

    def prune(self, node: Node, needed: set[str]) -> Node:
        """Return the node with at least the needed columns, and no more than it must carry."""
        made = self._pruned(node, needed)
        if not isinstance(made, (Scan, Filter, Join, Window, Unnest, DistinctOn, GroupingSets)):
            return made
        # What only conditions here use ends here.
        kept = _only(outputs(made), needed)
        return with_columns(made, kept) if kept else made

    def _pruned(self, node: Node, needed: set[str]) -> Node:
        match node:
            case Scan():
                return self._scan(node, needed)
            case StageRead():
                return node
            case Values(columns=columns, rows=rows):
                kept = [at for at, c in enumerate(columns) if c.name in needed]
                kept = kept or ([0] if columns else [])
                return Values(
                    tuple(columns[at] for at in kept),
                    tuple(tuple(row[at] for at in kept) for row in rows),
                )
            case TableCall():
                return node
            case Recursive(cte=cte, anchor=anchor, step=step):
                # Its rows are compared, so it keeps all of them.
                self.used[cte] = set(range(len(node.columns)))
                return replace(node, anchor=self._every(anchor), step=self._every(step))
            case CteRead(cte=cte, columns=columns):
                kept = [at for at, c in enumerate(columns) if c.name in needed]
                self.used[cte] |= set(kept or [0])
                return node
            case Filter(input=input_, conditions=conditions):
                return Filter(self.prune(input_, needed | _names(conditions)), conditions)
            case Project(input=input_, items=items):
                left = tuple(item for item in items if item.name in needed)
                if not left:
                    left = (Named(items[0].name if items else "one", Literal("1", "INTEGER")),)
                return Project(self.prune(input_, _names(i.expression for i in left)), left)
            case Sort(input=input_, keys=keys):
                return Sort(self.prune(input_, needed | _key_names(keys)), keys)
            case Limit(input=input_):
                return replace(node, input=self.prune(input_, needed))
            case Sample(input=input_) | DistinctOn(input=input_):
                below = self.prune(input_, needed | _names(node.expressions()))
                return replace(node, input=below)
            case Unnest(input=input_):
                # Every list says how many rows there are.
                below = self.prune(input_, needed | _names(node.expressions()))
                return replace(node, input=below)
            case GroupingSets():
                calls = _called(node, needed)
                kinds = tuple(item for item in node.groupings if item[0] in needed)
                sets = replace(node, aggregates=calls, groupings=kinds)
                below = self.prune(node.input, _names(sets.expressions()))
                return replace(sets, input=below)
            case Group():
                return self._group(node, needed)
            case Window(input=input_, calls=calls):
                window = Window(input_, tuple(call for call in calls if call[0] in needed))
                below = self.prune(input_, needed | _names(window.expressions()))
                return replace(window, input=below) if window.calls else below
            case Join():
                return self._join(node, needed)
            case SetOperation():
                return self._set_operation(node, needed)

    def _every(self, node: Node) -> Node:
        columns = outputs(node)
        return with_columns(self.prune(node, {column.name for column in columns}), columns)

    def _scan(self, node: Scan, needed: set[str]) -> Node:
        needed = needed | _names(node.conditions)
        kept = tuple(item for item in node.scanned if item.name in needed)
        if any(item.column is ROW_ID for item in kept):
            raise row_id_refused()
        if not kept:
            # Counting rows takes a column; the narrowest is the cheapest. It takes the name of
            # what was there, which stays unique.
            name = node.scanned[0].name if node.scanned else "rows"
            files = [c for c in node.table.columns if c.source is ColumnSource.FILE]
            size = node.table.column_bytes
            narrowest = min(
                files or node.table.columns,
                key=lambda column: (size(column.name), estimated_width(column.type)),
            )
            kept = (ScannedColumn(name, narrowest),)
        return Scan(node.table, kept, node.conditions)

    def _group(self, node: Group, needed: set[str]) -> Node:
        calls = _called(node, needed)
        below = {key.name for key in node.keys}
        for _, call in calls:
            below |= _names(call.expressions())
        return Group(self.prune(node.input, below), node.keys, calls)

    def _join(self, node: Join, needed: set[str]) -> Node:
        if node.kind is JoinKind.MARK and node.mark not in needed:
            return self.prune(node.left, needed)
        used = needed | _names(node.residual)
        left = used | _names(c.left for c in node.conditions)
        right = used | _names(c.right for c in node.conditions) | {node.mark}
        return replace(node, left=self.prune(node.left, left), right=self.prune(node.right, right))

    def _set_operation(self, node: SetOperation, needed: set[str]) -> Node:
        kept = [at for at, c in enumerate(node.columns) if c.name in needed]
        if node.kind is not SetKind.UNION or not kept:
            kept = list(range(len(node.columns)))
        members = []
        for child in node.inputs:
            columns = outputs(child)
            wanted = {columns[at].name for at in kept}
            members.append(with_columns(self.prune(child, wanted), _only(columns, wanted)))
        return SetOperation(
            node.kind, node.all, tuple(members), tuple(node.columns[at] for at in kept)
        )


def _called(node: Group | GroupingSets, needed: set[str]) -> tuple[tuple[str, Aggregate], ...]:
    """Return the aggregates that are needed, or one of them where there is no key either."""
    calls = tuple(item for item in node.aggregates if item[0] in needed)
    return calls if calls or node.keys else node.aggregates[:1]


def _names(expressions: Iterable[Expression]) -> set[str]:
    return {name for expression in expressions for name in references(expression)}


def _key_names(keys: tuple[OrderKey, ...]) -> set[str]:
    return _names(key.expression for key in keys)
