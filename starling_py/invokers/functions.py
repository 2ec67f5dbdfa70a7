"""Tasks in functions on AWS Lambda, over a prefix of a bucket."""

from __future__ import annotations

import asyncio
import contextvars
import random
import threading
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import msgspec
from msgspec import structs

from starling_py.invokers.call_groups import call_groups
from starling_py.invokers.call_threads import CallThreads, Permits
from starling_py.invokers.function_client import CallRefused, FunctionClient, mismatch
from starling_py.operators.errors import Cancelled, TaskError, WorkerDied
from starling_py.shuffle.errors import StarlingError
from starling_py.shuffle.locations import open_location
from starling_py.shuffle.retry import RetryPolicy, backoff_ceiling
from starling_py.worker.errors import (
    BadInvocation,
    FunctionMismatch,
    FunctionThrottled,
    FunctionUnavailable,
)
from starling_py.worker.payload import (
    CALL_LIMIT,
    VERSION,
    Invocation,
    Outcome,
    as_text,
    call_key,
    decode_outcome,
    from_text,
    keep,
    pack,
    unpack_report,
)
from starling_py.worker.size import instance_limit

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from starling_py.access import S3Access
    from starling_py.operators.task import TaskReport, TaskSpec
    from starling_py.shuffle.locations import S3Location
    from starling_py.shuffle.objects import ObjectStore

__all__ = ["FAULTS", "THROTTLES", "TWO_LEVELS", "LambdaInvoker"]

THROTTLES = RetryPolicy(attempts=10_000, base=0.05, cap=2.0, deadline=300.0)
"""For calls that Lambda refuses because there are too many: they get through in the end."""

FAULTS = RetryPolicy(attempts=6, base=0.1, cap=5.0, deadline=60.0)
"""For calls that get no useful answer."""

TWO_LEVELS = 256
"""So many calls at once are made by functions; one call costs a client about 1.3 ms of CPU."""

_STOP_SECONDS = 5.0
_ROOM = CALL_LIMIT - (16 << 10)
"""Bytes of specs in one call."""
_LARGE = 64 << 10
"""Bytes of a spec that a client hands to a function itself."""
_ALONE = frozenset({FunctionThrottled.code, FunctionUnavailable.code})
"""Why a function could not make a call that the client may make itself."""


class LambdaInvoker:
    """Calls a function for each attempt, and waits for its answer in a thread.

    A function that runs cannot be stopped. An attempt that is cancelled runs on in it, to the
    deadline of its spec at most: its report is ignored, it still counts as a call that is in
    flight, and what it writes below the query's prefix may come after the query's end.

    Parameters
    ----------
    workers
        How many calls at once; no more than Lambda allows are used.
    location
        Where the objects are.
    access
        The ways to S3 of this client. Functions use credentials of their own.
    throttles, faults
        How long calls are repeated.
    two_levels
        From how many attempts at once on the client calls only some functions, which call the
        rest. They answer for those, too, when all of them have.
    stop_seconds
        How long :meth:`close` waits for calls that are in flight.

    Raises
    ------
    StarlingError
        If there is no such function, or it cannot be used by this client.
    """

    def __init__(
        self,
        client: FunctionClient,
        workers: int,
        *,
        location: S3Location,
        access: S3Access,
        throttles: RetryPolicy = THROTTLES,
        faults: RetryPolicy = FAULTS,
        two_levels: int = TWO_LEVELS,
        stop_seconds: float = _STOP_SECONDS,
    ) -> None:
        facts = client.facts()
        self._client = client
        self._slots = min(workers, facts.concurrency)
        self._memory_limit = instance_limit(facts.memory)
        # A profile means something on this machine only.
        options = structs.replace(location.options, profile=None)
        self._invocation = Invocation(
            VERSION,
            structs.replace(location, options=options),
            structs.replace(access.options, profile=None),
        )
        self._policies = {"throttled": throttles, "fault": faults}
        self._two_levels = two_levels
        self._stop_seconds = stop_seconds
        # Calls that are refused together must not come back together: no common seed.
        self._random = random.SystemRandom()
        self._threads = CallThreads("starling-call", self._slots)
        self._permits = Permits(self._slots)
        self._waiting: list[_Call] = []
        self._calls: set[_Call] = set()
        self._closed = False
        self._store = open_location(location, access.source)

    @property
    def slots(self) -> int:
        return self._slots

    @property
    def memory_limit(self) -> int:
        return self._memory_limit

    @property
    def store(self) -> ObjectStore:
        return self._store

    async def invoke(self, spec: TaskSpec) -> TaskReport:
        if self._closed:
            raise WorkerDied("the engine is closed")
        loop = asyncio.get_running_loop()
        call = _Call(spec, loop)
        self._calls.add(call)
        if not self._waiting:
            # After all that are invoked with this one.
            loop.call_soon(self._send)
        self._waiting.append(call)
        try:
            return await call.answer
        finally:
            call.given_up.set()
            self._calls.discard(call)

    async def close(self) -> None:
        self._closed = True
        for call in self._calls:
            call.given_up.set()
        await asyncio.to_thread(self._threads.close, self._stop_seconds)
        self._client.close()

    def _send(self) -> None:
        calls, self._waiting = self._waiting, []
        for group in call_groups(len(calls), self._two_levels):
            self._submit([calls[number] for number in group])

    def _submit(self, calls: Sequence[_Call]) -> None:
        if not self._threads.submit(partial(self._run, calls)):
            closed = "the engine is closed"
            why = closed if self._closed else "the system has no thread for the call of a function"
            for call in calls:
                call.fail(WorkerDied(why))

    def _run(self, calls: Sequence[_Call]) -> None:
        calls = [call for call in calls if not call.given_up.is_set()]
        if not calls:
            return
        try:
            texts = [as_text(pack(call.spec)) for call in calls]
            if len(calls) > 1 and (sum(map(len, texts)) > _ROOM or max(map(len, texts)) > _LARGE):
                for call in calls[1:]:
                    self._submit([call])
                calls, texts = calls[:1], texts[:1]
            if self._permits.take(len(calls), lambda: _given_up(calls)):
                try:
                    calls[0].context.run(self._attempt, calls, texts)
                finally:
                    self._permits.give(len(calls))
        except StarlingError as error:
            _fail(calls, error)
        except Exception as error:  # noqa: BLE001 - whoever waits must not wait for ever
            _fail(calls, TaskError(f"{type(error).__name__} in the call of a function"))

    def _attempt(self, calls: Sequence[_Call], texts: Sequence[str]) -> None:
        first, *others = texts
        if len(first) < _ROOM:
            invocation = structs.replace(self._invocation, spec=first, others=tuple(others))
            self._settle(calls, self._call(calls, invocation))
            return
        spec = calls[0].spec
        key = call_key(spec.query, spec.nonce, "spec")
        keep(self._store, key, from_text(first))
        try:
            invocation = structs.replace(self._invocation, spec_key=key)
            self._settle(calls, self._call(calls, invocation))
        finally:
            self._forget(key)

    def _call(self, calls: Sequence[_Call], invocation: Invocation) -> Outcome:
        body = msgspec.json.encode(invocation)
        begun = time.monotonic()
        failures = 0
        while True:
            try:
                return self._outcome(self._client.call(body))
            except CallRefused as refused:
                refusal = refused.refusal
                failures += 1
                policy = self._policies.get(refusal.again)
                if policy is None or failures >= policy.attempts:
                    raise refusal.error from None
                wait = self._random.uniform(0, backoff_ceiling(policy, failures))
                spent = time.monotonic() - begun + wait
                if spent > policy.deadline or time.time() + wait > calls[0].spec.deadline:
                    raise refusal.error from None
            if calls[0].given_up.wait(wait) and _given_up(calls):
                raise Cancelled("the query was cancelled")

    def _outcome(self, body: bytes) -> Outcome:
        outcome = self._known(decode_outcome(body))
        if not outcome.outcome_key:
            return outcome
        kept = bytes(self._store.get(outcome.outcome_key))
        self._forget(outcome.outcome_key)
        return self._known(decode_outcome(kept))

    def _forget(self, key: str) -> None:
        # How the call went matters more; `starling cleanup` finds what is left.
        with suppress(StarlingError):
            self._store.delete([key])

    def _known(self, outcome: Outcome | None) -> Outcome:
        if outcome is None:
            raise FunctionMismatch(
                f"function {self._client.name} does not answer as Starling's do",
                hint="name the function that `starling deploy` made",
            )
        if outcome.version != VERSION:
            raise mismatch(self._client.name, outcome.version)
        return outcome

    def _settle(self, calls: Sequence[_Call], outcome: Outcome) -> None:
        outcomes = (outcome, *outcome.others)
        for call, own in zip(calls, outcomes, strict=False):
            code = own.error.code if own.error is not None else ""
            if call is not calls[0] and code in _ALONE:
                self._submit([call])
            else:
                self._tell(call, own)
        _fail(calls[len(outcomes) :], BadInvocation("the function has not answered for all"))

    def _tell(self, call: _Call, outcome: Outcome) -> None:
        try:
            if outcome.outcome_key:
                outcome = self._outcome(msgspec.json.encode(outcome))
            if outcome.error is not None:
                raise StarlingError.from_record(outcome.error)
            call.succeed(unpack_report(from_text(outcome.report)))
        except StarlingError as error:
            call.fail(error)


class _Call:
    """An attempt on its way through a thread."""

    def __init__(self, spec: TaskSpec, loop: asyncio.AbstractEventLoop) -> None:
        self.spec = spec
        self.answer: asyncio.Future[TaskReport] = loop.create_future()
        self.given_up = threading.Event()
        # What it asks of the store is counted where that of the caller is.
        self.context = contextvars.copy_context()
        self._loop = loop

    def succeed(self, report: TaskReport) -> None:
        self._settle(lambda: self.answer.set_result(report))

    def fail(self, error: StarlingError) -> None:
        self._settle(lambda: self.answer.set_exception(error))

    def _settle(self, action: Callable[[], None]) -> None:
        def settle() -> None:
            if not self.answer.done():
                action()

        try:
            self._loop.call_soon_threadsafe(settle)
        except RuntimeError:
            return  # the loop is closed: nobody waits any more


def _given_up(calls: Sequence[_Call]) -> bool:
    return all(call.given_up.is_set() for call in calls)


def _fail(calls: Sequence[_Call], error: StarlingError) -> None:
    for call in calls:
        call.fail(StarlingError.from_record(error.record()))
