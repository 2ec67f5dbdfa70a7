"""What Lambda's answers mean: refusals of a call, and functions that ended without an answer."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from starling_py.operators.errors import OutOfMemory, TaskTimedOut, WorkerDied
from starling_py.shuffle.errors import CredentialsExpired, CredentialsMissing, StarlingError
from starling_py.worker.errors import (
    BadInvocation,
    FunctionBroken,
    FunctionDenied,
    FunctionError,
    FunctionMismatch,
    FunctionMissing,
    FunctionThrottled,
    FunctionUnavailable,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Refusal", "function_failure", "lost_call", "refused_call"]

_TIMED_OUT = re.compile(r"Task timed out after ([0-9.]+) seconds")
_EXITED = re.compile(r"Runtime exited with error: ((?:signal|exit status)[: ][\w ]{1,40})")
_BROKEN = {
    "Runtime.ImportModuleError",
    "Runtime.HandlerNotFound",
    "Runtime.MalformedHandlerName",
    "Runtime.UserCodeSyntaxError",
    "Runtime.InvalidEntrypoint",
    "Runtime.Unknown",
}
_PENDING = {"ResourceConflictException", "ResourceNotReadyException"}
_THROTTLED = {"TooManyRequestsException", "ThrottlingException", "EC2ThrottledException"}
_EXPIRED = {"ExpiredTokenException", "ExpiredToken"}
_UNKNOWN_KEYS = {
    "IncompleteSignatureException",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "MissingAuthenticationTokenException",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
}
_LOGIN = "look at your AWS credentials, or `aws sso login`"
_CODE = re.compile(r"[A-Za-z0-9_.]{1,80}")


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a call was not answered, and whether another one may be."""

    error: StarlingError
    again: Literal["no", "throttled", "fault"] = "no"


def function_failure(name: str, payload: bytes) -> StarlingError:
    """Return why a function ended without an answer, from what Lambda says instead of it.

    Nothing of the function's own words gets into the error: they may hold data.
    """
    try:
        said = msgspec.json.decode(payload)
    except msgspec.DecodeError:
        said = None
    kind, text = "", ""
    if isinstance(said, dict):
        kind, text = str(said.get("errorType") or ""), str(said.get("errorMessage") or "")
    timed_out = _TIMED_OUT.search(text)
    if timed_out or kind == "Sandbox.Timedout":
        after = f" after {timed_out[1]} s" if timed_out else ""
        return TaskTimedOut(
            f"function {name} timed out{after}",
            hint="give the function more time or memory, or run more tasks",
        )
    exited = _EXITED.search(text)
    if kind == "Runtime.OutOfMemory" or (exited and exited[1] == "signal: killed"):
        return OutOfMemory(
            f"function {name} used more memory than it has",
            hint="give it more: starling deploy --memory MIB, or run more tasks: --tasks N",
        )
    if kind in _BROKEN or kind.startswith(("Init.", "Extension.")):
        return FunctionBroken(
            f"the code of function {name} cannot be loaded ({_plain(kind)})",
            hint="deploy it again: starling deploy",
        )
    if kind == "Runtime.ExitError" or exited:
        return WorkerDied(f"function {name} ended: {exited[1] if exited else 'no reason is given'}")
    if kind == "Function.ResponseSizeTooLarge":
        return BadInvocation(f"the answer of function {name} is too large")
    return FunctionMismatch(
        f"function {name} failed ({_plain(kind)}): it is not Starling's, or of another version",
        hint="deploy it again: starling deploy",
    )


def refused_call(action: str, name: str, region: str, response: Mapping[str, Any]) -> Refusal:
    """Return what an error of the service means.

    Parameters
    ----------
    action
        What was asked, as policies call it: ``lambda:InvokeFunction``.
    response
        Of botocore's ``ClientError``.
    """
    code = _plain(str(response.get("Error", {}).get("Code", "")))
    status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    if code == "ResourceNotFoundException":
        return Refusal(
            FunctionMissing(
                f"there is no function {name} in {region}",
                hint="deploy it: starling deploy, or set AWS_REGION to where it is",
            )
        )
    if code in _THROTTLED or status == 429:
        return Refusal(
            FunctionThrottled(
                f"Lambda throttles calls of function {name}",
                hint="use fewer workers, or ask for more concurrency",
            ),
            "throttled",
        )
    if code in _EXPIRED:
        return Refusal(CredentialsExpired("the AWS credentials have expired", hint=_LOGIN))
    if code in _UNKNOWN_KEYS:
        return Refusal(FunctionDenied("AWS does not know these credentials", hint=_LOGIN))
    if status == 403 or "AccessDenied" in code:
        return Refusal(
            FunctionDenied(
                f"{action} is not allowed on function {name}",
                hint=f"ask for the permission {action}",
            )
        )
    if code == "RequestTooLargeException" or status == 413:
        return Refusal(BadInvocation(f"the call of function {name} is too large"))
    if code in _PENDING:
        return Refusal(FunctionUnavailable(f"function {name} is being updated"), "fault")
    if status >= 500:
        return Refusal(FunctionUnavailable(f"Lambda answers {action} with {code}"), "fault")
    return Refusal(FunctionError(f"Lambda refuses {action} for function {name}: {code}"))


def lost_call(action: str, name: str, error: Exception) -> Refusal:
    """Return what an error of botocore itself means, by its class."""
    kind = type(error).__name__
    if kind in ("NoCredentialsError", "PartialCredentialsError"):
        return Refusal(CredentialsMissing("there are no AWS credentials", hint=_LOGIN))
    if kind == "ProfileNotFound":
        return Refusal(CredentialsMissing("there is no such AWS profile", hint=_LOGIN))
    if "Credential" in kind or "Token" in kind or kind.startswith("SSO"):
        return Refusal(CredentialsExpired("the AWS credentials cannot be renewed", hint=_LOGIN))
    if kind == "NoRegionError":
        return Refusal(FunctionError("no AWS region is set", hint="set AWS_REGION"))
    if kind in ("ParamValidationError", "InvalidRegionError", "UnsupportedEndpointError"):
        return Refusal(FunctionError(f"{name!r} cannot be the name of a function here ({kind})"))
    if kind == "ReadTimeoutError":
        return Refusal(TaskTimedOut(f"function {name} did not answer in time"))
    return Refusal(FunctionUnavailable(f"{action} gets no answer ({kind})"), "fault")


def _plain(code: str) -> str:
    return code if _CODE.fullmatch(code) else "no reason is given"
