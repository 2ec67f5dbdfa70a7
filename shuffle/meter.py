"""Counting of requests and bytes, as a bill would count them."""

from __future__ import annotations

import threading
from typing import Literal

import msgspec

__all__ = ["Meter", "RequestCounts", "RequestKind"]

RequestKind = Literal["get", "put", "head", "list", "delete"]


class RequestCounts(msgspec.Struct, frozen=True):
    """Requests by kind, bytes read (``bytes_in``) and bytes written (``bytes_out``).

    Counts of two moments subtract to what happened between them; counts of two stores add.
    """

    get: int = 0
    put: int = 0
    head: int = 0
    list: int = 0
    delete: int = 0
    bytes_in: int = 0
    bytes_out: int = 0

    @property
    def requests(self) -> int:
        """All requests, of every kind."""
        return self.get + self.put + self.head + self.list + self.delete

    def __add__(self, other: RequestCounts) -> RequestCounts:
        return RequestCounts(
            self.get + other.get,
            self.put + other.put,
            self.head + other.head,
            self.list + other.list,
            self.delete + other.delete,
            self.bytes_in + other.bytes_in,
            self.bytes_out + other.bytes_out,
        )

    def __sub__(self, other: RequestCounts) -> RequestCounts:
        return RequestCounts(
            self.get - other.get,
            self.put - other.put,
            self.head - other.head,
            self.list - other.list,
            self.delete - other.delete,
            self.bytes_in - other.bytes_in,
            self.bytes_out - other.bytes_out,
        )


class Meter:
    """Counts the requests of a store. Any number of threads may count at once.

    A failed request counts as a request; bytes are those that arrived.
    """

    __slots__ = ("_bytes_in", "_bytes_out", "_lock", "_requests")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: dict[RequestKind, int] = dict.fromkeys(
            ("get", "put", "head", "list", "delete"), 0
        )
        self._bytes_in = 0
        self._bytes_out = 0

    def count(
        self, kind: RequestKind, requests: int = 1, *, bytes_in: int = 0, bytes_out: int = 0
    ) -> None:
        """Add ``requests`` requests of one kind, and the bytes that they moved."""
        with self._lock:
            self._requests[kind] += requests
            self._bytes_in += bytes_in
            self._bytes_out += bytes_out

    def snapshot(self) -> RequestCounts:
        """Return what has been counted so far."""
        with self._lock:
            return RequestCounts(
                **self._requests, bytes_in=self._bytes_in, bytes_out=self._bytes_out
            )
