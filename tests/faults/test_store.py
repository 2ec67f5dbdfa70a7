"""Whatever the network does, a store answers what is there or says that it cannot."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from itertools import product

import pytest
from faults import AtRandom, Fault, Listed
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from starling_py.shuffle.errors import (
    CorruptObject,
    ObjectExists,
    ObjectMissing,
    StarlingError,
    StoreUnavailable,
)
from starling_py.shuffle.objects import ByteRange
from starling_py.shuffle.retry import RetryPolicy
from starling_py.shuffle.s3 import S3Store

RETRY = RetryPolicy(attempts=5, base=0.001, cap=0.002)
EXAMPLES = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
KEYS = ("a", "b", "sub/a")
SCHEDULES = st.lists(st.one_of(st.none(), st.sampled_from(list(Fault))), max_size=25)
# Contents differ in length too, so that parts of two cannot be taken for one of them.
CONTENTS = st.builds(
    lambda number, size: bytes([number]) * size, st.integers(0, 255), st.integers(1, 3000)
)
RANGES = st.builds(ByteRange, st.integers(0, 2500), st.integers(1, 800))
Value = bytes | None


@dataclass(frozen=True)
class Step:
    """One call of a store."""

    call: str
    key: str = "a"
    data: bytes = b""
    ranges: tuple[ByteRange, ...] = ()


KEY = st.sampled_from(KEYS)
STEPS = st.one_of(
    st.builds(Step, st.sampled_from(["put", "create"]), KEY, CONTENTS),
    st.builds(Step, st.sampled_from(["get", "head", "delete", "list"]), KEY),
    st.builds(
        Step,
        st.just("ranges"),
        KEY,
        ranges=st.lists(RANGES, min_size=1, max_size=3).map(tuple),
    ),
)


@dataclass
class Model:
    """What may be under each key: after a write that failed both, for it may have been done."""

    values: dict[str, frozenset[Value]] = field(
        default_factory=lambda: {key: frozenset([None]) for key in KEYS}
    )

    def narrow(self, key: str, possible: set[Value]) -> None:
        self.values[key] = self.values[key] & possible
        assert self.values[key], "what was read was never written"


def answer(store: S3Store, step: Step) -> object:
    """Do a step; return what comes of it, an error that the store may raise included."""
    try:
        if step.call == "put":
            return store.put(step.key, [step.data[:7], step.data[7:]])
        if step.call == "create":
            return store.put_if_absent(step.key, [step.data])
        if step.call == "get":
            return bytes(store.get(step.key))
        if step.call == "ranges":
            return [bytes(part) for part in store.get_ranges(step.key, step.ranges)]
        if step.call == "head":
            return store.head(step.key).size
        if step.call == "delete":
            return store.delete([step.key])
        return {info.key: info.size for info in store.list("")}
    except StarlingError as error:
        return type(error)


def told(value: Value, step: Step) -> object:
    """Return what a read must answer when this is there."""
    if value is None:
        return ObjectMissing
    if step.call == "head":
        return len(value)
    if step.call == "get":
        return value
    if any(one.offset + one.length > len(value) for one in step.ranges):
        return CorruptObject
    return [value[one.offset : one.offset + one.length] for one in step.ranges]


def check(model: Model, step: Step, got: object, faults: set[Fault]) -> None:
    """Compare an answer with what may be there, and learn from it."""
    before = model.values[step.key]
    if got is StoreUnavailable:
        assert faults, "nothing went wrong, and yet it gave up"
        if step.call == "put" or (step.call == "create" and None in before):
            model.values[step.key] = before | {step.data}
        elif step.call == "delete":
            model.values[step.key] = before | {None}
    elif step.call == "list":
        assert isinstance(got, dict)
        for key in KEYS:
            model.narrow(key, {v for v in model.values[key] if got.get(key) == (v and len(v))})
    elif step.call in ("get", "head", "ranges"):
        possible = {value for value in before if told(value, step) == got}
        if not (Fault.FLIPPED_BIT in faults and step.call != "head" and not possible):
            model.narrow(step.key, possible)
    elif got is ObjectExists:
        assert step.call == "create"
        own = {step.data} if faults and None in before else set()
        model.values[step.key] = (before - {None}) | own
        assert model.values[step.key], "nothing was there, and yet it did not come first"
    else:
        assert got is None
        if step.call == "create":
            assert None in before, "what was there has been replaced"
        model.values[step.key] = frozenset([None if step.call == "delete" else step.data])


@contextmanager
def nothing_left(proxy) -> Iterator[None]:
    threads = set(threading.enumerate())
    yield
    deadline = time.monotonic() + 5
    while proxy.connections or not set(threading.enumerate()) <= threads:
        assert time.monotonic() < deadline, (proxy.connections, threading.enumerate())
        time.sleep(0.005)


@pytest.fixture
def proxy(s3_server, make_proxy):
    made = make_proxy(s3_server, slow_seconds=0.02)
    with closing(made.server.store()) as store:
        list(store.list(""))  # what starts once for the process has started
    return made


@EXAMPLES
@given(steps=st.lists(STEPS, min_size=1, max_size=10), faults=SCHEDULES)
def test_answers_are_right_or_missing(proxy, steps: list[Step], faults: list[Fault | None]) -> None:
    with nothing_left(proxy):
        proxy.reset(Listed(faults))
        model, outcomes = Model(), []
        with closing(proxy.server.store(retry=RETRY, gap=100)) as store:
            for step in steps:
                before = len(proxy.log)
                got = answer(store, step)
                if step.call == "ranges":
                    outcomes.append(got)
                check(model, step, got, {one.fault for one in proxy.log[before:] if one.fault})
            counts, sent = store.meter.snapshot(), proxy.counts()
        assert counts.get >= sent.get
        # Where one of several reads fails, the others are given up, on their way or not.
        if not any(isinstance(one, type) for one in outcomes):
            assert counts.get == sent.get
        kinds = ("put", "head", "list", "delete")
        assert {k: getattr(counts, k) for k in kinds} == {k: getattr(sent, k) for k in kinds}
    proxy.reset()
    with closing(proxy.server.store("")) as store:
        store.delete([info.key for info in store.list("test/")])


@pytest.mark.parametrize(("call", "fault"), [*product(("put", "create", "delete"), Fault)], ids=str)
def test_one_fault_is_got_over(moto, make_proxy, call: str, fault: Fault) -> None:
    """One fault hits each request of a call once; the call does what it should nevertheless."""
    proxy = make_proxy(moto, slow_seconds=0.02)
    with closing(proxy.server.store(retry=RETRY)) as store:
        if call == "delete":
            store.put("a", [b"old"])
        proxy.reset(Listed([fault]))
        got = answer(store, Step(call, data=b"new"))
        # A conditional put that is repeated after it was done finds its own object.
        again = fault in (Fault.LOST_REPLY, Fault.RESET_IN_BODY, Fault.TRUNCATED)
        assert got in ((None, ObjectExists) if call == "create" and again else (None,))
        assert answer(store, Step("get")) == (ObjectMissing if call == "delete" else b"new")


@pytest.mark.parametrize("call", ["get", "ranges", "head", "list"])
@pytest.mark.parametrize("fault", [one for one in Fault if one is not Fault.FLIPPED_BIT], ids=str)
def test_reads_are_got_over(moto, make_proxy, call: str, fault: Fault) -> None:
    proxy = make_proxy(moto, slow_seconds=0.02)
    with closing(proxy.server.store(retry=RETRY)) as store:
        store.put("a", [bytes(range(200))])
        step = Step(call, ranges=(ByteRange(3, 50), ByteRange(100, 100)))
        right = answer(store, step)
        assert right not in (ObjectMissing, StoreUnavailable)
        for count in (1, 4):
            proxy.reset(Listed([fault] * count))
            assert answer(store, step) == right
        slow = fault in (Fault.SLOW_FIRST_BYTE, Fault.SLOW_DRIP)
        assert set(proxy.injected()) == {fault}
        assert slow or proxy.injected()[fault] == 4


@settings(EXAMPLES, max_examples=15)
@given(seed=st.integers(0, 2**32))
def test_of_many_writers_at_most_one_wins(proxy, request: pytest.FixtureRequest, seed: int) -> None:
    with nothing_left(proxy):
        proxy.reset(AtRandom(seed, 0.4))
        with closing(proxy.server.store(retry=RETRY)) as store, ThreadPoolExecutor(6) as pool:
            barrier = threading.Barrier(6)

            def write(number: int) -> object:
                barrier.wait(30)
                return answer(store, Step("create", data=bytes([number]) * (1000 + number)))

            outcomes = list(pool.map(write, range(6)))
            proxy.reset()
            found = answer(store, Step("get"))
    assert set(outcomes) <= {None, ObjectExists, StoreUnavailable}
    winners = [number for number, outcome in enumerate(outcomes) if outcome is None]
    # moto looks for an object and puts it in two steps, and serves several requests at once.
    atomic = request.node.callspec.params["s3_server"] != "moto"
    assert len(winners) <= 1 or not atomic
    if winners:
        assert found in [bytes([winner]) * (1000 + winner) for winner in winners]
    elif found is not ObjectMissing:
        assert found in [bytes([number]) * (1000 + number) for number in range(6)]
    else:
        assert set(outcomes) == {StoreUnavailable}
