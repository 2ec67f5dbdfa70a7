"""A function on AWS Lambda, by way of boto3: what it is like, and one call of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from starling_py.worker.errors import (
    FunctionDenied,
    FunctionMismatch,
    FunctionMissing,
    FunctionThrottled,
    FunctionTooSmall,
    FunctionUnavailable,
)
from starling_py.worker.failures import (
    Refusal,
    function_failure,
    lost_call,
    refused_call,
)
from starling_py.worker.payload import VERSION
from starling_py.worker.size import LEAST_FUNCTION

if TYPE_CHECKING:
    from collections.abc import Callable

    from starling_py.shuffle.errors import StarlingError
    from starling_py.shuffle.prices import Architecture

__all__ = ["VERSION_VARIABLE", "CallRefused", "FunctionClient", "FunctionFacts", "mismatch"]

VERSION_VARIABLE = "STARLING_VERSION"
"""In a function's environment: the version that it was deployed with."""

_MEBIBYTE = 1 << 20
_CONNECT_SECONDS = 10.0
_ANSWER_SECONDS = 10.0
"""Beyond the function's own time-out."""
_LONGEST = 900.0
"""Seconds that a function may run."""
_UNKNOWN = 1_000_000
"""Calls at once, where nobody may know."""


@dataclass(frozen=True, slots=True)
class FunctionFacts:
    """``memory`` is in bytes; ``concurrency`` is how many calls may run at once."""

    memory: int
    seconds: float
    concurrency: int
    architecture: Architecture = "arm64"


class CallRefused(Exception):
    """Why a call has no answer. It stays between the client and whoever calls again."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(str(refusal.error))
        self.refusal = refusal


class FunctionClient:
    """Calls one function. May be used from several threads.

    Parameters
    ----------
    name
        A name or an ARN, with a version or alias if need be.
    connections
        How many calls run at once.
    endpoint
        URL of the service; by default that of the region.

    Raises
    ------
    StarlingError
        If boto3 is not there, or finds no region.
    """

    def __init__(
        self,
        name: str,
        *,
        connections: int,
        endpoint: str | None = None,
        region: str | None = None,
        profile: str | None = None,
    ) -> None:
        try:
            import boto3
            import botocore.config
            import botocore.exceptions
        except ImportError as error:
            raise FunctionUnavailable(
                "boto3 is not installed", hint="pip install 'starling-py[lambda]'"
            ) from error
        self._name = name
        self._facts: FunctionFacts | None = None
        self._lost = botocore.exceptions.BotoCoreError
        self._refused = botocore.exceptions.ClientError
        config = botocore.config.Config(
            max_pool_connections=connections,
            connect_timeout=_CONNECT_SECONDS,
            read_timeout=_LONGEST + _ANSWER_SECONDS,
            # Whoever calls knows better when to call again.
            retries={"total_max_attempts": 1, "mode": "standard"},
            tcp_keepalive=True,
        )
        try:
            session = boto3.Session(profile_name=profile, region_name=region)
            self._client: Any = session.client("lambda", endpoint_url=endpoint, config=config)
        except (botocore.exceptions.BotoCoreError, ValueError) as error:
            raise lost_call("lambda:GetFunction", name, error).error from error
        self._region = str(self._client.meta.region_name)
        _check_region(name, self._region)

    @property
    def name(self) -> str:
        return self._name

    def facts(self) -> FunctionFacts:
        """Return what the function is like, as it was when this was first asked.

        Raises
        ------
        StarlingError
            If it cannot be asked, or is none that this client can use.
        """
        if self._facts is None:
            self._facts = self._look()
        return self._facts

    def _look(self) -> FunctionFacts:
        found = self._ask(
            "lambda:GetFunctionConfiguration",
            lambda: self._client.get_function_configuration(FunctionName=self._name),
        )
        self._check(found)
        return FunctionFacts(
            memory=int(found["MemorySize"]) * _MEBIBYTE,
            seconds=float(found["Timeout"]),
            concurrency=self._concurrency(),
            # Lambda says so for every function; what does not is taken for what is deployed here.
            architecture="x86_64" if "x86_64" in found.get("Architectures", ()) else "arm64",
        )

    def call(self, body: bytes) -> bytes:
        """Call the function and return its answer.

        Raises
        ------
        CallRefused
            If the function was not called, or its answer was lost.
        StarlingError
            If it was called and ended without an answer.
        """
        answer = self._send(
            "lambda:InvokeFunction",
            lambda: self._read(
                self._client.invoke(FunctionName=self._name, LogType="None", Payload=body)
            ),
        )
        failed, payload = answer
        if failed:
            raise function_failure(self._name, payload)
        return bytes(payload)

    def start(self, body: bytes) -> None:
        """Let the function be called some time soon; nobody waits for an answer.

        Raises
        ------
        CallRefused
            If that is refused.
        """
        self._send(
            "lambda:InvokeFunction",
            lambda: self._client.invoke(
                FunctionName=self._name, InvocationType="Event", Payload=body
            )["Payload"].read(),
        )

    def close(self) -> None:
        """Close the connections that no call uses."""
        self._client.close()

    def _read(self, response: Any) -> tuple[bool, bytes]:
        # The connection goes back to the pool when the body has been read.
        return "FunctionError" in response, response["Payload"].read()

    def _check(self, found: dict[str, Any]) -> None:
        version = found.get("Environment", {}).get("Variables", {}).get(VERSION_VARIABLE)
        if version is not None and version != VERSION:
            raise mismatch(self._name, version)
        if found.get("State", "Active") == "Failed":
            raise FunctionUnavailable(
                f"function {self._name} could not be made", hint="deploy it again: starling deploy"
            )
        memory = int(found["MemorySize"]) * _MEBIBYTE
        if memory < LEAST_FUNCTION:
            raise FunctionTooSmall(
                f"function {self._name} has {memory // _MEBIBYTE} MiB of memory, "
                f"tasks need at least {LEAST_FUNCTION // _MEBIBYTE}",
                hint="deploy it with more: starling deploy --memory 1769",
            )

    def _concurrency(self) -> int:
        try:
            own = self._ask(
                "lambda:GetFunctionConcurrency",
                lambda: self._client.get_function_concurrency(FunctionName=self._name),
            ).get("ReservedConcurrentExecutions")
            if own is None:
                settings = self._ask("lambda:GetAccountSettings", self._client.get_account_settings)
                own = settings["AccountLimit"]["UnreservedConcurrentExecutions"]
        except FunctionDenied:
            # Whoever may only call it is told by throttling.
            return _UNKNOWN
        if int(own) < 1:
            raise FunctionThrottled(
                f"function {self._name} may not run: its concurrency is 0",
                hint="reserve some, or none for itself",
            )
        return int(own)

    def _ask(self, action: str, question: Callable[[], Any]) -> Any:
        try:
            return self._send(action, question)
        except CallRefused as refused:
            raise refused.refusal.error from refused

    def _send(self, action: str, question: Callable[[], Any]) -> Any:
        try:
            return question()
        except self._refused as error:
            # Its text names accounts and users.
            raise CallRefused(
                refused_call(action, self._name, self._region, error.response)
            ) from None
        except self._lost as error:
            raise CallRefused(lost_call(action, self._name, error)) from None


def mismatch(name: str, version: str) -> StarlingError:
    """Return the error of a function that has another version."""
    return FunctionMismatch(
        f"function {name} is of version {version[:40]}, this client of {VERSION}",
        hint=f"deploy {name} again with this client: starling deploy",
    )


def _check_region(name: str, region: str) -> None:
    parts = name.split(":")
    if parts[0] == "arn" and len(parts) > 3 and parts[3] != region:
        raise FunctionMissing(
            f"function {name} is in {parts[3]}, and {region} is asked for it",
            hint=f"set AWS_REGION={parts[3]}",
        )
