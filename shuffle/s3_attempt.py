"""One PUT over one connection, which another thread may watch and end at any time."""

from __future__ import annotations

import http.client
import threading
import time
from typing import TYPE_CHECKING

from starling_py.shuffle.s3_connections import Connections, Link
from starling_py.shuffle.s3_errors import HttpFailure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from starling_py.shuffle.objects import Buffer

__all__ = ["Attempt", "PutRequest"]

_KMS = "x-amz-server-side-encryption"
# What is handed to the socket at once, and so how exactly the end of a body is known.
_PIECE = 256 << 10
_REPLY_LIMIT = 64 << 10
# A server that refuses a body closes the connection, but says why before.
_EARLY_REPLY = 1.0


class PutRequest:
    """A PUT that is signed by the first thread that sends it.

    Parameters
    ----------
    path
        Percent-encoded.
    body
        Buffers of unsigned bytes.
    make_headers
        Returns the headers. It may take its time: it hashes, or renews credentials.
    """

    def __init__(
        self, path: str, body: Sequence[memoryview], make_headers: Callable[[], Mapping[str, str]]
    ) -> None:
        self.path = path
        self.body = body
        self.size = sum(len(view) for view in body)
        self._make_headers = make_headers
        self._headers: Mapping[str, str] | None = None
        self._lock = threading.Lock()

    def headers(self) -> Mapping[str, str]:
        """Return the headers, the same for every attempt."""
        with self._lock:
            if self._headers is None:
                self._headers = self._make_headers()
            return self._headers


class Attempt:
    """One PUT. A thread of its own calls ``run``; another one may look on, and ``end`` it."""

    def __init__(self, connections: Connections, request: PutRequest, *, hedge: bool) -> None:
        self._connections = connections
        self._request = request
        self._lock = threading.Lock()
        self._link: Link | None = None
        self._why: HttpFailure | None = None
        self.hedge = hedge
        self.begun = time.monotonic()
        """When it began to connect; before it has, when it was made."""
        self.left = False
        """Whether any of the request has left."""
        self.sent = 0
        """Bytes of the body that the system has taken."""
        self.handed: float | None = None
        """When the system took the last one."""
        self.answered = 0.0
        """When the reply began."""
        self.asked_kms = False
        """Whether the store made a request to KMS for the object."""

    @property
    def deadline(self) -> float:
        """When this attempt has had all its time."""
        return self.begun + self._connections.timeout

    def run(self) -> None:
        """Send the request and read the reply.

        Raises
        ------
        HttpFailure
            Unless the reply is a success.
        StarlingError
            Where there are no credentials to sign with.
        """
        headers = self._request.headers()
        self.begun = time.monotonic()
        link = self._connected()
        keep = False
        try:
            response = self._reply(link, headers)
            self.answered = time.monotonic()
            text = response.read(_REPLY_LIMIT)
            keep = response.isclosed() and not response.will_close
            if not 200 <= response.status < 300:
                raise HttpFailure(response.status, text.decode(errors="replace"))
            self.asked_kms = _asks_kms(response)
        except (OSError, http.client.HTTPException) as error:
            keep = False
            raise self._why or _failure(error) from error
        finally:
            with self._lock:
                self._link = None
            if keep:
                self._connections.give(link)
            else:
                link.close()

    def unsent(self) -> bool:
        """Return whether the system still holds some of the body."""
        with self._lock:
            return self._link is not None and self._link.unsent() > 0

    def end(self, why: HttpFailure) -> None:
        """Make ``run`` fail for this reason; at once, unless it waits for the name service."""
        with self._lock:
            self._why = why
            if self._link is not None:
                self._link.end()

    def _connected(self) -> Link:
        idle = None if self.hedge else self._connections.take()
        link = idle or Link(self._connections)
        with self._lock:
            self._link = link
            why = self._why
        if why is not None:
            link.close()
            raise why
        if idle is not None:
            return link
        try:
            link.open()
        except OSError as error:
            link.close()
            said = "no answer in time" if isinstance(error, TimeoutError) else _text(error)
            raise self._why or HttpFailure(None, said, "Connect", sent=False) from error
        return link

    def _reply(self, link: Link, headers: Mapping[str, str]) -> http.client.HTTPResponse:
        to = link.http
        to.putrequest("PUT", self._request.path, skip_host=True, skip_accept_encoding=True)
        for name, value in headers.items():
            to.putheader(name, value)
        self.left = True
        try:
            to.endheaders()
            for piece in _pieces(self._request.body):
                to.send(piece)
                self.sent += len(piece)
        except TimeoutError:
            raise
        except OSError as error:
            return self._early_reply(link, error)
        self.handed = time.monotonic()
        return to.getresponse()

    def _early_reply(self, link: Link, error: OSError) -> http.client.HTTPResponse:
        try:
            link.http.sock.settimeout(_EARLY_REPLY)
            response = link.http.getresponse()
        except (OSError, http.client.HTTPException):
            raise error from None
        if response.status < 300:
            raise error
        response.will_close = True
        return response


def _asks_kms(response: http.client.HTTPResponse) -> bool:
    """Return whether an object is under a KMS key of its own, and not under a bucket's."""
    kind = response.getheader(_KMS, "")
    in_bucket = response.getheader(f"{_KMS}-bucket-key-enabled", "").lower() == "true"
    return kind.startswith("aws:kms") and not in_bucket


def _pieces(body: Sequence[memoryview]) -> Iterator[Buffer]:
    """Yield the body in pieces of equal size, except the last."""
    small: list[memoryview] = []
    held = 0
    for view in body:
        start = 0
        while start < len(view):
            part = view[start : start + _PIECE - held]
            start += len(part)
            small.append(part)
            held += len(part)
            if held == _PIECE:
                yield small[0] if len(small) == 1 else b"".join(small)
                small, held = [], 0
    if small:
        yield small[0] if len(small) == 1 else b"".join(small)


def _failure(error: Exception) -> HttpFailure:
    if isinstance(error, TimeoutError):
        return HttpFailure(None, "no answer in time", "Timeout")
    return HttpFailure(None, "the connection was closed", "Interrupted")


def _text(error: OSError) -> str:
    return error.strerror or str(error)
