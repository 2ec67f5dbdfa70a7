"""Whether one task of a stage had far more to do than the others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starling_py.operators.task import TaskReport

__all__ = ["Busiest", "skewed"]

_TIMES = 2.0


@dataclass(frozen=True, slots=True)
class Busiest:
    """A task, and which share of its stage's input rows it read."""

    task: int
    share: float


def skewed(reports: Sequence[TaskReport], least_rows: int) -> Busiest | None:
    """Return the task that read twice its share or more of at least so many rows, if one did.

    Parameters
    ----------
    reports
        Those of all tasks of one stage.
    """
    rows = [report.metrics.rows_in for report in reports]
    total = sum(rows)
    if len(rows) < 2 or total < max(least_rows, 1) or max(rows) * len(rows) < _TIMES * total:
        return None
    at = rows.index(max(rows))
    return Busiest(reports[at].task, rows[at] / total)
