"""What the fault proxy does with one request and its reply."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from dataclasses import dataclass
from random import Random

from faults import ANSWERED_HERE, NEVER_FORWARDED, Asked, Fault
from http_wire import PIECE, Hangup, Head, has_body, pieces, read_head, whole

LOOK = 0.05  # seconds between two looks whether a client still waits
DRIPS = 8
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass
class Seen:
    """A request, and what became of it. Bytes are those of bodies of objects."""

    asked: Asked
    byte_range: str = ""
    fault: Fault | None = None
    delay: float = 0.0
    forwarded: bool = False
    status: int | None = None  # of the server
    bytes_in: int = 0
    bytes_out: int = 0


class Connection:
    """The connection to the server that belongs to one of a client."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address
        self._streams: Streams | None = None

    async def open(self) -> Streams:
        if self._streams and (self._streams[0].at_eof() or self._streams[1].is_closing()):
            self.close()
        if self._streams is None:
            self._streams = await asyncio.open_connection(*self._address, limit=PIECE)
        return self._streams

    def close(self) -> None:
        if self._streams:
            self._streams[1].close()
            self._streams = None


@dataclass
class Exchange:
    """One request and its reply."""

    seen: Seen
    head: Head
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    slow_seconds: float
    bits: Random

    async def run(self, latency: float, connection: Connection) -> bool:
        seen = self.seen
        if self.head.headers.get("expect", "").lower() == "100-continue":
            self.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = None
        if seen.fault in NEVER_FORWARDED or seen.delay:
            body = await whole(self.reader, self.head, reply=False)
        await self._wait(latency + seen.delay)
        if seen.fault in ANSWERED_HERE:
            self._refuse(*ANSWERED_HERE[seen.fault])
            return not self.head.closes
        if seen.fault is Fault.RESET:
            return self._cut()
        reply, source = await self._forward(connection, body)
        if seen.fault is None:
            await self._pass_on(reply, source)
            again = True
        else:
            data = b""
            if has_body(reply, seen.asked.method):
                data = await whole(source, reply, reply=True)
                reply = reply.with_length(len(data))
            again = await self._break(seen.fault, reply, data)
        if reply.closes:
            connection.close()
        return again and not (self.head.closes or reply.closes)

    async def _wait(self, seconds: float) -> None:
        """Wait, unless the client goes."""
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while (left := until - loop.time()) > 0:
            await asyncio.sleep(min(left, LOOK))
            if self.reader.at_eof() or self.reader.exception():
                raise Hangup

    async def _forward(
        self, connection: Connection, body: bytes | None
    ) -> tuple[Head, asyncio.StreamReader]:
        """Send the request on; return the head of the reply, and where its body comes from."""
        source, sink = await connection.open()
        self.seen.forwarded = True
        counted = self.seen.asked.kind == "put"
        with contextlib.suppress(OSError):  # the server may answer before it has read everything
            if body is not None:
                sink.write(self.head.with_length(len(body)).raw if body else self.head.raw)
                self.seen.bytes_out += len(body) * counted
                sink.write(body)
            else:
                sink.write(self.head.raw)
                async for raw, payload in pieces(self.reader, self.head, reply=False):
                    self.seen.bytes_out += len(payload) * counted
                    sink.write(raw)
                    await sink.drain()
            await sink.drain()
        reply = await read_head(source)
        while reply is not None and 100 <= reply.status < 200:
            reply = await read_head(source)
        if reply is None:
            raise Hangup
        self.seen.status = reply.status
        return reply, source

    async def _pass_on(self, reply: Head, source: asyncio.StreamReader) -> None:
        self.writer.write(reply.raw)
        if has_body(reply, self.seen.asked.method):
            async for raw, payload in pieces(source, reply, reply=True):
                self._count(reply, payload)
                self.writer.write(raw)
                await self.writer.drain()
        await self.writer.drain()

    async def _break(self, fault: Fault, reply: Head, data: bytes) -> bool:
        """Answer as the fault wants it; return whether the connection goes on."""
        everything = reply.raw + data
        half = len(reply.raw) + len(data) // 2 if data else len(reply.raw) // 2
        if fault is Fault.LOST_REPLY:
            return self._cut()
        if fault in (Fault.RESET_IN_BODY, Fault.TRUNCATED):
            self._count(reply, data[: max(0, half - len(reply.raw))])
            self.writer.write(everything[:half])
            await self.writer.drain()
            return self._cut() if fault is Fault.RESET_IN_BODY else False
        self._count(reply, data)
        if fault is Fault.FLIPPED_BIT and data and reply.status < 300:
            changed = bytearray(everything)
            bit = self.bits.randrange(len(data) * 8)
            changed[len(reply.raw) + bit // 8] ^= 1 << bit % 8
            everything = bytes(changed)
        elif fault is Fault.SLOW_FIRST_BYTE:
            await self._wait(self.slow_seconds)
        elif fault is Fault.SLOW_DRIP:
            size = -(-len(everything) // DRIPS)
            while len(everything) > size:
                self.writer.write(everything[:size])
                await self.writer.drain()
                await self._wait(self.slow_seconds / DRIPS)
                everything = everything[size:]
        self.writer.write(everything)
        await self.writer.drain()
        return True

    def _count(self, reply: Head, payload: bytes) -> None:
        # Before it is sent: whoever has the reply may ask for the counts.
        if self.seen.asked.kind == "get" and reply.status < 300:
            self.seen.bytes_in += len(payload)

    def _refuse(self, status: int, reason: str, code: str) -> None:
        body = b""
        if self.seen.asked.method != "HEAD":
            body = f"<Error><Code>{code}</Code><Message>Injected</Message></Error>".encode()
        self.writer.write(
            f"HTTP/1.1 {status} {reason}\r\ncontent-type: application/xml\r\n"
            f"content-length: {len(body)}\r\n\r\n".encode()
            + body
        )

    def _cut(self) -> bool:
        """Reset the connection."""
        found = self.writer.get_extra_info("socket")
        found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()
        return False
