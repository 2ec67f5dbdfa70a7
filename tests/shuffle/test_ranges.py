"""Which ranges come with one request."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from starling_py.shuffle.objects import ByteRange
from starling_py.shuffle.ranges import Fetch, merge_ranges

ranges = st.lists(st.builds(ByteRange, st.integers(0, 300), st.integers(0, 40)), max_size=12)


@given(ranges, st.integers(0, 60))
def test_every_range_is_in_exactly_one_request(wanted: list[ByteRange], gap: int) -> None:
    fetches = merge_ranges(wanted, gap)
    answered = sorted(number for fetch in fetches for number in fetch.wanted)
    assert answered == [number for number, part in enumerate(wanted) if part.length]
    for fetch in fetches:
        inside = [wanted[number] for number in fetch.wanted]
        assert fetch.span.offset == min(part.offset for part in inside)
        end = fetch.span.offset + fetch.span.length
        assert end == max(part.offset + part.length for part in inside)
        covered = {
            byte for part in inside for byte in range(part.offset, part.offset + part.length)
        }
        missing = 0  # in a row
        for byte in range(fetch.span.offset, end):
            missing = 0 if byte in covered else missing + 1
            assert missing <= gap
    for before, after in itertools.pairwise(fetches):
        assert after.span.offset - (before.span.offset + before.span.length) > gap


def test_touching_ranges_are_one() -> None:
    wanted = [ByteRange(10, 5), ByteRange(0, 10), ByteRange(16, 1)]
    assert merge_ranges(wanted, 0) == [
        Fetch(ByteRange(0, 15), (1, 0)),
        Fetch(ByteRange(16, 1), (2,)),
    ]
    assert merge_ranges(wanted, 1) == [Fetch(ByteRange(0, 17), (1, 0, 2))]
