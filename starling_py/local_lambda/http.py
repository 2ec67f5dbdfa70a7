"""As much of an HTTP/1.1 server as Lambda's clients need, on asyncio's streams."""

from __future__ import annotations

import asyncio
import contextlib
import http
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

__all__ = ["Listener", "Request", "Response"]

_HEAD_BYTES = 1 << 16
_PIECE = 1 << 16


@dataclass(frozen=True, slots=True)
class Request:
    """``path`` is decoded, header names are in lower case; a body past the limit is left out."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    length: int


@dataclass(frozen=True, slots=True)
class Response:
    """The length is added."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


class Listener:
    """A port of the loopback.

    Parameters
    ----------
    limit
        Bytes of a body that is kept.
    """

    def __init__(self, answer: Callable[[Request], Awaitable[Response]], limit: int) -> None:
        self._answer = answer
        self._limit = limit
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def start(self, port: int = 0) -> int:
        """Listen, on any free port by default, and return the port."""
        self._server = await asyncio.start_server(
            self._serve, "127.0.0.1", port, limit=_HEAD_BYTES, backlog=1024
        )
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Stop listening and drop all connections."""
        if self._server is not None:
            self._server.close()
        connections = list(self._connections)
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._connections.add(task)
            task.add_done_callback(self._connections.discard)
        try:
            while (request := await self._read(reader, writer)) is not None:
                _write(writer, await self._answer(request))
                await writer.drain()
                if request.headers.get("connection", "").lower() == "close":
                    break
        except (OSError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # the other side is gone, or speaks something else
        except asyncio.CancelledError:
            pass  # the end of the server is no failure of the task
        finally:
            with contextlib.suppress(OSError):
                writer.close()

    async def _read(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> Request | None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            return None
        first, *lines = head[:-4].decode("latin-1").split("\r\n")
        method, target, _ = first.split(" ", 2)
        pairs = (line.partition(":") for line in lines)
        headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
        if headers.get("expect", "").lower() == "100-continue":
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        body, length = await self._body(reader, headers)
        return Request(method, unquote(target.partition("?")[0]), headers, body, length)

    async def _body(
        self, reader: asyncio.StreamReader, headers: Mapping[str, str]
    ) -> tuple[bytes, int]:
        parts: list[bytes] = []
        total = 0

        async def take(size: int) -> None:
            nonlocal total
            while size:
                part = await reader.readexactly(min(size, _PIECE))
                size -= len(part)
                total += len(part)
                if total <= self._limit:
                    parts.append(part)

        if "chunked" in headers.get("transfer-encoding", "").lower():
            while size := int(await reader.readuntil(b"\r\n"), 16):
                await take(size)
                await reader.readexactly(2)
            await reader.readuntil(b"\r\n")
        else:
            await take(int(headers.get("content-length", "0")))
        return (b"".join(parts) if total <= self._limit else b""), total


def _write(writer: asyncio.StreamWriter, response: Response) -> None:
    try:
        reason = http.HTTPStatus(response.status).phrase
    except ValueError:
        reason = ""
    lines = [f"HTTP/1.1 {response.status} {reason}", f"Content-Length: {len(response.body)}"]
    lines += [f"{name}: {value}" for name, value in response.headers.items()]
    writer.write("\r\n".join([*lines, "", ""]).encode("latin-1") + response.body)
