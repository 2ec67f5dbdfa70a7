from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor

from starling_py.shuffle.meter import Meter, RequestCounts


def test_no_count_is_lost_between_threads() -> None:
    meter = Meter()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:

        def count(_: int) -> None:
            for _ in range(500):
                meter.count("get", bytes_in=3)
                meter.count("put", bytes_out=5)
                meter.count("delete", 2)

        with ThreadPoolExecutor(16) as pool:
            list(pool.map(count, range(16)))
    finally:
        sys.setswitchinterval(interval)
    assert meter.snapshot() == RequestCounts(
        get=8000, put=8000, delete=16000, bytes_in=24000, bytes_out=40000
    )


def test_counts_add_and_subtract() -> None:
    a = RequestCounts(1, 2, 3, 4, 5, 6, 7)
    b = RequestCounts(10, 20, 30, 40, 50, 60, 70)
    assert a + b == RequestCounts(11, 22, 33, 44, 55, 66, 77)
    assert (a + b) - b == a
    assert a - a == RequestCounts()
    assert a.requests == 15


def test_a_snapshot_does_not_change() -> None:
    meter = Meter()
    before = meter.snapshot()
    meter.count("head")
    meter.count("list")
    assert before == RequestCounts()
    assert meter.snapshot() == RequestCounts(head=1, list=1)
