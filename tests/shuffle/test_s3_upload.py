"""PUTs with two timers, against servers that speak S3 and a small one that does as it is told."""

from __future__ import annotations

import array
import asyncio
import contextlib
import datetime
import ipaddress
import random
import signal
import socket
import ssl
import struct
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from starling_py.shuffle import s3_attempt
from starling_py.shuffle.errors import (
    CredentialsExpired,
    ObjectExists,
    StoreDenied,
    StoreError,
    StoreUnavailable,
    WrongRegion,
)
from starling_py.shuffle.meter import Meter, RequestCounts, metered
from starling_py.shuffle.retry import Fault
from starling_py.shuffle.s3_credentials import Credentials
from starling_py.shuffle.s3_errors import HttpFailure, Request, classify
from starling_py.shuffle.s3_options import S3Options
from starling_py.shuffle.s3_race import PUT_THREAD
from starling_py.shuffle.s3_upload import Uploader
from starling_py.shuffle.write_policy import WritePolicy, WriteTimes

MEBIBYTE = 1 << 20
SECONDS = 30.0
BODY = random.Random(1).randbytes(300_000)
NEVER = 1e6  # a multiple with which a timer does not fire
# As quick as can be, without learning that the machine is slow.
EAGER = WritePolicy(latency=0.01, commit_multiple=2, multiple=NEVER, adaptive=False)
STALLED = WritePolicy(latency=0.01, commit_multiple=NEVER, multiple=2, adaptive=False)
OFF = WritePolicy(enabled=False)


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@dataclass(frozen=True)
class Act:
    """What the server does with one request; by default what S3 does."""

    status: int | None = None
    code: str = ""
    take: int | None = None  # bytes of the body that are read, instead of all
    hold: bool = False  # wait for ``released`` before the reply
    hang: bool = False  # wait for the end of the test before the rest of the body
    lose: bool = False  # store the object, then close the connection without a reply
    reset: bool = False
    pause: float = 0.0  # seconds before the reply


@dataclass
class Script:
    acts: deque[Act] = field(default_factory=deque)
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    connections: set[tuple[str, int]] = field(default_factory=set)
    objects: dict[str, bytes] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)
    released: threading.Event = field(default_factory=threading.Event)
    over: threading.Event = field(default_factory=threading.Event)
    replies: int = 0


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    server: Server

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base says so
        pass

    def do_PUT(self) -> None:
        script = self.server.script
        with script.lock:
            script.asked.append((self.path, dict(self.headers)))
            script.connections.add(self.client_address)
            act = script.acts.popleft() if script.acts else Act()
        if act.hang:
            script.over.wait(SECONDS)
            self.close_connection = True
            return
        length = int(self.headers["content-length"])
        body = self.rfile.read(length if act.take is None else act.take)
        if act.reset:
            self.request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            return
        status, code = act.status or 200, act.code
        if act.status is None and len(body) == length:
            with script.lock:
                if "if-none-match" in self.headers and self.path in script.objects:
                    status, code = 412, "PreconditionFailed"
                else:
                    script.objects[self.path] = body
        if act.hold:
            script.released.wait(SECONDS)
        script.over.wait(act.pause)
        if act.lose:
            self.close_connection = True
            return
        text = b"" if status == 200 else f"<Error><Code>{code}</Code></Error>".encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        if act.take is not None:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(text)
        self.wfile.flush()
        with script.lock:
            script.replies += 1
        if act.take is not None:
            # As servers do that want to be heard: what comes is thrown away for a while.
            self.request.shutdown(socket.SHUT_WR)
            self.close_connection = True
            self.request.settimeout(SECONDS)
            with contextlib.suppress(OSError):
                for _ in range(8):
                    self.request.recv(65536)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        # Small, so that a body that nobody reads does not fit in.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32768)
        self.script = Script()
        self.context = context

    def finish_request(self, request: socket.socket, client_address: object) -> None:
        if self.context is not None:
            request = self.context.wrap_socket(request, server_side=True)
        super().finish_request(request, client_address)
        if self.context is not None:
            request.close()

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing where a client has given up; the tests look at the client."""


@contextlib.contextmanager
def serving(made: Server) -> Iterator[Server]:
    with made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield made
        finally:
            made.shutdown()
            thread.join(SECONDS)
            assert not thread.is_alive()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving(Server()) as made:
        yield made


@pytest.fixture
def script(server: Server) -> Iterator[Script]:
    server.script = Script()
    yield server.script
    server.script.released.set()
    server.script.over.set()


def sockets() -> set[str]:
    found = set()
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            target = str(entry.readlink())
            if target.startswith("socket:"):
                found.add(target)
    return found


def put_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if PUT_THREAD in thread.name]


@dataclass
class Bench:
    """An uploader, and what it counted."""

    uploader: Uploader
    meter: Meter

    def put(self, key: str = "k", body: bytes = BODY, *, create: bool = False) -> None:
        self.uploader.put(key, [body], create=create)

    def fails(self, *, create: bool = False, body: bytes = BODY) -> Fault:
        """Put, and return what the failure of that is taken for."""
        with pytest.raises(HttpFailure) as raised:
            self.put(create=create, body=body)
        request = Request("create" if create else "put", "bucket", "k", "http://x", "us-east-1")
        return classify(raised.value, request)

    @property
    def counts(self) -> RequestCounts:
        return self.meter.snapshot()


Open = Callable[..., Bench]


def is_tcp_client(server: Server) -> int:
    """Return how many connections to the server this process has open as a client."""
    port = f"{server.server_port:04X}"
    return sum(
        line.split()[2].endswith(f":{port}") and line.split()[3] in ("01", "02")
        for line in Path("/proc/self/net/tcp").read_text().splitlines()[1:]
    )


@pytest.fixture
def opened(server: Server, script: Script) -> Iterator[Open]:
    """Makes uploaders, and looks that they leave nothing behind."""
    assert server.script is script
    with contextlib.ExitStack() as stack:

        def make(policy: WritePolicy = OFF, **options: object) -> Bench:
            meter = Meter()
            values = {"endpoint": f"http://127.0.0.1:{server.server_port}", **options}
            uploader = Uploader(
                "bucket", S3Options(**values), lambda: Credentials("key", "secret"), meter, policy
            )
            stack.callback(uploader.close)
            return Bench(uploader, meter)

        yield make
    assert not put_threads()
    wait_until(lambda: is_tcp_client(server) == 0)


class TestServers:
    """With moto and ministack."""

    @pytest.fixture
    def bench(self, s3_server) -> Iterator[tuple[Bench, object]]:
        store = s3_server.store("")
        meter = Meter()
        options = S3Options(endpoint=s3_server.endpoint)
        bucket = store.url.removeprefix("s3://").rstrip("/")
        uploader = Uploader(bucket, options, lambda: Credentials("testing", "testing"), meter, OFF)
        yield Bench(uploader, meter), store
        uploader.close()
        store.close()
        assert not put_threads()

    @pytest.mark.parametrize(
        "parts",
        [
            [],
            [b""],
            [b"1"],
            [random.Random(2).randbytes(20 * MEBIBYTE)],
            [bytes([number % 256]) * (number % 700) for number in range(3000)],
            [
                b"head",
                pa.py_buffer(b"12345678" * 100_000),
                array.array("Q", [1 << 40]),
                bytearray(b"tail"),
            ],
        ],
        ids=["none", "empty", "one", "large", "many", "typed"],
    )
    def test_comes_back(self, bench, parts) -> None:
        made, store = bench
        key = f"upload/{uuid.uuid4().hex}"
        parts = [memoryview(part) for part in parts]
        made.uploader.put(key, parts, create=True)
        whole = b"".join(parts)
        assert bytes(store.get(key)) == whole
        assert made.counts == RequestCounts(put=1, bytes_out=len(whole))

    @pytest.mark.parametrize(
        "name",
        [
            "a b+c",
            "100%",
            "%41%2F%",
            "...",
            "..a/.b",
            "day=1/x?y=&z#q",
            "caf\u00e9/\u20ac/\U0001f426",
            "~-_.!*'();:@$,[]",
            '"<>\\^`{|}',
        ],
    )
    def test_keys(self, bench, name: str) -> None:
        made, store = bench
        key = f"upload-{uuid.uuid4().hex}/{name}"
        made.put(key, name.encode(), create=True)
        assert bytes(store.get(key)) == name.encode()
        folder = key.partition("/")[0]
        assert [info.key for info in store.list(f"{folder}/")] == [key]

    def test_of_many_writers_one_wins(self, bench) -> None:
        made, store = bench
        key = f"upload/{uuid.uuid4().hex}"
        start = threading.Barrier(16)
        refused: list[int | None] = []

        def write(number: int) -> int | None:
            start.wait(SECONDS)
            try:
                made.put(key, b"%d" % number, create=True)
            except HttpFailure as failure:
                refused.append(failure.status)
                return None
            return number

        with ThreadPoolExecutor(16) as pool:
            winners = [number for number in pool.map(write, range(16)) if number is not None]
        assert len(winners) == 1
        assert set(refused) <= {409, 412}
        assert bytes(store.get(key)) == b"%d" % winners[0]
        assert made.counts == RequestCounts(put=16, bytes_out=len(b"%d" % winners[0]))

    def test_replaces(self, bench) -> None:
        made, store = bench
        key = f"upload/{uuid.uuid4().hex}"
        made.put(key, b"1")
        made.put(key, b"2")
        assert bytes(store.get(key)) == b"2"


class TestTimers:
    def test_a_late_reply_is_overtaken(self, opened: Open, script: Script) -> None:
        script.acts.append(Act(hold=True))
        bench = opened(EAGER)
        bench.put()
        assert len(script.asked) == len(script.connections) == 2
        assert script.objects == {"/bucket/k": BODY}
        size = len(BODY)
        assert bench.counts == RequestCounts(
            put=2, bytes_out=2 * size, hedges=1, hedges_won=1, hedge_bytes=size
        )
        # The same request, to the letter.
        assert script.asked[0] == script.asked[1]

    def test_a_stalled_body_is_overtaken(self, opened: Open, script: Script) -> None:
        body = bytes(20 * MEBIBYTE)
        script.acts.append(Act(hang=True))
        bench = opened(STALLED)
        bench.put(body=body)
        assert script.objects == {"/bucket/k": body}
        counts = bench.counts
        assert 0 < counts.hedge_bytes < len(body)
        assert counts == RequestCounts(
            put=2,
            bytes_out=len(body) + counts.hedge_bytes,
            hedges=1,
            hedges_won=1,
            hedge_bytes=counts.hedge_bytes,
        )

    def test_what_waits_in_this_machine_is_not_sent(self, opened: Open, script: Script) -> None:
        """The second timer starts when the body has left, not when the system has taken it."""
        script.acts.append(Act(hang=True))
        bench = opened(EAGER)
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(bench.put, body=bytes(300_000))
            wait_until(lambda: len(script.asked) == 1)
            time.sleep(20 * WriteTimes(EAGER).commit())
            bench.uploader.close()
            with pytest.raises(StoreError, match="closed"):
                waiting.result(SECONDS)
        assert len(script.asked) == 1
        assert bench.counts == RequestCounts(put=1)

    def test_the_first_may_win_all_the_same(self, opened: Open, script: Script) -> None:
        script.acts.extend([Act(hold=True), Act(hang=True)])
        bench = opened(EAGER)
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(bench.put, body=b"12")
            wait_until(lambda: len(script.asked) == 2)
            script.released.set()
            waiting.result(SECONDS)
        assert bench.counts == RequestCounts(put=2, bytes_out=4, hedges=1, hedge_bytes=2)

    @pytest.mark.parametrize("status", [500, 503, 409, 403])
    def test_the_second_may_fail(self, opened: Open, script: Script, status: int) -> None:
        script.acts.extend([Act(hold=True), Act(status)])
        bench = opened(EAGER)
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(bench.put, body=b"12")
            wait_until(lambda: script.replies == 1)
            assert not waiting.done()
            script.released.set()
            waiting.result(SECONDS)
        assert bench.counts == RequestCounts(put=2, bytes_out=4, hedges=1, hedge_bytes=2)

    def test_the_first_may_fail(self, opened: Open, script: Script) -> None:
        script.acts.extend([Act(503, "SlowDown", hold=True), Act(hold=True)])
        bench = opened(EAGER)
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(bench.put, body=b"12")
            wait_until(lambda: len(script.asked) == 2)
            script.released.set()
            waiting.result(SECONDS)
        assert bench.counts.put == 2

    def test_it_comes_on_a_new_connection(self, opened: Open, script: Script) -> None:
        bench = opened(EAGER)
        with ThreadPoolExecutor(2) as pool:
            script.acts.extend([Act(hold=True)] * 2)
            waiting = [pool.submit(bench.put, f"k{number}") for number in range(2)]
            wait_until(lambda: len(script.connections) >= 2)
            script.released.set()
            for one in waiting:
                one.result(SECONDS)
        before = len(script.connections)
        script.released.clear()
        script.acts.clear()
        script.acts.append(Act(hold=True))
        bench.put()
        assert len(script.connections) == before + 1

    def test_both_may_fail(self, opened: Open, script: Script) -> None:
        script.acts.extend([Act(hold=True, lose=True), Act(403, "AccessDenied", hold=True)])
        bench = opened(EAGER)
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(bench.fails, body=b"12")
            wait_until(lambda: len(script.asked) == 2)
            script.released.set()
            assert type(waiting.result(SECONDS).error) is StoreDenied
        assert bench.counts == RequestCounts(put=2, bytes_out=4, hedges=1, hedge_bytes=4)

    def test_no_more_than_allowed(self, opened: Open, script: Script) -> None:
        script.acts.extend([Act(hold=True)] * 4)
        bench = opened(WritePolicy(True, 0.01, commit_multiple=2, adaptive=False, in_flight=1))
        with ThreadPoolExecutor(3) as pool:
            waiting = [pool.submit(bench.put, f"k{number}") for number in range(3)]
            wait_until(lambda: len(script.asked) == 4)
            time.sleep(0.2)
            assert len(script.asked) == 4
            script.released.set()
            for one in waiting:
                one.result(SECONDS)
        before = bench.counts.hedges
        assert before >= 1
        # What is over takes nobody's place.
        script.acts.clear()
        script.acts.append(Act(hang=True))
        bench.put(body=b"1")
        assert bench.counts.hedges == before + 1

    def test_none_while_the_store_is_asked_too_much(self, opened: Open, script: Script) -> None:
        script.acts.extend([Act(503, "SlowDown"), Act(hold=True)])
        bench = opened(WritePolicy(True, 0.01, commit_multiple=2, adaptive=False, quiet=1e6))
        fault = bench.fails()
        assert type(fault.error) is StoreUnavailable
        assert fault.retry
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(bench.put)
            wait_until(lambda: len(script.asked) == 2)
            time.sleep(0.2)
            script.released.set()
            waiting.result(SECONDS)
        assert bench.counts == RequestCounts(put=2, bytes_out=len(BODY))

    def test_switched_off(self, opened: Open, script: Script) -> None:
        script.acts.append(Act(hold=True))
        bench = opened(WritePolicy(False, 0.001, commit_multiple=1, multiple=1, adaptive=False))
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(bench.put)
            wait_until(lambda: len(script.asked) == 1)
            time.sleep(0.2)
            script.released.set()
            waiting.result(SECONDS)
        assert bench.counts == RequestCounts(put=1, bytes_out=len(BODY))


ANY = [
    Act(),
    Act(pause=0.05),
    Act(503, "SlowDown"),
    Act(500, pause=0.05),
    Act(lose=True),
    Act(lose=True, pause=0.05),
    Act(take=1, reset=True),
    Act(403, "AccessDenied"),
]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from(ANY), max_size=8), st.booleans())
def test_whatever_the_server_does(server: Server, acts: list[Act], create: bool) -> None:
    script = server.script = Script(deque(acts))
    options = S3Options(endpoint=f"http://127.0.0.1:{server.server_port}")
    meter = Meter()
    policy = WritePolicy(latency=0.01, commit_multiple=1, multiple=2, adaptive=False, settle=1.0)
    uploader = Uploader("bucket", options, lambda: Credentials("key", "secret"), meter, policy)
    stored = 0
    for number in range(4):
        body = random.Random(number).randbytes(1000 + number)
        before = meter.snapshot()
        try:
            uploader.put(f"k{number}", [body], create=create)
        except HttpFailure as failure:
            won = 0
            if failure.status == 412:  # the object of a lost reply
                wait_until(lambda: f"/bucket/k{number}" in script.objects)  # noqa: B023
        else:
            won = len(body)
            assert script.objects[f"/bucket/k{number}"] == body
        stored += won
        moved = meter.snapshot() - before
        assert moved.put - moved.hedges in (0, 1)
        assert moved.hedges_won <= moved.hedges <= 1
        assert moved.bytes_out == won + moved.hedge_bytes
        assert moved.hedge_bytes <= 2 * len(body)
    uploader.close()
    assert len(script.asked) <= meter.snapshot().put
    assert stored or len(acts) >= 4
    script.over.set()
    script.released.set()
    assert not put_threads()


class TestCreate:
    """Of two conditional PUTs one finds the object of the other."""

    def test_the_second_wins(self, opened: Open, script: Script) -> None:
        script.acts.append(Act(hang=True))
        bench = opened(WritePolicy(True, 0.01, multiple=2, adaptive=False))
        bench.put(create=True, body=bytes(20 * MEBIBYTE))
        assert bench.counts.hedges_won == 1

    def test_the_first_has_won_and_says_so_late(self, opened: Open, script: Script) -> None:
        script.acts.append(Act(hold=True))
        bench = opened(WritePolicy(True, 0.01, commit_multiple=2, adaptive=False, settle=SECONDS))
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(bench.put, create=True)
            wait_until(lambda: script.replies == 1)
            script.released.set()
            waiting.result(SECONDS)
        size = len(BODY)
        assert bench.counts == RequestCounts(put=2, bytes_out=2 * size, hedges=1, hedge_bytes=size)

    def test_the_first_has_won_and_never_says_so(self, opened: Open, script: Script) -> None:
        script.acts.append(Act(hold=True))
        bench = opened(WritePolicy(True, 0.01, commit_multiple=2, adaptive=False, settle=0.05))
        fault = bench.fails(create=True)
        assert type(fault.error) is ObjectExists
        assert not fault.retry
        assert script.objects == {"/bucket/k": BODY}
        assert bench.counts.put == 2

    def test_the_first_has_won_and_fails(self, opened: Open, script: Script) -> None:
        """That there is an object says more than that something failed."""
        script.acts.extend([Act(500, "InternalError", hold=True), Act(412, hold=True)])
        bench = opened(EAGER)
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(bench.fails, create=True)
            wait_until(lambda: len(script.asked) == 2)
            script.released.set()
            assert type(waiting.result(SECONDS).error) is ObjectExists

    def test_a_lost_reply(self, opened: Open, script: Script) -> None:
        script.acts.append(Act(lose=True))
        bench = opened()
        fault = bench.fails(create=True)
        assert type(fault.error) is StoreUnavailable
        assert fault.retry
        assert type(bench.fails(create=True).error) is ObjectExists
        assert bench.counts == RequestCounts(put=2)

    def test_a_lost_reply_of_the_first_of_two(self, opened: Open, script: Script) -> None:
        script.acts.append(Act(hold=True, lose=True))
        bench = opened(WritePolicy(True, 0.01, commit_multiple=2, adaptive=False, settle=SECONDS))
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(bench.fails, create=True)
            wait_until(lambda: script.replies == 1)
            script.released.set()
            assert type(waiting.result(SECONDS).error) is ObjectExists


class TestFailures:
    @pytest.mark.parametrize(
        ("act", "kind", "text", "retry"),
        [
            (Act(409, "ConditionalRequestConflict"), StoreUnavailable, "Conflict", True),
            (Act(500, "InternalError"), StoreUnavailable, "InternalError", True),
            (Act(503), StoreUnavailable, "status 503", True),
            (Act(400, "EntityTooLarge"), StoreError, "EntityTooLarge", False),
            (Act(403, "AccessDenied"), StoreDenied, "s3:PutObject on s3://bucket/k", False),
            (Act(301), WrongRegion, "not in us-east-1", False),
            (Act(lose=True), StoreUnavailable, "the connection was closed", True),
            (Act(take=100_000, reset=True), StoreUnavailable, "the connection was closed", True),
        ],
        ids=lambda value: str(value) if isinstance(value, Act) else "",
    )
    def test_has_a_type(
        self, opened: Open, script: Script, act: Act, kind: type, text: str, retry: bool
    ) -> None:
        script.acts.append(act)
        bench = opened()
        fault = bench.fails(body=bytes(4 * MEBIBYTE))
        assert type(fault.error) is kind
        assert text in fault.error.message
        assert fault.retry is retry
        assert bench.counts == RequestCounts(put=1)
        bench.put()
        assert bench.counts == RequestCounts(put=2, bytes_out=len(BODY))

    def test_refused_before_the_body_is_there(self, opened: Open, script: Script) -> None:
        script.acts.append(Act(400, "EntityTooLarge", take=1000))
        fault = opened().fails(body=bytes(32 * MEBIBYTE))
        assert "EntityTooLarge" in fault.error.message

    def test_nobody_listens(self, opened: Open) -> None:
        bench = opened(EAGER, endpoint="http://127.0.0.1:9")
        fault = bench.fails()
        assert type(fault.error) is StoreUnavailable
        assert "cannot be reached: Connection refused" in fault.error.message
        assert fault.retry
        assert bench.counts == RequestCounts()

    @pytest.mark.parametrize("host", ["nowhere.invalid", "a" * 70])
    def test_no_such_host(self, opened: Open, host: str) -> None:
        bench = opened(endpoint=f"http://{host}")
        assert "cannot be reached" in bench.fails().error.message
        assert bench.counts == RequestCounts()

    def test_no_answer_in_time(self, opened: Open, script: Script) -> None:
        script.acts.append(Act(hold=True))
        bench = opened(request_timeout=0.1)
        fault = bench.fails()
        assert "no answer in time" in fault.error.message
        assert fault.retry
        assert bench.counts == RequestCounts(put=1)

    def test_a_connection_that_does_not_come_about(self, opened: Open) -> None:
        with socket.socket() as full:
            full.bind(("127.0.0.1", 0))
            full.listen(0)
            # The queue of one is full, so the next SYN is not answered.
            others = [socket.socket() for _ in range(3)]
            for other in others:
                other.setblocking(False)
                other.connect_ex(full.getsockname())
            endpoint = f"http://127.0.0.1:{full.getsockname()[1]}"
            bench = opened(endpoint=endpoint, connect_timeout=0.1)
            fault = bench.fails()
            for other in others:
                other.close()
        assert "cannot be reached: no answer in time" in fault.error.message
        assert bench.counts == RequestCounts()

    def test_credentials_that_cannot_be_renewed(self, server: Server, script: Script) -> None:
        def source() -> Credentials:
            raise CredentialsExpired("log in again")

        meter = Meter()
        options = S3Options(endpoint=f"http://127.0.0.1:{server.server_port}")
        uploader = Uploader("bucket", options, source, meter)
        with pytest.raises(CredentialsExpired, match="log in again"):
            uploader.put("k", [b"1"], create=False)
        uploader.close()
        assert script.asked == []
        assert meter.snapshot() == RequestCounts()


class TestHeaders:
    def test_encryption_and_requester_pays(self, opened: Open, script: Script) -> None:
        options = {"encryption": "aws:kms", "kms_key": "a-key", "requester_pays": True}
        opened(**options).put(create=True)
        headers = script.asked[0][1]
        expected = {
            "content-length": str(len(BODY)),
            "if-none-match": "*",
            "x-amz-request-payer": "requester",
            "x-amz-server-side-encryption": "aws:kms",
            "x-amz-server-side-encryption-aws-kms-key-id": "a-key",
            "x-amz-server-side-encryption-bucket-key-enabled": "true",
        }
        assert expected.items() <= headers.items()
        listed = headers["authorization"].split("SignedHeaders=")[1].split(",")[0].split(";")
        assert sorted({*listed, "authorization"}) == sorted(headers)

    def test_plain(self, opened: Open, script: Script) -> None:
        opened(encryption="AES256").put()
        headers = script.asked[0][1]
        assert headers["x-amz-server-side-encryption"] == "AES256"
        assert not {"if-none-match", "x-amz-request-payer"} & headers.keys()
        assert not [name for name in headers if "kms" in name or "bucket-key" in name]

    def test_anonymous(self, opened: Open, script: Script) -> None:
        opened(anonymous=True).put()
        assert sorted(script.asked[0][1]) == ["content-length", "host"]


class TestConnections:
    def test_one_is_used_again(self, opened: Open, script: Script) -> None:
        bench = opened()
        script.acts.extend([Act(), Act(409), Act(503)])
        bench.put()
        bench.fails()
        bench.fails()
        bench.put()
        assert len(script.connections) == 1

    def test_no_more_are_kept_than_allowed(
        self, opened: Open, server: Server, script: Script
    ) -> None:
        bench = opened(pool_size=2)
        script.acts.extend([Act(hold=True)] * 6)
        with ThreadPoolExecutor(6) as pool:
            waiting = [pool.submit(bench.put, f"k{number}") for number in range(6)]
            wait_until(lambda: len(script.asked) == 6)
            script.released.set()
            for one in waiting:
                one.result(SECONDS)
        wait_until(lambda: is_tcp_client(server) == 2)
        bench.put()
        assert len(script.connections) == 6

    def test_one_that_the_server_closed_is_not_used(self, opened: Open, script: Script) -> None:
        bench = opened()
        bench.put()
        connections = bench.uploader._connections  # noqa: SLF001 - waits for what has no event
        with connections._lock:  # noqa: SLF001
            link = connections._idle[-1]  # noqa: SLF001
        link.http.sock.shutdown(socket.SHUT_WR)  # the server closes its side then
        wait_until(lambda: not link.stands())
        bench.put()
        assert bench.counts == RequestCounts(put=2, bytes_out=2 * len(BODY))
        assert len(script.connections) == 2


class TestEnd:
    def test_close_cuts_off(self, opened: Open, script: Script) -> None:
        script.acts.extend([Act(hold=True), Act(hang=True)])
        bench = opened()
        with ThreadPoolExecutor(2) as pool:
            waiting = [
                pool.submit(bench.put, "one"),
                pool.submit(bench.put, "two", bytes(20 * MEBIBYTE)),
            ]
            wait_until(lambda: len(script.asked) == 2)
            bench.uploader.close()
            for one in waiting:
                with pytest.raises(StoreError, match="closed"):
                    one.result(SECONDS)
        assert bench.counts == RequestCounts(put=2)

    def test_a_closed_one_is_closed(self, opened: Open) -> None:
        bench = opened()
        bench.uploader.close()
        bench.uploader.close()
        with pytest.raises(StoreError, match="closed"):
            bench.put()

    def test_an_interrupt_ends_a_put(self, opened: Open, script: Script, server: Server) -> None:
        script.acts.append(Act(hold=True))
        bench = opened()
        main = threading.get_ident()

        def interrupt() -> None:
            wait_until(lambda: len(script.asked) == 1)
            signal.pthread_kill(main, signal.SIGINT)

        helper = threading.Thread(target=interrupt)
        helper.start()
        with pytest.raises(KeyboardInterrupt):
            bench.put()
        helper.join(SECONDS)
        wait_until(lambda: is_tcp_client(server) == 0)
        assert bench.counts == RequestCounts(put=1)

    def test_nothing_is_left(self, opened: Open, script: Script) -> None:
        before = sockets()
        for _ in range(3):
            script.acts.extend([Act(hold=True), Act(), Act(503), Act(lose=True)])
            bench = opened(EAGER)
            bench.put()
            bench.fails()
            bench.fails()
            bench.uploader.close()
        script.released.set()
        # Those of the server, which is in this process, go too.
        wait_until(lambda: sockets() <= before)
        assert not put_threads()


class TestAsync:
    def test_puts_and_counts_for_the_context(self, opened: Open, script: Script) -> None:
        bench = opened()
        with metered() as counted:
            asyncio.run(bench.uploader.put_async("k", [BODY], create=True))
        assert counted.snapshot() == bench.counts == RequestCounts(put=1, bytes_out=len(BODY))
        assert script.objects == {"/bucket/k": BODY}

    def test_a_late_reply_is_overtaken(self, opened: Open, script: Script) -> None:
        script.acts.append(Act(hold=True))
        bench = opened(EAGER)
        asyncio.run(bench.uploader.put_async("k", [BODY], create=False))
        assert bench.counts.hedges_won == 1

    def test_failures(self, opened: Open, script: Script) -> None:
        script.acts.append(Act(412))
        bench = opened()
        with pytest.raises(HttpFailure) as raised:
            asyncio.run(bench.uploader.put_async("k", [BODY], create=True))
        assert raised.value.status == 412

    def test_cancelling_cuts_off(self, opened: Open, script: Script, server: Server) -> None:
        script.acts.append(Act(hold=True))
        bench = opened()

        async def run() -> None:
            task = asyncio.ensure_future(bench.uploader.put_async("k", [BODY], create=False))
            while not script.asked:
                await asyncio.sleep(0.005)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        asyncio.run(run())
        wait_until(lambda: is_tcp_client(server) == 0)
        assert bench.counts == RequestCounts(put=1)


def certificate(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """Make a certificate for the loopback address, and a context that shows it."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    path = folder / "both.pem"
    path.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return path, context


class TestTls:
    @pytest.fixture
    def secure(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
        path, context = certificate(tmp_path)
        monkeypatch.setenv("SSL_CERT_FILE", str(path))
        with serving(Server(context)) as made:
            yield made
            made.script.released.set()
            made.script.over.set()

    def bench(self, secure: Server, policy: WritePolicy) -> Bench:
        meter = Meter()
        options = S3Options(endpoint=f"https://127.0.0.1:{secure.server_port}")
        uploader = Uploader("bucket", options, lambda: Credentials("key", "secret"), meter, policy)
        return Bench(uploader, meter)

    def test_comes_there(self, secure: Server) -> None:
        body = bytes(3 * MEBIBYTE)
        made = self.bench(secure, OFF)
        made.put(body=body)
        made.put("second", body=body)
        made.uploader.close()
        script = secure.script
        assert script.objects == {"/bucket/k": body, "/bucket/second": body}
        assert script.asked[0][1]["x-amz-content-sha256"] == "UNSIGNED-PAYLOAD"
        assert len(script.connections) == 1

    @pytest.mark.parametrize(
        ("act", "policy"),
        [(Act(hold=True), EAGER), (Act(hang=True), STALLED)],
        ids=["late", "stalled"],
    )
    def test_is_overtaken(self, secure: Server, act: Act, policy: WritePolicy) -> None:
        body = bytes(20 * MEBIBYTE) if act.hang else BODY
        secure.script.acts.append(act)
        made = self.bench(secure, policy)
        made.put(body=body)
        assert made.counts.hedges_won == 1
        assert secure.script.objects == {"/bucket/k": body}
        made.uploader.close()
        assert not put_threads()

    def test_a_stranger_is_not_trusted(
        self, secure: Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("SSL_CERT_FILE")
        made = self.bench(secure, OFF)
        assert "cannot be reached" in made.fails().error.message
        assert "certificate" in made.fails().error.message.lower()
        assert secure.script.asked == []
        assert made.counts == RequestCounts()
        made.uploader.close()


class TestTimes:
    def test_by_the_policy(self) -> None:
        policy = WritePolicy(latency=0.1, bandwidth=1e6, multiple=3, commit_multiple=4)
        times = WriteTimes(policy)
        assert times.commit() == pytest.approx(3 * 0.4)  # nothing is known yet
        times.observe(10, 1, 0.001, 0.01)
        assert times.commit() == pytest.approx(0.4)
        assert times.whole(2_000_000, 1) == pytest.approx(3 * 2.1)
        assert times.whole(2_000_000, 4) == pytest.approx(3 * 8.1)

    def test_expects_more_of_what_is_slower(self) -> None:
        times = WriteTimes(WritePolicy(latency=0.1, bandwidth=1e6, multiple=2, commit_multiple=2))
        for _ in range(15):
            times.observe(10_000_000, 2, 60.0, 1.0)
        assert times.commit() == pytest.approx(2.0)
        # 60.9 seconds for 10 MB, as one of two.
        assert times.whole(1_000_000, 1) == pytest.approx(2 * (1.0 + 3.045))

    def test_few_stragglers_change_nothing(self) -> None:
        times = WriteTimes(WritePolicy(latency=0.1, commit_multiple=2))
        for number in range(15):
            times.observe(10, 1, 0.001, 9.0 if number % 3 == 0 else 0.01)
        assert times.commit() == pytest.approx(0.2)

    @pytest.mark.parametrize(
        "wrong",
        [
            {"latency": 0},
            {"bandwidth": -1},
            {"multiple": 0.5},
            {"commit_multiple": 0},
            {"in_flight": 0},
            {"quiet": -1},
            {"settle": -1},
        ],
        ids=str,
    )
    def test_wrong(self, wrong: dict[str, float]) -> None:
        with pytest.raises(ValueError, match=r"time|slow|hedges"):
            WritePolicy(**wrong)


@given(
    st.lists(st.integers(0, 50).flatmap(lambda size: st.binary(min_size=size, max_size=size))),
    st.integers(1, 40),
)
def test_pieces_are_the_parts(parts: list[bytes], size: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(s3_attempt, "_PIECE", size)
        pieces = list(s3_attempt._pieces([memoryview(part) for part in parts]))  # noqa: SLF001
    assert b"".join(pieces) == b"".join(parts)
    assert all(len(piece) == size for piece in pieces[:-1])
    assert all(0 < len(piece) <= size for piece in pieces)
