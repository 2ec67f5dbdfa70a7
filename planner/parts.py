"""What operators of the algebra are made of."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from starling_py.planner.expressions import Column, Expression

if TYPE_CHECKING:
    from starling_py.planner.tables import TableColumn

__all__ = ["Condition", "JoinKind", "Named", "RangeCut", "ScannedColumn", "SetKind"]


class JoinKind(StrEnum):
    """What a join keeps. MARK appends a column: whether a row matches, NULL where unknown.

    POSITIONAL pairs rows by their places.
    """

    INNER = "INNER"
    LEFT = "LEFT"
    RIGHT = "RIGHT"
    FULL = "FULL"
    SEMI = "SEMI"
    ANTI = "ANTI"
    MARK = "MARK"
    SINGLE = "SINGLE"
    POSITIONAL = "POSITIONAL"


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
