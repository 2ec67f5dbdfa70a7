"""The loop of a worker process."""

from __future__ import annotations

import contextlib
import os
import queue
import select
import shutil
import socket
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from starling_py.operators.instance import Instance
from starling_py.operators.quoting import decode_path
from starling_py.operators.run import run_task
from starling_py.shuffle.buckets import Buckets
from starling_py.shuffle.errors import CredentialsMissing
from starling_py.shuffle.locations import open_location
from starling_py.shuffle.s3_options import S3Options
from starling_py.worker.messages import (
    LENGTH,
    CancelTask,
    Configure,
    FromWorker,
    Ready,
    Remote,
    Reported,
    RunTask,
    Shutdown,
    ToWorker,
    decode_to_worker,
    frame,
)

if TYPE_CHECKING:
    from starling_py.shuffle.s3_credentials import Credentials

__all__ = ["serve"]

_LOOK_MILLISECONDS = 1000
_INTERRUPT_SECONDS = 0.02
_STOP_SECONDS = 5.0


def serve(descriptor: int, scratch: Path) -> None:
    """Run tasks from the socket ``descriptor`` until its other end closes, or its owner dies.

    If that happens without a word, ``scratch``, which is the coordinator's, is removed.
    """
    with socket.socket(fileno=descriptor) as connection:
        first = _receive(connection)
        if isinstance(first, Configure):
            _Worker(connection, first, scratch).work()
    shutil.rmtree(scratch, ignore_errors=True)


def _receive(connection: socket.socket) -> ToWorker | None:
    header = _read(connection, LENGTH.size)
    if header is None:
        return None
    body = _read(connection, LENGTH.unpack(header)[0])
    return None if body is None else decode_to_worker(body)


def _read(connection: socket.socket, size: int) -> bytes | None:
    """Return exactly ``size`` bytes, or ``None`` when there will be no more."""
    parent = os.getppid()
    data = bytearray()
    poll = select.poll()  # select() refuses descriptors past 1023
    poll.register(connection, select.POLLIN)
    while len(data) < size:
        try:
            # A fork of the coordinator may hold its end of the socket open after its death.
            while not poll.poll(_LOOK_MILLISECONDS):
                if os.getppid() != parent:
                    return None
            part = connection.recv(size - len(data))
        except OSError:
            return None
        if not part:
            return None
        data += part
    return bytes(data)


class _Worker:
    """Runs tasks in the main thread; another one listens for cancellation and for the end."""

    def __init__(self, connection: socket.socket, config: Configure, scratch: Path) -> None:
        self._connection = connection
        self._name = config.name
        self._scratch = scratch
        self._temp_directory = Path(decode_path(config.temp_directory))
        self._remote: Remote | None = None
        self._store = open_location(config.store, self._signed)
        self._buckets: Buckets | None = None
        self._instance = Instance(self._temp_directory)
        self._tasks: queue.SimpleQueue[RunTask | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._nonce = ""
        self._dismissed = False
        self._cancelled = threading.Event()
        self._idle = threading.Event()
        self._idle.set()

    def work(self) -> None:
        listener = threading.Thread(target=self._listen, name="listener", daemon=True)
        listener.start()
        self._send(Ready(os.getpid()))
        while (task := self._tasks.get()) is not None:
            self._run(task)
        self._instance.close()

    def _signed(self) -> Credentials:
        if self._remote is None or self._remote.credentials is None:
            raise CredentialsMissing("the coordinator sent no credentials for S3")
        return self._remote.credentials

    def _open_buckets(self) -> Buckets:
        if self._buckets is None:
            options = self._remote.options if self._remote else S3Options()
            self._buckets = Buckets(options, self._signed)
        return self._buckets

    def _run(self, task: RunTask) -> None:
        spec = task.spec
        self._remote = task.remote or self._remote
        report = run_task(
            spec,
            self._store,
            self._instance,
            worker=self._name,
            isolated=True,
            cancelled=self._cancelled,
            buckets=self._open_buckets,
        )
        with self._lock:
            self._nonce = ""
            self._idle.set()
        self._send(Reported(spec.nonce, report))

    def _send(self, message: FromWorker) -> None:
        # When the coordinator is gone, the listener sees it, cleans up and ends the process.
        with contextlib.suppress(OSError):
            self._connection.sendall(frame(message))

    def _listen(self) -> None:
        while (message := _receive(self._connection)) is not None:
            if isinstance(message, RunTask):
                with self._lock:
                    self._nonce = message.spec.nonce
                    self._cancelled.clear()
                    self._idle.clear()
                self._tasks.put(message)
            elif isinstance(message, CancelTask) and message.nonce == self._nonce:
                self._cancelled.set()
                stopper = threading.Thread(target=self._stop, args=(message.nonce,), daemon=True)
                stopper.start()
            elif isinstance(message, Shutdown):
                self._dismissed = True
                break
        self._end()

    def _stop(self, nonce: str) -> None:
        # Again and again: an interrupt between two statements is lost.
        while True:
            with self._lock:
                if self._nonce != nonce:
                    return
                self._instance.interrupt()
            self._idle.wait(_INTERRUPT_SECONDS)

    def _end(self) -> None:
        """Clean up: the coordinator needs no worker any more, or is dead."""
        self._cancelled.set()
        stopper = threading.Thread(target=self._stop, args=(self._nonce,), daemon=True)
        if self._nonce:
            stopper.start()
        self._idle.wait(_STOP_SECONDS)
        shutil.rmtree(self._temp_directory, ignore_errors=True)
        if not self._dismissed:
            shutil.rmtree(self._scratch, ignore_errors=True)
        # A statement that does not stop must not keep the process.
        os._exit(0)
