"""The entry point of the coordinator's function: ``starling_py.detached.handler.handle``."""

from __future__ import annotations

import logging
import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from starling_py.detached.calling import start
from starling_py.detached.run import CoordinatorRun, Place
from starling_py.detached.state import Start
from starling_py.invokers.function_client import FunctionClient
from starling_py.leftovers import is_query_id
from starling_py.operators.failures import typed_error
from starling_py.operators.resources import process_seconds
from starling_py.shuffle.errors import StarlingError
from starling_py.shuffle.prices import FunctionSize
from starling_py.worker.admission import check_location
from starling_py.worker.errors import BadInvocation, FunctionMismatch
from starling_py.worker.fan_out import Callee
from starling_py.worker.function import SCRATCH_VARIABLE, CallContext
from starling_py.worker.payload import VERSION
from starling_py.worker.size import function_architecture

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["answer", "handle"]

_MILLISECONDS = 1000
_MEBIBYTE = 1 << 20

_before = [process_seconds()]
"""Seconds that Lambda bills with the first call of an instance: those of its start."""


def handle(event: object, context: CallContext) -> dict[str, object]:
    """Go on with the query of an event, and return how that went."""
    return answer(event, context, os.environ)


def answer(
    event: object, context: CallContext, environment: Mapping[str, str]
) -> dict[str, object]:
    """Answer an event: with how the coordinator has ended, or why it has not begun.

    Raises
    ------
    RuntimeError
        If it could not go on, so that Lambda calls it again. Its text is a code.
    """
    began_at = time.time() - (_before.pop() if _before else 0.0)
    ends_at = time.time() + context.get_remaining_time_in_millis() / _MILLISECONDS
    _hush()
    try:
        call = _checked(event, environment)
    except StarlingError as error:
        return {"version": VERSION, "error": msgspec.to_builtins(error.record())}
    folder = Path(tempfile.gettempdir()) / "starling-coordinator"

    try:
        me = _itself(environment)
    except StarlingError as error:
        return {"version": VERSION, "error": msgspec.to_builtins(error.record())}

    def successor(after: int) -> None:
        start(me, msgspec.structs.replace(call, after=after), ends_at - time.time())

    size = FunctionSize(int(context.memory_limit_in_mb) * _MEBIBYTE, function_architecture())
    place = Place(began_at, size, context.aws_request_id, ends_at, folder, successor)
    try:
        how = CoordinatorRun(call, place).run()
    except Exception as error:  # noqa: BLE001 - a traceback would go to the logs, with data
        failure = typed_error(error).code
    else:
        return {"version": VERSION, "how": how.value}
    finally:
        me.close()
    raise RuntimeError(f"the coordinator could not go on: {failure}")


def _itself(environment: Mapping[str, str]) -> FunctionClient:
    """Return the function that runs; made in time, for there is none left when it is needed."""
    me = Callee.of(environment)
    name = me.name if me.version == "$LATEST" else f"{me.name}:{me.version}"
    return FunctionClient(name, connections=1, region=me.region)


def _checked(event: object, environment: Mapping[str, str]) -> Start:
    version = event.get("version") if isinstance(event, dict) else None
    if not isinstance(version, str):
        raise BadInvocation("the event is not one of Starling's")
    if version != VERSION:
        raise FunctionMismatch(
            f"the function is of version {VERSION}, the client is not", hint="deploy it again"
        )
    try:
        call = msgspec.convert(event, Start)
    except msgspec.ValidationError:
        # Its text may quote what was sent.
        raise BadInvocation("the event is not valid") from None
    if not is_query_id(call.query) or call.after < 0:
        raise BadInvocation("the name of the query is not valid")
    check_location(call.store, environment.get(SCRATCH_VARIABLE))
    return call


def _hush() -> None:
    """Let nothing of this package get into the function's log: it may hold names and data."""
    log = logging.getLogger("starling_py")
    log.propagate = False
    if not log.handlers:
        log.addHandler(logging.NullHandler())
