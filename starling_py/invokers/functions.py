"""Tasks in functions on AWS Lambda, over a prefix of a bucket."""

from __future__ import annotations

import asyncio
import contextvars
import random
import threading
import time
from typing import TYPE_CHECKING

import msgspec
from msgspec import structs

from starling_py.invokers.call_threads import CallThreads
from starling_py.invokers.function_client import CallRefused, FunctionClient, mismatch
from starling_py.operators.errors import Cancelled, TaskError, WorkerDied
from starling_py.shuffle.errors import StarlingError
from starling_py.shuffle.locations import open_location
from starling_py.shuffle.retry import RetryPolicy, backoff_ceiling
from starling_py.worker.errors import BadInvocation, FunctionMismatch
from starling_py.worker.payload import (
    CALL_LIMIT,
    VERSION,
    Invocation,
    Outcome,
    as_text,
    call_key,
    from_text,
    pack,
    unpack_report,
)
from starling_py.worker.size import instance_limit

if TYPE_CHECKING:
    from collections.abc import Callable

    from starling_py.access import S3Access
    from starling_py.operators.task import TaskReport, TaskSpec
    from starling_py.shuffle.locations import S3Location
    from starling_py.shuffle.objects import ObjectStore

__all__ = ["FAULTS", "THROTTLES", "LambdaInvoker"]

THROTTLES = RetryPolicy(attempts=10_000, base=0.05, cap=2.0, deadline=300.0)
"""For calls that Lambda refuses because there are too many: they get through in the end."""

FAULTS = RetryPolicy(attempts=6, base=0.1, cap=5.0, deadline=60.0)
"""For calls that get no useful answer."""

_STOP_SECONDS = 5.0
_OUTCOME: msgspec.json.Decoder[Outcome] = msgspec.json.Decoder(Outcome)


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
    ) -> None:
        facts = client.facts()
        self._client = client
        self._slots = min(workers, facts.concurrency)
        self._memory_limit = instance_limit(facts.memory)
        self._location = _for_functions(location)
        self._data = structs.replace(access.options, profile=None)
        self._policies = {"throttled": throttles, "fault": faults}
        # Calls that are refused together must not come back together: no common seed.
        self._random = random.SystemRandom()
        self._threads = CallThreads("starling-call", self._slots)
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
        call = _Call(spec, asyncio.get_running_loop())
        self._calls.add(call)
        try:
            self._threads.submit(lambda: self._run(call))
            return await call.answer
        finally:
            call.given_up.set()
            self._calls.discard(call)

    async def close(self) -> None:
        self._closed = True
        for call in self._calls:
            call.given_up.set()
        await asyncio.to_thread(self._threads.close, _STOP_SECONDS)
        self._client.close()

    def _run(self, call: _Call) -> None:
        if call.given_up.is_set():
            return
        try:
            call.succeed(call.context.run(self._attempt, call))
        except StarlingError as error:
            call.fail(error)
        except Exception as error:  # noqa: BLE001 - whoever waits must not wait for ever
            call.fail(TaskError(f"{type(error).__name__} in the call of a function"))

    def _attempt(self, call: _Call) -> TaskReport:
        spec = call.spec
        packed = pack(spec)
        invocation = Invocation(VERSION, self._location, self._data)
        if len(packed) * 4 // 3 < CALL_LIMIT:
            return self._report(self._call(call, structs.replace(invocation, spec=as_text(packed))))
        key = call_key(spec.query, spec.nonce, "spec")
        self._store.put(key, [packed])
        try:
            return self._report(self._call(call, structs.replace(invocation, spec_key=key)))
        finally:
            self._store.delete([key])

    def _call(self, call: _Call, invocation: Invocation) -> Outcome:
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
                if spent > policy.deadline or time.time() + wait > call.spec.deadline:
                    raise refusal.error from None
            if call.given_up.wait(wait):
                raise Cancelled("the query was cancelled")

    def _outcome(self, body: bytes) -> Outcome:
        try:
            outcome = _OUTCOME.decode(body)
        except msgspec.DecodeError as error:
            raise FunctionMismatch(
                f"function {self._client.name} does not answer as Starling's do",
                hint="name the function that `starling deploy` made",
            ) from error
        if outcome.version != VERSION:
            raise mismatch(self._client.name, outcome.version)
        if outcome.error is not None:
            raise StarlingError.from_record(outcome.error)
        return outcome

    def _report(self, outcome: Outcome) -> TaskReport:
        if outcome.report:
            return unpack_report(from_text(outcome.report))
        if not outcome.report_key:
            raise BadInvocation(f"function {self._client.name} answered nothing")
        packed = bytes(self._store.get(outcome.report_key))
        self._store.delete([outcome.report_key])
        return unpack_report(packed)


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


def _for_functions(location: S3Location) -> S3Location:
    """Return the location without what means something on this machine only."""
    return structs.replace(location, options=structs.replace(location.options, profile=None))
