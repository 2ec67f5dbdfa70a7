"""The table of prices."""

from __future__ import annotations

import math

import msgspec
import pytest

from starling_py.shuffle.prices import FunctionSize, Prices

GIBIBYTE = 1 << 30


def test_figures_of_a_price_list():
    prices = Prices()
    assert prices.get * 1000 == pytest.approx(0.0004)
    assert prices.put * 1000 == pytest.approx(0.005)
    assert prices.kms * 10_000 == pytest.approx(0.03)
    assert prices.call * 1_000_000 == pytest.approx(0.20)


def test_a_second_costs_by_memory_and_architecture():
    prices = Prices(arm64=2.0, x86_64=3.0)
    assert prices.second(FunctionSize(GIBIBYTE // 2, "arm64")) == 1.0
    assert prices.second(FunctionSize(GIBIBYTE * 2, "x86_64")) == 6.0


def test_cores_follow_memory():
    assert FunctionSize(1769 << 20).cores == 1.0
    assert FunctionSize().cores == 2.0


@pytest.mark.parametrize("value", [-1e-9, math.nan, math.inf])
def test_what_is_no_price(value):
    with pytest.raises(ValueError, match="'get'"):
        Prices(get=value)
    text = msgspec.json.encode({"put": "much"})
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(text, type=Prices)
