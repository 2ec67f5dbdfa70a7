"""What an exchange by hash costs on an object store, direct and through combiners.

With s producer tasks and r consumer tasks, a direct exchange takes s·r GETs: each consumer reads
its run of partitions of each producer's object, and the coordinator has told it the offsets.
Combiners are tasks of a stage in between. Each reads a fraction p of the partitions from a
fraction f of the producers and writes them as one object, so there are 1/p · 1/f of them. Each
producer's object is read 1/p times and each consumer reads 1/f objects: s/p + r/f GETs and 1/(pf)
PUTs. Of all ways to split n combiners, 1/p = √(n·r/s) takes the fewest GETs: 2·√(n·s·r).

The idea and the formulas are those of Perron, Castro Fernandez, DeWitt and Madden, *Starling: A
Scalable Query Engine on Cloud Function Services*, SIGMOD 2020. The paper's readers also
fetch the header of each object, so that its counts are twice these: 2sr and 2(s/p + r/f).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

from starling_py.operators.plan import Combining
from starling_py.shuffle.prices import Architecture, FunctionSize, Prices

__all__ = [
    "PUT_SECONDS",
    "WAITING",
    "Exchange",
    "cheapest",
    "combined_gets",
    "direct_gets",
    "dollars",
    "pieces",
    "read_seconds",
]

WAITING = 0.001
"""Dollars per second that the answer comes later. It is what keeps a stage from being put in for a
gain that nobody would wait for: at 0.001 a stage of 0.2 s has to save 500 GETs."""

# Of one worker and one store, as the straggler mitigation of the shuffle expects them too.
_GET_SECONDS = 0.015
PUT_SECONDS = 0.040
_BYTES_PER_SECOND = 150e6
_PARALLEL_GETS = 16
_STAGE_SECONDS = 0.1
"""From the last report of one stage to the first statement of the next."""
_COPIES = 2
"""A combiner holds its rows as they came and once more as they go."""
_COMFORTABLE = 0.5
"""The share of a worker's memory that a combiner may fill."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """One output by hash, and who reads it.

    Parameters
    ----------
    producers
        Tasks that write it.
    consumers
        Tasks of each stage that reads it, a stage that reads it twice being there twice.
    partitions
        Into how many it is cut.
    bytes
        Of the whole output, as estimated.
    workers, memory
        How many tasks run at once, and the bytes of memory that each of them has.
    architecture
        Of the workers, which decides what a second costs.
    """

    producers: int
    consumers: tuple[int, ...]
    partitions: int
    bytes: float
    workers: int
    memory: float
    architecture: Architecture = "arm64"

    @property
    def readers(self) -> int:
        return sum(self.consumers)


def direct_gets(exchange: Exchange) -> int:
    """Return the GETs without combiners: s·r."""
    parts = sum(min(tasks, exchange.partitions) for tasks in exchange.consumers)
    return exchange.producers * parts


def combined_gets(exchange: Exchange, split: Combining) -> int:
    """Return the GETs with combiners: s/p + r/f where 1/p divides r, some more where it does not.

    A consumer whose share of the partitions lies in two groups reads twice as many objects.
    """
    groups = min(split.partition_groups, exchange.partitions)
    objects = min(split.producer_groups, exchange.producers)
    reads = sum(pieces(exchange.partitions, tasks, groups) for tasks in exchange.consumers)
    return exchange.producers * groups + objects * reads


@lru_cache(maxsize=4096)
def pieces(total: int, parts: int, others: int) -> int:
    """Return into how many pieces two ways to cut ``total`` things cut it together."""
    cuts = {part * total // parts for part in range(parts)}
    cuts.update(part * total // others for part in range(others))
    return len(cuts)


def dollars(exchange: Exchange, split: Combining | None, prices: Prices) -> float:
    """Return what reading the output costs in requests and in the workers' time.

    ``split`` says how combiners divide the work, or that there are none. Combiners move all bytes
    twice more: in and out.
    """
    worker = prices.second(FunctionSize(int(exchange.memory), exchange.architecture))
    if split is None:
        seconds = exchange.readers * _consumer_seconds(exchange, None)
        return direct_gets(exchange) * prices.get + seconds * worker
    count = split.partition_groups * split.producer_groups
    seconds = exchange.readers * _consumer_seconds(exchange, split)
    seconds += count * _combiner_seconds(exchange, split)
    requests = combined_gets(exchange, split) * prices.get + count * prices.put
    return requests + count * prices.call + seconds * worker


def cheapest(
    exchange: Exchange, prices: Prices, *, forced: bool = False, waiting: float = WAITING
) -> Combining | None:
    """Return the combiners that make an exchange cheapest, or none if it is cheapest without.

    Splits in which 1/p divides r and 1/f divides s are preferred where there are such. No combiner
    gets more than its worker's memory holds.

    Parameters
    ----------
    forced
        There must be combiners, and as many as there are workers to run them, as far as there are
        producers and consumers for so many.
    waiting
        Dollars per second that the answer comes later.
    """
    splits = _splits(exchange)
    least = math.ceil(exchange.bytes * _COPIES / (exchange.memory * _COMFORTABLE))
    if forced:
        most_useful = min(exchange.producers, min(exchange.consumers))
        least = max(least, min(exchange.workers, most_useful))
    enough = [split for split in splits if _count(split) >= least]
    enough = enough or [max(splits, key=_count)]
    before = _elapsed(exchange, None)

    def price(split: Combining) -> tuple[float, int]:
        later = max(0.0, _elapsed(exchange, split) - before)
        # Among equals, so that a combiner reads few objects rather than write many.
        return dollars(exchange, split, prices) + waiting * later, _count(split)

    best = min(enough, key=price)
    if forced or price(best)[0] < dollars(exchange, None, prices):
        return best
    return None


def _count(split: Combining) -> int:
    return split.partition_groups * split.producer_groups


def _splits(exchange: Exchange) -> list[Combining]:
    common = math.gcd(*exchange.consumers)
    groups = _candidates(common, min(*exchange.consumers, exchange.partitions))
    objects = _candidates(exchange.producers, exchange.producers)
    return [Combining(*split) for split in product(groups, objects)]


def _candidates(total: int, most: int) -> list[int]:
    """Return the divisors of ``total`` up to ``most``, and powers of two where they are sparse."""
    found = {d for d in range(1, min(total, most) + 1) if total % d == 0}
    power = 2
    while power <= most:
        if not any(power < 2 * divisor and divisor < 2 * power for divisor in found):
            found.add(power)
        power *= 2
    return sorted(found)


def read_seconds(gets: float, bytes_: float) -> float:
    return math.ceil(gets / _PARALLEL_GETS) * _GET_SECONDS + bytes_ / _BYTES_PER_SECOND


def _consumer_seconds(exchange: Exchange, split: Combining | None) -> float:
    objects = exchange.producers if split is None else split.producer_groups
    each = exchange.bytes * len(exchange.consumers) / exchange.readers
    return read_seconds(objects, each)


def _combiner_seconds(exchange: Exchange, split: Combining) -> float:
    each = exchange.bytes / _count(split)
    reads = read_seconds(exchange.producers / split.producer_groups, each)
    return reads + PUT_SECONDS + each / _BYTES_PER_SECOND


def _elapsed(exchange: Exchange, split: Combining | None) -> float:
    """Return how long reading takes, the tasks of a stage running as far as there are workers."""
    rounds = math.ceil(max(exchange.consumers) / exchange.workers)
    seconds = rounds * _consumer_seconds(exchange, split)
    if split is not None:
        rounds = math.ceil(_count(split) / exchange.workers)
        seconds += _STAGE_SECONDS + rounds * _combiner_seconds(exchange, split)
    return seconds
