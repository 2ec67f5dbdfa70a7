"""Second requests for slow reads, at a server that is slow when it is told to be."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from scripted_s3 import DATA, Fault, Script, Server, open_store, serving

from starling_py.shuffle.errors import StoreDenied
from starling_py.shuffle.hedge_policy import HedgePolicy, expected_seconds
from starling_py.shuffle.meter import RequestCounts, metered
from starling_py.shuffle.objects import ByteRange, ReadRequest
from starling_py.shuffle.s3 import S3Store

SLOW = Fault(200, seconds=20)
# What counts as slow is the same however fast the machine is; the share is tried on its own.
PLAIN = HedgePolicy(latency=0.02, multiple=2.0, adaptive=False, share=1.0, quiet=0.0)
NINE = ByteRange(3, 9)
LIMIT = 30.0


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving() as made:
        yield made


@pytest.fixture
def script(server: Server) -> Iterator[Script]:
    server.script = Script()
    server.opened = []
    yield server.script
    server.script.released.set()
    for store in server.opened:  # a test that fails must not fail those after it
        store.close()


def opened(server: Server, hedge: HedgePolicy = PLAIN, **options: object) -> S3Store:
    server.opened.append(open_store(server, hedge=hedge, gap=0, **options))
    return server.opened[-1]


def wait_until(condition) -> None:
    deadline = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_what_is_expected() -> None:
    policy = HedgePolicy(latency=0.015, bandwidth=150e6)
    assert expected_seconds(policy, 0, 1) == 0.015
    assert expected_seconds(policy, 15_000_000, 1) == pytest.approx(0.115)
    assert expected_seconds(policy, 15_000_000, 16) == pytest.approx(1.615)


@pytest.mark.parametrize(
    "wrong", [{"latency": 0.0}, {"multiple": 0.5}, {"in_flight": 0}, {"share": 1.5}]
)
def test_a_policy_makes_sense(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"takes time|at least one"):
        HedgePolicy(**wrong)


def test_the_second_wins_and_the_first_is_cut_off(server: Server, script: Script) -> None:
    store = opened(server)
    script.faults.append(SLOW)
    with metered() as mine:
        assert bytes(store.get_range("k", NINE)) == DATA[3:12]
    expected = RequestCounts(get=2, bytes_in=9, hedges=1, hedges_won=1, hedge_bytes=9)
    assert store.meter.snapshot() == mine.snapshot() == expected
    wait_until(lambda: script.closed == 1)
    store.close()


def test_a_start_is_hedged_too(server: Server, script: Script) -> None:
    store = opened(server)
    script.faults.append(SLOW)
    assert bytes(store.get_start("k", 9)) == DATA[:9]
    assert store.meter.snapshot().hedges_won == 1
    store.close()


def test_the_first_may_still_win(server: Server, script: Script) -> None:
    store = opened(server)
    script.faults.extend([Fault(200, seconds=0.3), SLOW])
    assert bytes(store.get_range("k", NINE)) == DATA[3:12]
    wait_until(lambda: script.closed == 1)
    assert store.meter.snapshot() == RequestCounts(get=2, bytes_in=9, hedges=1, hedge_bytes=9)
    store.close()


def test_a_second_that_fails_does_no_harm(server: Server, script: Script) -> None:
    store = opened(server)
    script.faults.extend([Fault(200, seconds=0.3), Fault(403, "AccessDenied")])
    assert bytes(store.get_range("k", NINE)) == DATA[3:12]
    assert store.meter.snapshot() == RequestCounts(get=2, bytes_in=9, hedges=1, hedge_bytes=9)
    store.close()


def test_a_first_that_fails_leaves_it_to_the_second(server: Server, script: Script) -> None:
    store = opened(server)
    script.faults.extend([Fault(500, seconds=0.3), Fault(200, seconds=0.6)])
    assert bytes(store.get_range("k", NINE)) == DATA[3:12]
    counts = store.meter.snapshot()
    assert (counts.get, counts.hedges_won, counts.retries) == (2, 1, 0)
    store.close()


def test_where_both_fail_the_first_says_why(server: Server, script: Script) -> None:
    store = opened(server)
    script.faults.extend([Fault(403, "AccessDenied", seconds=0.3), Fault(404, seconds=0.6)])
    with pytest.raises(StoreDenied):
        store.get_range("k", NINE)
    assert store.meter.snapshot() == RequestCounts(get=2, hedges=1)
    store.close()


def test_the_second_may_ask_for_a_copy(server: Server, script: Script) -> None:
    store = opened(server)
    script.faults.append(SLOW)
    (data,) = store.read_many([ReadRequest("k", NINE, "copy/k")])
    assert bytes(data) == DATA[3:12]
    assert [path for _, path, _ in script.asked] == [
        "/bucket/some/prefix/k",
        "/bucket/some/prefix/copy/k",
    ]
    store.close()


def test_no_more_in_flight_than_allowed(server: Server, script: Script) -> None:
    policy = HedgePolicy(latency=0.02, multiple=2.0, adaptive=False, in_flight=2, share=1.0)
    store = opened(server, policy)
    script.faults.extend([SLOW] * 20)
    with ThreadPoolExecutor(8) as pool:
        reads = [pool.submit(store.get_range, "k", NINE) for _ in range(2)]
        wait_until(lambda: len(script.asked) == 4)
        # These bring an allowance of their own, which the bound withholds.
        reads += [pool.submit(store.get_range, "k", NINE) for _ in range(6)]
        wait_until(lambda: len(script.asked) == 10)
        time.sleep(0.3)  # time enough for several more
        assert len(script.asked) == 10
        assert store.meter.snapshot().hedges == 2
        script.released.set()
        assert {bytes(read.result(LIMIT)) for read in reads} == {DATA[3:12]}
    assert store.meter.snapshot().get == 10
    store.close()


def test_the_share_of_reads_is_bounded(server: Server, script: Script) -> None:
    """After the first, one in four; a read that may not be hedged just takes its time."""
    policy = HedgePolicy(
        latency=0.02, multiple=2.0, adaptive=False, in_flight=1, share=0.25, quiet=0.0
    )
    store = opened(server, policy)
    slow = Fault(200, seconds=0.3)
    script.faults.extend([slow, slow, *[slow] * 3])
    for _ in range(4):
        assert bytes(store.get_range("k", NINE)) == DATA[3:12]
    assert store.meter.snapshot().hedges == 1
    for _ in range(4):
        store.get_range("k", NINE)
    script.faults.append(slow)
    store.get_range("k", NINE)
    assert store.meter.snapshot().hedges == 2
    store.close()


def test_none_while_the_store_is_overloaded(server: Server, script: Script) -> None:
    store = opened(server, HedgePolicy(latency=0.02, multiple=2.0, adaptive=False, quiet=60.0))
    script.faults.extend([Fault(503, "SlowDown"), Fault(200, seconds=0.4)])
    assert bytes(store.get_range("k", NINE)) == DATA[3:12]
    assert store.meter.snapshot() == RequestCounts(get=2, bytes_in=9, retries=1)
    store.close()


def test_a_short_quiet_ends(server: Server, script: Script) -> None:
    store = opened(server, HedgePolicy(latency=0.02, multiple=2.0, adaptive=False, quiet=0.2))
    script.faults.extend([Fault(503, "SlowDown"), SLOW])
    assert bytes(store.get_range("k", NINE)) == DATA[3:12]
    assert store.meter.snapshot().hedges_won == 1
    store.close()


def test_off_is_off(server: Server, script: Script) -> None:
    store = opened(server, HedgePolicy(enabled=False, latency=0.001))
    script.faults.append(Fault(200, seconds=0.3))
    store.get_range("k", NINE)
    assert store.meter.snapshot() == RequestCounts(get=1, bytes_in=9)
    store.close()


def test_a_slow_store_is_not_asked_twice_for_everything(server: Server, script: Script) -> None:
    policy = HedgePolicy(latency=0.01, multiple=3.0, share=1.0, in_flight=16)
    store = opened(server, policy)
    slow = Fault(200, seconds=0.08)  # eight times what the policy expects
    script.faults.extend([slow] * 100)
    for _ in range(40):
        store.get_range("k", NINE)
    learned = store.meter.snapshot().hedges
    for _ in range(20):
        store.get_range("k", NINE)
    assert store.meter.snapshot().hedges - learned <= 2
    script.faults.clear()
    script.faults.append(SLOW)
    store.get_range("k", NINE)
    assert store.meter.snapshot().hedges_won > 0
    store.close()


def test_a_closed_store_leaves_nothing(server: Server, script: Script) -> None:
    store = opened(server)
    script.faults.extend([SLOW] * 20)
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(store.get_range, "k", NINE) for _ in range(2)]
        wait_until(lambda: script.in_flight == 4)
        store.close()
        for one in waiting:
            with pytest.raises(Exception, match="closed"):
                one.result(LIMIT)
    wait_until(lambda: script.closed == 4)
    assert "starling-s3" not in {thread.name for thread in threading.enumerate()}
    assert store.meter.snapshot() == RequestCounts(get=4, hedges=2)
