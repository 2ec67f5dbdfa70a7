"""What a query took, from its plan, its reports and the requests that were counted."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

from starling_py.leftovers import new_query_id
from starling_py.prices import Pricing, price_run

if TYPE_CHECKING:
    from starling_py.operators.plan import StagePlan
    from starling_py.operators.task import TaskReport
    from starling_py.prices import RunPrice
    from starling_py.run_results import RunResult
    from starling_py.shuffle.meter import RequestCounts

__all__ = ["QueryRun", "new_id", "summary"]


@dataclass(frozen=True, slots=True)
class QueryRun:
    """What the last query of a cursor took.

    ``shuffled_bytes`` went from stage to stage. ``requests`` are those to object stores: of
    planning (listings and footers, ``planning_requests``) and of the run. ``peak_rss`` holds each
    worker's name and its largest resident memory in bytes; ``reports`` are in the order of stages
    and tasks. Seconds are wall-clock but for ``cpu_seconds``; ``price`` is that of all of this. It
    is of the run that gave the answer; ``out_of_memory`` is how many with fewer tasks went before
    it, in functions that had too little memory for them.
    """

    query: str
    plan: StagePlan
    stages: int
    tasks: int
    rows: int
    shuffled_bytes: int
    shuffled_rows: int
    requests: RequestCounts
    planning_requests: RequestCounts
    bind_seconds: float
    plan_seconds: float
    run_seconds: float
    cpu_seconds: float
    peak_rss: tuple[tuple[str, int], ...]
    reports: tuple[TaskReport, ...]
    price: RunPrice
    out_of_memory: int = 0


def new_id() -> str:
    """Return the id of a new query."""
    return new_query_id(uuid.uuid4().hex)


def summary(
    plan: StagePlan,
    ran: RunResult,
    rows: int,
    planning: RequestCounts,
    pricing: Pricing,
    out_of_memory: int = 0,
) -> QueryRun:
    """Return what a query took, with the requests of its planning."""
    metrics = ran.metrics
    return QueryRun(
        query=plan.query,
        plan=plan,
        stages=metrics.stages,
        tasks=metrics.tasks,
        rows=rows,
        shuffled_bytes=metrics.shuffled_bytes,
        shuffled_rows=metrics.shuffled_rows,
        requests=planning + metrics.requests,
        planning_requests=planning,
        bind_seconds=plan.bind_seconds,
        plan_seconds=plan.plan_seconds,
        run_seconds=metrics.seconds,
        cpu_seconds=metrics.cpu_seconds,
        peak_rss=tuple(sorted(metrics.peak_rss.items())),
        reports=ran.reports,
        price=price_run(plan, metrics.attempts, planning + metrics.requests, pricing),
        out_of_memory=out_of_memory,
    )
