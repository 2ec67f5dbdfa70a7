"""When a coordinator saves, and when it has to stop: with a driver that does nothing by itself."""

from __future__ import annotations

import asyncio
import time

import pytest

from starling_py.coordinator.progress import Progress
from starling_py.detached import watch
from starling_py.detached.files import Seen
from starling_py.detached.watch import Times, Watch
from starling_py.shuffle.errors import StoreUnavailable
from starling_py.shuffle.meter import RequestCounts


class IdleDriver:
    def __init__(self, running: int) -> None:
        self.running = running
        self.told: list[str] = []
        self._end = asyncio.Event()

    async def reports(self):
        await self._end.wait()
        return None if self.told[-1] == "leave" else {}

    def progress(self) -> Progress:
        return Progress()

    def drain(self) -> None:
        self.told.append("drain")

    def leave(self) -> None:
        self.told.append("leave")
        self._end.set()

    def cancel(self) -> None:
        self.told.append("cancel")
        self._end.set()


class Files:
    def __init__(self, *seen: Seen, fails: int = 0) -> None:
        self.seen = list(seen)
        self.fails = fails
        self.saved: list[str] = []

    def look(self) -> Seen:
        return self.seen.pop(0) if len(self.seen) > 1 else self.seen[0]

    def save(self, claim: int, sequence: int, _: object) -> str:
        if self.fails:
            self.fails -= 1
            raise StoreUnavailable("away")
        self.saved.append(f"{claim}-{sequence}")
        return self.saved[-1]

    def forget(self, name: str) -> None:
        self.saved.remove(name)


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_STEP_SECONDS", "_SAVE_SECONDS", "_LOOK_SECONDS", "BEAT_SECONDS"):
        monkeypatch.setattr(watch, name, 0.001)


def run(files: Files, *, running: int = 1, drain: float = 20.0, leave: float = 20.0):
    async def watching():
        driver = IdleDriver(running)
        now = time.time()
        times = Times(now + drain, now + leave)
        made = Watch(driver, files, 3, times, RequestCounts)
        return await made.until_end(), made, driver.told

    return asyncio.run(watching())


def test_a_later_claim_ends_it_without_another_state():
    files = Files(Seen(claim=3), Seen(claim=4))
    reports, made, told = run(files)
    assert (reports, made.is_superseded, told) == (None, True, ["leave"])


def test_an_ending_cancels_what_runs():
    reports, made, told = run(Files(Seen(claim=3), Seen(claim=3, has_ending=True)))
    assert (reports, made.is_superseded, told) == ({}, False, ["cancel"])


def test_it_leaves_when_nothing_runs_any_more_or_there_is_no_more_time():
    for running, leave in ((0, 20.0), (1, 0.05)):
        files = Files(Seen(claim=3))
        reports, made, told = run(files, running=running, drain=0.0, leave=leave)
        assert (reports, made.is_superseded, told) == (None, False, ["drain", "leave"])
        # Of its states the last one is there.
        assert len(files.saved) == 1


def test_a_store_that_is_away_for_a_moment_does_no_harm():
    files = Files(Seen(claim=3), fails=3)
    run(files, running=1, drain=0.2, leave=0.3)
    assert len(files.saved) == 1


def test_of_short_lives_the_times_are_shares():
    assert Times.of(0.0, 900.0) == Times(840.0, 890.0)
    assert Times.of(0.0, 8.0) == Times(4.0, 6.0)
    assert Times.of(9.0, 8.0) == Times(8.0, 8.0)
