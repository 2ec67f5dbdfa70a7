"""A function's worker: what stays warm between calls, and one task for each of them."""

from __future__ import annotations

import re
import shutil
import time
from typing import TYPE_CHECKING, Protocol

import msgspec
from msgspec import structs

from starling_py.operators.failures import typed_error
from starling_py.operators.instance import Instance
from starling_py.operators.resources import process_seconds
from starling_py.operators.task import TaskReport
from starling_py.shuffle.buckets import Buckets
from starling_py.shuffle.errors import StarlingError
from starling_py.shuffle.prices import FunctionSize
from starling_py.shuffle.s3 import S3Store
from starling_py.shuffle.s3_credentials import environment_credentials
from starling_py.worker.admission import admit, check_location
from starling_py.worker.discretion import discreet
from starling_py.worker.errors import BadInvocation, FunctionMismatch
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
    unpack_spec,
)
from starling_py.worker.size import (
    function_architecture,
    function_threads,
    instance_limit,
    scan_room,
)
from starling_py.worker.timed import TimedTask, out_of_time

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from starling_py.operators.task import TaskSpec
    from starling_py.shuffle.locations import S3Location
    from starling_py.shuffle.s3_credentials import Credentials
    from starling_py.shuffle.s3_options import S3Options
    from starling_py.worker.fan_out import FanOut

__all__ = ["SCRATCH_VARIABLE", "CallContext", "FunctionWorker"]

SCRATCH_VARIABLE = "STARLING_SCRATCH"
"""In a function's environment: the URL below which it may write; without it, anywhere."""

_MEBIBYTE = 1 << 20
_PLACE = re.compile(r"at `(\$[^`]*)`")
_SPEC_KEY = re.compile(r"([^/]+)/call/[^/]+\.spec")
_STOP_SECONDS = 1.5
_LEAVE_SECONDS = 0.4
_STOP_SHARE = 4
"""Of a short time the last quarter is for the end."""


class CallContext(Protocol):
    """The part of Lambda's context that is needed."""

    @property
    def memory_limit_in_mb(self) -> str: ...

    @property
    def aws_request_id(self) -> str: ...

    def get_remaining_time_in_millis(self) -> int:
        """Return how long the call may still take."""
        ...


class FunctionWorker:
    """Runs one task at a time; kept between calls with its DuckDB, footers and connections.

    Parameters
    ----------
    environment
        The function's: its credentials and its scratch.
    folder
        For spilling. This worker's alone; empty after each task but for what DuckDB holds open.
    """

    def __init__(self, environment: Mapping[str, str], folder: Path) -> None:
        self._environment = environment
        self._folder = folder
        self._name = environment.get("AWS_LAMBDA_LOG_STREAM_NAME") or "function"
        # Lambda bills the start of an instance with its first call.
        self._before = process_seconds()
        self._instances = 0
        self._instance = self._new_instance()
        self._store: tuple[S3Location, S3Store] | None = None
        self._buckets: tuple[S3Options, Buckets] | None = None

    def answer(self, event: object, context: CallContext) -> dict[str, object]:
        """Answer a call. Never raises: what goes wrong is told as data."""
        try:
            outcome = self._answer(_invocation(event), context)
        except Exception as error:  # noqa: BLE001 - a traceback would go to the logs, with data
            record = typed_error(error).record()
            if not isinstance(error, StarlingError):
                record = structs.replace(record, message=type(error).__name__)
            outcome = Outcome(VERSION, error=record)
        answer: dict[str, object] = msgspec.to_builtins(outcome)
        return answer

    def close(self) -> None:
        """Close what is kept warm, and remove the folder."""
        if self._store is not None:
            self._store[1].close()
        if self._buckets is not None:
            self._buckets[1].close()
        self._store = self._buckets = None
        self._instance.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _answer(self, call: Invocation, context: CallContext) -> Outcome:
        begun = time.monotonic() - self._before
        self._before = 0.0
        ends_at = time.time() + context.get_remaining_time_in_millis() / 1000
        check_location(call.store, self._environment.get(SCRATCH_VARIABLE))
        store = self._open(call.store)
        spec = admit(_spec(call, store))
        mebibytes = int(context.memory_limit_in_mb)
        spec = structs.replace(
            spec,
            threads=function_threads(mebibytes),
            memory_limit=instance_limit(mebibytes * _MEBIBYTE),
        )
        self._instance.room = scan_room(mebibytes * _MEBIBYTE)
        others = self._start_others(call, ends_at)
        report = discreet(self._run(spec, store, call.data, ends_at), spec)
        answered = _outcomes(others) if others else ()
        called = structs.replace(
            report.metrics,
            called_seconds=time.monotonic() - begun,
            function=FunctionSize(mebibytes * _MEBIBYTE, function_architecture()),
        )
        report = structs.replace(report, metrics=called)
        outcome = Outcome(VERSION, report=as_text(pack(report)), others=answered)
        body = msgspec.json.encode(outcome)
        if len(body) < CALL_LIMIT:
            return outcome
        key = call_key(spec.query, spec.nonce, "outcome")
        keep(store, key, body)
        return Outcome(VERSION, outcome_key=key)

    def _start_others(self, call: Invocation, ends_at: float) -> FanOut | None:
        if not call.others:
            return None
        # Loaded when it is needed: most calls are of single tasks.
        from starling_py.worker.fan_out import Callee, FanOut

        bodies = [
            msgspec.json.encode(structs.replace(call, spec=other, spec_key="", others=()))
            for other in call.others
        ]
        credentials = environment_credentials(self._environment)()
        others = FanOut(Callee.of(self._environment), bodies, credentials, ends_at - _LEAVE_SECONDS)
        others.wait_until_sent()
        return others

    def _run(self, spec: TaskSpec, store: S3Store, data: S3Options, ends_at: float) -> TaskReport:
        margin = min(_STOP_SECONDS, max(ends_at - time.time(), 0.0) / _STOP_SHARE)
        leave_at = ends_at - margin * _LEAVE_SECONDS / _STOP_SECONDS
        task = TimedTask(spec, store, self._instance, lambda: self._open_buckets(data), self._name)
        report = task.run(min(spec.deadline, ends_at - margin), leave_at)
        if report is None:
            self._abandon()
            error = out_of_time(spec).record()
            return TaskReport(
                spec.query, spec.stage, spec.task, spec.attempt, self._name, error=error
            )
        self._sweep()
        return report

    def _open(self, location: S3Location) -> S3Store:
        if self._store is None or self._store[0] != location:
            if self._store is not None:
                self._store[1].close()
                self._store = None
            store = S3Store(
                location.bucket,
                location.prefix,
                location.options,
                credentials=self._credentials(location.options),
            )
            self._store = location, store
        return self._store[1]

    def _open_buckets(self, options: S3Options) -> Buckets:
        if self._buckets is None or self._buckets[0] != options:
            if self._buckets is not None:
                self._buckets[1].close()
                self._buckets = None
            self._buckets = options, Buckets(options, self._credentials(options))
        return self._buckets[1]

    def _credentials(self, options: S3Options) -> Callable[[], Credentials] | None:
        return None if options.anonymous else environment_credentials(self._environment)

    def _new_instance(self) -> Instance:
        self._instances += 1
        return Instance(self._folder / str(self._instances))

    def _abandon(self) -> None:
        """Leave everything that a task which does not stop still uses to that task."""
        self._store = self._buckets = None
        self._instance = self._new_instance()

    def _sweep(self) -> None:
        """Remove what tasks that were left to themselves have spilled."""
        if self._folder.is_dir():
            for path in self._folder.iterdir():
                if path.name != str(self._instances):
                    shutil.rmtree(path, ignore_errors=True)


def _invocation(event: object) -> Invocation:
    version = event.get("version") if isinstance(event, dict) else None
    if not isinstance(version, str):
        raise BadInvocation("the event is not one of Starling's")
    if version != VERSION:
        raise FunctionMismatch(
            f"the function is of version {VERSION}, the client is not", hint="deploy it again"
        )
    try:
        call = msgspec.convert(event, Invocation)
    except msgspec.ValidationError as error:
        # The rest of the text may quote what was sent.
        place = _PLACE.search(str(error))
        raise BadInvocation(f"the event is not valid at {place[1] if place else '$'}") from error
    if bool(call.spec) == bool(call.spec_key):
        raise BadInvocation("the event has no spec, or two")
    return call


def _outcomes(others: FanOut) -> tuple[Outcome, ...]:
    return tuple(
        (decode_outcome(answer) if isinstance(answer, bytes) else None)
        or Outcome(
            VERSION,
            error=answer.record()
            if isinstance(answer, StarlingError)
            else FunctionMismatch("the function does not answer as Starling's do").record(),
        )
        for answer in others.answers()
    )


def _spec(call: Invocation, store: S3Store) -> TaskSpec:
    if call.spec:
        return unpack_spec(from_text(call.spec))
    found = _SPEC_KEY.fullmatch(call.spec_key)
    if found is None:
        raise BadInvocation("the key of the spec is not below a query's")
    spec = unpack_spec(bytes(store.get(call.spec_key)))
    if spec.query != found[1]:
        raise BadInvocation("the spec is another query's")
    return spec
