"""``starling prices``, and the price of a query before and after it runs."""

from __future__ import annotations

import json
import re

import msgspec

from starling_py.operators.plan import StagePlan
from starling_py.prices import PRICES_VARIABLE, Prices

SQL = "SELECT customer, sum(price) FROM orders GROUP BY customer"


def test_the_table(starling):
    text = starling("prices").output
    assert text.startswith("AWS in us-east-1, 2026-11-01\n")
    assert "$0.0004 per 1,000 requests" in text
    assert "$0.0000133334 per GB and second" in text
    assert "$0.6528 per hour" in text


def test_what_it_shows_is_a_file_of_prices(starling, tmp_path):
    for format_ in ("toml", "json"):
        path = tmp_path / f"prices.{format_}"
        path.write_text(starling("prices", "--format", format_).output)
        again = starling("prices", "--prices", path, "--format", "json")
        assert msgspec.json.decode(again.output, type=Prices) == Prices()


def test_a_file_changes_it(starling, tmp_path, monkeypatch):
    path = tmp_path / "prices.toml"
    path.write_text('region = "eu-north-1"\ncall = 0.5\n')
    for arguments in (["--prices", path], []):
        monkeypatch.setenv(PRICES_VARIABLE, "" if arguments else str(path))
        text = starling("prices", *arguments).output
        assert "AWS in eu-north-1" in text
        assert "$500,000.00 per 1,000,000 calls" in text
    path.write_text("price = 1\n")
    refused = starling("prices")
    assert refused.exit_code == 2
    assert "prices.toml" in refused.output
    assert "--format toml" in refused.output


def test_explain_says_what_it_would_cost(starling, shop, tmp_path):
    path = tmp_path / "prices.json"
    path.write_text(json.dumps({"call": 1.0}))
    options = [SQL, "--data", shop, "--tasks", 3, "--prices", path]
    plan = msgspec.json.decode(starling("explain", *options, "--format", "json").output)
    stages = msgspec.convert(plan, StagePlan).stages
    text = starling("explain", *options).output
    prices = [float(found) for found in re.findall(r"price +about \$([0-9.]+)", text)]
    assert len(prices) == len(stages) + 1
    expected = [round(stage.cost.dollars, 2) for stage in stages]
    assert prices[:-1] == expected
    assert prices[-1] == sum(expected)
    assert "prices of" in text


def test_the_bill_of_a_query(starling, shop):
    done = starling("query", SQL, "--data", shop, "--tasks", 2, "--cost")
    assert done.exit_code == 0, done.output
    lines = done.stderr.splitlines()
    first = next(n for n, line in enumerate(lines) if line.startswith("price in us-east-1"))
    items, total = lines[first + 1 : -1], lines[-1]
    assert "3,538 MB on arm64" in lines[first]
    assert all(line.endswith("  estimate") for line in items)
    assert {line.split()[0] for line in items} == {"GET", "calls", "compute"}
    assert total.split()[0] == "total"
    assert total.endswith("of which paid $0.00")
    refused = starling("query", SQL, "--data", shop, "--cost", "--quiet")
    assert refused.exit_code == 2
    assert "--cost and --quiet exclude each other" in refused.output
