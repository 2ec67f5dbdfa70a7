"""Connections to one endpoint: opened, kept while idle, and ended by any thread."""

from __future__ import annotations

import contextlib
import http.client
import select
import socket
import ssl
import sys
import threading
import time
from collections import deque
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from starling_py.shuffle.s3_options import S3Options

__all__ = ["Connections", "Link"]

# Longer ones may have been forgotten on the way, which nobody would tell.
_IDLE = 20.0


class Connections:
    """Opens connections to one endpoint and keeps idle ones, at most as many as are allowed."""

    def __init__(self, url: str, options: S3Options) -> None:
        parts = urlsplit(url)
        self.secure = parts.scheme == "https"
        self.host = parts.hostname or ""
        self.port = parts.port or (443 if self.secure else 80)
        self.connect_timeout = options.connect_timeout
        self.timeout = options.request_timeout
        self._limit = options.pool_size or options.parallel_reads
        self._lock = threading.Lock()
        self._idle: deque[Link] = deque()
        self._context: ssl.SSLContext | None = None
        self._closed = False

    def tls(self) -> ssl.SSLContext:
        """Return what TLS is spoken with; reading the certificates takes a while, once."""
        with self._lock:
            if self._context is None:
                self._context = ssl.create_default_context()
            return self._context

    def take(self) -> Link | None:
        """Return an idle connection that still stands, if there is one."""
        while True:
            with self._lock:
                if not self._idle:
                    return None
                link = self._idle.pop()
            if link.stands():
                return link
            link.close()

    def give(self, link: Link) -> None:
        """Keep a connection for the next request, or close it."""
        link.idle_since = time.monotonic()
        with self._lock:
            self._idle.append(link)
            full = self._closed or len(self._idle) > self._limit
            surplus = self._idle.popleft() if full else None
        if surplus is not None:
            surplus.close()

    def close(self) -> None:
        """Close the idle connections, and from now on every one that comes back."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, deque()
        for link in idle:
            link.close()


class Link:
    """A connection. ``end`` may be called by any thread; all else belongs to one at a time."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._ended = False
        self.idle_since = 0.0
        self.http = http.client.HTTPConnection(connections.host, connections.port)

    def open(self) -> None:
        """Connect to the first address that answers."""
        to = self._connections
        failure = OSError(f"{to.host} has no address")
        try:
            found = socket.getaddrinfo(to.host, to.port, type=socket.SOCK_STREAM)
        except UnicodeError as error:  # a part of the name is empty or too long
            raise OSError(f"{to.host} is no name of a host") from error
        for family, kind, protocol, _, address in found:
            sock = socket.socket(family, kind, protocol)
            try:
                self._hold(sock)
                sock.settimeout(to.connect_timeout)
                sock.connect(address)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if to.secure:
                    sock = self._wrap(sock)
            except OSError as error:
                failure = error
                with self._lock:
                    self._socket = None
                sock.close()
                continue
            sock.settimeout(to.timeout)
            self.http.sock = sock
            return
        raise failure

    def stands(self) -> bool:
        """Return whether the other side has said nothing since, not even that it closes."""
        sock = self._socket
        if sock is None or time.monotonic() - self.idle_since > _IDLE:
            return False
        poll = select.poll()
        poll.register(sock, select.POLLIN)
        return not poll.poll(0)

    def unsent(self) -> int:
        """Return the bytes that the other side has not acknowledged, where the system tells."""
        if sys.platform != "linux":
            return 0
        import fcntl
        import termios

        with self._lock:
            if self._socket is None:
                return 0
            try:
                answer = fcntl.ioctl(self._socket, termios.TIOCOUTQ, bytes(4))
            except OSError:
                return 0
        return int.from_bytes(answer, sys.byteorder)

    def end(self) -> None:
        """Wake whoever waits for this connection, which is of no use any more."""
        with self._lock:
            self._ended = True
            if self._socket is not None:
                with contextlib.suppress(OSError):
                    # The one of TLS would forget that there is TLS while the owner writes.
                    socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def close(self) -> None:
        """Let go of the connection; its owner alone does that."""
        with self._lock:
            self._socket = None
        self.http.close()

    def _hold(self, sock: socket.socket) -> None:
        with self._lock:
            if self._ended:
                raise ConnectionAbortedError("nobody wants the connection any more")
            self._socket = sock

    def _wrap(self, sock: socket.socket) -> ssl.SSLSocket:
        context = self._connections.tls()
        with self._lock:
            wrapped = context.wrap_socket(
                sock, server_hostname=self._connections.host, do_handshake_on_connect=False
            )
            self._socket = wrapped
        try:
            wrapped.do_handshake()
        except BaseException:
            wrapped.close()
            raise
        return wrapped
