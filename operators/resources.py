"""What an attempt costs in seconds, requests and memory."""

from __future__ import annotations

import os
import resource
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from starling_py.operators.task import TaskMetrics

if TYPE_CHECKING:
    from starling_py.shuffle.meter import Meter

__all__ = ["Stopwatch", "peak_rss", "process_seconds"]

_START_FIELD = 19
"""Of /proc/self/stat, after the name of the program: ticks from boot to the process's start."""


def peak_rss() -> int:
    """Return the largest resident memory of this process so far, in bytes."""
    try:
        # A process that was just started inherits ``ru_maxrss`` of its parent; this it does not.
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def process_seconds() -> float:
    """Return for how long this process has run, or 0 where the system does not tell."""
    try:
        fields = Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        started = int(fields[_START_FIELD]) / os.sysconf("SC_CLK_TCK")
        return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - started)
    except (OSError, ValueError, AttributeError, IndexError):
        return 0.0


class Stopwatch:
    """Measures an attempt from its making to :meth:`metrics`.

    Parameters
    ----------
    meter
        Counts the requests of the attempt.
    whole_process
        Measure the CPU seconds of the process and not of the calling thread.
    """

    def __init__(self, meter: Meter, *, whole_process: bool) -> None:
        self._meter = meter
        self._clock = time.process_time if whole_process else time.thread_time
        self._cpu = self._clock()
        self._start = self._last = time.perf_counter()
        self._laps: dict[str, float] = {}
        self._cutting = 0.0

    def lap(self, name: Literal["input", "statement", "output"]) -> None:
        """Ascribe the time since the last lap to ``name``."""
        now = time.perf_counter()
        self._laps[name] = now - self._last
        self._last = now

    def cut(self, seconds: float) -> None:
        """Note that cutting rows into partitions took so long, of whatever lap is under way."""
        self._cutting += seconds

    def metrics(self, *, rows_in: int, rows_out: int, bytes_in: int, bytes_out: int) -> TaskMetrics:
        """Return what has been measured."""
        return TaskMetrics(
            seconds=time.perf_counter() - self._start,
            cpu_seconds=self._clock() - self._cpu,
            input_seconds=self._laps.get("input", 0.0),
            statement_seconds=self._laps.get("statement", 0.0),
            output_seconds=self._laps.get("output", 0.0),
            rows_in=rows_in,
            rows_out=rows_out,
            bytes_in=bytes_in,
            bytes_out=bytes_out,
            requests=self._meter.snapshot(),
            peak_rss=peak_rss(),
            partition_seconds=self._cutting,
        )
