"""A PIVOT whose columns are the values that are there: they are asked for before it is planned."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

from starling_py.shuffle.meter import Meter, RequestCounts, metered

if TYPE_CHECKING:
    from starling_py.planner.copying import Query
    from starling_py.session import Session

__all__ = ["completed"]


def completed(session: Session, query: Query) -> Query:
    """Return a query in which every PIVOT says which columns it makes.

    Requests of the tasks that find the values count as those of planning.
    """
    from starling_py.planner.pivots import open_pivots, with_values

    pivots = open_pivots(query.text)
    if not pivots:
        return query
    # What is pivoted has no parameters: DuckDB's parser sees to that.
    asked = [replace(query, text=pivot.query, offset=None, parameters=()) for pivot in pivots]
    values = [_values(session, each) for each in asked]
    return replace(query, text=with_values(query.text, pivots, values), offset=None)


def _values(session: Session, query: Query) -> list[str]:
    # What is pivoted may be a PIVOT itself.
    query = completed(session, query)
    with metered() as planning:
        plan = session.planning.plan(query.text, query)
    result, run = session.run_plan(plan, planning.snapshot())
    tasks = (report.metrics.requests for report in run.reports)
    Meter().add(sum(tasks, RequestCounts()))
    with closing(result):
        return [str(value) for (value,) in result.fetch()]
