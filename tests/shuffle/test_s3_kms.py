"""Requests that a store makes to KMS are counted where it tells, or where somebody says so."""

from __future__ import annotations

from contextlib import closing

import pytest
from scripted_s3 import open_store, serving

from starling_py.shuffle.objects import ByteRange

KIND = "x-amz-server-side-encryption"


@pytest.mark.parametrize(
    ("headers", "asks"),
    [
        ({}, 0),
        ({KIND: "AES256"}, 0),
        ({KIND: "aws:kms"}, 1),
        ({KIND: "aws:kms:dsse"}, 1),
        ({KIND: "aws:kms", f"{KIND}-bucket-key-enabled": "true"}, 0),
    ],
)
def test_a_put_tells_and_gets_follow(headers, asks):
    with serving() as server, closing(open_store(server)) as store:
        server.script.headers = headers
        store.put("k", [b"data"])
        assert store.meter.snapshot().kms == asks
        store.get_range("k", ByteRange(0, 4))
        counts = store.meter.snapshot()
        assert (counts.put, counts.get, counts.kms) == (1, 1, 2 * asks)


def test_reading_tells_nothing_and_can_be_told():
    with serving() as server:
        for told in (False, True):
            with closing(open_store(server, kms_reads=told)) as store:
                store.get_range("k", ByteRange(0, 4))
                store.head("k")
                assert store.meter.snapshot().kms == int(told)
