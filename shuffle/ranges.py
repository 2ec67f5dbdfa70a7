"""Which ranges of an object are worth one request together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from starling_py.shuffle.objects import ByteRange

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Fetch", "merge_ranges"]


class Fetch(msgspec.Struct, frozen=True):
    """One request, and the positions (in the list of wanted ranges) that it answers."""

    span: ByteRange
    wanted: tuple[int, ...]


def merge_ranges(wanted: Sequence[ByteRange], gap: int) -> list[Fetch]:
    """Merge ranges that overlap, touch, or lie at most ``gap`` bytes apart.

    Every range that is not empty is in exactly one of the returned requests, which are in order of
    offset and further than ``gap`` bytes from each other. Empty ranges need no request.
    """
    order = sorted(
        (number for number, part in enumerate(wanted) if part.length),
        key=lambda number: wanted[number].offset,
    )
    fetches: list[Fetch] = []
    start = end = 0
    members: list[int] = []
    for number in order:
        part = wanted[number]
        if members and part.offset - end > gap:
            fetches.append(Fetch(ByteRange(start, end - start), tuple(members)))
            members = []
        if not members:
            start = end = part.offset
        members.append(number)
        end = max(end, part.offset + part.length)
    if members:
        fetches.append(Fetch(ByteRange(start, end - start), tuple(members)))
    return fetches
