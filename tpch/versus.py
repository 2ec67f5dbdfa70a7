"""Two runs side by side: what became faster or slower, and what is noise."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from starling_py.tpch.measurements import geometric_mean, percentile

if TYPE_CHECKING:
    from starling_py.tpch.measurements import Measurements

__all__ = ["Change", "changes", "overall", "unlike"]

_SAME = 0.05
"""Changes of less are nobody's concern, however often they were measured."""


@dataclass(frozen=True, slots=True)
class Change:
    """One query of one engine in two runs: median seconds, spread, dollars, requests.

    ``noise`` says that the times of the two runs overlap, or differ by less than 5 %. With one time
    on either side nobody can know, and it is ``None``.
    """

    engine: str
    query: int
    before: float
    after: float
    dollars_before: float
    dollars_after: float
    requests_before: int
    requests_after: int
    noise: bool | None

    @property
    def ratio(self) -> float:
        return self.after / self.before if self.before else math.nan


def changes(one: Measurements, other: Measurements) -> list[Change]:
    """Return what both runs have: by engine, and by query."""
    found = []
    for engine in one.engines:
        if engine not in other.engines:
            continue
        for query in one.answered(engine):
            before, after = one.timed(engine, query), other.timed(engine, query)
            if not after:
                continue
            first = [each.seconds for each in before]
            second = [each.seconds for each in after]
            found.append(
                Change(
                    engine,
                    query,
                    percentile(first, 50),
                    percentile(second, 50),
                    percentile([each.dollars for each in before], 50),
                    percentile([each.dollars for each in after], 50),
                    before[-1].requests.requests,
                    after[-1].requests.requests,
                    _noise(first, second),
                )
            )
    return found


def overall(found: list[Change], engine: str) -> tuple[float, float, float]:
    """Return the ratios of an engine's totals, of its geometric means, and of its dollars."""
    mine = [change for change in found if change.engine == engine]
    before = sum(change.before for change in mine)
    paid = sum(change.dollars_before for change in mine)
    return (
        sum(change.after for change in mine) / before if before else math.nan,
        geometric_mean([change.ratio for change in mine]),
        sum(change.dollars_after for change in mine) / paid if paid else math.nan,
    )


def unlike(one: Measurements, other: Measurements) -> list[str]:
    """Return in words what makes the runs hard to compare, or is the reason to do so."""
    pairs: list[tuple[str, object, object]] = [
        ("scale", round(one.scale, 4), round(other.scale, 4)),
        ("kind", one.kind, other.kind),
        ("processor", one.machine.processor, other.machine.processor),
        ("cores", one.machine.cores, other.machine.cores),
    ]
    for part in ("versions", "settings"):
        mine, theirs = getattr(one, part), getattr(other, part)
        pairs += [
            (name, getattr(mine, name), getattr(theirs, name))
            for name in mine.__struct_fields__
            if name not in ("queries", "engines", "data")
        ]
    return [f"{name.replace('_', ' ')}: {_shown(a)}, {_shown(b)}" for name, a, b in pairs if a != b]


def _noise(first: list[float], second: list[float]) -> bool | None:
    ratio = percentile(second, 50) / percentile(first, 50)
    if abs(math.log(ratio)) < math.log(1 + _SAME):
        return True
    if min(len(first), len(second)) < 2:
        return None
    return min(first) <= max(second) and min(second) <= max(first)


def _shown(value: object) -> str:
    return "auto" if value is None else str(value)
