"""Counting of requests and bytes, as a bill would count them."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Literal

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Meter", "RequestCounts", "RequestKind", "metered"]

RequestKind = Literal["get", "put", "head", "list", "delete"]


class RequestCounts(msgspec.Struct, frozen=True, omit_defaults=True):
    """Requests by kind, bytes read (``bytes_in``) and bytes written (``bytes_out``).

    Of these requests ``retries`` repeat one that failed, and ``hedges`` are second ones for
    something that took too long; ``hedges_won`` of them answered first. ``hedge_bytes`` are what
    hedges moved for nothing, theirs or the other's: as much as there was to move, for nobody knows
    how much of it had come when it was cut off. ``kms`` are requests that the store made to KMS for
    these, as far as that is known.

    Counts of two moments subtract to what happened between them; counts of two stores add.
    """

    get: int = 0
    put: int = 0
    head: int = 0
    list: int = 0
    delete: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    retries: int = 0
    hedges: int = 0
    hedges_won: int = 0
    hedge_bytes: int = 0
    kms: int = 0

    @property
    def requests(self) -> int:
        """All requests, of every kind."""
        return self.get + self.put + self.head + self.list + self.delete

    def __add__(self, other: RequestCounts) -> RequestCounts:
        mine, theirs = msgspec.structs.astuple(self), msgspec.structs.astuple(other)
        return RequestCounts(*(a + b for a, b in zip(mine, theirs, strict=True)))

    def __sub__(self, other: RequestCounts) -> RequestCounts:
        mine, theirs = msgspec.structs.astuple(self), msgspec.structs.astuple(other)
        return RequestCounts(*(a - b for a, b in zip(mine, theirs, strict=True)))


class Meter:
    """Counts the requests of a store. Any number of threads may count at once.

    A failed request counts as a request; bytes are those that arrived. What happens within
    :func:`metered` is counted there too.

    Parameters
    ----------
    billed
        Whether somebody charges for the requests. Those to this machine's memory and disk are
        counted here alone.
    """

    __slots__ = ("_billed", "_counts", "_lock")

    def __init__(self, *, billed: bool = True) -> None:
        self._billed = billed
        self._lock = threading.Lock()
        self._counts = RequestCounts()

    def count(
        self, kind: RequestKind, requests: int = 1, *, bytes_in: int = 0, bytes_out: int = 0
    ) -> None:
        """Add ``requests`` requests of one kind, and the bytes that they moved."""
        moved = RequestCounts(bytes_in=bytes_in, bytes_out=bytes_out)
        self.add(msgspec.structs.replace(moved, **{kind: requests}))

    def add(self, counts: RequestCounts) -> None:
        """Add counts, here and in every meter of the calling context."""
        self.record(counts)
        if self._billed:
            for meter in _SCOPES.get():
                meter.record(counts)

    def record(self, counts: RequestCounts) -> None:
        """Add counts here alone."""
        with self._lock:
            self._counts += counts

    def snapshot(self) -> RequestCounts:
        """Return what has been counted so far."""
        with self._lock:
            return self._counts


_SCOPES: ContextVar[tuple[Meter, ...]] = ContextVar("starling_meters", default=())
"""Tasks of an event loop inherit it from whoever hands them over; threads of a pool do not."""


@contextmanager
def metered() -> Iterator[Meter]:
    """Count in a meter of its own what this context asks of stores that cost money."""
    meter = Meter()
    token = _SCOPES.set((*_SCOPES.get(), meter))
    try:
        yield meter
    finally:
        _SCOPES.reset(token)
