"""Calls of window functions, and their SQL."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from starling_py.operators.quoting import identifier
from starling_py.planner.expressions import (
    Aggregate,
    Column,
    Expression,
    OrderKey,
    changed_columns,
    order_sql,
    sql,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Bound", "Frame", "WindowCall", "window_sql"]


_NO_AGGREGATES = frozenset(
    (
        *("rank", "dense_rank", "ntile", "percent_rank", "cume_dist", "row_number"),
        *("first_value", "last_value", "lead", "lag", "nth_value", "fill"),
    )
)
_BY_PLACE = frozenset(
    (
        *("first", "last", "any_value", "arbitrary", "list", "array_agg", "mode"),
        *("string_agg", "group_concat", "listagg"),
    )
)
"""Aggregates that depend on the order of the rows, where they have no order of their own."""


@dataclass(frozen=True, slots=True)
class Bound:
    """One end of a frame: ``UNBOUNDED PRECEDING``, ``CURRENT ROW``, or PRECEDING an offset …"""

    word: str
    offset: Expression | None = None

    def sql(self) -> str:
        return self.word if self.offset is None else f"{sql(self.offset)} {self.word}"


@dataclass(frozen=True, slots=True)
class Frame:
    """The rows around a row that a function sees. ``unit`` is ROWS, RANGE or GROUPS."""

    unit: str
    start: Bound
    end: Bound
    exclude: str = ""


@dataclass(frozen=True, slots=True)
class WindowCall:
    """A call of a window function. ``frame`` is ``None`` for SQL's own default."""

    name: str
    arguments: tuple[Expression, ...]
    type: str
    partitions: tuple[Column, ...]
    order: tuple[OrderKey, ...]
    frame: Frame | None = None
    distinct: bool = False
    ignore_nulls: bool = False
    condition: Expression | None = None
    argument_order: tuple[OrderKey, ...] = ()

    @property
    def needs_input_order(self) -> bool:
        """Whether the answer depends on the order in which the rows come."""
        return not (self.order or self.argument_order or self.total is not None)

    @property
    def total(self) -> Aggregate | None:
        """The aggregate of all rows that every row gets, where the call is nothing else."""
        if self.partitions or self.order or self.frame is not None or self.ignore_nulls:
            return None
        if self.name in _NO_AGGREGATES or (self.name in _BY_PLACE and not self.argument_order):
            return None
        return Aggregate(
            self.name,
            self.arguments,
            self.type,
            self.distinct,
            self.condition,
            self.argument_order,
        )

    def expressions(self) -> Iterator[Expression]:
        """Yield everything in the call that refers to columns."""
        yield from self.arguments
        yield from self.partitions
        yield from (key.expression for key in (*self.order, *self.argument_order))
        if self.condition is not None:
            yield self.condition
        if self.frame is not None:
            for bound in (self.frame.start, self.frame.end):
                if bound.offset is not None:
                    yield bound.offset

    def mapped(self, change: Callable[[Expression], Expression]) -> WindowCall:
        """Return the call with every expression changed; partition keys stay columns."""

        def key(old: OrderKey) -> OrderKey:
            return replace(old, expression=change(old.expression))

        def bound(old: Bound) -> Bound:
            return old if old.offset is None else replace(old, offset=change(old.offset))

        frame = self.frame
        if frame is not None:
            frame = replace(frame, start=bound(frame.start), end=bound(frame.end))
        return replace(
            self,
            arguments=tuple(map(change, self.arguments)),
            partitions=changed_columns(self.partitions, change),
            order=tuple(map(key, self.order)),
            frame=frame,
            condition=None if self.condition is None else change(self.condition),
            argument_order=tuple(map(key, self.argument_order)),
        )


def window_sql(call: WindowCall) -> str:
    """Return DuckDB's SQL for a call of a window function."""
    if call.name == "count_star":
        inner = "*"
        name = "count"
    else:
        inner = ("DISTINCT " if call.distinct else "") + ", ".join(map(sql, call.arguments))
        name = identifier(call.name)
    if call.argument_order:
        inner += f" ORDER BY {order_sql(call.argument_order)}"
    if call.ignore_nulls:
        inner += " IGNORE NULLS"
    text = f"{name}({inner.strip()})"
    if call.condition is not None:
        text += f" FILTER (WHERE {sql(call.condition)})"
    parts = []
    if call.partitions:
        parts.append(f"PARTITION BY {', '.join(map(sql, call.partitions))}")
    if call.order:
        parts.append(f"ORDER BY {order_sql(call.order)}")
    if call.frame is not None:
        frame = call.frame
        exclude = f" EXCLUDE {frame.exclude}" if frame.exclude else ""
        parts.append(f"{frame.unit} BETWEEN {frame.start.sql()} AND {frame.end.sql()}{exclude}")
    return f"{text} OVER ({' '.join(parts)})"
