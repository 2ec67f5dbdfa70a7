"""From a request to a plan, inside a function that must not touch its own machine's files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from starling_py.access import S3Access
from starling_py.catalog.catalog import FileCatalog
from starling_py.config import resolve
from starling_py.detached.adopt import has_ranges
from starling_py.detached.state import Planned, decode_parameters
from starling_py.planner.errors import Unsupported
from starling_py.planner.expressions import VOLATILE
from starling_py.session import Session
from starling_py.shuffle.locations import is_remote
from starling_py.shuffle.meter import metered
from starling_py.worker.errors import BadInvocation

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from starling_py.catalog.table import ParquetTable
    from starling_py.detached.state import Request
    from starling_py.operators.plan import Stage, StagePlan
    from starling_py.shuffle.locations import S3Location

__all__ = ["check_remote", "open_session", "plan_request", "repeatable"]

_NO_BALANCE = 1 << 62
"""Rows that no stage reads."""


def check_remote(paths: Iterable[str]) -> None:
    """Refuse paths of files that are not on S3.

    Raises
    ------
    BadInvocation
        If there are any.
    """
    if not all(map(is_remote, paths)):
        raise BadInvocation(
            "the query reads files that are not on S3", hint="a function reads s3:// URLs only"
        )


class _RemoteCatalog(FileCatalog):
    """Tables on S3, and no others."""

    def open_paths(self, patterns: tuple[str, ...], options: Mapping[str, object]) -> ParquetTable:
        check_remote(patterns)
        return super().open_paths(patterns, options)


def open_session(request: Request, scratch: S3Location, folder: Path) -> Session:
    """Return a session that plans the request, which its user closes.

    Parameters
    ----------
    folder
        For footers, which a warm function finds again.
    """
    check_remote(filter(None, (request.data, *(path for _, path in request.tables))))
    config = resolve(
        request.tasks,
        request.workers,
        scratch=str(scratch),
        shuffle=request.shuffle,
        doublewrite=request.doublewrite,
        target="lambda",
        function=request.function,
        dialect=request.dialect,
    )
    access = S3Access(request.options)
    catalog = _RemoteCatalog(
        request.data, dict(request.tables), buckets=lambda: access.buckets, cache=folder
    )
    return Session(catalog, config, (), access)


def plan_request(session: Session, request: Request, query: str) -> Planned:
    """Return the plan of a request, for a query of this id.

    Raises
    ------
    SqlError
        If the statement is not SQL, names what does not exist, or is no query.
    """
    from starling_py.planner.copying import Query
    from starling_py.planner.pivots import open_pivots

    if open_pivots(request.sql):
        # A second query would have to survive the coordinator too.
        raise Unsupported(
            "PIVOT without IN is not detached",
            hint="name the values: PIVOT … ON column IN (values); or run it without --detach",
        )
    with metered() as planning:
        statement = session.planning.read(request.sql, decode_parameters(request.parameters))
        if not isinstance(statement, Query):
            raise Unsupported(
                "only queries are detached, no other statements",
                hint="run it with starling query, without --detach",
            )
        plan = session.planning.plan(request.sql, statement)
    made = repeatable(msgspec.structs.replace(plan, query=query))
    return Planned(made, planning.snapshot())


def repeatable(plan: StagePlan) -> StagePlan:
    """Return the plan so that a task reads the same rows whoever coordinates it.

    What tasks read then follows from the plan alone, and not from how many rows earlier ones have
    had. And nothing is divided whose parts might hold other rows than the whole, or be cut into
    other ranges: of two coordinators one may have divided it and the other not.
    """
    stages = tuple(
        msgspec.structs.replace(stage, divisible=stage.divisible and not _varies(stage))
        for stage in plan.stages
    )
    return msgspec.structs.replace(plan, stages=stages, balance_rows=_NO_BALANCE)


def _varies(stage: Stage) -> bool:
    text = stage.statement.lower()
    return (
        has_ranges(stage)
        or "sample" in text
        or any(f"{name}(" in text or f'{name}"(' in text for name in VOLATILE)
    )
