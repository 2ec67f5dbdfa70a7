"""Which parts of the serialized plan give other rows each time they run.

It matters in the step of a recursion, which DuckDB runs several times, and stages run once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set
from typing import Any

from starling_py.planner.adapter.reads import nodes
from starling_py.planner.errors import CannotDistribute
from starling_py.planner.expressions import VOLATILE

__all__ = ["check_step", "varies"]

Serialized = Mapping[str, Any]

_DIFFERENT = VOLATILE - {"error", "sleep_ms", "write_log"}
"""Without the functions that do something but give the same."""


def varies(serialized: Serialized, ctes: Set[int]) -> bool:
    """Return whether an operator gives other rows each time; ``ctes`` are those that do."""
    return any(_differs(part, ctes) for part in nodes(serialized))


def check_step(step: Serialized, recursion: int, ctes: Set[int]) -> None:
    """Raise for a step of a recursion with a part that does not read its rows, but varies.

    Raises
    ------
    CannotDistribute
        When there is one: computed once for all steps, it would be the same in each.
    """
    if not any(_reads(step, recursion)):
        if varies(step, ctes):
            raise CannotDistribute("what differs in each step of a recursion")
        return
    children: Iterable[Serialized] = step["children"]
    for child in children:
        check_step(child, recursion, ctes)


def _reads(serialized: Serialized, cte: int) -> Iterator[Serialized]:
    return (
        part
        for part in nodes(serialized)
        if part.get("type") == "LOGICAL_CTE_REF" and part["cte_index"] == cte
    )


def _differs(part: Serialized, ctes: Set[int]) -> bool:
    if part.get("expression_class") == "BOUND_FUNCTION":
        return part["qname"]["path"][-1] in _DIFFERENT
    match part.get("type"):
        case "LOGICAL_CTE_REF":
            return part["cte_index"] in ctes
        case "LOGICAL_SAMPLE":
            return not part["sample_options"]["repeatable"]
    return False
