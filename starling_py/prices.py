"""What a run costs in dollars: the table of prices, and sums over what was counted.

``docs/prices.md`` has the formulas and where the figures come from.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from starling_py.catalog.errors import UsageError
from starling_py.shuffle.prices import Architecture, FunctionSize, FunctionUse, Prices

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from starling_py.operators.plan import StagePlan
    from starling_py.operators.task import TaskMetrics
    from starling_py.shuffle.meter import RequestCounts
    from starling_py.shuffle.s3_options import S3Options

__all__ = [
    "PLACE_VARIABLE",
    "PRICES_VARIABLE",
    "Architecture",
    "FunctionSize",
    "Place",
    "PriceItem",
    "Prices",
    "Pricing",
    "RunPrice",
    "client_place",
    "load_prices",
    "price_run",
    "request_dollars",
]

PRICES_VARIABLE = "STARLING_PRICES"
"""In the environment: a file with prices."""
PLACE_VARIABLE = "STARLING_PLACE"
"""In the environment: ``internet``, or the region of AWS in which this machine is."""

Place = Literal["region", "other_region", "internet"]

_GIBIBYTE = 1 << 30
_MILLISECONDS = 1000
_VENDOR = Path("/sys/devices/virtual/dmi/id/sys_vendor")


class PriceItem(msgspec.Struct, frozen=True):
    """A line of a bill. ``estimated`` is what was not asked of anybody who charges for it."""

    name: str
    quantity: float
    unit: str
    dollars: float
    estimated: bool = False


class RunPrice(msgspec.Struct, frozen=True):
    """What a run cost, by the prices of ``date`` in ``region``.

    Of a run on this machine, calls and seconds of functions, and requests for what it found or
    kept here, are estimates of what the same run costs on functions of ``size``.
    """

    items: tuple[PriceItem, ...]
    date: str
    region: str
    size: FunctionSize

    @property
    def dollars(self) -> float:
        """The whole."""
        return sum(item.dollars for item in self.items)

    @property
    def paid(self) -> float:
        """What was really spent: all that is not estimated."""
        return sum(item.dollars for item in self.items if not item.estimated)

    @property
    def estimated(self) -> bool:
        """Whether any of it is an estimate."""
        return any(item.estimated for item in self.items)


@dataclass(frozen=True, slots=True)
class Pricing:
    """What the price of a run depends on beside the run.

    Parameters
    ----------
    size
        Of the functions for which the price of a run on this machine is stated.
    functions
        Whether tasks run on functions.
    remote_scratch
        Whether tasks hand rows to one another through S3.
    options
        Returns how buckets are reached.
    coordinators
        The functions that coordinated the run, where no client did.
    """

    prices: Prices
    size: FunctionSize
    functions: bool
    remote_scratch: bool
    options: Callable[[], S3Options]
    coordinators: FunctionUse | None = None


def load_prices(path: str | os.PathLike[str] | None = None) -> Prices:
    """Return the prices of a TOML or JSON file, or those that are built in.

    A file has the fields of :class:`Prices`, as many of them as differ.

    Parameters
    ----------
    path
        By default what the environment variable STARLING_PRICES names.

    Raises
    ------
    UsageError
        When the file cannot be read, or has something else in it.
    """
    named = path or os.environ.get(PRICES_VARIABLE)
    if not named:
        return Prices()
    try:
        data = Path(named).read_bytes()
        if str(named).endswith(".json"):
            return msgspec.json.decode(data, type=Prices)
        return msgspec.toml.decode(data, type=Prices)
    except OSError as error:
        raise UsageError(f"cannot read the prices in {named}: {error.strerror}") from error
    except (msgspec.DecodeError, ValueError) as error:
        raise UsageError(
            f"the prices in {named} are none: {error}",
            hint="starling prices --format toml shows what such a file has in it",
        ) from error


def request_dollars(counts: RequestCounts, prices: Prices | None = None) -> float:
    """Return what these requests cost, with those to KMS and without what their bytes may cost."""
    paid = prices or Prices()
    reads = counts.get + counts.head
    writes = counts.put + counts.list
    return reads * paid.get + writes * paid.put + counts.kms * paid.kms


def client_place(options: S3Options, environment: Mapping[str, str]) -> Place:
    """Return where this machine is, as seen from the buckets that it reads.

    Whoever has an endpoint of his own has no bill from AWS: prices are as within the region.
    """
    told = environment.get(PLACE_VARIABLE, "").lower()
    if told == "internet":
        return "internet"
    if told:
        return "region" if told == (options.region or "us-east-1") else "other_region"
    if options.endpoint is not None or environment.get("AWS_EXECUTION_ENV"):
        return "region"
    try:
        inside = _VENDOR.read_text(encoding="ascii", errors="replace").startswith("Amazon")
    except OSError:
        inside = False
    return "region" if inside else "internet"


def price_run(
    plan: StagePlan, attempts: Iterable[TaskMetrics], requests: RequestCounts, pricing: Pricing
) -> RunPrice:
    """Return the price of a run.

    Parameters
    ----------
    attempts
        Metrics of every attempt of its tasks.
    requests
        All that were sent, by planning too.
    """
    prices, functions = pricing.prices, pricing.functions
    ended = tuple(attempts)
    items = [
        PriceItem(
            "GET and HEAD",
            requests.get + requests.head,
            "requests",
            (requests.get + requests.head) * prices.get,
        ),
        PriceItem(
            "PUT and LIST",
            requests.put + requests.list,
            "requests",
            (requests.put + requests.list) * prices.put,
        ),
        PriceItem("KMS", requests.kms, "requests", requests.kms * prices.kms),
    ]
    here = requests.bytes_in
    if functions:
        here -= sum(each.requests.bytes_in for each in ended)
    if here > 0 and pricing.coordinators is None:
        # Who has got nothing from S3 need not know how to reach it; functions are in the region.
        items.append(_transfer(here, client_place(pricing.options(), os.environ), prices))
    size = next((each.function for each in ended if each.function), pricing.size)
    seconds = [(_billed(each, size), each.function or size) for each in ended]
    if not functions:
        items += _requests_for_what_is_here(plan, pricing)
        seconds.append((sum(stage.cost.waiting_seconds for stage in plan.stages), size))
    items += [
        PriceItem("calls", len(ended), "calls", len(ended) * prices.call, not functions),
        PriceItem(
            "compute",
            sum(lasted * each.gigabytes for lasted, each in seconds),
            "GB s",
            sum(lasted * prices.second(each) for lasted, each in seconds),
            not functions,
        ),
    ]
    coordinators = pricing.coordinators or FunctionUse()
    lasted = coordinators.seconds
    items += [
        PriceItem(
            "calls of coordinators",
            coordinators.calls,
            "calls",
            coordinators.calls * prices.call,
        ),
        PriceItem(
            "coordinators",
            lasted * coordinators.size.gigabytes,
            "GB s",
            lasted * prices.second(coordinators.size),
        ),
    ]
    kept = tuple(item for item in items if item.quantity)
    return RunPrice(kept, prices.date, prices.region, size)


def _transfer(bytes_: int, place: Place, prices: Prices) -> PriceItem:
    gigabytes = bytes_ / _GIBIBYTE
    if place == "internet":
        return PriceItem("to the internet", gigabytes, "GB", gigabytes * prices.internet)
    if place == "other_region":
        return PriceItem("to another region", gigabytes, "GB", gigabytes * prices.other_region)
    return PriceItem("within the region", 0, "GB", 0.0)


def _requests_for_what_is_here(plan: StagePlan, pricing: Pricing) -> Iterable[PriceItem]:
    """Estimate the requests that a run would have made for what this machine had itself."""
    prices = pricing.prices
    gets = sum(stage.cost.scan_gets for stage in plan.stages if not stage.scans_s3)
    puts = 0.0
    if not pricing.remote_scratch:
        gets += sum(stage.cost.exchange_gets for stage in plan.stages)
        puts = sum(stage.cost.puts for stage in plan.stages)
    yield PriceItem("GET of what is here", gets, "requests", gets * prices.get, estimated=True)
    yield PriceItem("PUT of what is here", puts, "requests", puts * prices.put, estimated=True)


def _billed(metrics: TaskMetrics, size: FunctionSize) -> float:
    """Return the seconds for which a function is paid, in whole milliseconds.

    Of a task that ran here: what its work takes on the cores of a function. Its own time would be
    that of a machine that others use too.
    """
    seconds = metrics.called_seconds if metrics.function else metrics.cpu_seconds / size.cores
    return math.ceil(seconds * _MILLISECONDS) / _MILLISECONDS
