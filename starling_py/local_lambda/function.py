"""One function: its instances, cold and warm, and how many there may be."""

from __future__ import annotations

import asyncio
import math
import random
import secrets
import signal
import time
import uuid
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from starling_py.local_lambda.endings import Ended, exited, timed_out
from starling_py.local_lambda.instance import Instance
from starling_py.local_lambda.settings import Statistics

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from starling_py.local_lambda.code import Code
    from starling_py.local_lambda.settings import Faults, FunctionSettings, Limits, Service

__all__ = ["Answered", "LocalFunction", "Throttled"]

_MILLISECONDS = 1000


class Throttled(Exception):
    """A call that is refused; ``reason`` is Lambda's word for why."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Answered:
    """How a call ended, and the end of its log."""

    request: str
    ended: Ended
    log: bytes


class LocalFunction:
    """Runs calls in instances.

    Parameters
    ----------
    folder
        For its instances.
    changed
        Called when an instance has been started or has ended.
    """

    def __init__(
        self,
        settings: FunctionSettings,
        limits: Limits,
        faults: Faults,
        *,
        code: Code,
        folder: Path,
        service: Service,
        changed: Callable[[], None],
    ) -> None:
        self.settings = settings
        self.statistics = Statistics()
        self._limits = limits
        self._faults = faults
        self._code = code
        self._folder = folder
        self._service = service
        self._changed = changed
        self._idle: list[Instance] = []
        self._ended: list[Instance] = []
        self._instances: set[Instance] = set()
        self._random = random.Random(faults.seed)  # noqa: S311 - faults are no secret
        self._tokens = float(limits.scaling_burst)
        self._since = time.monotonic()

    @property
    def instances(self) -> tuple[Instance, ...]:
        """All there are."""
        return tuple(self._instances)

    @property
    def concurrency(self) -> int:
        """How many calls may run at once."""
        reserved = self.settings.reserved
        return self._limits.concurrency if reserved is None else reserved

    async def call(self, payload: bytes, *, tail: bool = False, request: str = "") -> Answered:
        """Run a call to its end.

        Parameters
        ----------
        request
            Its number; by default a new one.

        Raises
        ------
        Throttled
            If there may not be one more.
        """
        fault = self._draw()
        statistics = self.statistics
        if fault == "throttle":
            raise self._throttled("CallerRateLimitExceeded")
        if statistics.in_flight >= self.concurrency:
            kind = "Concurrent" if self.settings.reserved is None else "ReservedFunctionConcurrent"
            raise self._throttled(f"{kind}InvocationLimitExceeded")
        if not self._idle and not self._may_grow():
            raise self._throttled("FunctionInvocationRateLimitExceeded")
        statistics.calls += 1
        statistics.in_flight += 1
        statistics.most_in_flight = max(statistics.most_in_flight, statistics.in_flight)
        begun = time.perf_counter()
        try:
            return await self._call(payload, fault, request or str(uuid.uuid4()), tail=tail)
        finally:
            statistics.in_flight -= 1
            # Loading the code is billed too.
            took = (time.perf_counter() - begun) * _MILLISECONDS
            statistics.billed += math.ceil(took) / _MILLISECONDS

    async def _call(self, payload: bytes, fault: str, request: str, *, tail: bool) -> Answered:
        begun = time.perf_counter()
        # The choice is made before anything is waited for: no other call gets the same instance.
        instance = self._take_idle()
        cold = instance is None
        if instance is None:
            instance = self._new_instance()
        try:
            ended = await self._run(instance, request, payload, fault, cold=cold)
            log = b""
            if tail:
                report = self._report(request, instance, time.perf_counter() - begun)
                start = f"START RequestId: {request} Version: $LATEST\n".encode()
                log = start + await instance.log_tail() + report.encode()
        except BaseException:
            await self._discard(instance)
            raise
        while self._ended:
            await self._discard(self._ended.pop())
        if ended.gone or not instance.alive:
            await self._discard(instance)
        else:
            self._idle.append(instance)
        self.statistics.failed += ended.failed
        return Answered(request, ended, log)

    async def _run(
        self, instance: Instance, request: str, payload: bytes, fault: str, *, cold: bool
    ) -> Ended:
        if cold:
            self.statistics.cold += 1
            await instance.start()
            self._changed()
            failure = await instance.ready(request)
            if failure is not None:
                return failure
        else:
            self.statistics.warm += 1
        if fault not in ("crash", "timeout"):
            return await instance.run(request, payload)
        if self._random.random() < 0.5:
            await instance.run(request, payload)
        if fault == "crash":
            return exited(request, -signal.SIGSEGV)
        return timed_out(request, self.settings.timeout)

    def _take_idle(self) -> Instance | None:
        while self._idle:
            instance = self._idle.pop()
            if instance.alive:
                return instance
            self._ended.append(instance)
        return None

    def _draw(self) -> str:
        drawn = self._random.random()
        faults = self._faults
        for name in ("throttle", "crash", "timeout"):
            share = getattr(faults, name)
            if drawn < share:
                return name
            drawn -= share
        return ""

    def _may_grow(self) -> bool:
        now = time.monotonic()
        gained = (now - self._since) * self._limits.scaling_rate
        self._tokens = min(self._limits.scaling_burst, self._tokens + gained)
        self._since = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def _new_instance(self) -> Instance:
        folder = self._folder / secrets.token_hex(8)
        instance = Instance(self.settings, self._limits, self._code, folder, self._service)
        self._instances.add(instance)
        return instance

    async def _discard(self, instance: Instance) -> None:
        self._instances.discard(instance)
        await instance.close()
        self._changed()

    def _throttled(self, reason: str) -> Throttled:
        self.statistics.throttled += 1
        return Throttled(reason)

    def _report(self, request: str, instance: Instance, seconds: float) -> str:
        took = seconds * _MILLISECONDS
        return (
            f"END RequestId: {request}\n"
            f"REPORT RequestId: {request}\tDuration: {took:.2f} ms\tBilled Duration: {took:.0f} ms"
            f"\tMemory Size: {self.settings.memory} MB"
            f"\tMax Memory Used: {instance.most_memory >> 20} MB\n"
        )

    def snapshot(self) -> Statistics:
        """Return what has happened so far."""
        return replace(self.statistics)

    async def close(self) -> None:
        """End all instances."""
        self._idle.clear()
        await asyncio.gather(*(self._discard(instance) for instance in self.instances))
