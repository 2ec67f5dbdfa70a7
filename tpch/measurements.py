"""What a run of the harness measured, as data: JSON in files, frozen structs in the program."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import msgspec

from starling_py import RequestCounts
from starling_py.prices import Prices
from starling_py.tpch.errors import TpchError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "Execution",
    "Kind",
    "Machine",
    "Measurements",
    "Profile",
    "Settings",
    "Versions",
    "geometric_mean",
    "load",
    "percentile",
    "save",
]

Kind = Literal["power", "throughput"]

FORMAT = 1
"""Grows with every change that an older reader would misread."""


class Machine(msgspec.Struct, frozen=True):
    """Where it ran. ``memory`` is in bytes; ``load`` is the load average when it began."""

    system: str
    processor: str
    cores: int
    memory: int
    load: float


class Versions(msgspec.Struct, frozen=True):
    """``commit`` is that of the engine's source, with a plus sign where it was changed since."""

    starling: str
    commit: str
    python: str
    duckdb: str
    pyarrow: str


class Settings(msgspec.Struct, frozen=True):
    """What was asked for. ``None`` is the engine's own choice, or validation's parameters."""

    data: str
    queries: tuple[int, ...]
    engines: tuple[str, ...]
    warm_up: int = 0
    repeat: int = 1
    streams: int = 0
    seed: int | None = None
    tasks: int | None = None
    workers: int | None = None
    isolation: str = "thread"
    memory: str | None = None
    copy: str | None = None
    scratch: str | None = None
    shuffle: str = "auto"
    doublewrite: bool = False
    target: str = "local"
    function: str | None = None
    prices: Prices = Prices()


class Profile(msgspec.Struct, frozen=True):
    """Where the seconds of an execution went; together they are all of it.

    Seconds of tasks are divided by the number of workers, of which a task takes as many as it has
    threads. ``input`` is fetching and handing over; a scan of local files is part of ``compute``.
    ``partition`` cuts rows, ``output`` commits them, ``task`` is the rest of tasks. ``scheduling``
    is when workers had nothing to do. ``answer`` hands the result over.
    """

    planning: float = 0.0
    scheduling: float = 0.0
    input: float = 0.0
    compute: float = 0.0
    partition: float = 0.0
    output: float = 0.0
    task: float = 0.0
    answer: float = 0.0


class Execution(msgspec.Struct, frozen=True, omit_defaults=True):
    """A query that was run once, from its text to an Arrow table.

    ``dollars`` is its price, ``paid`` what of that is no estimate, ``planned`` the price before it
    ran. ``peak`` is the largest resident memory, in bytes, of this process or of a worker process
    if that had more. ``error`` is the reason why there is no answer, ``difference`` how the answer
    differs from the reference.
    """

    engine: str
    query: int
    seconds: float = 0.0
    began: float = 0.0
    stream: int = 0
    warm_up: bool = False
    rows: int = 0
    stages: int = 0
    tasks: int = 0
    shuffled: int = 0
    cpu_seconds: float = 0.0
    peak: int = 0
    requests: RequestCounts = RequestCounts()
    dollars: float = 0.0
    paid: float = 0.0
    planned: float = 0.0
    profile: Profile = Profile()
    error: str = ""
    difference: str = ""


class Measurements(msgspec.Struct, frozen=True):
    """A whole run. ``seconds`` is from the first query to the last, warm-up included."""

    kind: Kind
    started: str
    scale: float
    machine: Machine
    versions: Versions
    settings: Settings
    seconds: float
    executions: tuple[Execution, ...]
    format: int = FORMAT

    @property
    def engines(self) -> tuple[str, ...]:
        return self.settings.engines

    def timed(self, engine: str, query: int | None = None) -> tuple[Execution, ...]:
        """Return the executions that count: answered, and not to warm up."""
        return tuple(
            each
            for each in self.executions
            if each.engine == engine
            and query in (None, each.query)
            and not (each.warm_up or each.error)
        )

    def answered(self, *engines: str) -> tuple[int, ...]:
        """Return the queries that all these engines have answered, in order."""
        wanted = engines or self.engines
        return tuple(
            query
            for query in sorted(set(self.settings.queries))
            if all(self.timed(engine, query) for engine in wanted)
        )

    def median(self, engine: str, query: int) -> float:
        """Return the median seconds of a query, or NaN."""
        return percentile([each.seconds for each in self.timed(engine, query)], 50)

    def total(self, engine: str, queries: tuple[int, ...]) -> float:
        """Return the medians of queries together."""
        return sum(self.median(engine, query) for query in queries)

    def price(self, engine: str, query: int) -> float:
        """Return the median dollars of a query, or NaN."""
        return percentile([each.dollars for each in self.timed(engine, query)], 50)

    def failures(self) -> tuple[Execution, ...]:
        """Return the executions without an answer, or with a wrong one."""
        return tuple(each for each in self.executions if each.error or each.difference)


def percentile(values: list[float], percent: float) -> float:
    """Return a percentile, between two values in proportion; NaN of nothing."""
    if not values:
        return math.nan
    ordered = sorted(values)
    at = (len(ordered) - 1) * percent / 100
    low = math.floor(at)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (at - low)


def geometric_mean(values: list[float]) -> float:
    """Return the geometric mean of positive values; NaN of nothing."""
    if not values:
        return math.nan
    return math.exp(sum(map(math.log, values)) / len(values))


def save(measured: Measurements, path: Path) -> None:
    """Write a run as JSON.

    Raises
    ------
    TpchError
        If that is not possible.
    """
    text = msgspec.json.format(msgspec.json.encode(measured), indent=1)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text + b"\n")
    except OSError as error:
        raise TpchError(f"cannot write {path}: {error.strerror}") from error


def load(path: Path) -> Measurements:
    """Read a run.

    Raises
    ------
    TpchError
        If the file is not one of a run, or of a later version of it.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise TpchError(f"cannot read {path}: {error.strerror}") from error
    try:
        found = msgspec.json.decode(data, type=Measurements)
    except (msgspec.DecodeError, ValueError) as error:
        raise TpchError(
            f"{path} is not the result of a run: {error}",
            hint="starling tpch run --output FILE writes one",
        ) from error
    if found.format > FORMAT:
        raise TpchError(f"{path} is of a later version of the harness")
    return found
