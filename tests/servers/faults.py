"""What may go wrong with a request to S3, and when."""

from __future__ import annotations

import random
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Literal, Protocol, TypeAlias
from urllib.parse import parse_qs, urlsplit

from starling_py.shuffle.meter import RequestKind

Kind: TypeAlias = RequestKind | Literal["other"]
"""What a request is counted as; ``other`` is about a bucket and not about objects."""

NOT_DATA: tuple[Kind, ...] = ("other",)
KINDS: tuple[Kind, ...] = ("get", "put", "head", "list", "delete", "other")


class Fault(Enum):
    """What the proxy does to one request.

    The first three never reach the server, the others are done there before they go wrong.
    ``RESET`` and ``LOST_REPLY`` differ in nothing but that.
    """

    SLOW_DOWN = "503 SlowDown"
    INTERNAL_ERROR = "500 InternalError"
    RESET = "reset before the reply"
    RESET_IN_BODY = "reset after half of the body, or of the head where there is no body"
    TRUNCATED = "the body, or the head, ends half way"
    FLIPPED_BIT = "one bit of an object is another"
    SLOW_FIRST_BYTE = "nothing comes for a while"
    SLOW_DRIP = "the reply comes in small pieces"
    LOST_REPLY = "reset instead of the reply"


ANSWERED_HERE = {
    Fault.SLOW_DOWN: (503, "Service Unavailable", "SlowDown"),
    Fault.INTERNAL_ERROR: (500, "Internal Server Error", "InternalError"),
}
NEVER_FORWARDED = frozenset({*ANSWERED_HERE, Fault.RESET})


@dataclass(frozen=True)
class Asked:
    """A request as the proxy sees it before anything is done about it."""

    number: int  # of its proxy, from 0
    kind: Kind
    method: str
    target: str  # path and query, as they were sent
    size: int  # of the body

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    def may_have(self, fault: Fault) -> bool:
        """Return whether there is a bit to flip; everything else may always go wrong."""
        return fault is not Fault.FLIPPED_BIT or self.kind == "get"


def kind_of(method: str, target: str) -> Kind:
    """Return how a bill would count a request with the bucket in its path."""
    parts = urlsplit(target)
    _, _, key = parts.path.lstrip("/").partition("/")
    query = parse_qs(parts.query, keep_blank_values=True)
    if method == "DELETE" or (method == "POST" and "delete" in query):
        return "delete"
    if not key:
        listing = method == "GET" and ("list-type" in query or not set(query) - {"prefix"})
        return "list" if listing and parts.path.strip("/") else "other"
    if method in ("PUT", "POST"):
        return "put"
    return "head" if method == "HEAD" else "get"


class Schedule(Protocol):
    """Decides what happens to each request. Only the proxy's thread asks."""

    def draw(self, asked: Asked) -> Fault | None: ...


@dataclass
class Listed:
    """The n-th request that is not exempt has the n-th fault of a list, if it can have it.

    After the list nothing goes wrong any more.
    """

    faults: Sequence[Fault | None] = ()
    exempt: Collection[Kind] = NOT_DATA
    seen: int = 0

    def draw(self, asked: Asked) -> Fault | None:
        if asked.kind in self.exempt:
            return None
        number, self.seen = self.seen, self.seen + 1
        fault = self.faults[number] if number < len(self.faults) else None
        return fault if fault and asked.may_have(fault) else None


@dataclass
class AtRandom:
    """A share of the requests goes wrong, each in one of some ways.

    Parameters
    ----------
    seed
        Requests that come in the same order have the same faults.
    rate
        The share.
    faults
        What goes wrong, one as often as the other.
    exempt
        Kinds of requests that always go well.
    flip_in
        A regular expression: only objects with such a path have bits flipped. What nobody
        checksums must be left out, or answers are silently wrong.
    """

    seed: int
    rate: float
    faults: Sequence[Fault] = tuple(Fault)
    exempt: Collection[Kind] = NOT_DATA
    flip_in: str = r"\.shuffle$"
    source: random.Random = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.source = random.Random(self.seed)

    def draw(self, asked: Asked) -> Fault | None:
        # As many numbers for every request, so that one does not move the faults of the next.
        chance, choice = self.source.random(), self.source.random()
        if asked.kind in self.exempt or chance >= self.rate:
            return None
        possible = [fault for fault in self.faults if self._possible(fault, asked)]
        return possible[int(choice * len(possible))] if possible else None

    def _possible(self, fault: Fault, asked: Asked) -> bool:
        if fault is Fault.FLIPPED_BIT and not re.search(self.flip_in, asked.path):
            return False
        return asked.may_have(fault)


@dataclass
class Slow:
    """A share of the requests of one kind takes longer: they wait before the server hears of them.

    A PUT is read to its end first, so that its sender has nothing left to do but wait. Whoever
    hangs up while it waits is never heard of by the server.

    Parameters
    ----------
    share, seconds
        How many take how much longer.
    at_least
        Bytes of the body below which a request is not meant.
    seed
        The n-th request of the kind is slow or not, whatever comes between.
    """

    kind: Kind
    share: float
    seconds: float
    at_least: int = 0
    seed: int = 0
    source: random.Random = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.source = random.Random(self.seed)

    def wait(self, asked: Asked) -> float:
        if asked.kind != self.kind or asked.size < self.at_least:
            return 0.0
        return self.seconds if self.source.random() < self.share else 0.0
