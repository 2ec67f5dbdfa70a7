"""HTTP/1.1 messages on asyncio's streams, passed on as they came."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

PIECE = 1 << 18
HEAD_LIMIT = 1 << 16
NO_BODY = (204, 304)


class Hangup(Exception):
    """The other side is gone, or speaks something else than HTTP."""


@dataclass(frozen=True)
class Head:
    """The first line and the headers, with the bytes they came as."""

    raw: bytes
    first: tuple[str, str, str]
    headers: dict[str, str]  # by lower-case name

    @property
    def length(self) -> int | None:
        """Bytes of the body that the head promises."""
        text = self.headers.get("content-length")
        return None if text is None else int(text)

    @property
    def chunked(self) -> bool:
        return "chunked" in self.headers.get("transfer-encoding", "").lower()

    @property
    def status(self) -> int:
        """The status of a reply."""
        return int(self.first[1])

    @property
    def closes(self) -> bool:
        """Whether the connection ends with this message."""
        said = self.headers.get("connection", "").lower()
        return "close" in said or ("HTTP/1.0" in self.first and "keep-alive" not in said)

    def with_length(self, length: int) -> Head:
        """Return the head of the same message with its body in one piece."""
        kept = [
            line
            for line in self.raw.rstrip(b"\r\n").split(b"\r\n")
            if line.partition(b":")[0].lower() not in (b"transfer-encoding", b"content-length")
        ]
        lines = [*kept, b"content-length: %d" % length]
        headers = {**self.headers, "content-length": str(length)}
        headers.pop("transfer-encoding", None)
        return replace(self, raw=b"\r\n".join(lines) + b"\r\n\r\n", headers=headers)


async def read_head(reader: asyncio.StreamReader) -> Head | None:
    """Return the next head, or None if the other side is done."""
    try:
        raw = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise Hangup from error
        return None
    except (asyncio.LimitOverrunError, OSError) as error:
        raise Hangup from error
    first, *lines = raw[:-4].decode("latin-1").split("\r\n")
    parts = (*first.split(" ", 2), "", "")
    pairs = (line.partition(":") for line in lines)
    headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
    return Head(raw, (parts[0], parts[1], parts[2]), headers)


def has_body(reply: Head, method: str) -> bool:
    """Return whether a reply to ``method`` has a body; it may be empty."""
    return method != "HEAD" and reply.status not in NO_BODY and reply.status >= 200


async def pieces(
    reader: asyncio.StreamReader, head: Head, *, reply: bool
) -> AsyncIterator[tuple[bytes, bytes]]:
    """Yield the body bit by bit: the bytes on the wire, and what of them is payload."""
    try:
        if head.chunked:
            async for piece in _chunks(reader):
                yield piece
        elif head.length is not None:
            left = head.length
            while left:
                data = await reader.read(min(left, PIECE))
                if not data:
                    raise Hangup
                left -= len(data)
                yield data, data
        elif reply:  # it ends with the connection
            while data := await reader.read(PIECE):
                yield data, data
    except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError) as error:
        raise Hangup from error


async def _chunks(reader: asyncio.StreamReader) -> AsyncIterator[tuple[bytes, bytes]]:
    while True:
        line = await reader.readuntil(b"\r\n")
        size = int(line.partition(b";")[0], 16)
        if not size:
            break
        yield line, b""
        while size:
            data = await reader.read(min(size, PIECE))
            if not data:
                raise Hangup
            size -= len(data)
            yield data, data
        yield await reader.readuntil(b"\r\n"), b""
    while line != b"\r\n":  # trailers, and the empty line after them
        yield line, b""
        line = await reader.readuntil(b"\r\n")
    yield line, b""


async def whole(reader: asyncio.StreamReader, head: Head, *, reply: bool) -> bytes:
    """Return the payload of a body."""
    return b"".join([payload async for _, payload in pieces(reader, head, reply=reply)])
