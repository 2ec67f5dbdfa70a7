"""What requests and seconds cost: one dated table, and sums over it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from starling_py.shuffle.meter import RequestCounts

__all__ = ["PRICES", "Prices", "request_dollars"]


class Prices(msgspec.Struct, frozen=True):
    """Dollars per unit, of AWS in ``region`` on ``date``. DELETE requests are free.

    Attributes
    ----------
    get, put
        Per request; HEAD costs as much as GET, LIST as much as PUT.
    gigabyte_second
        Of a function's memory (2^30 bytes), on arm64.
    invocation
        Per function call.
    """

    date: str = "2026-11-01"
    region: str = "us-east-1"
    get: float = 0.0004 / 1000
    put: float = 0.005 / 1000
    gigabyte_second: float = 0.0000133334
    invocation: float = 0.20 / 1_000_000


PRICES = Prices()


def request_dollars(counts: RequestCounts, prices: Prices = PRICES) -> float:
    """Return what S3 charges for these requests. Bytes within a region are free."""
    reads = counts.get + counts.head
    writes = counts.put + counts.list
    return reads * prices.get + writes * prices.put
