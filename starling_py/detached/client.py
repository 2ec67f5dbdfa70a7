"""A detached query from the client's side: begun, followed, cancelled, its answer fetched."""

from __future__ import annotations

import secrets
import time
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

from msgspec import structs

from starling_py.coordinator.answers import Answer, answer_rows
from starling_py.detached.calling import start
from starling_py.detached.errors import CoordinatorLost, QueryRunning, QueryUnknown
from starling_py.detached.files import QueryFiles
from starling_py.detached.follow import Follower
from starling_py.detached.state import Ending, Start
from starling_py.leftovers import check_bucket, is_query_id, scratch_location
from starling_py.operators.errors import Cancelled, TaskTimedOut
from starling_py.prices import FunctionSize, Pricing, load_prices
from starling_py.results import Results
from starling_py.run_results import run_result
from starling_py.runs import new_id, summary
from starling_py.shuffle.errors import Origin, StarlingError
from starling_py.shuffle.locations import open_location
from starling_py.worker.payload import VERSION

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from starling_py.access import S3Access
    from starling_py.detached.state import Request
    from starling_py.events import Listener
    from starling_py.invokers.function_client import FunctionClient
    from starling_py.results import Result
    from starling_py.runs import QueryRun
    from starling_py.shuffle.s3_options import S3Options

__all__ = ["DetachedQueries"]

_POLL_SECONDS = (0.1, 1.0)
_SILENCE_SECONDS = 30.0
"""A coordinator that lives saves a state more often than that."""
_MOST_CALLS = 3
"""So many coordinators are called in vain before whoever waits is told."""
_CANCEL_SECONDS = 15.0


class DetachedQueries:
    """The detached queries below a scratch.

    Parameters
    ----------
    scratch
        Its URL.
    client
        Opens the coordinator's function, when it is to be called.
    silence_seconds
        For how long nothing of a query may change before its coordinator is taken for dead.
    """

    def __init__(
        self,
        scratch: str,
        access: S3Access,
        client: Callable[[], FunctionClient],
        *,
        silence_seconds: float = _SILENCE_SECONDS,
    ) -> None:
        self._access = access
        self._location = scratch_location(scratch, access)
        self._open_client = client
        self._silence_seconds = silence_seconds
        self._client: FunctionClient | None = None
        self._store = open_location(self._location, access.source)
        self._results: Results | None = None

    def close(self) -> None:
        """Close all connections, and the answers."""
        with ExitStack() as steps:
            steps.callback(self._access.close)
            steps.callback(self._store.close)
            if self._client is not None:
                steps.callback(self._client.close)
            if self._results is not None:
                steps.callback(self._results.close)

    @property
    def options(self) -> S3Options:
        """The ways to S3 for a function, which has credentials of its own."""
        # A profile means something on this machine only.
        return structs.replace(self._access.options, profile=None)

    def detach(self, request: Request) -> str:
        """Start a query and return its id.

        Raises
        ------
        StarlingError
            If the bucket or the function is not fit, or does not answer.
        """
        client = self._function()
        check_bucket(self._location, self._access)
        query = new_id()
        files = QueryFiles(self._store, query)
        try:
            files.put_request(request)
            start(client, self._call(query))
        except BaseException:
            # Also for Ctrl-C: nobody would ever ask for it. Why it did not begin matters more.
            with suppress(StarlingError):
                files.clean(Ending("nobody"))
            raise
        return query

    def wait(self, query: str, listeners: Iterable[Listener] = (), seconds: float = 0.0) -> Ending:
        """Wait for the end of a query, and return it.

        Where its coordinator is dead, another one is called.

        Parameters
        ----------
        listeners
            Are told what happens.
        seconds
            How long; 0 is until its deadline.

        Raises
        ------
        QueryUnknown
            If there is no such query.
        CoordinatorLost
            If its coordinators do nothing.
        TaskTimedOut
            If it has not ended in time.
        """
        files = self._files(query)
        follower = Follower(query, files, listeners)
        deadline = time.time() + seconds if seconds else float("inf")
        poll, most = _POLL_SECONDS
        changed_at = time.monotonic()
        before, called = None, 0
        while True:
            seen = files.look()
            if seen.has_ending and (ending := files.ending()) is not None:
                follower.end(ending)
                return ending
            if not seen.has_request:
                raise _unknown(query)
            if deadline == float("inf"):
                deadline = files.request().deadline + self._silence_seconds
            if seen != before:
                before, changed_at, called = seen, time.monotonic(), 0
                follower.follow(seen)
            elif time.monotonic() - changed_at > self._silence_seconds:
                if called == _MOST_CALLS:
                    raise _silent(query, called)
                changed_at, called = time.monotonic(), called + 1
                start(self._function(), self._call(query, seen.claim))
            if time.time() + poll > deadline:
                raise TaskTimedOut("the query has not ended in time", origin=Origin(query))
            time.sleep(poll)
            poll = min(poll * 1.5, most)

    def ending(self, query: str) -> Ending:
        """Return how a query has ended.

        Raises
        ------
        QueryUnknown
            If there is no such query.
        QueryRunning
            If it has not ended.
        """
        files = self._files(query)
        ending = files.ending()
        if ending is not None:
            return ending
        if not files.look().has_request:
            raise _unknown(query)
        raise QueryRunning(
            "the query has not ended", hint="starling attach waits for it", origin=Origin(query)
        )

    def answer(self, query: str, ending: Ending) -> tuple[Result, QueryRun]:
        """Return the answer of a query that has ended.

        Raises
        ------
        StarlingError
            If there is none, because the query failed or was cancelled.
        """
        if ending.error is not None:
            raise StarlingError.from_record(ending.error)
        if ending.planned is None:
            raise _unknown(query)
        plan = ending.planned.plan
        by_stage = {
            stage.id: tuple(report for report in ending.reports if report.stage == stage.id)
            for stage in plan.stages
        }
        last = by_stage[plan.stages[-1].id]
        rows = answer_rows(plan, last, self._store, copied=ending.doublewrite)
        if self._results is None:
            self._results = Results(1)
        result = self._results.open(rows, plan.result, plan.settings)
        ran = run_result(plan, Answer(rows, by_stage, ending.requests), ending.seconds)
        pricing = Pricing(
            load_prices(),
            FunctionSize(),
            functions=True,
            remote_scratch=True,
            options=lambda: self.options,
            coordinators=ending.used,
        )
        return result, summary(plan, ran, result.rows, ending.planned.requests, pricing)

    def cancel(self, query: str) -> bool:
        """End a query that nobody wants any more; return whether it had not ended before.

        What it has left goes: its coordinator removes that, or this does if it is not there.
        """
        files = self._files(query)
        seen = files.look()
        if not seen.has_request and not seen.has_ending:
            raise _unknown(query)
        error = Cancelled("the query was cancelled", origin=Origin(query))
        mine = Ending(secrets.token_hex(8), error=error.record())
        there = files.settle_ending(mine)
        if there.author != mine.author:
            return False
        deadline = time.monotonic() + _CANCEL_SECONDS
        while files.look().has_request and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS[1] / 2)
        files.clean(mine)
        return True

    def _files(self, query: str) -> QueryFiles:
        if not is_query_id(query):
            raise QueryUnknown(f"{query[:40]!r} is not the id of a query")
        return QueryFiles(self._store, query)

    def _function(self) -> FunctionClient:
        if self._client is None:
            client = self._open_client()
            try:
                client.facts()
            except StarlingError:
                client.close()
                raise
            self._client = client
        return self._client

    def _call(self, query: str, after: int = 0) -> Start:
        location = structs.replace(self._location, options=self.options)
        return Start(VERSION, location, query, after)


def _silent(query: str, calls: int) -> CoordinatorLost:
    return CoordinatorLost(
        f"the coordinator was called {calls} times and does nothing",
        hint="its log may tell why; starling deploy makes it anew, then attach again",
        origin=Origin(query),
    )


def _unknown(query: str) -> QueryUnknown:
    return QueryUnknown(
        "there is no such query, or nothing of it is left",
        hint="is it the same --scratch? Answers go with it after a day",
        origin=Origin(query),
    )
