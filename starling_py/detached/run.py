"""One coordinator of a detached query: from its claim to the query's end, or to its successor."""

from __future__ import annotations

import asyncio
import secrets
import time
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from msgspec import structs

from starling_py.access import S3Access
from starling_py.coordinator.driver import Driver
from starling_py.coordinator.progress import Progress
from starling_py.coordinator.transport import Transport
from starling_py.detached.adopt import adopted
from starling_py.detached.errors import CoordinatorLost
from starling_py.detached.files import QueryFiles
from starling_py.detached.planning import open_session, plan_request
from starling_py.detached.state import Claim, Ending, Planned, Request, Saved
from starling_py.detached.watch import Times, Watch
from starling_py.events import Events
from starling_py.invokers.functions import LambdaInvoker
from starling_py.leftovers import query_started
from starling_py.operators.failures import typed_error
from starling_py.session import FUNCTION_ATTEMPTS
from starling_py.shuffle.errors import StarlingError
from starling_py.shuffle.locations import open_location
from starling_py.shuffle.meter import RequestCounts, metered
from starling_py.shuffle.prices import FunctionUse
from starling_py.worker.errors import BadInvocation, FunctionMismatch

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from starling_py.detached.files import Seen
    from starling_py.detached.state import Start
    from starling_py.invokers.function_client import FunctionClient
    from starling_py.shuffle.prices import FunctionSize

__all__ = ["CoordinatorRun", "How", "Place"]

_MOST_IDLE = 8
"""So many coordinators may end one after the other without a task more that has committed."""
_STOP_SECONDS = 0.2


class How(StrEnum):
    """How a coordinator has ended."""

    ENDED = "ended"
    """So has its query."""
    HANDED_OVER = "handed over"
    """Its successor has been called."""
    SUPERSEDED = "superseded"
    """Another one goes on with the query."""
    UNKNOWN = "unknown"
    """There is no such query."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a coordinator runs.

    Parameters
    ----------
    began_at
        Since when the function is paid for, in seconds since the epoch.
    size
        Of the function.
    call
        The number of the call that it runs in, which stays the same when Lambda repeats the call.
    ends_at
        When the function's time is up, in seconds since the epoch.
    folder
        For what a warm function finds again.
    successor
        Calls a coordinator to come after the one with this number.
    """

    began_at: float
    size: FunctionSize
    call: str
    ends_at: float
    folder: Path
    successor: Callable[[int], None]


class CoordinatorRun:
    """Goes on with a query, unless somebody else does."""

    def __init__(self, start: Start, place: Place) -> None:
        self._start = start
        self._place = place
        self._access = S3Access(start.store.options)
        self._store = open_location(start.store, self._access.source)
        self._files = QueryFiles(self._store, start.query)
        self._author = secrets.token_hex(8)
        self._number = 0

    def run(self) -> How:
        """Run until the query has ended or a successor has been called.

        Raises
        ------
        StarlingError
            If the state cannot be read or written. Whatever goes wrong with the query itself is
            its ending.
        """
        try:
            return self._run()
        finally:
            self._store.close()
            self._access.close()

    def _run(self) -> How:
        seen = self._files.look()
        if seen.has_ending:
            return self._ended()
        if not seen.has_request:
            return How.UNKNOWN
        try:
            saved = self._files.saved(seen.state) if seen.state else None
            claim = self._claim(seen, saved)
        except (BadInvocation, FunctionMismatch) as error:
            # Nobody can go on with what is damaged, or of another version.
            self._files.settle_ending(Ending(self._author, error=error.record()))
            return self._ended()
        if claim is None:
            return How.SUPERSEDED
        try:
            ending = self._go_on(claim, saved)
        except Exception as error:  # noqa: BLE001 - whatever goes wrong ends the query
            record = typed_error(error).record()
            if not isinstance(error, StarlingError):
                # Its own text may hold data.
                record = structs.replace(record, message=type(error).__name__)
            ending = Ending(self._author, error=record)
        if ending is How.HANDED_OVER:
            # Should that fail, Lambda repeats this call, which then is its own successor.
            self._place.successor(self._number)
        if isinstance(ending, How):
            return ending
        if ending.error is not None and self._files.look().claim > self._number:
            return How.SUPERSEDED
        self._files.settle_ending(ending)
        return self._ended()

    def _ended(self) -> How:
        """Clean up after whoever has ended the query."""
        ending = self._files.ending()
        if ending is not None:
            self._files.clean(ending)
        return How.ENDED

    def _claim(self, seen: Seen, saved: Saved | None) -> Claim | None:
        """Become the next coordinator; return ``None`` if somebody else is."""
        committed = 0 if saved is None else saved.progress.committed
        last = self._files.claim(seen.claim) if seen.claim else None
        if seen.claim > self._start.after and (last is None or last.call != self._place.call):
            return None
        idle = 0 if last is None or last.committed < committed else last.idle + 1
        self._number = seen.claim + 1
        mine = Claim(self._author, self._place.call, committed, idle)
        return mine if self._files.settle_claim(self._number, mine) == mine else None

    def _go_on(self, claim: Claim, saved: Saved | None) -> Ending | How:
        if claim.idle >= _MOST_IDLE:
            raise CoordinatorLost(
                f"{claim.idle} coordinators have ended before a task more had committed",
                hint="give the functions more time or memory, or run more tasks",
            )
        request = self._files.request()
        session = open_session(request, self._start.store, self._place.folder)
        try:
            planned = self._files.plan()
            if planned is None:
                planned = plan_request(session, request, self._start.query)
                planned = self._files.settle_plan(planned)
            return asyncio.run(self._drive(request, planned, session.function.client(), saved))
        finally:
            session.close()

    def _used(self, before: FunctionUse) -> FunctionUse:
        """Return what the coordinators have taken with this one, but for what it has still to do.

        Of one that died, what it took until its last state.
        """
        seconds = before.seconds + time.time() - self._place.began_at
        return FunctionUse(self._number, seconds, self._place.size)

    async def _drive(
        self, request: Request, planned: Planned, function: FunctionClient, saved: Saved | None
    ) -> Ending | How:
        invoker = LambdaInvoker(
            function,
            request.workers,
            location=self._start.store,
            access=self._access,
            stop_seconds=_STOP_SECONDS,
        )
        try:
            with metered() as own:
                progress = None
                if saved is not None:
                    progress = await adopted(planned.plan, saved.progress, self._store)
                driver = Driver(
                    planned.plan,
                    invoker,
                    Events(),
                    seconds=max(request.deadline - time.time(), 0.0),
                    max_attempts=FUNCTION_ATTEMPTS,
                    # What travelled in reports would be lost with a coordinator.
                    transport=Transport("lz4", 0, request.doublewrite),
                    divides=True,
                    stage_slots=request.stage_workers,
                    progress=progress,
                )
                before = saved or Saved(Progress(()), RequestCounts())

                def state(progress: Progress) -> Saved:
                    requests = before.requests + driver.requests + own.snapshot()
                    return Saved(progress, requests, self._used(before.used))

                watch = Watch(
                    driver,
                    self._files,
                    self._number,
                    Times.of(time.time(), self._place.ends_at),
                    state,
                )
                reports = await watch.until_end()
                if reports is None:
                    return How.SUPERSEDED if watch.is_superseded else How.HANDED_OVER
                last = state(driver.progress())
                return Ending(
                    self._author,
                    planned=planned,
                    reports=tuple(
                        report for stage in planned.plan.stages for report in reports[stage.id]
                    ),
                    requests=last.requests,
                    seconds=time.time() - query_started(self._start.query),
                    doublewrite=request.doublewrite,
                    used=last.used,
                )
        finally:
            await invoker.close()
            invoker.store.close()
