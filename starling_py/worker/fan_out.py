"""A function calls itself for tasks that its client has handed to it, without boto3."""

from __future__ import annotations

import http.client
import json
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, cast
from urllib.parse import urlsplit

from starling_py.operators.errors import TaskTimedOut
from starling_py.shuffle.errors import StarlingError
from starling_py.shuffle.retry import RetryPolicy, backoff_ceiling
from starling_py.shuffle.s3_sign import host_of, payload_hash, sign
from starling_py.worker.errors import FunctionMismatch
from starling_py.worker.failures import function_failure, refused_call

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from starling_py.shuffle.s3_credentials import Credentials

__all__ = ["Callee", "FanOut"]

_ACTION = "lambda:InvokeFunction"
_RETRY = RetryPolicy(attempts=6, base=0.05, cap=1.0, deadline=15.0)
_CONNECT_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Callee:
    """The function that runs, as it can be called."""

    name: str
    version: str
    region: str
    endpoint: str

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Callee:
        """Return what Lambda tells a function of itself.

        Raises
        ------
        FunctionMismatch
            If it tells nothing: this is no function.
        """
        name, region = environment.get("AWS_LAMBDA_FUNCTION_NAME"), environment.get("AWS_REGION")
        if not name or not region:
            raise FunctionMismatch("this is no function on AWS Lambda: it cannot call itself")
        domain = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
        return cls(
            name,
            environment.get("AWS_LAMBDA_FUNCTION_VERSION") or "$LATEST",
            region,
            environment.get("AWS_ENDPOINT_URL_LAMBDA") or f"https://lambda.{region}.{domain}",
        )


class FanOut:
    """Calls of a function that run while their caller does something else.

    Parameters
    ----------
    bodies
        One call for each.
    deadline
        Until when, in seconds since the epoch, their answers are waited for.
    """

    def __init__(
        self, callee: Callee, bodies: Sequence[bytes], credentials: Credentials, deadline: float
    ) -> None:
        self._callee = callee
        self._credentials = credentials
        self._deadline = deadline
        # Calls that are refused together must not come back together: no common seed.
        self._random = random.SystemRandom()
        self._sent = threading.Semaphore(0)
        self._count = len(bodies)
        self._threads = ThreadPoolExecutor(max(self._count, 1), "fan-out")
        self._answers = [self._threads.submit(self._call, body) for body in bodies]

    def wait_until_sent(self) -> None:
        """Wait until all calls are on their way, and what comes next may take the CPU."""
        for _ in range(self._count):
            if not self._sent.acquire(timeout=max(self._deadline - time.time(), 0.0)):
                return

    def answers(self) -> list[bytes | StarlingError]:
        """Return the answers in the order of the calls, or why there is none."""
        found: list[bytes | StarlingError] = []
        for waiting in self._answers:
            try:
                found.append(waiting.result(max(self._deadline - time.time(), 0.0)))
            except StarlingError as error:
                found.append(error)
            except TimeoutError:
                found.append(
                    TaskTimedOut(f"function {self._callee.name} ran out of time for its answers")
                )
        self._threads.shutdown(wait=False, cancel_futures=True)
        return found

    def _call(self, body: bytes) -> bytes:
        told = _Once(self._sent)
        begun = time.monotonic()
        failures = 0
        try:
            while True:
                try:
                    status, headers, answer = self._send(body, told)
                    if status == http.HTTPStatus.OK:
                        break
                    code = headers.get("x-amzn-errortype", "").partition(":")[0] or _code(answer)
                    response = {
                        "Error": {"Code": code},
                        "ResponseMetadata": {"HTTPStatusCode": status},
                    }
                except (OSError, http.client.HTTPException) as error:
                    response = {
                        "Error": {"Code": type(error).__name__},
                        "ResponseMetadata": {"HTTPStatusCode": 503},
                    }
                refusal = refused_call(_ACTION, self._callee.name, self._callee.region, response)
                failures += 1
                wait = self._random.uniform(0, backoff_ceiling(_RETRY, failures))
                spent = time.monotonic() - begun + wait
                if refusal.again == "no" or failures >= _RETRY.attempts or spent > _RETRY.deadline:
                    raise refusal.error
                time.sleep(wait)
        finally:
            told.tell()
        if "x-amz-function-error" in headers:
            raise function_failure(self._callee.name, answer)
        return answer

    def _send(self, body: bytes, told: _Once) -> tuple[int, Mapping[str, str], bytes]:
        callee = self._callee
        url = urlsplit(callee.endpoint)
        path = f"{url.path.rstrip('/')}/2015-03-31/functions/{callee.name}/invocations"
        query = "" if callee.version == "$LATEST" else f"Qualifier={callee.version}"
        headers = sign(
            "POST",
            path,
            {"host": host_of(callee.endpoint), "content-type": "application/json"},
            payload_hash([body]),
            query=query,
            credentials=self._credentials,
            region=callee.region,
            now=datetime.now(UTC),
            service="lambda",
        )
        kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
        connection = kind(url.hostname or "", url.port, timeout=_CONNECT_SECONDS)
        try:
            connection.connect()
            connection.sock.settimeout(max(self._deadline - time.time(), 0.1))
            connection.request("POST", f"{path}?{query}" if query else path, body, headers)
            told.tell()
            response = connection.getresponse()
            named = {name.lower(): value for name, value in response.getheaders()}
            return response.status, named, response.read()
        finally:
            connection.close()


class _Once:
    def __init__(self, semaphore: threading.Semaphore) -> None:
        self._semaphore: threading.Semaphore | None = semaphore

    def tell(self) -> None:
        semaphore, self._semaphore = self._semaphore, None
        if semaphore is not None:
            semaphore.release()


def _code(answer: bytes) -> str:
    try:
        said = json.loads(answer)
    except ValueError:
        return ""
    return cast("str", said.get("__type", "")) if isinstance(said, dict) else ""
