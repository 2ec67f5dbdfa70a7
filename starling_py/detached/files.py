"""The objects of a detached query: what is written once, and what the next coordinator needs.

Below ``QUERY/detached/`` are ``request``, ``plan`` and ``ending``, which are written once, a
``claim`` for each coordinator, and the latest ``state``. The outputs of tasks are beside it, as
those of any query.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from starling_py.detached.state import Claim, Ending, Planned, Request, Saved, decode, encode
from starling_py.shuffle.errors import ObjectExists, ObjectMissing
from starling_py.shuffle.objects import copy_key, task_key

if TYPE_CHECKING:
    import msgspec

    from starling_py.shuffle.objects import ObjectStore

__all__ = ["QueryFiles", "Seen"]

_T = TypeVar("_T", bound="msgspec.Struct")


@dataclass(frozen=True, slots=True)
class Seen:
    """What there is: the number of the last coordinator, the name of the last state."""

    claim: int = 0
    state: str = ""
    has_request: bool = False
    has_ending: bool = False


class QueryFiles:
    """The objects of one query in a store. May be used from several threads."""

    def __init__(self, store: ObjectStore, query: str) -> None:
        self._store = store
        self._query = query
        self._folder = f"{query}/detached/"

    def look(self) -> Seen:
        """Return what there is, with one listing."""
        names = [info.key.removeprefix(self._folder) for info in self._store.list(self._folder)]
        claims = [int(name.removeprefix("claim-")) for name in names if name.startswith("claim-")]
        states = [name for name in names if name.startswith("state-")]
        return Seen(
            max(claims, default=0),
            max(states, default=""),
            "request" in names,
            "ending" in names,
        )

    def put_request(self, request: Request) -> None:
        """Store the query."""
        self._settle("request", request)

    def request(self) -> Request:
        """Return the query."""
        return self._read("request", Request)

    def settle_plan(self, planned: Planned) -> Planned:
        """Store a plan unless there is one, and return the one that is there."""
        return self._settle("plan", planned)

    def plan(self) -> Planned | None:
        """Return the plan, if there is one."""
        return self._find("plan", Planned)

    def settle_claim(self, number: int, claim: Claim) -> Claim:
        """Store the claim of a coordinator unless there is one, and return what is there."""
        return self._settle(_claim(number), claim)

    def claim(self, number: int) -> Claim | None:
        """Return the claim of a coordinator."""
        return self._find(_claim(number), Claim)

    def save(self, claim: int, sequence: int, saved: Saved) -> str:
        """Store a state of a coordinator, and return its name."""
        name = f"state-{claim:04d}-{sequence:06d}"
        self._settle(name, saved)
        return name

    def saved(self, name: str) -> Saved | None:
        """Return a state, unless a later one has replaced it."""
        return self._find(name, Saved)

    def forget(self, name: str) -> None:
        """Delete a state that a later one has replaced."""
        self._store.delete([self._folder + name])

    def settle_ending(self, ending: Ending) -> Ending:
        """Store how the query has ended unless it has, and return what is there."""
        return self._settle("ending", ending)

    def ending(self) -> Ending | None:
        """Return how the query has ended, if it has."""
        return self._find("ending", Ending)

    def clean(self, ending: Ending) -> None:
        """Delete everything but the ending and the answer."""
        kept = {f"{self._folder}ending"}
        if ending.planned is not None:
            last = ending.planned.plan.stages[-1].id
            answer = {
                task_key(self._query, last, report.task)
                for report in ending.reports
                if report.stage == last
            }
            kept |= answer | set(map(copy_key, answer))
        keys = [info.key for info in self._store.list(f"{self._query}/")]
        self._store.delete([key for key in keys if key not in kept])

    def _settle(self, name: str, message: _T) -> _T:
        try:
            self._store.put_if_absent(self._folder + name, [encode(message)])
        except ObjectExists:
            # Its own, if the answer to a put was lost.
            return self._read(name, type(message))
        return message

    def _find(self, name: str, kind: type[_T]) -> _T | None:
        try:
            return self._read(name, kind)
        except ObjectMissing:
            return None

    def _read(self, name: str, kind: type[_T]) -> _T:
        return decode(bytes(self._store.get(self._folder + name)), kind)


def _claim(number: int) -> str:
    return f"claim-{number:04d}"
