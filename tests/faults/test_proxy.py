"""The proxy itself: it changes nothing unless told to, counts what arrives, breaks as it says."""

from __future__ import annotations

import http.client
import os
import re
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, nullcontext
from pathlib import Path

import pytest
from faults import AtRandom, Fault, Listed, Slow, kind_of
from s3_proxy import FaultProxy
from s3_servers import BUCKET, running_server

from starling_py.shuffle.errors import StoreUnavailable
from starling_py.shuffle.meter import RequestCounts
from starling_py.shuffle.objects import ByteRange
from starling_py.shuffle.retry import RetryPolicy

DATA = os.urandom(300_001)
QUICK = RetryPolicy(attempts=10, base=0.001, cap=0.002)
SIGNED = {  # moto looks who asks, but not at the signature
    "Authorization": "AWS4-HMAC-SHA256 Credential=testing/20250101/us-east-1/s3/aws4_request, "
    "SignedHeaders=host, Signature=0"
}


@pytest.fixture
def proxy(s3_server, make_proxy):
    return make_proxy(s3_server)


@pytest.fixture
def direct(s3_server):
    with closing(s3_server.store("")) as store:
        yield store


def ask(proxy, method: str, key: str, body: bytes | None = None, timeout: float = 30.0):
    """Send one request on a connection of its own; return status, headers and body."""
    host, _, port = proxy.endpoint.removeprefix("http://").partition(":")
    with closing(http.client.HTTPConnection(host, int(port), timeout=timeout)) as connection:
        connection.request(method, f"/{BUCKET}/{key}", body, SIGNED)
        reply = connection.getresponse()
        return reply.status, dict(reply.getheaders()), reply.read()


class TestPassesOn:
    def test_what_goes_through_is_what_came(self, s3_server, proxy) -> None:
        prefix = s3_server.new_prefix()
        with (
            closing(proxy.server.store(prefix)) as through,
            closing(s3_server.store(prefix)) as beside,
        ):
            through.put("a", [DATA])
            through.put("empty", [])
            assert bytes(beside.get("a")) == bytes(through.get("a")) == DATA
            assert bytes(through.get("empty")) == b""
            assert bytes(through.get_range("a", ByteRange(7, 70_000))) == DATA[7:70_007]
            assert through.head("a") == beside.head("a")
            assert list(through.list("")) == list(beside.list(""))
            assert len(list(through.list(""))) == 2
            through.delete(["a", "empty"])
            assert list(beside.list("")) == []

    def test_large_bodies_stream(self, ministack, make_proxy) -> None:
        data = os.urandom(1 << 20) * 20
        with closing(make_proxy(ministack).server.store()) as store:
            store.put("large", [data])
            assert bytes(store.get("large")) == data

    def test_other_clients_too(self, s3_server, proxy) -> None:
        """They expect 100-continue before they send a body, and send pieces of unknown number."""
        key = s3_server.new_prefix()
        with closing(proxy.server.client()) as client:
            client.put_object(Bucket=BUCKET, Key=key, Body=DATA)
            assert client.get_object(Bucket=BUCKET, Key=key)["Body"].read() == DATA
            client.get_bucket_versioning(Bucket=BUCKET)
            client.delete_object(Bucket=BUCKET, Key=key)
        size = len(DATA)
        assert proxy.counts() == RequestCounts(
            get=1, put=1, delete=1, bytes_in=size, bytes_out=size
        )
        assert [seen.asked.kind for seen in proxy.log] == ["put", "get", "other", "delete"]

    def test_signatures_are_over_the_proxys_own_name(self, make_proxy) -> None:
        """The head arrives byte for byte."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            proxy = make_proxy(f"http://127.0.0.1:{listener.getsockname()[1]}")
            raw = b"GET /b/k HTTP/1.1\r\nHOST: somewhere:1\r\nX-Odd:  two  spaces \r\n\r\n"
            client = socket.create_connection(("127.0.0.1", int(proxy.endpoint.rpartition(":")[2])))
            client.sendall(raw)
            server, _ = listener.accept()
            server.settimeout(30)
            client.settimeout(30)
            assert server.recv(10_000) == raw
            body = b"3\r\nabc\r\n0\r\nTrailer: 1\r\n\r\n"
            sent = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body
            server.sendall(sent)
            reply = b""
            while len(reply) < len(sent):
                reply += client.recv(10_000)
            assert reply == sent
            client.close()
            server.close()


class TestCounts:
    def test_agree_with_the_meter_and_the_servers_log(self, tmp_path: Path, make_proxy) -> None:
        with running_server("moto", tmp_path) as server:
            proxy = make_proxy(server)
            skipped = (tmp_path / "moto.log").read_text().count('" ')
            with closing(proxy.server.store(gap=0)) as store:
                for number in range(5):
                    store.put(f"k/{number}", [DATA])
                store.get_ranges("k/1", [ByteRange(at, 10) for at in range(0, 100, 10)])
                store.get_ranges("k/1", [ByteRange(at, 10) for at in range(0, 100, 20)])
                store.head("k/1")
                list(store.list("k/"))
                store.delete(["k/1", "k/2"])
                counts = store.meter.snapshot()
            assert counts.requests > 12
            assert proxy.counts() == proxy.counts(forwarded=True) == counts
            written = re.sub(r"\x1b\[\d+m", "", (tmp_path / "moto.log").read_text()).splitlines()
            lines = [line for line in written if '" ' in line][skipped:]
            kinds = [line.split('"')[1].split()[0] for line in lines]
            assert kinds.count("PUT") == counts.put
            assert kinds.count("HEAD") == counts.head
            assert kinds.count("POST") == counts.delete
            assert kinds.count("GET") == counts.get + counts.list

    def test_most_in_flight(self, moto, make_proxy) -> None:
        proxy = make_proxy(moto, latency=0.2)
        ask(proxy, "PUT", "k", DATA)
        assert proxy.most_in_flight() == proxy.most_in_flight("put") == 1
        with ThreadPoolExecutor(6) as pool:
            list(pool.map(lambda _: ask(proxy, "GET", "k"), range(12)))
        assert proxy.most_in_flight("get") == proxy.most_in_flight() == 6
        proxy.reset()
        assert proxy.most_in_flight() == 0
        assert proxy.counts() == RequestCounts()

    @pytest.mark.parametrize(
        ("method", "target", "kind"),
        [
            ("GET", "/b/k", "get"),
            ("GET", "/b/k?versionId=1", "get"),
            ("HEAD", "/b/k", "head"),
            ("PUT", "/b/a/k?partNumber=1&uploadId=2", "put"),
            ("POST", "/b/k?uploads", "put"),
            ("POST", "/b?delete", "delete"),
            ("DELETE", "/b/k", "delete"),
            ("GET", "/b?list-type=2&prefix=a", "list"),
            ("GET", "/b/?list-type=2", "list"),
            ("GET", "/b?versioning", "other"),
            ("HEAD", "/b", "other"),
            ("PUT", "/b", "other"),
            ("GET", "/", "other"),
        ],
    )
    def test_kinds(self, method: str, target: str, kind: str) -> None:
        assert kind_of(method, target) == kind


class TestFaults:
    @pytest.mark.parametrize(
        ("fault", "status", "code"),
        [(Fault.SLOW_DOWN, 503, b"SlowDown"), (Fault.INTERNAL_ERROR, 500, b"InternalError")],
    )
    def test_refused(self, proxy, s3_server, fault, status, code) -> None:
        key = s3_server.new_prefix()
        proxy.reset(Listed([fault] * 3))
        answer = ask(proxy, "PUT", key, DATA)
        assert answer[0] == status
        assert code in answer[2]
        assert ask(proxy, "HEAD", key)[0] == status
        assert ask(proxy, "GET", key)[0] == status
        assert ask(proxy, "GET", key)[0] == 404  # nothing was written
        assert proxy.counts().requests == 4
        assert proxy.counts(forwarded=True) == RequestCounts(get=1)
        assert proxy.injected() == {fault: 3}

    @pytest.mark.parametrize(
        ("fault", "written"), [(Fault.RESET, False), (Fault.LOST_REPLY, True)], ids=str
    )
    def test_reset_before_the_reply(self, proxy, s3_server, fault, written: bool) -> None:
        key = s3_server.new_prefix()
        proxy.reset(Listed([fault]))
        with pytest.raises(ConnectionResetError):
            ask(proxy, "PUT", key, DATA)
        assert ask(proxy, "GET", key)[0] == (200 if written else 404)
        assert [seen.forwarded for seen in proxy.log] == [written, True]

    @pytest.mark.parametrize(
        ("fault", "error"),
        [
            (Fault.RESET_IN_BODY, ConnectionResetError),
            (Fault.TRUNCATED, http.client.IncompleteRead),
        ],
        ids=str,
    )
    def test_half_a_body(self, proxy, direct, s3_server, fault, error) -> None:
        key = s3_server.new_prefix()
        direct.put(key, [DATA])
        proxy.reset(Listed([fault]))
        with pytest.raises(error) as raised:
            ask(proxy, "GET", key)
        if fault is Fault.TRUNCATED:
            assert raised.value.partial == DATA[: len(DATA) // 2]
            assert raised.value.expected == len(DATA) - len(DATA) // 2  # the length is right
        assert ask(proxy, "GET", key)[2] == DATA
        proxy.reset(Listed([fault]))
        # There is no body: half of the head comes. If it ends there, its first line has said all.
        failure = nullcontext() if fault is Fault.TRUNCATED else pytest.raises(StoreUnavailable)
        with closing(proxy.server.store("", retry=RetryPolicy(attempts=1))) as store, failure:
            store.put(key, [b"new"])
        assert bytes(direct.get(key)) == b"new"

    def test_one_bit(self, proxy, direct, s3_server) -> None:
        key = s3_server.new_prefix()
        direct.put(key, [DATA])
        proxy.reset(Listed([Fault.FLIPPED_BIT, None, Fault.FLIPPED_BIT]))
        status, _, body = ask(proxy, "GET", key)
        assert status == 200
        assert (int.from_bytes(body) ^ int.from_bytes(DATA)).bit_count() == 1
        assert ask(proxy, "GET", key)[2] == DATA
        assert ask(proxy, "PUT", key, b"new")[0] == 200  # there is no object in it to change
        assert proxy.injected() == {Fault.FLIPPED_BIT: 1}

    @pytest.mark.parametrize("fault", [Fault.SLOW_FIRST_BYTE, Fault.SLOW_DRIP], ids=str)
    def test_slow(self, direct, s3_server, make_proxy, fault) -> None:
        key = s3_server.new_prefix()
        direct.put(key, [DATA])
        proxy = make_proxy(s3_server, Listed([fault, None, fault]), slow_seconds=0.3)
        begun = time.monotonic()
        assert ask(proxy, "GET", key)[2] == DATA
        assert time.monotonic() - begun >= 0.26  # not faster than that, however fast the machine
        assert ask(proxy, "GET", key)[2] == DATA
        with pytest.raises(TimeoutError):
            ask(proxy, "GET", key, timeout=0.02 if fault is Fault.SLOW_DRIP else 0.1)

    def test_a_connection_goes_on_where_it_can(self, ministack, make_proxy) -> None:
        key = ministack.new_prefix()
        proxy = make_proxy(
            ministack, Listed([None, Fault.SLOW_DOWN, Fault.FLIPPED_BIT, Fault.SLOW_DRIP])
        )
        host, _, port = proxy.endpoint.removeprefix("http://").partition(":")
        with closing(http.client.HTTPConnection(host, int(port), timeout=30)) as connection:
            ports = []
            for method in ("PUT", "GET", "GET", "GET", "GET"):
                body = DATA if method == "PUT" else None
                connection.request(method, f"/{BUCKET}/{key}", body, SIGNED)
                connection.getresponse().read()
                ports.append(connection.sock and connection.sock.getsockname())
        assert len(set(ports)) == 1
        assert ports[0]


class TestDelays:
    def test_latency_is_not_serial(self, moto, make_proxy) -> None:
        proxy = make_proxy(moto, latency=0.3)
        with ThreadPoolExecutor(16) as pool:
            begun = time.monotonic()
            list(pool.map(lambda _: ask(proxy, "HEAD", "nothing"), range(16)))
            seconds = time.monotonic() - begun
        assert proxy.most_in_flight() > 8
        assert 0.3 <= seconds < 16 * 0.3

    def test_a_share_is_slow(self, moto, make_proxy) -> None:
        rules = [Slow("get", 0.25, 0.001, seed=3), Slow("put", 1.0, 0.001, at_least=100)]
        proxy = make_proxy(moto, slow=rules)
        with closing(proxy.server.store()) as store:
            store.put("small", [b"1" * 99])
            store.put("large", [DATA])
            assert [seen.delay > 0 for seen in proxy.log] == [False, True]
            assert bytes(store.get("large")) == DATA
            for _ in range(99):
                store.get("small")
        slow = sum(seen.delay > 0 for seen in proxy.log if seen.asked.kind == "get")
        assert 15 <= slow <= 35

    def test_who_hangs_up_is_never_heard_of(self, moto, make_proxy) -> None:
        key = moto.new_prefix()
        proxy = make_proxy(moto, slow=[Slow("put", 1.0, 0.4)])
        with pytest.raises(TimeoutError):
            ask(proxy, "PUT", key, DATA, timeout=0.1)
        time.sleep(0.5)
        assert ask(proxy, "GET", key)[0] == 404
        assert [seen.forwarded for seen in proxy.log] == [False, True]


class TestSchedules:
    def test_a_seed_repeats_itself(self, moto, make_proxy) -> None:
        def faults(seed: int) -> list[Fault | None]:
            proxy = make_proxy(moto, AtRandom(seed, 0.3))
            with closing(proxy.server.store(retry=QUICK)) as store:
                for _ in range(20):
                    store.put("k.shuffle", [b"1"])
                    store.get("k.shuffle")
            return [seen.fault for seen in proxy.log][:40]

        assert faults(1) == faults(1)
        assert faults(1) != faults(2)

    def test_rate_kinds_and_paths(self, moto, make_proxy) -> None:
        proxy = make_proxy(
            moto, AtRandom(5, 0.5, [Fault.FLIPPED_BIT, Fault.SLOW_DOWN], exempt=("put", "other"))
        )
        with closing(proxy.server.store(retry=QUICK)) as store:
            for key in ("k.shuffle", "k.parquet"):
                for _ in range(10):
                    store.put(key, [DATA])
                for _ in range(100):
                    store.get(key)
        seen = proxy.log
        assert {one.asked.kind for one in seen if one.fault} == {"get"}
        flipped = {one.asked.path[-8:] for one in seen if one.fault is Fault.FLIPPED_BIT}
        assert flipped == {".shuffle"}
        gets = [one for one in seen if one.asked.kind == "get"]
        assert 0.4 < sum(one.fault is not None for one in gets) / len(gets) < 0.6


def test_nothing_is_left(s3_server) -> None:
    threads, files = set(threading.enumerate()), len(list(Path("/proc/self/fd").iterdir()))
    with FaultProxy(s3_server, slow=[Slow("get", 1.0, 60.0)]) as proxy:
        with pytest.raises(TimeoutError):
            ask(proxy, "GET", "k", timeout=0.05)
        kept = http.client.HTTPConnection(
            "127.0.0.1", int(proxy.endpoint.rpartition(":")[2]), timeout=30
        )
        kept.request("HEAD", f"/{BUCKET}/k")
        kept.getresponse().read()
    kept.close()
    assert set(threading.enumerate()) == threads
    assert len(list(Path("/proc/self/fd").iterdir())) == files
