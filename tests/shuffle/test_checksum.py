"""Both ways to the checksum agree, so that any worker reads what any other wrote."""

from __future__ import annotations

import zlib

from hypothesis import given
from hypothesis import strategies as st
from isal.isal_zlib import crc32 as fast

from starling_py.shuffle.checksum import crc32


def test_the_fast_one_is_used() -> None:
    assert crc32 is fast


@given(st.binary(max_size=1000), st.integers(0, 2**32 - 1))
def test_it_is_the_one_of_zlib(data: bytes, before: int) -> None:
    assert fast(data) == zlib.crc32(data)
    assert fast(memoryview(data), before) == zlib.crc32(data, before)
