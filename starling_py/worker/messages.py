"""What a coordinator and a worker process say to one another, over a stream socket."""

from __future__ import annotations

import struct

import msgspec

from starling_py.operators.task import TaskReport, TaskSpec
from starling_py.shuffle.locations import StoreLocation
from starling_py.shuffle.s3_credentials import Credentials
from starling_py.shuffle.s3_options import S3Options

__all__ = [
    "LENGTH",
    "CancelTask",
    "Configure",
    "FromWorker",
    "Ready",
    "Remote",
    "Reported",
    "RunTask",
    "Shutdown",
    "ToWorker",
    "decode_from_worker",
    "decode_to_worker",
    "frame",
]

LENGTH = struct.Struct("<I")
"""Stands before each message."""


class Configure(msgspec.Struct, frozen=True, tag="configure"):
    """The first message: who the worker is, where the objects are and where it may spill.

    Paths of files are percent-encoded.
    """

    name: str
    store: StoreLocation
    temp_directory: str


class Remote(msgspec.Struct, frozen=True):
    """How to reach S3: options for what scans read there, and credentials if requests are signed.

    The credentials sign the requests to the store of objects too.
    """

    options: S3Options
    credentials: Credentials | None = None


class RunTask(msgspec.Struct, frozen=True, tag="run"):
    """Run a task; the next one comes after its report. ``remote`` is there if it needs S3."""

    spec: TaskSpec
    remote: Remote | None = None


class CancelTask(msgspec.Struct, frozen=True, tag="cancel"):
    """Stop the attempt with this nonce, if it still runs; it is reported like any other."""

    nonce: str


class Shutdown(msgspec.Struct, frozen=True, tag="shutdown"):
    """The coordinator needs the worker no more; without this, the stream's end means its death."""


ToWorker = Configure | RunTask | CancelTask | Shutdown


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """The worker waits for tasks."""

    pid: int


class Reported(msgspec.Struct, frozen=True, tag="reported"):
    """A task has ended."""

    nonce: str
    report: TaskReport


FromWorker = Ready | Reported

_ENCODER = msgspec.msgpack.Encoder()
_TO_WORKER: msgspec.msgpack.Decoder[ToWorker] = msgspec.msgpack.Decoder(ToWorker)
_FROM_WORKER: msgspec.msgpack.Decoder[FromWorker] = msgspec.msgpack.Decoder(FromWorker)


def frame(message: ToWorker | FromWorker) -> bytes:
    """Return a message as it goes over the socket."""
    body = _ENCODER.encode(message)
    return LENGTH.pack(len(body)) + body


def decode_to_worker(body: bytes) -> ToWorker:
    """Return what a coordinator said."""
    return _TO_WORKER.decode(body)


def decode_from_worker(body: bytes) -> FromWorker:
    """Return what a worker said."""
    return _FROM_WORKER.decode(body)
