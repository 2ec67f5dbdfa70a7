"""A shuffle on S3 makes exactly the requests that its formulas tell, counted at the server."""

from __future__ import annotations

import pytest
from counted_shuffle import Counted, counted_shuffle

from starling_py.operators.plan import Combining


@pytest.mark.parametrize(
    ("s", "r", "split"),
    [
        (6, 4, None),
        (6, 4, Combining(1, 1)),
        (6, 4, Combining(2, 3)),
        (9, 8, Combining(4, 3)),
        # Groups of producers need not be of one size.
        (5, 3, Combining(1, 2)),
    ],
)
def test_gets_and_puts_are_those_of_the_formulas(s3_server, make_proxy, monkeypatch, s, r, split):
    for name, value in s3_server.environment().items():
        monkeypatch.setenv(name, value)
    counted = counted_shuffle(make_proxy(s3_server), s, r, split)
    if split is None:
        assert counted == Counted(gets=s * r, puts=s, metered_gets=s * r, metered_puts=s)
        return
    gets = s * split.partition_groups + r * split.producer_groups
    puts = s + split.partition_groups * split.producer_groups
    assert counted == Counted(gets=gets, puts=puts, metered_gets=gets, metered_puts=puts)
