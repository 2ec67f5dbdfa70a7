"""What an S3 error means: whether to ask again, and what to tell the user in the end.

obstore raises the text of the reply and little else, so status and code are read from the text.
"""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING, Literal

import msgspec

from starling_py.shuffle.errors import (
    BucketMissing,
    ClockSkew,
    CorruptObject,
    CredentialsExpired,
    ObjectChanged,
    ObjectExists,
    ObjectMissing,
    StarlingError,
    StoreDenied,
    StoreError,
    StoreUnavailable,
    WrongRegion,
)
from starling_py.shuffle.retry import Fault

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "Action",
    "BrokenBody",
    "HttpFailure",
    "Reply",
    "Request",
    "classify",
    "is_throttled",
    "read_reply",
]

Action = Literal["get", "head", "put", "create", "copy", "list", "delete"]

_PERMISSION: dict[Action, str] = {
    "get": "s3:GetObject",
    "head": "s3:GetObject",
    "put": "s3:PutObject",
    "create": "s3:PutObject",
    "copy": "s3:GetObject or s3:PutObject",
    "list": "s3:ListBucket",
    "delete": "s3:DeleteObject",
}
_STATUS = re.compile(r"Server returned non-2xx status code: (\d{3})")
_CODE = re.compile(r"<Code>\s*(\w+)\s*</Code>")
_ONE_OF_MANY = re.compile(r"DeleteObjects request failed for (.*) \(code: (\w+)\)\s*\Z", re.DOTALL)
_MESSAGE = re.compile(r"<Message>\s*(.*?)\s*</Message>", re.DOTALL)
_REGION = re.compile(r"<Region>\s*([\w-]+)\s*</Region>")
_KIND = re.compile(r"\bkind: (Connect|Timeout|Request|Interrupted|Decode)\b")
_NOT_SENT = re.compile(r"legacy::Error\(\s*Connect\b")
_CAUSE = re.compile(r'(?:error|message): "([^"]{1,200})"')

_TRANSIENT = {
    "InternalError",
    "OperationAborted",
    "ConditionalRequestConflict",
    "RequestTimeout",
    "ServiceUnavailable",
}
_THROTTLED = {"SlowDown", "Throttling", "ThrottlingException", "TooManyRequests"}
_EXPIRED = {"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "RequestExpired"}
_SKEWED = {"RequestTimeTooSkewed", "RequestInTheFuture"}
_ELSEWHERE = {
    "AuthorizationHeaderMalformed",
    "IllegalLocationConstraintException",
    "PermanentRedirect",
    "Redirect",
    "TemporaryRedirect",
}
_FORBIDDEN = {"AccessDenied", "AccountProblem", "AllAccessDisabled"}
_REFUSED = {"InvalidAccessKeyId", "InvalidToken", "SignatureDoesNotMatch", "UnrecognizedClient"}


class BrokenBody(Exception):
    """A body that is not as long as its reply said, or as was asked for."""


class HttpFailure(Exception):
    """A request of ours, not of obstore's, without success.

    Parameters
    ----------
    status, text
        Of the reply, and its body; without a status the reason why there is none.
    kind
        That reason as ``Reply`` knows it.
    sent
        Whether the request left.
    """

    def __init__(self, status: int | None, text: str, kind: str = "", *, sent: bool = True) -> None:
        super().__init__(text if status is None else f"status {status}: {text}")
        self.status = status
        self.text = text
        self.kind = kind
        self.sent = sent


class Request(msgspec.Struct, frozen=True):
    """What was asked: enough to say it in an error. ``key`` is that of the bucket."""

    action: Action
    bucket: str
    key: str = ""
    endpoint: str = ""
    region: str = ""

    @property
    def resource(self) -> str:
        """The object, or the bucket, as a URL."""
        return f"s3://{self.bucket}/{self.key}" if self.key else f"s3://{self.bucket}"


class Reply(msgspec.Struct, frozen=True):
    """What of the reply is known.

    Without ``status`` there was none, or none that failed as a whole; unless it was ``sent``, the
    request never left, for want of a connection.
    """

    status: int | None
    code: str
    message: str
    region: str
    kind: str
    sent: bool


def read_reply(error: Exception) -> Reply:
    """Take an error of obstore, or one of our own, apart."""
    if isinstance(error, BrokenBody):
        return Reply(None, "", str(error), "", "Interrupted", sent=True)
    if isinstance(error, HttpFailure):
        return _read_failure(error)
    text, _, debug = str(error).rpartition("\n\nDebug source:\n")
    text = text or debug
    # The key comes before the reply, and may look like one.
    status = list(_STATUS.finditer(text))
    body = text[status[-1].end() :] if status else text
    one = _ONE_OF_MANY.search(text)  # the request was answered, but not all keys are gone
    if one:
        return Reply(None, one[2], one[1], "", "", sent=True)
    code = _CODE.search(body)
    message = _MESSAGE.search(body)
    region = _REGION.search(body)
    kind = _KIND.search(debug)
    if message:
        said = html.unescape(message[1])
    elif status:
        said = ""
    else:
        said = _cause(text, debug)
    return Reply(
        int(status[-1][1]) if status else None,
        code[1] if code else "",
        said,
        region[1] if region else "",
        kind[1] if kind else "",
        sent=not _NOT_SENT.search(debug),
    )


def _read_failure(error: HttpFailure) -> Reply:
    if error.status is None:
        return Reply(None, "", error.text, "", error.kind, error.sent)
    code = _CODE.search(error.text)
    message = _MESSAGE.search(error.text)
    region = _REGION.search(error.text)
    return Reply(
        error.status,
        code[1] if code else "",
        html.unescape(message[1]) if message else "",
        region[1] if region else "",
        "",
        sent=True,
    )


def classify(error: Exception, request: Request) -> Fault:
    """Return what went wrong with ``request``, and whether asking again may help."""
    reply = read_reply(error)
    for rule in (_final, _denied, _transient):
        fault = rule(reply, request)
        if fault is not None:
            return fault
    return _fault(StoreError, f"{request.resource}: {_said(reply) or error}")


def is_throttled(reply: Reply) -> bool:
    """Return whether the store wants to be asked less."""
    return reply.status in (429, 503) or reply.code in _THROTTLED


def _final(reply: Reply, request: Request) -> Fault | None:
    resource = request.resource
    if reply.code == "NoSuchBucket" or (
        reply.status == 404 and request.action not in ("get", "head", "copy")
    ):
        return _fault(BucketMissing, f"there is no bucket {request.bucket}")
    if reply.status == 404:
        return _fault(ObjectMissing, f"there is no object {resource}")
    if reply.status == 412:
        if request.action == "create":
            return _fault(ObjectExists, f"there is an object {resource} already")
        return _fault(ObjectChanged, f"{resource} has been replaced since it was looked at")
    if reply.status == 416:
        return _fault(CorruptObject, f"{resource} ends before the bytes that are asked for")
    if (
        reply.status in (301, 307, 308)
        or reply.code in _ELSEWHERE
        or "redirect without LOCATION" in reply.message
    ):
        where = f", but in {reply.region}" if reply.region else ""
        return _fault(
            WrongRegion,
            f"the bucket {request.bucket} is not in {request.region}{where}",
            hint=f"set AWS_REGION to {reply.region or 'the region of the bucket'}",
        )
    return None


def _denied(reply: Reply, request: Request) -> Fault | None:
    if reply.code in _SKEWED:
        return _fault(
            ClockSkew,
            "the clock of this machine differs too much from that of the store",
            hint="set the clock, for example with NTP",
        )
    if reply.code in _EXPIRED:
        return _fault(CredentialsExpired, "the AWS credentials have expired", hint="log in again")
    if reply.code in _REFUSED:
        return _fault(
            StoreDenied, f"the store refuses the credentials for {request.resource}: {_said(reply)}"
        )
    if reply.status in (401, 403) or reply.code in _FORBIDDEN:
        hint = None
        if request.action in ("get", "head", "copy"):
            hint = "without s3:ListBucket, S3 says the same of an object that does not exist"
        detail = f": {_said(reply)}" if _said(reply) else ""
        return _fault(
            StoreDenied,
            f"{_PERMISSION[request.action]} on {request.resource} is denied{detail}",
            hint=hint,
        )
    return None


def _transient(reply: Reply, request: Request) -> Fault | None:
    status = reply.status
    if (
        reply.code in _TRANSIENT | _THROTTLED
        or (status is not None and (status >= 500 or status in (408, 409, 425, 429)))
        or (status is None and reply.kind)
        or reply.message.startswith("Requested ")  # a reply with another range than was asked for
    ):
        what = _said(reply) or (f"status {status}" if status else reply.kind)
        text = f"{request.resource} cannot be used now: {what}"
        if not reply.sent:
            text = f"{request.endpoint} cannot be reached: {what}"
        return _fault(StoreUnavailable, text, retry=True)
    return None


def _fault(
    kind: Callable[..., StarlingError], text: str, *, hint: str | None = None, retry: bool = False
) -> Fault:
    return Fault(kind(text, hint=hint), retry)


def _said(reply: Reply) -> str:
    return ": ".join(part for part in (reply.code, reply.message) if part)


def _cause(text: str, debug: str) -> str:
    """Return the innermost reason that the HTTP client gives, in one line."""
    kind = _KIND.search(debug)
    if kind and kind[1] == "Timeout":
        return "no answer in time"
    cause = _CAUSE.search(debug)
    if cause:
        return cause[1]
    if "IncompleteMessage" in debug or "ConnectionReset" in debug:
        return "the connection was closed"
    if "IncompleteBody" in debug:
        return "the connection was closed within the body"
    return text.strip().splitlines()[0].removeprefix("Generic S3 error: ") if text else ""
