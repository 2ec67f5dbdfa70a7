"""The operators of the algebra.

A column keeps its name for as long as its values stay the same, through filters, joins and
projections, so that equal names mean equal values wherever both can be seen.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from starling_py.planner.expressions import Aggregate, Column, Expression, OrderKey

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from starling_py.operators.plan import Delivery
    from starling_py.planner.tables import Table, TableColumn
    from starling_py.planner.windowing import WindowCall


class JoinKind(StrEnum):
    """What a join keeps. MARK appends a column: whether a row matches, NULL where unknown."""

    INNER = "INNER"
    LEFT = "LEFT"
    RIGHT = "RIGHT"
    FULL = "FULL"
    SEMI = "SEMI"
    ANTI = "ANTI"
    MARK = "MARK"
    SINGLE = "SINGLE"


class SetKind(StrEnum):
    """The set operations. EXCEPT and INTERSECT come with and without ALL."""

    UNION = "UNION"
    EXCEPT = "EXCEPT"
    INTERSECT = "INTERSECT"


@dataclass(frozen=True, slots=True)
class Named:
    """An expression and the name of the column that holds its values."""

    name: str
    expression: Expression

    @property
    def column(self) -> Column:
        return Column(self.name, self.expression.type)

    @property
    def passes(self) -> bool:
        """Whether the column is the input's own, unchanged."""
        return isinstance(self.expression, Column) and self.expression.name == self.name


@dataclass(frozen=True, slots=True)
class ScannedColumn:
    """A column of a scan: its unique name, and the table's column that it reads."""

    name: str
    column: TableColumn


@dataclass(frozen=True, slots=True)
class RangeCut:
    """Task t takes the rows whose ``column`` is from ``bounds[t - 1]`` to below ``bounds[t]``."""

    column: str
    bounds: tuple[int, ...]


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
class Condition:
    """One comparison between the two sides of a join."""

    left: Expression
    operator: str
    right: Expression

    @property
    def equates(self) -> bool:
        return self.operator == "=" or self.matches_nulls

    @property
    def matches_nulls(self) -> bool:
        return self.operator == "IS NOT DISTINCT FROM"


@dataclass(frozen=True, slots=True)
class Join:
    """A join on comparisons between the sides and a residual condition over both.

    ``mark`` names the column that a MARK join appends, or the one column of the right side that a
    SINGLE join keeps. A join without conditions is a product.
    """

    left: Node
    right: Node
    kind: JoinKind
    conditions: tuple[Condition, ...]
    residual: tuple[Expression, ...] = ()
    mark: str = ""


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
    """At most ``count`` rows (``None``: all) behind the first ``offset``, in the input's order."""

    input: Node
    count: int | None
    offset: int = 0


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
)


@dataclass(frozen=True, slots=True)
class Plan:
    """A whole query: common table expressions by number, each used by later ones or the root."""

    ctes: tuple[tuple[int, Node], ...]
    root: Node
