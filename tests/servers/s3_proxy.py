"""A proxy before any S3 endpoint: it counts what arrives there, delays it, and breaks some of it.

It counts independently of the engine's own meter, as the server would. Requests are passed on
unchanged, the Host header too, so that signatures stay good.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from random import Random
from types import TracebackType
from urllib.parse import urlsplit

import pytest
from faults import KINDS, Asked, Fault, Kind, Listed, Schedule, Slow, kind_of
from http_wire import PIECE, Hangup, Head, read_head
from proxy_exchange import Connection, Exchange, Seen
from s3_servers import S3Server

from starling_py.shuffle.meter import RequestCounts

SECONDS = 30.0  # for the proxy to start or end


@dataclass
class Traffic:
    """All that went through since the counts were last taken back to zero."""

    log: list[Seen] = field(default_factory=list)
    in_flight: Counter[Kind] = field(default_factory=Counter)
    most: Counter[Kind | None] = field(default_factory=Counter)


class FaultProxy:
    """Listens on a free port of the loopback for as long as its context lasts.

    Parameters
    ----------
    upstream
        URL of the S3 endpoint, or the proxy's server.
    schedule
        What goes wrong; by default nothing. May be replaced between two requests.
    latency
        Seconds that are added to every request, to all in parallel.
    slow
        Requests that take longer still.
    slow_seconds
        How long the faults take that are slow.
    seed
        Chooses the bits that are flipped.
    """

    def __init__(
        self,
        upstream: str | S3Server,
        schedule: Schedule | None = None,
        *,
        latency: float = 0.0,
        slow: Sequence[Slow] = (),
        slow_seconds: float = 0.05,
        seed: int = 0,
    ) -> None:
        parts = urlsplit(upstream if isinstance(upstream, str) else upstream.endpoint)
        self._upstream = (parts.hostname or "127.0.0.1", parts.port or 80)
        self.schedule: Schedule = schedule or Listed()
        self.latency = latency
        self.slow = tuple(slow)
        self.slow_seconds = slow_seconds
        self._bits = Random(seed)
        self._traffic = Traffic()
        self._connections: set[asyncio.Task[None]] = set()
        self._thread: threading.Thread | None = None
        self._port = 0

    def __enter__(self) -> FaultProxy:
        ready: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event, int]] = Future()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._serve(ready)), name="fault-proxy"
        )
        self._thread.start()
        self._loop, self._end, self._port = ready.result(SECONDS)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        assert self._thread is not None
        self._thread.join(SECONDS)
        assert not self._thread.is_alive()

    def __repr__(self) -> str:
        return f"FaultProxy(schedule={self.schedule!r}, slow={self.slow!r})"

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def server(self) -> S3Server:
        """The proxy as a server: its ``store`` and ``options`` go through it."""
        return S3Server(self.endpoint)

    def reset(self, schedule: Schedule | None = None) -> None:
        """Count from zero, and follow another schedule: by default nothing goes wrong."""
        self._traffic = Traffic()
        self.schedule = schedule or Listed()

    @property
    def log(self) -> list[Seen]:
        """The requests in the order in which they arrived."""
        return list(self._traffic.log)

    def counts(self, *, forwarded: bool = False) -> RequestCounts:
        """Return requests and bytes that arrived here, or only those that the server heard of.

        Requests about buckets are left out. Bytes are those that moved, of objects only.
        """
        log = [seen for seen in self.log if seen.forwarded or not forwarded]
        kinds = Counter(seen.asked.kind for seen in log)
        return RequestCounts(
            **{kind: kinds[kind] for kind in KINDS if kind != "other"},
            bytes_in=sum(seen.bytes_in for seen in log),
            bytes_out=sum(seen.bytes_out for seen in log),
        )

    def injected(self) -> Counter[Fault]:
        """Return how often each fault happened."""
        return Counter(seen.fault for seen in self.log if seen.fault)

    def most_in_flight(self, kind: Kind | None = None) -> int:
        """Return how many requests, of one kind or of all, were here at the same time."""
        return self._traffic.most[kind]

    @property
    def connections(self) -> int:
        """Connections of clients that are open now."""
        return len(self._connections)

    async def _serve(
        self, ready: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event, int]]
    ) -> None:
        end = asyncio.Event()

        def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.create_task(self._talk(reader, writer))
            self._connections.add(task)
            task.add_done_callback(self._connections.discard)

        server = await asyncio.start_server(connected, "127.0.0.1", 0, limit=PIECE, backlog=512)
        ready.set_result((asyncio.get_running_loop(), end, server.sockets[0].getsockname()[1]))
        await end.wait()
        server.close()
        for task in list(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        await server.wait_closed()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection, with one to the server beside it."""
        connection = Connection(self._upstream)
        try:
            with contextlib.suppress(Hangup, OSError):
                while head := await read_head(reader):
                    if not await self._answer(head, reader, writer, connection):
                        break
        finally:
            connection.close()
            writer.close()

    async def _answer(
        self,
        head: Head,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        connection: Connection,
    ) -> bool:
        """Serve one request; return whether the connection goes on."""
        traffic, seen = self._traffic, self._see(head)
        kind = seen.asked.kind
        traffic.log.append(seen)
        traffic.in_flight[kind] += 1
        traffic.most[kind] = max(traffic.most[kind], traffic.in_flight[kind])
        traffic.most[None] = max(traffic.most[None], traffic.in_flight.total())
        try:
            exchange = Exchange(seen, head, reader, writer, self.slow_seconds, self._bits)
            return await exchange.run(self.latency, connection)
        finally:
            traffic.in_flight[kind] -= 1

    def _see(self, head: Head) -> Seen:
        method, target, _ = head.first
        asked = Asked(
            len(self._traffic.log), kind_of(method, target), method, target, head.length or 0
        )
        return Seen(
            asked,
            head.headers.get("range", ""),
            self.schedule.draw(asked),
            sum(rule.wait(asked) for rule in self.slow),
        )


@pytest.fixture
def make_proxy(request: pytest.FixtureRequest) -> Iterator[_MakeProxy]:
    """Make proxies that end with the test; a test that fails shows their schedules and seeds."""
    with contextlib.ExitStack() as stack:
        yield _MakeProxy(request.node, stack)


@dataclass
class _MakeProxy:
    node: pytest.Item
    stack: contextlib.ExitStack

    def __call__(self, *arguments: object, **options: object) -> FaultProxy:
        proxy = FaultProxy(*arguments, **options)  # type: ignore[arg-type] # as it says there
        self.node.add_report_section("setup", "fault proxy", repr(proxy))
        return self.stack.enter_context(proxy)
