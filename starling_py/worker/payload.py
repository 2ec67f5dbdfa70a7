"""What a client and a function say to one another: JSON around compressed specs and reports."""

from __future__ import annotations

import base64
import binascii
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

import msgspec
import pyarrow as pa

from starling_py.operators.task import TaskReport, TaskSpec
from starling_py.shuffle.errors import ErrorRecord, ObjectExists
from starling_py.shuffle.locations import S3Location
from starling_py.shuffle.s3_options import S3Options
from starling_py.worker.errors import BadInvocation

if TYPE_CHECKING:
    from starling_py.shuffle.objects import ObjectStore

__all__ = [
    "CALL_LIMIT",
    "RELEASE",
    "VERSION",
    "Invocation",
    "Outcome",
    "as_text",
    "call_key",
    "decode_outcome",
    "from_text",
    "keep",
    "pack",
    "unpack",
    "unpack_report",
    "unpack_spec",
]

RELEASE = "0.1.0"
"""Of the package: a bundle has no metadata to look it up in."""

WIRE = 4
"""Grows with every change to what follows, to specs and to reports."""

VERSION = f"{RELEASE}+{WIRE}"
"""Client and function have the same, or nothing to say to one another."""

CALL_LIMIT = 6 * 1000 * 1000 - 64 * 1024
"""Bytes of a request or an answer as they are sent; what is larger goes through the store."""

_UNPACKED_LIMIT = 256 << 20
_SIZE_BYTES = 8
_CODEC = "lz4"


class Invocation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A task for a function. The spec is text of :func:`as_text`, or packed under ``spec_key``.

    ``store`` is where the query's objects are, and ``data`` how scans reach S3. ``others`` are
    specs, as text, for which the function calls itself, once for each, before its own task.
    """

    version: str
    store: S3Location
    data: S3Options
    spec: str = ""
    spec_key: str = ""
    others: tuple[str, ...] = ()


class Outcome(msgspec.Struct, frozen=True):
    """What a function answers: a report, or why there is none.

    ``others`` are the answers of the functions that it has called. With ``outcome_key`` all of that
    is in the store, as JSON.
    """

    version: str
    report: str = ""
    outcome_key: str = ""
    error: ErrorRecord | None = None
    others: tuple[Outcome, ...] = ()


_OUTCOME: msgspec.json.Decoder[Outcome] = msgspec.json.Decoder(Outcome)
_ENCODER = msgspec.msgpack.Encoder()
_SPEC: msgspec.msgpack.Decoder[TaskSpec] = msgspec.msgpack.Decoder(TaskSpec)
_REPORT: msgspec.msgpack.Decoder[TaskReport] = msgspec.msgpack.Decoder(TaskReport)
_T = TypeVar("_T")


def call_key(query: str, nonce: str, kind: str) -> str:
    """Return where a spec or outcome that is too large for a call is kept."""
    return f"{query}/call/{nonce}.{kind}"


def keep(store: ObjectStore, key: str, data: bytes) -> None:
    """Store a spec or outcome. Its key has the nonce of its attempt, so what is there is as good.

    Not a plain put: of two requests for one object the slower is cut off, and some servers that
    speak S3 then put the part that they have got in place of the whole.
    """
    with suppress(ObjectExists):
        store.put_if_absent(key, [data])


def pack(message: msgspec.Struct) -> bytes:
    """Return a spec, a report or another struct, compressed."""
    data = _ENCODER.encode(message)
    compressed: bytes = pa.compress(data, _CODEC, asbytes=True)
    return len(data).to_bytes(_SIZE_BYTES, "little") + compressed


def as_text(packed: bytes) -> str:
    """Return what is packed as it stands in JSON."""
    return base64.b64encode(packed).decode("ascii")


def from_text(text: str) -> bytes:
    """Return what :func:`as_text` was given.

    Raises
    ------
    BadInvocation
        If it is something else.
    """
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadInvocation("the payload is not base64") from error


def unpack_spec(packed: bytes) -> TaskSpec:
    """Return a spec.

    Raises
    ------
    BadInvocation
        If it is damaged, too large or no spec.
    """
    return unpack(packed, _SPEC)


def unpack_report(packed: bytes) -> TaskReport:
    """Return a report.

    Raises
    ------
    BadInvocation
        If it is damaged, too large or no report.
    """
    return unpack(packed, _REPORT)


def decode_outcome(body: bytes) -> Outcome | None:
    """Return what a function of any version of Starling's answered, or ``None`` for another's."""
    try:
        return _OUTCOME.decode(body)
    except msgspec.DecodeError:
        return None


def unpack(packed: bytes, decoder: msgspec.msgpack.Decoder[_T]) -> _T:
    """Return what :func:`pack` was given.

    Raises
    ------
    BadInvocation
        If it is damaged, too large or something else.
    """
    size = int.from_bytes(packed[:_SIZE_BYTES], "little")
    if len(packed) <= _SIZE_BYTES:
        raise BadInvocation("the payload is cut off")
    if size > _UNPACKED_LIMIT:
        raise BadInvocation(f"the payload has {size} bytes, {_UNPACKED_LIMIT} are allowed")
    try:
        data = pa.decompress(memoryview(packed)[_SIZE_BYTES:], size, _CODEC, asbytes=True)
        return decoder.decode(data)
    except (OSError, ValueError, pa.ArrowException, msgspec.MsgspecError) as error:
        # Its text may quote what was sent.
        raise BadInvocation(f"the payload is damaged ({type(error).__name__})") from error
