"""A shuffle through a network that breaks requests and flips bits: the right rows, or an error."""

from __future__ import annotations

from contextlib import closing

import pyarrow as pa
import pytest
from faults import Fault, Listed
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from starling_py.shuffle.errors import CorruptObject, StoreUnavailable
from starling_py.shuffle.format import Producer
from starling_py.shuffle.index import Codec, PartitionRun
from starling_py.shuffle.objects import task_key
from starling_py.shuffle.read import read_runs
from starling_py.shuffle.retry import RetryPolicy
from starling_py.shuffle.write import commit_output

RETRY = RetryPolicy(attempts=5, base=0.001, cap=0.002)
SCHEDULES = st.lists(st.one_of(st.none(), st.sampled_from(list(Fault))), max_size=20)
READS = st.lists(
    st.one_of(st.none(), st.just(Fault.FLIPPED_BIT), st.sampled_from(list(Fault))), max_size=20
)
SCHEMA = pa.schema([("n", pa.int64()), ("text", pa.string())])
PARTS = [
    pa.table([list(range(rows)), [f"{rows}/{row}" for row in range(rows)]], schema=SCHEMA)
    for rows in (3, 0, 1, 500)
]
PRODUCERS = 3
EXPECTED = pa.concat_tables(PARTS * PRODUCERS)


@pytest.fixture
def proxy(s3_server, make_proxy):
    return make_proxy(s3_server, slow_seconds=0.02)


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    writes=SCHEDULES,
    reads=READS,
    codec=st.sampled_from(["none", "lz4"]),
    told=st.booleans(),
    doublewrite=st.booleans(),
)
def test_rows_are_right_or_missing(
    proxy,
    writes: list[Fault | None],
    reads: list[Fault | None],
    codec: Codec,
    told: bool,
    doublewrite: bool,
) -> None:
    with closing(proxy.server.store(retry=RETRY)) as store:
        runs = []
        for task in range(PRODUCERS):
            key, producer = task_key("q", 0, task), Producer("q", 0, task, f"nonce-{task}")
            proxy.reset(Listed(writes))
            try:
                index = commit_output(
                    store, key, producer, PARTS, codec=codec, doublewrite=doublewrite
                ).index
            except (StoreUnavailable, CorruptObject):
                assert proxy.injected()
                proxy.reset()
                index = commit_output(
                    store, key, producer, PARTS, codec=codec, doublewrite=doublewrite
                ).index
            assert index.nonce == producer.nonce
            entries = index.partitions if told else ()
            runs.append(PartitionRun(key, index.nonce, 0, 4, entries, copied=doublewrite))
        for reader in (0, 1):
            proxy.reset(Listed(reads))
            try:
                found = read_runs(store, runs, reader=reader)
            except StoreUnavailable:
                assert set(proxy.injected()) - {Fault.FLIPPED_BIT}
            except CorruptObject:
                assert Fault.FLIPPED_BIT in proxy.injected()
            else:
                assert found.equals(EXPECTED)
            proxy.reset()
            assert read_runs(store, runs, reader=reader).equals(EXPECTED)


@pytest.mark.parametrize("doublewrite", [False, True])
def test_a_flipped_bit_is_got_over(proxy, doublewrite: bool) -> None:
    """Damage on the way costs one more request, which the meter calls a retry."""
    with closing(proxy.server.store(retry=RETRY)) as store:
        key, producer = task_key("q", 0, 0), Producer("q", 0, 0, "nonce")
        index = commit_output(store, key, producer, PARTS, doublewrite=doublewrite).index
        run = PartitionRun(key, "nonce", 0, 4, index.partitions, copied=doublewrite)
        for flips in (1, 2):
            proxy.reset(Listed([Fault.FLIPPED_BIT] * flips))
            before = store.meter.snapshot()
            assert read_runs(store, [run]).equals(pa.concat_tables(PARTS))
            assert proxy.injected() == {Fault.FLIPPED_BIT: flips}
            assert proxy.counts().get == flips + 1
            assert (store.meter.snapshot() - before).retries == flips
        proxy.reset(Listed([Fault.FLIPPED_BIT] * 3))
        with pytest.raises(CorruptObject):
            read_runs(store, [run])
