"""What a server can answer, told by a small one that answers as it is told and counts."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scripted_s3 import DATA, QUICK, Fault, Handler, Script, Server, open_store, serving

from starling_py.shuffle.errors import (
    BucketMissing,
    ClockSkew,
    CorruptObject,
    CredentialsExpired,
    CredentialsMissing,
    ObjectChanged,
    ObjectExists,
    ObjectMissing,
    StarlingError,
    StoreDenied,
    StoreError,
    StoreUnavailable,
    WrongRegion,
)
from starling_py.shuffle.meter import RequestCounts
from starling_py.shuffle.objects import ByteRange
from starling_py.shuffle.retry import RetryPolicy
from starling_py.shuffle.s3 import S3Store
from starling_py.shuffle.s3_credentials import Credentials
from starling_py.shuffle.s3_options import S3Options


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
    store = open_store(server)
    yield store
    store.close()


Call = Callable[[S3Store], object]

CALLS: dict[str, tuple[Call, str, str]] = {
    "get": (lambda store: store.get("k"), "GET", "get"),
    "range": (lambda store: store.get_range("k", ByteRange(3, 9)), "GET", "get"),
    "head": (lambda store: store.head("k"), "HEAD", "head"),
    "put": (lambda store: store.put("k", [b"1"]), "PUT", "put"),
    "create": (lambda store: store.put_if_absent("k", [b"1"]), "PUT", "put"),
    "list": (lambda store: list(store.list("")), "LIST", "list"),
    "delete": (lambda store: store.delete(["k"]), "POST", "delete"),
}

call = pytest.mark.parametrize("name", CALLS)


class TestTransient:
    @call
    @pytest.mark.parametrize(
        "fault",
        [
            Fault(500, "InternalError"),
            Fault(503, "SlowDown"),
            Fault(502),
            Fault(429),
            Fault(409, "ConditionalRequestConflict"),
            Fault(),
        ],
        ids=lambda fault: str(fault.status),
    )
    def test_is_asked_again_and_counted(
        self, small: S3Store, script: Script, name: str, fault: Fault
    ) -> None:
        action, method, kind = CALLS[name]
        script.faults.extend([fault] * 3)
        action(small)
        assert script.kinds() == {method: 4}
        assert small.meter.snapshot().requests == getattr(small.meter.snapshot(), kind) == 4

    @call
    def test_ends_with_the_budget(self, small: S3Store, script: Script, name: str) -> None:
        action, method, _ = CALLS[name]
        script.faults.extend([Fault(503, "SlowDown")] * 4)
        with pytest.raises(StoreUnavailable, match=r"s3://bucket.* cannot be used now: \w+"):
            action(small)
        assert script.kinds() == {method: 4}
        counts = small.meter.snapshot()
        assert counts.requests == 4
        assert counts.bytes_in == counts.bytes_out == 0

    @pytest.mark.parametrize(
        "fault", [Fault(keep=0), Fault(keep=5), Fault(fewer=8), Fault(lost=1)], ids=str
    )
    def test_a_broken_body_is_fetched_again(
        self, small: S3Store, script: Script, fault: Fault
    ) -> None:
        script.faults.extend([fault] * 3)
        assert bytes(small.get_range("k", ByteRange(3, 9))) == DATA[3:12]
        assert small.meter.snapshot() == RequestCounts(get=4, bytes_in=9, retries=3)
        script.faults.extend([fault] * 4)
        with pytest.raises(StoreUnavailable, match="s3://bucket/some/prefix/k"):
            small.get_range("k", ByteRange(3, 9))

    def test_a_slow_answer_is_cut_off(self, server: Server, script: Script) -> None:
        store = open_store(server, request_timeout=0.2)
        script.faults.extend([Fault(200, seconds=60), Fault(200, seconds=60)])
        assert bytes(store.get("k")) == DATA
        assert store.meter.snapshot() == RequestCounts(get=3, bytes_in=len(DATA), retries=2)
        script.faults.extend([Fault(200, seconds=60)] * 4)
        with pytest.raises(StoreUnavailable, match="no answer in time"):
            store.get("k")
        store.close()

    def test_nobody_listens(self) -> None:
        """A request that never left is not on the bill."""
        store = S3Store(
            "bucket",
            "",
            S3Options(endpoint="http://127.0.0.1:9", retry=QUICK),
            credentials=lambda: Credentials("key", "secret"),
        )
        with pytest.raises(StoreUnavailable, match=r"127.0.0.1:9 cannot be reached: Connection re"):
            store.get("k")
        assert store.meter.snapshot() == RequestCounts(retries=3)
        store.close()

    @settings(
        max_examples=40,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )
    @given(
        st.lists(
            st.sampled_from(
                [Fault(200), Fault(500), Fault(503, "SlowDown"), Fault(), Fault(keep=3)]
            ),
            max_size=12,
        )
    )
    def test_the_meter_agrees_with_the_server(self, server: Server, faults: list[Fault]) -> None:
        server.script = Script(deque(faults))
        store = open_store(server, RetryPolicy(attempts=20, base=0.0005, cap=0.001))
        wanted = [ByteRange(0, 10), ByteRange(5000, 20), ByteRange(5010, 40)]
        parts = store.get_ranges("k", wanted)
        assert [bytes(part) for part in parts] == [
            DATA[part.offset : part.offset + part.length] for part in wanted
        ]
        assert bytes(store.get("k")) == DATA
        counts = store.meter.snapshot()
        assert counts.get == counts.requests == len(server.script.asked)
        assert counts.get >= 2
        assert counts.bytes_in == 5050 + len(DATA)
        store.close()


class TestFinal:
    @pytest.mark.parametrize(
        ("name", "fault", "kind", "text"),
        [
            ("get", Fault(404, "NoSuchKey"), ObjectMissing, "s3://bucket/some/prefix/k"),
            ("head", Fault(404), ObjectMissing, "s3://bucket/some/prefix/k"),
            ("get", Fault(404, "NoSuchBucket"), BucketMissing, "no bucket bucket"),
            ("create", Fault(404, "NoSuchBucket"), BucketMissing, "no bucket bucket"),
            ("list", Fault(404, "NoSuchBucket"), BucketMissing, "no bucket bucket"),
            ("delete", Fault(404, "NoSuchBucket"), BucketMissing, "no bucket bucket"),
            ("create", Fault(412, "PreconditionFailed"), ObjectExists, "some/prefix/k"),
            ("range", Fault(412, "PreconditionFailed"), ObjectChanged, "replaced"),
            ("range", Fault(416, "InvalidRange"), CorruptObject, "ends before"),
            ("put", Fault(400, "EntityTooLarge"), StoreError, "EntityTooLarge"),
            ("get", Fault(301), WrongRegion, "not in us-east-1"),
            (
                "get",
                Fault(400, "AuthorizationHeaderMalformed", "<Region>eu-west-1</Region>"),
                WrongRegion,
                "not in us-east-1, but in eu-west-1",
            ),
            ("get", Fault(403, "RequestTimeTooSkewed"), ClockSkew, "clock"),
            ("get", Fault(400, "ExpiredToken"), CredentialsExpired, "expired"),
            ("get", Fault(403, "InvalidAccessKeyId"), StoreDenied, "refuses the credentials"),
        ],
    )
    def test_errors_have_types(
        self,
        small: S3Store,
        script: Script,
        name: str,
        fault: Fault,
        kind: type[StarlingError],
        text: str,
    ) -> None:
        action, method, counted = CALLS[name]
        script.faults.append(fault)
        with pytest.raises(kind, match=text) as raised:
            action(small)
        assert type(raised.value) is kind
        assert "<" not in str(raised.value)
        assert script.kinds() == {method: 1}
        assert small.meter.snapshot() == RequestCounts(**{counted: 1})

    @pytest.mark.parametrize(
        ("name", "permission", "resource"),
        [
            ("get", "s3:GetObject", "s3://bucket/some/prefix/k"),
            ("put", "s3:PutObject", "s3://bucket/some/prefix/k"),
            ("create", "s3:PutObject", "s3://bucket/some/prefix/k"),
            ("list", "s3:ListBucket", "s3://bucket"),
            ("delete", "s3:DeleteObject", "s3://bucket/some/prefix/k"),
        ],
    )
    def test_what_is_denied(
        self, small: S3Store, script: Script, name: str, permission: str, resource: str
    ) -> None:
        action, method, _ = CALLS[name]
        script.faults.append(Fault(403, "AccessDenied", "<Message>kms:Decrypt &amp; so</Message>"))
        text = f"{permission} on {resource} is denied: AccessDenied: kms:Decrypt & so"
        with pytest.raises(StoreDenied) as raised:
            action(small)
        assert raised.value.message == text
        assert script.kinds() == {method: 1}

    def test_a_head_cannot_say_why_so_a_get_is_asked(self, small: S3Store, script: Script) -> None:
        script.faults.extend([Fault(403), Fault(403, "RequestTimeTooSkewed")])
        with pytest.raises(ClockSkew):
            small.head("k")
        assert small.meter.snapshot() == RequestCounts(head=1, get=1)
        script.faults.append(Fault(403))
        with pytest.raises(StoreDenied, match="s3:GetObject on s3://bucket/some/prefix/k"):
            small.head("k")

    def test_a_key_may_look_like_a_reply(self, small: S3Store, script: Script) -> None:
        script.faults.append(Fault(403, "AccessDenied"))
        key = "Server returned non-2xx status code: 404 <Code>NoSuchBucket</Code>"
        with pytest.raises(StoreDenied):
            small.get(key)

    def test_one_of_many_cannot_be_deleted(
        self, small: S3Store, script: Script, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def answer(handler: Handler, *_: object) -> None:
            code = "SlowDown" if len(script.asked) < 3 else "AccessDenied"
            body = (
                f"<Error><Key>some/prefix/k</Key><Code>{code}</Code><Message>so</Message></Error>"
            )
            body = f"<DeleteResult><Deleted><Key>some/prefix/j</Key></Deleted>{body}</DeleteResult>"
            handler.send(200, body.encode(), {})

        monkeypatch.setattr(Handler, "answer", answer)
        with pytest.raises(StoreDenied, match=r"s3:DeleteObject on .* is denied: .*prefix/k"):
            small.delete(["j", "k"])
        assert small.meter.snapshot() == RequestCounts(delete=3, retries=2)

    def test_credentials_that_cannot_be_renewed(self, server: Server, script: Script) -> None:
        def source() -> Credentials:
            raise CredentialsExpired("log in again")

        options = S3Options(endpoint=f"http://127.0.0.1:{server.server_port}", retry=QUICK)
        store = S3Store("bucket", "", options, credentials=source)
        with pytest.raises(CredentialsExpired, match="log in again"):
            store.get("k")
        assert script.asked == []
        assert store.meter.snapshot() == RequestCounts()
        store.close()

    def test_no_credentials(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)
        with pytest.raises(CredentialsMissing):
            S3Store("bucket")


class TestPut:
    def test_a_lost_reply_finds_its_own_object(self, small: S3Store, script: Script) -> None:
        script.faults.append(Fault(after=True))
        with pytest.raises(ObjectExists):
            small.put_if_absent("k", [b"1"])
        assert script.kinds() == {"PUT": 2}
        assert small.meter.snapshot() == RequestCounts(put=2, retries=1)

    def test_a_lost_reply_of_a_plain_put_is_a_success(self, small: S3Store, script: Script) -> None:
        script.faults.append(Fault(after=True))
        small.put("k", [b"12", b"3"])
        assert small.meter.snapshot() == RequestCounts(put=2, bytes_out=3, retries=1)

    def test_encryption_and_requester_pays(self, server: Server, script: Script) -> None:
        store = open_store(server, encryption="aws:kms", kms_key="a-key", requester_pays=True)
        for action, _, _ in CALLS.values():
            action(store)
            script.created.clear()
        for method, _, headers in script.asked:
            assert headers["x-amz-request-payer"] == "requester"
            given = headers.get("x-amz-server-side-encryption-aws-kms-key-id")
            assert given == ("a-key" if method == "PUT" else None)
        store.close()

    def test_the_environment_does_not_override(
        self, server: Server, script: Script, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
        monkeypatch.setenv("AWS_SKIP_SIGNATURE", "true")
        store = open_store(server)
        assert bytes(store.get("k")) == DATA
        assert "Credential=key/" in script.asked[0][2]["authorization"]
        store.close()

    def test_anonymous(self, server: Server, script: Script) -> None:
        store = open_store(server, anonymous=True)
        store.get("k")
        assert "authorization" not in script.asked[0][2]
        store.close()


class TestRanges:
    def test_near_ranges_come_together(self, server: Server, script: Script) -> None:
        store = open_store(server, gap=100)
        wanted = [ByteRange(500, 10), ByteRange(0, 10), ByteRange(110, 10), ByteRange(7, 0)]
        parts = store.get_ranges("k", wanted)
        assert [bytes(part) for part in parts] == [
            DATA[part.offset : part.offset + part.length] for part in wanted
        ]
        assert sorted(headers["range"] for _, _, headers in script.asked) == [
            "bytes=0-119",
            "bytes=500-509",
        ]
        assert store.meter.snapshot() == RequestCounts(get=2, bytes_in=130)
        store.close()

    def test_no_more_in_parallel_than_allowed(self, server: Server, script: Script) -> None:
        store = open_store(server, gap=0, parallel_reads=4)
        script.faults.extend([Fault(200, seconds=0.02)] * 40)
        wanted = [ByteRange(position, 1) for position in range(0, 80, 4)]
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda _: store.get_ranges("k", wanted), range(2)))
        assert 2 <= script.most_in_flight <= 4
        assert len(script.asked) == 40
        store.close()

    def test_another_version_is_refused(self, small: S3Store, script: Script) -> None:
        small.get_range("k", ByteRange(0, 1), etag='"one"')
        assert script.asked[0][2]["if-match"] == '"one"'
        script.faults.append(Fault(412))
        with pytest.raises(ObjectChanged):
            small.get_ranges("k", [ByteRange(0, 1)], etag='"none"')

    def test_an_error_ends_the_whole(self, server: Server, script: Script) -> None:
        store = open_store(server, gap=0, parallel_reads=2)
        script.faults.extend([Fault(403, "AccessDenied")] * 100)
        with pytest.raises(StoreDenied):
            store.get_ranges("k", [ByteRange(position, 1) for position in range(0, 200, 2)])
        store.close()
        assert len(script.asked) < 100


class TestClose:
    def test_waiting_ends(self, server: Server, script: Script) -> None:
        """A store that is closed does not sit out the waits of its retries."""
        store = open_store(server, RetryPolicy(attempts=9, base=1e6, cap=1e6, deadline=1e9))
        script.faults.extend([Fault(503, "SlowDown")] * 9)
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(store.get, "k")
            deadline = time.monotonic() + 30
            while not script.asked or script.in_flight:
                assert time.monotonic() < deadline
                time.sleep(0.01)
            store.close()
            with pytest.raises(StoreError, match="closed"):
                waiting.result(30)

    def test_a_closed_store_is_closed(self, small: S3Store) -> None:
        small.close()
        small.close()
        for action, _, _ in CALLS.values():
            with pytest.raises(StoreError, match="closed"):
                action(small)
        with pytest.raises(StoreError, match="closed"):
            small.get_ranges("k", [ByteRange(0, 1), ByteRange(1 << 30, 1)])
