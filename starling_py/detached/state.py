"""What a detached query leaves in the bucket, and the event that starts its coordinator.

Each object is a line with the version of who wrote it, and a struct of this module, packed. Only
those of the same version are read.
"""

from __future__ import annotations

import json
from decimal import Decimal
from typing import TYPE_CHECKING, Literal, TypeVar

import msgspec

from starling_py.coordinator.progress import Progress
from starling_py.operators.plan import StagePlan
from starling_py.operators.task import TaskReport
from starling_py.shuffle.errors import ErrorRecord
from starling_py.shuffle.locations import S3Location
from starling_py.shuffle.meter import RequestCounts
from starling_py.shuffle.prices import FunctionUse
from starling_py.shuffle.s3_options import S3Options
from starling_py.worker.errors import FunctionMismatch
from starling_py.worker.payload import VERSION, pack, unpack

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "Claim",
    "Ending",
    "Planned",
    "Request",
    "Saved",
    "Start",
    "decode",
    "decode_parameters",
    "encode",
    "encode_parameters",
]

_T = TypeVar("_T")


class Request(msgspec.Struct, frozen=True):
    """A query: a statement, the tables that it may name, and how it is to run.

    ``parameters`` are those of the statement, as :func:`encode_parameters` writes them.
    ``options`` are the ways to its tables, ``function`` is that of its tasks, and ``deadline`` in
    seconds since the epoch.
    """

    sql: str
    data: str | None
    tables: tuple[tuple[str, str], ...]
    tasks: int | None
    workers: int
    shuffle: Literal["auto", "direct", "combined"]
    doublewrite: bool
    function: str
    options: S3Options
    deadline: float
    stage_workers: int | None = None
    dialect: str = "duckdb"
    parameters: str = "{}"


class Start(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The event: go on with a query whose coordinator number ``after`` does not any more."""

    version: str
    store: S3Location
    query: str
    after: int = 0


class Claim(msgspec.Struct, frozen=True):
    """A coordinator has begun. ``call`` is the number of the call that it runs in.

    ``author`` differs between those who would be the next coordinator. ``committed`` tasks had
    committed then, to which the ``idle`` coordinators before it have not added.
    """

    author: str
    call: str
    committed: int
    idle: int


class Planned(msgspec.Struct, frozen=True):
    """The plan that all coordinators of a query run, and what planning has asked of stores."""

    plan: StagePlan
    requests: RequestCounts


class Saved(msgspec.Struct, frozen=True):
    """How far a query has come, and what it has asked of stores until then, without planning.

    ``used`` is what all its coordinators have taken.
    """

    progress: Progress
    requests: RequestCounts
    used: FunctionUse = FunctionUse()


class Ending(msgspec.Struct, frozen=True):
    """How a query has ended: with an error, or with the reports of all tasks of its plan.

    The rows of the answer are what the reports of the last stage tell of. ``author`` differs
    between those who would end it. ``seconds`` are since it was planned, ``used`` is what its
    coordinators have taken.
    """

    author: str
    error: ErrorRecord | None = None
    planned: Planned | None = None
    reports: tuple[TaskReport, ...] = ()
    requests: RequestCounts = RequestCounts()
    seconds: float = 0.0
    doublewrite: bool = False
    used: FunctionUse = FunctionUse()


def encode_parameters(parameters: Mapping[str, object]) -> str:
    """Return parameters of the command line as JSON, with the digits of all numbers as they are."""
    return msgspec.json.Encoder(decimal_format="number").encode(parameters).decode()


def decode_parameters(text: str) -> dict[str, object]:
    """Return what :func:`encode_parameters` was given."""
    found: dict[str, object] = json.loads(text, parse_float=Decimal)
    return found


def encode(message: msgspec.Struct) -> bytes:
    """Return a struct as it is stored."""
    return b"\n".join((VERSION.encode(), pack(message)))


def decode(data: bytes, kind: type[_T]) -> _T:
    """Return a struct of a kind.

    Raises
    ------
    FunctionMismatch
        If one of another version has written it.
    BadInvocation
        If it is damaged.
    """
    version, _, packed = data.partition(b"\n")
    if version != VERSION.encode():
        shown = version[:40].decode("ascii", "replace")
        raise FunctionMismatch(
            f"the query is one of version {shown}, this is {VERSION}",
            hint="use the version that it was detached with, or run it again",
        )
    return unpack(packed, msgspec.msgpack.Decoder(kind))
