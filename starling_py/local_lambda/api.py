"""Lambda's API: calls, and what a client may ask about functions and the account."""

from __future__ import annotations

import asyncio
import base64
import json
import random
import re
import uuid
from typing import TYPE_CHECKING

from starling_py.local_lambda.function import Throttled
from starling_py.local_lambda.http import Response

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starling_py.local_lambda.function import LocalFunction
    from starling_py.local_lambda.http import Request
    from starling_py.local_lambda.settings import Faults, Limits, Service

__all__ = ["Api"]

_FUNCTION = re.compile(
    r"/(?:2015-03-31|2019-09-30)/functions/(?P<name>[^/]+)"
    r"/(?P<what>invocations|configuration|concurrency)"
)
_SETTINGS = "/2016-08-19/account-settings"
_ACTIONS = {
    ("POST", "invocations"): "lambda:InvokeFunction",
    ("GET", "configuration"): "lambda:GetFunctionConfiguration",
    ("GET", "concurrency"): "lambda:GetFunctionConcurrency",
}
_RETRIES = 2


class Api:
    """Answers requests for functions by name."""

    def __init__(
        self,
        functions: Mapping[str, LocalFunction],
        limits: Limits,
        faults: Faults,
        service: Service,
    ) -> None:
        self._functions = functions
        self._limits = limits
        self._faults = faults
        self._service = service
        self._random = random.Random(faults.seed)  # noqa: S311 - faults are no secret
        self._events: set[asyncio.Task[None]] = set()

    async def answer(self, request: Request) -> Response:
        """Answer a request."""
        if request.path.rstrip("/") == _SETTINGS and request.method == "GET":
            return self._refused("lambda:GetAccountSettings") or self._account()
        found = _FUNCTION.fullmatch(request.path)
        action = _ACTIONS.get((request.method, found["what"])) if found else None
        if found is None or action is None:
            return _error(404, "UnknownOperationException", "no such operation")
        refused = self._refused(action)
        if refused is not None:
            return refused
        name = found["name"].rpartition("function:")[2].partition(":")[0]
        function = self._functions.get(name)
        if function is None:
            arn = self._service.arn(name)
            return _error(404, "ResourceNotFoundException", f"Function not found: {arn}")
        if found["what"] == "configuration":
            return _json(200, self._configuration(function))
        if found["what"] == "concurrency":
            reserved = function.settings.reserved
            return _json(
                200, {} if reserved is None else {"ReservedConcurrentExecutions": reserved}
            )
        return await self._invoke(function, request)

    async def close(self) -> None:
        """Give up the asynchronous calls that wait."""
        events = list(self._events)
        for event in events:
            event.cancel()
        await asyncio.gather(*events, return_exceptions=True)

    async def _invoke(self, function: LocalFunction, request: Request) -> Response:
        kind = request.headers.get("x-amz-invocation-type", "RequestResponse")
        limit = self._limits.event_bytes if kind == "Event" else self._limits.request_bytes
        if request.length > limit:
            return _error(
                413,
                "RequestTooLargeException",
                f"Request must be smaller than {limit} bytes for the InvokeFunction operation",
            )
        if self._faults.latency:
            await asyncio.sleep(self._faults.latency)
        if self._random.random() < self._faults.unavailable:
            return _error(500, "ServiceException", "the service is unavailable")
        try:
            json.loads(request.body or b"null")
        except ValueError:
            return _error(
                400, "InvalidRequestContentException", "Could not parse request body into json"
            )
        payload = request.body or b"{}"
        if kind == "DryRun":
            return Response(204)
        if kind == "Event":
            event = asyncio.get_running_loop().create_task(self._event(function, payload))
            self._events.add(event)
            event.add_done_callback(self._events.discard)
            return Response(202)
        tail = request.headers.get("x-amz-log-type") == "Tail"
        try:
            answered = await function.call(payload, tail=tail)
        except Throttled as throttled:
            return _error(
                429, "TooManyRequestsException", "Rate Exceeded.", Reason=throttled.reason
            )
        headers = {
            "Content-Type": "application/json",
            "X-Amzn-RequestId": answered.request,
            "X-Amz-Executed-Version": "$LATEST",
        }
        if answered.ended.failed:
            headers["X-Amz-Function-Error"] = "Unhandled"
        if tail:
            headers["X-Amz-Log-Result"] = base64.b64encode(answered.log[-4096:]).decode()
        return Response(200, answered.ended.payload, headers)

    async def _event(self, function: LocalFunction, payload: bytes) -> None:
        # A repeated call keeps its number.
        request = str(uuid.uuid4())
        for attempt in range(_RETRIES + 1):
            try:
                if not (await function.call(payload, request=request)).ended.failed:
                    return
            except Throttled:
                pass
            if attempt < _RETRIES:
                await asyncio.sleep(self._limits.retry_seconds * (attempt + 1))

    def _refused(self, action: str) -> Response | None:
        if action not in self._faults.denied:
            return None
        user = f"arn:aws:iam::{self._service.account}:user/local"
        text = f"User: {user} is not authorized to perform: {action}"
        return _error(403, "AccessDeniedException", text)

    def _account(self) -> Response:
        reserved = sum(one.settings.reserved or 0 for one in self._functions.values())
        limit = self._limits.concurrency
        return _json(
            200,
            {
                "AccountLimit": {
                    "ConcurrentExecutions": limit,
                    "UnreservedConcurrentExecutions": limit - reserved,
                },
                "AccountUsage": {"FunctionCount": len(self._functions)},
            },
        )

    def _configuration(self, function: LocalFunction) -> dict[str, object]:
        settings = function.settings
        secret = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
        shown = {k: v for k, v in settings.environment.items() if k not in secret}
        return {
            "FunctionName": settings.name,
            "FunctionArn": self._service.arn(settings.name),
            "Handler": settings.handler,
            "MemorySize": settings.memory,
            "Timeout": int(settings.timeout) or 1,
            "Version": "$LATEST",
            "State": "Active",
            "LastUpdateStatus": "Successful",
            "PackageType": "Zip",
            "Environment": {"Variables": shown},
        }


def _json(status: int, value: object, **headers: str) -> Response:
    return Response(
        status, json.dumps(value).encode(), {"Content-Type": "application/json", **headers}
    )


def _error(status: int, kind: str, message: str, **fields: str) -> Response:
    body = {"Type": "User", "Message": message, **fields}
    response = _json(status, body)
    return Response(status, response.body, {**response.headers, "X-Amzn-ErrorType": kind})
