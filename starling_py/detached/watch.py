"""Beside a driver in a function: saves how far it has come, and sees when it has to stop."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from starling_py.coordinator.driver import in_thread
from starling_py.shuffle.errors import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from starling_py.coordinator.driver import Driver
    from starling_py.coordinator.progress import Progress
    from starling_py.detached.files import QueryFiles
    from starling_py.detached.state import Saved
    from starling_py.operators.task import TaskReport

__all__ = ["BEAT_SECONDS", "Times", "Watch"]

BEAT_SECONDS = 5.0
"""At least so often a state is saved: who looks at it knows that the coordinator is alive."""

_STEP_SECONDS = 0.1
_SAVE_SECONDS = 1.0
_SAVE_SHARE = 20
"""Of the time, no more than a twentieth goes into saving."""
_LOOK_SECONDS = 2.0
_DRAIN_SECONDS = 60.0
_LEAVE_SECONDS = 10.0
_STOP_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Times:
    """When a coordinator begins no more attempts, and when it leaves those that run."""

    drain_at: float
    leave_at: float

    @classmethod
    def of(cls, now: float, ends_at: float) -> Times:
        """Return the times of a function that is ended then; of short lives they are shares."""
        rest = max(ends_at - now, 0.0)
        return cls(ends_at - min(_DRAIN_SECONDS, rest / 2), ends_at - min(_LEAVE_SECONDS, rest / 4))


class Watch:
    """Runs a driver to the query's end, or as long as there is time.

    Parameters
    ----------
    claim
        The number of the coordinator.
    state
        Returns what is saved of a progress.
    """

    def __init__(
        self,
        driver: Driver,
        files: QueryFiles,
        claim: int,
        times: Times,
        state: Callable[[Progress], Saved],
    ) -> None:
        self._driver = driver
        self._files = files
        self._claim = claim
        self._times = times
        self._state = state
        self._sequence = 0
        self._name = ""
        self._progress: Progress | None = None
        self._save_at = 0.0
        self._beat_at = 0.0
        self._look_at = time.monotonic() + _LOOK_SECONDS
        self._is_draining = False
        self.is_superseded = False
        """Whether somebody else goes on with the query."""

    async def until_end(self) -> dict[int, tuple[TaskReport, ...]] | None:
        """Run the driver, and return the reports of all stages, or ``None`` if it had to stop.

        What has happened until then is saved.

        Raises
        ------
        StarlingError
            If there is no answer, or nothing can be saved.
        """
        running = asyncio.get_running_loop().create_task(self._driver.reports())
        try:
            while not (await asyncio.wait([running], timeout=_STEP_SECONDS))[0]:
                await self._look()
                if self._has_to_leave():
                    self._driver.leave()
                    break
                # What cannot be saved now is saved with the next state.
                with suppress(StoreUnavailable):
                    await self._save()
            reports = await running
        finally:
            if not running.done():
                running.cancel()
                await asyncio.wait([running], timeout=_STOP_SECONDS)
        if reports is None and not self.is_superseded:
            await self._save(now=True)
        return reports

    def _has_to_leave(self) -> bool:
        now = time.time()
        if self.is_superseded:
            return True
        if now >= self._times.drain_at and not self._is_draining:
            self._is_draining = True
            self._driver.drain()
            return False
        return now >= self._times.leave_at or (self._is_draining and not self._driver.running)

    async def _look(self) -> None:
        if time.monotonic() < self._look_at:
            return
        self._look_at = time.monotonic() + _LOOK_SECONDS
        try:
            seen = await in_thread(self._files.look)
        except StoreUnavailable:
            return  # another time
        if seen.has_ending:
            self._driver.cancel()
        self.is_superseded = seen.claim > self._claim

    async def _save(self, *, now: bool = False) -> None:
        moment = time.monotonic()
        if moment < self._save_at and not now:
            return
        progress = self._driver.progress()
        if progress == self._progress and moment < self._beat_at:
            return
        saved = self._state(progress)
        self._sequence += 1
        last, sequence = self._name, self._sequence
        self._save_at = moment + _SAVE_SECONDS
        self._name = await in_thread(lambda: self._files.save(self._claim, sequence, saved))
        if last:
            await in_thread(lambda: self._files.forget(last))
        took = time.monotonic() - moment
        self._progress = progress
        self._save_at = moment + max(_SAVE_SECONDS, took * _SAVE_SHARE)
        self._beat_at = moment + max(BEAT_SECONDS, took * _SAVE_SHARE)
