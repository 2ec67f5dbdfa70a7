"""A small S3 that answers as it is told, one request after the other, and counts."""

from __future__ import annotations

import contextlib
import random
import select
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from starling_py.shuffle.retry import RetryPolicy
from starling_py.shuffle.s3 import S3Store
from starling_py.shuffle.s3_credentials import Credentials
from starling_py.shuffle.s3_options import S3Options

DATA = bytes(range(256)) * 40  # every object of the small server
QUICK = RetryPolicy(attempts=4, base=0.001, cap=0.002)


@dataclass(frozen=True)
class Fault:
    """An answer other than the right one; without a status the connection is closed."""

    status: int | None = None
    code: str = ""
    extra: str = ""
    keep: int | None = None  # bytes of the right body, then the connection is closed
    fewer: int = 0  # bytes by which the reply is shorter than what was asked, and says so
    lost: int = 0  # bytes of the body that are missing although its head promises them
    after: bool = False  # the request is done before it fails
    seconds: float = 0.0


@dataclass
class Script:
    """What the server is to answer next, and what it was asked."""

    faults: deque[Fault] = field(default_factory=deque)
    asked: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)  # of every right answer
    created: set[str] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)
    closed: int = 0  # connections on which nobody was left to take the answer
    released: threading.Event = field(default_factory=threading.Event)
    in_flight: int = 0
    most_in_flight: int = 0

    def kinds(self) -> Counter[str]:
        return Counter(method for method, _, _ in self.asked)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body leave together
    server: Server

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base says so
        pass

    def handle_any(self) -> None:
        script = self.server.script
        self.rfile.read(int(self.headers.get("content-length") or 0))
        with script.lock:
            method = self.command
            if "list-type" in self.path:
                method = "LIST"
            script.asked.append((method, self.path, dict(self.headers)))
            fault = script.faults.popleft() if script.faults else Fault(status=200)
            script.in_flight += 1
            script.most_in_flight = max(script.most_in_flight, script.in_flight)
        try:
            if fault.seconds and self.wait(script, fault.seconds):
                with script.lock:
                    script.closed += 1
                self.close_connection = True
                return
            self.answer(method, fault)
        finally:
            with script.lock:
                script.in_flight -= 1

    def wait(self, script: Script, seconds: float) -> bool:
        """Wait for the time or the end of the test; return whether the client has gone before."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not script.released.wait(0.005):
            if select.select([self.connection], [], [], 0)[0]:
                return True  # a client that waits for an answer says nothing
        return False

    do_GET = do_PUT = do_HEAD = do_POST = handle_any  # noqa: N815 - http.server looks for these

    def answer(self, method: str, fault: Fault) -> None:
        script = self.server.script
        if method == "PUT" and (fault.status == 200 or fault.after):
            with script.lock:
                if self.path in script.created and "if-none-match" in self.headers:
                    fault = Fault(412, "PreconditionFailed")
                script.created.add(self.path)
        if fault.keep is not None or fault.fewer or fault.lost:
            self.reply(method, cut=fault.keep, fewer=fault.fewer, lost=fault.lost)
        elif fault.status is None:
            self.close_connection = True
        elif fault.status == 200:
            self.reply(method)
        else:
            body = f"<Error><Code>{fault.code}</Code>{fault.extra}</Error>" if fault.code else ""
            self.send(fault.status, body.encode(), {})

    def reply(self, method: str, cut: int | None = None, fewer: int = 0, lost: int = 0) -> None:
        headers = {"ETag": '"one"', "Last-Modified": "Sun, 12 Oct 2025 17:50:00 GMT"}
        headers |= self.server.script.headers
        body, status = b"", 200
        if method in ("GET", "HEAD"):
            body = DATA
            if wanted := self.headers.get("range"):
                first, _, last = wanted.removeprefix("bytes=").partition("-")
                start = int(first) if first else max(0, len(DATA) - int(last))
                end = min(int(last) + 1 if first else len(DATA), len(DATA)) - fewer
                status, body = 206, DATA[start:end]
                headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(DATA)}"
                body = body[: len(body) - lost]
        elif method == "POST":
            body = b"<DeleteResult><Deleted><Key>k</Key></Deleted></DeleteResult>"
        elif method == "LIST":
            body = b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>"
        self.send(status, body, headers, cut)

    def send(
        self, status: int, body: bytes, headers: dict[str, str], cut: int | None = None
    ) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[:cut])
        if cut is not None:
            self.close_connection = True


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.script = Script()

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing where a client has given up; the tests look at the client."""


@contextlib.contextmanager
def serving() -> Iterator[Server]:
    """Run a server while the context is open."""
    with Server() as made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield made
        made.shutdown()
        thread.join(30)
        assert not thread.is_alive()


def open_store(server: Server, retry: RetryPolicy = QUICK, **options: object) -> S3Store:
    """Return a store on the server whose waits are short and always the same."""
    return S3Store(
        "bucket",
        "some/prefix",
        S3Options(
            endpoint=f"http://127.0.0.1:{server.server_port}",
            retry=retry,
            **{"request_timeout": 30.0, **options},
        ),
        credentials=lambda: Credentials("key", "secret"),
        random_source=random.Random(1),
    )
