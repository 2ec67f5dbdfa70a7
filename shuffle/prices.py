"""What a cloud charges per unit: one dated table, which everything that speaks of money uses."""

from __future__ import annotations

import math
from typing import Literal

import msgspec

__all__ = ["Architecture", "FunctionSize", "FunctionUse", "Prices"]

Architecture = Literal["arm64", "x86_64"]

_GIBIBYTE = 1 << 30
_MEBIBYTE = 1 << 20
_MEBIBYTES_PER_CORE = 1769


class Prices(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Dollars per unit, of AWS in ``region`` on ``date``.

    Deleting is free, and so are bytes that come to AWS or stay within a region. Nothing is
    subtracted for free tiers.

    Attributes
    ----------
    get, put
        Per request to S3 Standard. HEAD costs as much as GET, LIST as much as PUT.
    kms
        Per request to KMS, which S3 makes for objects under a KMS key without a bucket key.
    internet, other_region
        Per gigabyte (2^30 bytes) that leaves the region, for the internet or another region.
    call
        Of a function.
    arm64, x86_64
        Per second and gigabyte (2^30 bytes) of a function's memory, by its architecture.
    server, server_hour
        What would run all the time instead, and what it costs an hour.
    """

    date: str = "2026-11-01"
    region: str = "us-east-1"
    get: float = 4e-7
    put: float = 5e-6
    kms: float = 3e-6
    internet: float = 0.09
    other_region: float = 0.02
    call: float = 2e-7
    arm64: float = 0.0000133334
    x86_64: float = 0.0000166667
    server: str = "m7g.4xlarge"
    server_hour: float = 0.6528

    def __post_init__(self) -> None:
        for name, value in msgspec.structs.asdict(self).items():
            if isinstance(value, float) and not (math.isfinite(value) and value >= 0):
                raise ValueError(f"the price {name!r} is {value:g}")

    def second(self, size: FunctionSize) -> float:
        """Return the dollars for one second of a function."""
        rate = self.arm64 if size.architecture == "arm64" else self.x86_64
        return rate * size.gigabytes


class FunctionSize(msgspec.Struct, frozen=True):
    """A function's memory in bytes, which also sets its share of the CPU, and its processor.

    The default is what ``starling deploy`` makes.
    """

    memory: int = 3538 * _MEBIBYTE
    architecture: Architecture = "arm64"

    @property
    def gigabytes(self) -> float:
        """As Lambda bills them: 2^30 bytes."""
        return self.memory / _GIBIBYTE

    @property
    def cores(self) -> float:
        """The share of the CPU, in cores."""
        return self.memory / _MEBIBYTE / _MEBIBYTES_PER_CORE


class FunctionUse(msgspec.Struct, frozen=True):
    """Calls of a function, and for how many seconds in all it ran."""

    calls: int = 0
    seconds: float = 0.0
    size: FunctionSize = FunctionSize()
