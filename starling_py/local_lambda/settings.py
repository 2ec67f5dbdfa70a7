"""What a local Lambda is like: its functions, limits and faults."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["Faults", "FunctionSettings", "Limits", "Service", "Statistics"]

_MEGABYTE = 1 << 20


@dataclass(frozen=True, slots=True)
class FunctionSettings:
    """One function.

    Parameters
    ----------
    handler
        Module and function, with dots.
    memory
        Mebibytes.
    timeout
        Seconds for one call.
    bundle
        A directory or a zip with all that the function imports; by default it is what is
        installed here.
    environment
        Its variables. The credentials of its role go here too.
    reserved
        Calls at once that are kept for it, and its limit.
    """

    name: str = "starling-worker"
    handler: str = "starling_py.worker.handler.handle"
    memory: int = 1769
    timeout: float = 900.0
    bundle: Path | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    reserved: int | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """Those of the account and of the service.

    ``concurrency`` calls run at once. New instances of a function: ``scaling_burst`` at first, then
    ``scaling_rate`` a second. ``init_seconds`` are for loading the code. Asynchronous calls that
    fail are repeated twice, the first time after ``retry_seconds``, then after twice that.
    """

    concurrency: int = 1000
    scaling_burst: int = 1000
    scaling_rate: float = 100.0
    request_bytes: int = 6 * _MEGABYTE
    response_bytes: int = 6 * _MEGABYTE + 100
    event_bytes: int = 1 * _MEGABYTE
    init_seconds: float = 10.0
    retry_seconds: float = 60.0


@dataclass(frozen=True, slots=True)
class Faults:
    """What goes wrong, as shares of all calls, and how long each takes to arrive.

    Half of the calls that crash or time out do so after the function has done its work. The same
    ``seed`` gives the same calls, in order of arrival. Actions in ``denied`` are not allowed.
    """

    seed: int = 0
    throttle: float = 0.0
    crash: float = 0.0
    timeout: float = 0.0
    unavailable: float = 0.0
    latency: float = 0.0
    denied: frozenset[str] = frozenset()


@dataclass(slots=True)
class Service:
    """Where the service is; its port is known when it listens."""

    region: str
    port: int
    account: str = "000000000000"

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def arn(self, name: str) -> str:
        """Return the full name of a function."""
        return f"arn:aws:lambda:{self.region}:{self.account}:function:{name}"


@dataclass(slots=True)
class Statistics:
    """What has happened so far. ``billed`` are seconds, each call rounded up to milliseconds."""

    calls: int = 0
    cold: int = 0
    warm: int = 0
    throttled: int = 0
    failed: int = 0
    in_flight: int = 0
    most_in_flight: int = 0
    billed: float = 0.0
