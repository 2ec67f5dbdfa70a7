"""What the stages of a query did, beside what the planner expected of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from starling_py.shuffle.meter import RequestCounts
from starling_py.skew import Busiest, skewed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starling_py.operators.plan import StagePlan
    from starling_py.operators.task import TaskReport

__all__ = ["StageAnalysis", "analysed", "q_error"]


class StageAnalysis(msgspec.Struct, frozen=True):
    """One stage, of which ``expected_rows`` and ``rows`` are those that it handed on.

    ``q_error`` is the factor between the two, or ``None`` where nothing was expected. ``seconds``
    are those of its slowest task.
    """

    stage: int
    label: str
    tasks: int
    expected_rows: float
    rows: int
    q_error: float | None
    expected_bytes: float
    bytes: int
    seconds: float
    cpu_seconds: float
    requests: RequestCounts
    busiest: Busiest | None = None


def q_error(expected: float, found: float) -> float:
    """Return by which factor an estimate was wrong, up or down; 1 is right.

    Less than one row counts as one: none were expected or found of what hardly mattered.
    """
    expected, found = max(expected, 1.0), max(found, 1.0)
    return max(expected / found, found / expected)


def analysed(plan: StagePlan, reports: Sequence[TaskReport]) -> tuple[StageAnalysis, ...]:
    """Return each stage's figures from the reports of a run."""
    made = []
    for stage in plan.stages:
        own = [report for report in reports if report.stage == stage.id]
        metrics = [report.metrics for report in own]
        rows = sum(m.rows_out for m in metrics)
        estimate = stage.estimate
        # What was not planned operator by operator was not estimated.
        is_known = bool(estimate.rows or estimate.bytes)
        made.append(
            StageAnalysis(
                stage=stage.id,
                label=stage.label,
                tasks=len(own),
                expected_rows=estimate.rows,
                rows=rows,
                q_error=q_error(estimate.rows, rows) if is_known else None,
                expected_bytes=estimate.bytes,
                bytes=sum(m.bytes_out for m in metrics),
                seconds=max((m.seconds for m in metrics), default=0.0),
                cpu_seconds=sum(m.cpu_seconds for m in metrics),
                requests=sum((m.requests for m in metrics), RequestCounts()),
                busiest=skewed(own, plan.balance_rows),
            )
        )
    return tuple(made)
