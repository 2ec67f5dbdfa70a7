"""What an engine makes of a plan: the answer, and what it cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from starling_py.shuffle.rows import whole

if TYPE_CHECKING:
    import pyarrow as pa

    from starling_py.coordinator.answers import Answer
    from starling_py.operators.plan import StagePlan
    from starling_py.operators.task import TaskMetrics, TaskReport
    from starling_py.shuffle.meter import RequestCounts
    from starling_py.shuffle.rows import Rows

__all__ = ["RunMetrics", "RunResult", "run_result"]


@dataclass(frozen=True, slots=True)
class RunMetrics:
    """What a query cost.

    ``shuffled_bytes`` are those of all outputs but the last stage's. ``requests`` are those to
    stores, of all attempts and of the coordinator; ``attempts`` has the metrics of each of the
    attempts. ``peak_rss`` is per worker, in bytes; workers that are threads share that of the
    process.
    """

    stages: int
    tasks: int
    shuffled_bytes: int
    shuffled_rows: int
    requests: RequestCounts
    seconds: float
    cpu_seconds: float
    peak_rss: dict[str, int]
    attempts: tuple[TaskMetrics, ...] = ()


@dataclass(frozen=True, slots=True)
class RunResult:
    """The answer piece by piece, columns c0, c1 …; reports in the order of stages and tasks."""

    rows: tuple[Rows, ...]
    metrics: RunMetrics
    reports: tuple[TaskReport, ...]

    @property
    def count(self) -> int:
        """How many rows the answer has."""
        return sum(piece.rows for piece in self.rows)

    @property
    def table(self) -> pa.Table:
        """The whole answer."""
        return whole(self.rows)


def run_result(plan: StagePlan, answer: Answer, seconds: float) -> RunResult:
    """Return an answer with what it cost."""
    reports = tuple(report for stage in plan.stages for report in answer.reports[stage.id])
    last = plan.stages[-1].id
    shuffled = [
        report.index for report in reports if report.stage != last and report.index is not None
    ]
    peaks: dict[str, int] = {}
    for report in reports:
        peaks[report.worker] = max(report.metrics.peak_rss, peaks.get(report.worker, 0))
    return RunResult(
        answer.rows,
        RunMetrics(
            stages=len(plan.stages),
            tasks=len(reports),
            shuffled_bytes=sum(index.bytes for index in shuffled),
            shuffled_rows=sum(index.rows for index in shuffled),
            requests=answer.requests,
            seconds=seconds,
            cpu_seconds=sum(report.metrics.cpu_seconds for report in reports),
            peak_rss=peaks,
            attempts=answer.attempts or tuple(report.metrics for report in reports),
        ),
        reports,
    )
