"""One thread drives all requests: interrupts, closes and forks leave nothing behind."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest
from scripted_s3 import DATA, Fault, Script, Server, open_store, serving

from starling_py.shuffle.errors import CredentialsExpired, ObjectMissing, StoreError
from starling_py.shuffle.hedge_policy import HedgePolicy
from starling_py.shuffle.meter import RequestCounts, metered
from starling_py.shuffle.objects import Buffer, ByteRange, ReadRequest
from starling_py.shuffle.s3 import S3Store
from starling_py.shuffle.s3_client import S3Client
from starling_py.shuffle.s3_credentials import Credentials
from starling_py.shuffle.s3_loop import SLICE
from starling_py.shuffle.s3_options import S3Options
from starling_py.shuffle.stopping import stopping

SLOW = Fault(200, seconds=20)
OFF = HedgePolicy(enabled=False)
LIMIT = 30.0


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving() as made:
        yield made


@pytest.fixture
def script(server: Server) -> Iterator[Script]:
    server.script = Script()
    yield server.script
    server.script.released.set()


@pytest.fixture
def small(server: Server, script: Script) -> Iterator[S3Store]:
    assert server.script is script
    store = open_store(server, hedge=OFF, gap=0)
    yield store
    store.close()
    assert not loops()


def loops() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "starling-s3"]


def wait_until(condition) -> None:
    deadline = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.usefixtures("script")
def test_one_thread_for_all_stores(server: Server) -> None:
    stores = [open_store(server) for _ in range(3)]
    assert not loops()  # not before it is needed
    for store in stores:
        store.get("k")
        assert len(loops()) == 1
    for store in stores[:2]:
        store.close()
        assert len(loops()) == 1
    stores[2].close()
    assert not loops()
    again = open_store(server)
    assert bytes(again.get("k")) == DATA
    again.close()
    assert not loops()


READS = {
    "range": lambda store: store.get_range("k", ByteRange(0, 5)),
    "ranges": lambda store: store.get_ranges("k", [ByteRange(0, 5), ByteRange(50, 5)]),
    "many": lambda store: list(
        store.read_many([ReadRequest("k", ByteRange(n, 1)) for n in range(9)])
    ),
    "list": lambda store: list(store.list("")),
}


def put(store: S3Store) -> None:
    store.put("k", [b"1"])


@pytest.mark.parametrize("read", [*READS.values(), put], ids=[*READS, "put"])
def test_an_interrupt_ends_the_waiting(small: S3Store, script: Script, read) -> None:
    script.faults.extend([SLOW] * 20)

    def interrupt() -> None:
        wait_until(lambda: script.in_flight)
        signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    helper = threading.Thread(target=interrupt)
    helper.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            read(small)
    finally:
        helper.join(LIMIT)
        signal.signal(signal.SIGINT, before)
    wait_until(lambda: script.in_flight == 0)
    assert not script.released.is_set()
    script.faults.clear()
    assert bytes(small.get("k")) == DATA


class Over(Exception):
    """What was waited for is of no use any more."""


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_a_check_ends_the_waiting(small: S3Store, script: Script, read) -> None:
    script.faults.extend([SLOW] * 20)

    def check() -> None:
        if script.in_flight:
            raise Over

    with stopping(check), pytest.raises(Over):
        read(small)
    wait_until(lambda: script.in_flight == 0)
    assert not script.released.is_set()
    # Nobody checks any more.
    script.faults.clear()
    assert bytes(small.get("k")) == DATA


def test_a_put_goes_on_when_a_query_is_over(small: S3Store, script: Script) -> None:
    # It could not be told whether the object appears after all.
    script.faults.append(Fault(200, seconds=2 * SLICE))
    looked = []

    def check() -> None:
        looked.append(True)
        raise Over

    with stopping(check):
        put(small)
    assert looked == []


@pytest.mark.parametrize("ending", ["an error", "an interrupt"])
def test_no_copy_appears_after_the_end(
    small: S3Store, script: Script, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    gate = threading.Event()
    begun, ended = [], []

    async def copy(self: S3Client, source: str, target: str) -> None:  # noqa: ARG001
        begun.append(source.rpartition("/")[2])
        if ending == "an error" and target.endswith("to/1"):
            raise StoreError("not this one")
        # One that a server takes its time for.
        await asyncio.to_thread(gate.wait, LIMIT)
        ended.append(source.rpartition("/")[2])

    def end() -> None:
        wait_until(lambda: len(begun) > 1)
        if ending == "an interrupt":
            signal.raise_signal(signal.SIGINT)
            time.sleep(2 * SLICE)
        gate.set()

    monkeypatch.setattr(S3Client, "copy", copy)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    helper = threading.Thread(target=end)
    helper.start()
    pairs = [(str(number), f"to/{number}") for number in range(200)]
    failed = [] if ending == "an interrupt" else ["1"]
    try:
        with pytest.raises(KeyboardInterrupt if ending == "an interrupt" else StoreError):
            small.copy_all(pairs)
        # What had begun has ended, and no more began.
        assert sorted([*ended, *failed]) == sorted(begun)
        assert len(begun) < len(pairs)
    finally:
        helper.join(LIMIT)
        signal.signal(signal.SIGINT, before)
    assert script.asked == []


def test_a_forked_child_is_told_at_once(small: S3Store, server: Server) -> None:
    small.get("k")
    child = os.fork()
    if not child:
        code = 1
        try:
            signal.alarm(20)
            for store in (small, open_store(server)):
                try:
                    store.get("k")
                except StoreError as error:
                    code += "forked" in error.message
                store.close()
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
    assert bytes(small.get("k")) == DATA


def test_a_child_may_use_s3_if_the_parent_has_not(server: Server, script: Script) -> None:
    program = f"""
import os, time
from starling_py.shuffle.s3 import S3Store
from starling_py.shuffle.s3_loop import SLICE
from starling_py.shuffle.s3_options import S3Options
from starling_py.shuffle.stopping import stopping
def read():
    store = S3Store("bucket", "", S3Options(endpoint="http://127.0.0.1:{server.server_port}"))
    assert len(store.get("k")) == {len(DATA)}
    store.close()
child = os.fork()
if not child:
    read()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
read()
time.sleep(0.3)  # obstore's threads let go of the answer; at the interpreter's end they abort
"""
    environment = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True, timeout=60)
    assert len(script.asked) == 2


def test_the_process_ends_with_an_open_store(server: Server, script: Script) -> None:
    script.faults.extend([Fault(200), SLOW])
    program = f"""
import threading, time
from starling_py.shuffle.s3 import S3Store
from starling_py.shuffle.s3_loop import SLICE
from starling_py.shuffle.s3_options import S3Options
from starling_py.shuffle.stopping import stopping
store = S3Store("bucket", "", S3Options(endpoint="http://127.0.0.1:{server.server_port}"))
store.get("k")
threading.Thread(target=store.get, args=("k",), daemon=True).start()
time.sleep(0.3)
"""
    environment = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True, timeout=15)


class TestReadMany:
    def test_in_order_and_counted_where_it_is_asked(self, small: S3Store, script: Script) -> None:
        script.faults.extend(Fault(200, seconds=0.05 * (n % 3)) for n in range(30))
        requests = [ReadRequest(f"k{n}", ByteRange(n, n)) for n in range(30)]
        with metered() as mine:
            found = [bytes(data) for data in small.read_many(requests)]
        assert found == [DATA[n : 2 * n] for n in range(30)]
        assert mine.snapshot() == RequestCounts(get=29, bytes_in=sum(range(30)))
        assert script.most_in_flight > 1

    def test_nothing_is_nothing(self, small: S3Store) -> None:
        assert list(small.read_many([])) == []
        assert [bytes(d) for d in small.read_many([ReadRequest("k", ByteRange(5, 0))])] == [b""]
        assert small.meter.snapshot() == RequestCounts()

    def test_what_is_not_taken_is_not_fetched(self, small: S3Store, script: Script) -> None:
        requests = [ReadRequest("k", ByteRange(n, 100)) for n in range(50)]
        stream = small.read_many(requests, ahead=350)
        assert not script.asked
        assert bytes(next(stream)) == DATA[:100]
        time.sleep(0.2)
        assert len(script.asked) <= 4
        assert [bytes(data) for data in stream] == [DATA[n : n + 100] for n in range(1, 50)]
        one_by_one = small.read_many(requests, ahead=0)
        assert [bytes(data) for data in one_by_one] == [DATA[n : n + 100] for n in range(50)]
        assert len(script.asked) == 100

    def test_who_goes_away_leaves_nothing(self, small: S3Store, script: Script) -> None:
        script.faults.extend([Fault(200), *[SLOW] * 40])
        stream = small.read_many([ReadRequest("k", ByteRange(n, 9)) for n in range(40)])
        next(stream)
        wait_until(lambda: script.in_flight == 16)
        del stream
        gc.collect()
        wait_until(lambda: script.in_flight == 0)
        assert not script.released.is_set()

    def test_an_error_comes_at_its_place(self, small: S3Store, script: Script) -> None:
        script.faults.extend([Fault(404, "NoSuchKey")] * 1)
        stream = small.read_many([ReadRequest(f"k{n}", ByteRange(n, 9)) for n in range(2)])
        with pytest.raises(ObjectMissing):
            list(stream)
        store_order = small.read_many([ReadRequest(f"k{n}", ByteRange(n, 9)) for n in range(9)])
        assert bytes(next(store_order)) == DATA[:9]
        assert [bytes(data) for data in store_order] == [DATA[n : n + 9] for n in range(1, 9)]
        # What was cut off may still be on its way, and would take the next test's fault.
        time.sleep(0.2)
        wait_until(lambda: script.in_flight == 0)

    def test_a_copy_stands_in_for_what_is_missing(self, small: S3Store, script: Script) -> None:
        script.faults.append(Fault(404, "NoSuchKey"))
        (data,) = small.read_many([ReadRequest("k", ByteRange(0, 9), "copy")])
        assert bytes(data) == DATA[:9]
        assert small.meter.snapshot() == RequestCounts(get=2, bytes_in=9)

    def test_what_is_not_there_yet_is_waited_for(self, small: S3Store, script: Script) -> None:
        script.faults.extend([Fault(404, "NoSuchKey")] * 6)
        requests = [ReadRequest(f"k{n}", ByteRange(n, 9)) for n in range(3)]
        found = list(small.read_many(requests, deadline=time.monotonic() + LIMIT))
        assert [bytes(data) for data in found] == [DATA[n : n + 9] for n in range(3)]
        assert small.meter.snapshot() == RequestCounts(get=9, bytes_in=27)


def test_polling_ends(small: S3Store, script: Script) -> None:
    def poll(seconds: float) -> list[Buffer]:
        requests = [ReadRequest("k", ByteRange(1, 2))]
        return list(small.read_many(requests, deadline=time.monotonic() + seconds))

    script.faults.extend([Fault(404, "NoSuchKey")] * 3)
    assert [bytes(data) for data in poll(LIMIT)] == [DATA[1:3]]
    assert len(script.asked) == 4
    script.faults.extend([Fault(404, "NoSuchKey")] * 1000)
    with pytest.raises(ObjectMissing):
        poll(0.2)
    assert 5 < len(script.asked) < 30


class TestCredentials:
    def store(self, server: Server, source) -> S3Store:
        options = S3Options(endpoint=f"http://127.0.0.1:{server.server_port}")
        return S3Store("bucket", "", options, credentials=source)

    def test_expired_ones_are_renewed_once(self, server: Server, script: Script) -> None:
        asked: list[int] = []

        def source() -> Credentials:
            asked.append(1)
            return Credentials(f"key{len(asked)}", "secret")

        store = self.store(server, source)
        store.get("k")
        script.faults.append(Fault(400, "ExpiredToken"))
        assert bytes(store.get("k")) == DATA
        signed = [headers["authorization"] for _, _, headers in script.asked]
        assert "Credential=key1/" in signed[1]
        assert "Credential=key1/" not in signed[2]
        script.faults.extend([Fault(400, "ExpiredToken")] * 2)
        with pytest.raises(CredentialsExpired):
            store.get("k")
        assert len(script.asked) == 5
        store.close()

    def test_the_same_again_are_no_use(self, server: Server, script: Script) -> None:
        store = self.store(server, lambda: Credentials("key", "secret"))
        script.faults.append(Fault(400, "ExpiredToken"))
        with pytest.raises(CredentialsExpired):
            store.get("k")
        assert len(script.asked) == 1
        store.close()
