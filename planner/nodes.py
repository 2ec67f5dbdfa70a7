"""The operators of the algebra.

A column keeps its name for as long as its values stay the same, through filters, joins and
projections, so that equal names mean equal values wherever both can be seen.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from starling_py.planner.expressions import Aggregate, Column, Expression, OrderKey, changed_columns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from starling_py.operators.plan import Delivery
    from starling_py.planner.parts import (
        Condition,
        JoinKind,
        Named,
        RangeCut,
        ScannedColumn,
        SetKind,
    )
    from starling_py.planner.tables import Table
    from starling_py.planner.windowing import WindowCall


@dataclass(frozen=True, slots=True)
class Scan:
    """A table's columns, with the conjuncts that every row must pass.

    In a stage, the tasks share the rows of a scan, by row groups or as ``cut`` says; one that is
    ``replicated`` every task reads whole.
    """

    table: Table
    scanned: tuple[ScannedColumn, ...]
    conditions: tuple[Expression, ...] = ()
    replicated: bool = False
    cut: RangeCut | None = None


@dataclass(frozen=True, slots=True)
class StageRead:
    """In a stage, a read of output number ``output`` of an earlier stage, under these names.

    ``key`` is the SQL of the sort key whose ranges the tasks have, if that is what is delivered.
    """

    columns: tuple[Column, ...]
    stage: int
    output: int
    delivery: Delivery
    key: str = ""


@dataclass(frozen=True, slots=True)
class Values:
    """Constant rows; no rows at all is an empty relation."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[Expression, ...], ...]


@dataclass(frozen=True, slots=True)
class CteRead:
    """A read of the common table expression ``cte``, under new names."""

    cte: int
    columns: tuple[Column, ...]


@dataclass(frozen=True, slots=True)
class Filter:
    """The rows for which all conditions hold."""

    input: Node
    conditions: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Project:
    """Computed columns."""

    input: Node
    items: tuple[Named, ...]


@dataclass(frozen=True, slots=True)
class Join:
    """A join on comparisons between the sides and a residual condition over both.

    ``mark`` names the column that a MARK join appends, or the one column of the right side that a
    SINGLE join keeps. A join without conditions is a product. An ASOF join takes of the right rows
    that match only the nearest by its last comparison.
    """

    left: Node
    right: Node
    kind: JoinKind
    conditions: tuple[Condition, ...]
    residual: tuple[Expression, ...] = ()
    mark: str = ""
    asof: bool = False


@dataclass(frozen=True, slots=True)
class TableCall:
    """The rows that a table function of constants gives, as it is written in FROM."""

    text: str
    columns: tuple[Column, ...]


@dataclass(frozen=True, slots=True)
class Recursive:
    """The rows of ``anchor``, and what ``step`` makes of them until it makes nothing new.

    ``step`` reads the rows made last as the CTE of number ``cte``.
    """

    cte: int
    anchor: Node
    step: Node
    all: bool
    columns: tuple[Column, ...]


@dataclass(frozen=True, slots=True)
class Unnest:
    """The input's columns and, for each list, a column of its values, one row after the other.

    Of several lists the shorter ones end in NULLs. A row whose lists are all empty goes away.
    """

    input: Node
    lists: tuple[tuple[Column, Expression], ...]

    def expressions(self) -> Iterator[Expression]:
        yield from (expression for _, expression in self.lists)

    def mapped(self, change: Callable[[Expression], Expression]) -> Unnest:
        return replace(self, lists=tuple((column, change(made)) for column, made in self.lists))


@dataclass(frozen=True, slots=True)
class Sample:
    """Rows picked at random by ``method``: ``amount`` of them, or percent of them."""

    input: Node
    method: str
    amount: str
    percent: bool
    seed: int | None = None

    def expressions(self) -> Iterator[Expression]:
        yield from ()

    def mapped(self, _: Callable[[Expression], Expression]) -> Sample:
        return self


@dataclass(frozen=True, slots=True)
class DistinctOn:
    """Of the rows that agree on ``keys``, the first in the order of ``order``."""

    input: Node
    keys: tuple[Column, ...]
    order: tuple[OrderKey, ...]

    def expressions(self) -> Iterator[Expression]:
        yield from self.keys
        yield from (key.expression for key in self.order)

    def mapped(self, change: Callable[[Expression], Expression]) -> DistinctOn:
        keys = changed_columns(self.keys, change)
        order = tuple(replace(key, expression=change(key.expression)) for key in self.order)
        return replace(self, keys=keys, order=order)


@dataclass(frozen=True, slots=True)
class GroupingSets:
    """Groups by each of several sets of keys, one result below the other.

    A key is a column of the input and the name under which it comes out, NULL in the groups of sets
    that leave it out. ``sets`` are positions among the keys. A grouping function's bits tell which
    of its keys are left out, the first one in the highest bit.
    """

    input: Node
    keys: tuple[tuple[str, Column], ...]
    sets: tuple[tuple[int, ...], ...]
    aggregates: tuple[tuple[str, Aggregate], ...]
    groupings: tuple[tuple[str, tuple[int, ...]], ...] = ()

    @property
    def key_columns(self) -> tuple[Column, ...]:
        """The keys as they come out."""
        return tuple(Column(name, key.type) for name, key in self.keys)

    def expressions(self) -> Iterator[Expression]:
        yield from (key for _, key in self.keys)
        for _, call in self.aggregates:
            yield from call.expressions()

    def mapped(self, change: Callable[[Expression], Expression]) -> GroupingSets:
        keys = changed_columns(tuple(key for _, key in self.keys), change)
        return replace(
            self,
            keys=tuple((name, key) for (name, _), key in zip(self.keys, keys, strict=True)),
            aggregates=tuple((name, call.mapped(change)) for name, call in self.aggregates),
        )


@dataclass(frozen=True, slots=True)
class Group:
    """Groups by ``keys`` and computes ``aggregates`` in each; without aggregates, DISTINCT.

    ``keys`` are columns of the input. Without keys there is exactly one group. A ``partial`` one
    groups the rows that each task happens to have; its groups meet in another stage.
    """

    input: Node
    keys: tuple[Column, ...]
    aggregates: tuple[tuple[str, Aggregate], ...]
    partial: bool = False


@dataclass(frozen=True, slots=True)
class Sort:
    """The rows in the order of ``keys``."""

    input: Node
    keys: tuple[OrderKey, ...]


@dataclass(frozen=True, slots=True)
class Limit:
    """At most ``count`` rows (``None``: all) behind the first ``offset``, in the input's order.

    With ``percent``, at most that share of the input's rows.
    """

    input: Node
    count: int | None
    offset: int = 0
    percent: float | None = None


@dataclass(frozen=True, slots=True)
class SetOperation:
    """A set operation on inputs with equally typed columns, which get the names of ``columns``."""

    kind: SetKind
    all: bool
    inputs: tuple[Node, ...]
    columns: tuple[Column, ...]


@dataclass(frozen=True, slots=True)
class Window:
    """The input's columns and a column for each call of a window function over its rows."""

    input: Node
    calls: tuple[tuple[str, WindowCall], ...]

    def expressions(self) -> Iterator[Expression]:
        for _, call in self.calls:
            yield from call.expressions()

    def mapped(self, change: Callable[[Expression], Expression]) -> Window:
        return replace(self, calls=tuple((name, call.mapped(change)) for name, call in self.calls))


Node = (
    Scan
    | Values
    | CteRead
    | StageRead
    | Filter
    | Project
    | Join
    | Group
    | Sort
    | Limit
    | SetOperation
    | Window
    | TableCall
    | Recursive
    | Unnest
    | Sample
    | DistinctOn
    | GroupingSets
)


@dataclass(frozen=True, slots=True)
class Plan:
    """A whole query: common table expressions by number, each used by later ones or the root."""

    ctes: tuple[tuple[int, Node], ...]
    root: Node
