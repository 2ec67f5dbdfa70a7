"""What placing an operator needs, whichever it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from starling_py.planner.algebra import Node
    from starling_py.planner.exchanges import Exchanges
    from starling_py.planner.footers import Footers
    from starling_py.planner.fragments import Draft, Fragment
    from starling_py.planner.names import Names
    from starling_py.planner.sizing import Sizing
    from starling_py.planner.statistics import Estimator

__all__ = ["Context", "Place"]


class Place(Protocol):
    """Returns the fragment of a node.

    With ``in_order``, tasks' rows one after the other are in the order that a single DuckDB
    gives without an ORDER BY, where the node has such an order.
    """

    def __call__(self, node: Node, *, in_order: bool = False) -> Fragment: ...


@dataclass(frozen=True, slots=True)
class Context:
    """The exchanges made so far, what is known of sizes, and the way down to an operator's inputs.

    ``small_rows`` are the most rows of a table that every task reads whole.
    """

    place: Place
    moves: Exchanges
    estimator: Estimator
    footers: Footers
    sizing: Sizing
    names: Names
    ctes: dict[int, Draft]
    small_rows: int

    @property
    def few_groups(self) -> int:
        return self.sizing.options.few_groups
