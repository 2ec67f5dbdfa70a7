"""What each rule makes of statements: ``fixtures/<rule>.sql`` pairs them with the algebra after it.

A case is comments, a statement that ends in a semicolon, and the expected text up to a blank line.
Rules run in the planner's order, up to the one under test. To write what the planner makes of the
statements now, and then read the difference with care::

    UPDATE_FIXTURES=1 pytest tests/planner/test_rules.py
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from starling_py.planner.adapter.operators import adapt
from starling_py.planner.bind import Binder, Wording
from starling_py.planner.describe import describe_plan, describe_stages
from starling_py.planner.distribute.distributor import distribute
from starling_py.planner.footers import Footers
from starling_py.planner.names import Names
from starling_py.planner.plan import PlanOptions
from starling_py.planner.rules.inline_ctes import inline_ctes
from starling_py.planner.rules.join_order import order_joins
from starling_py.planner.rules.prune_columns import prune_columns
from starling_py.planner.rules.rename import drop_renames
from starling_py.planner.rules.simplify_marks import simplify_marks
from starling_py.planner.rules.unnest_in_place import unnest_in_place
from starling_py.planner.sizing import Sizing
from starling_py.planner.statistics import Estimator

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import World

FOLDER = Path(__file__).parent / "fixtures"
BEFORE_MARKS = (inline_ctes, drop_renames, unnest_in_place, simplify_marks)
EVERY = (*BEFORE_MARKS, drop_renames, order_joins, prune_columns)
RULES = {
    "inline_ctes": EVERY[:1],
    "rename": EVERY[:2],
    "unnest_in_place": EVERY[:3],
    "simplify_marks": EVERY[:4],
    "join_order": EVERY[:6],
    "prune_columns": EVERY,
    "distribute": EVERY,
}


class Case(NamedTuple):
    rule: str
    comments: str
    sql: str
    expected: str


def read(rule: str) -> list[Case]:
    cases = []
    for block in (FOLDER / f"{rule}.sql").read_text().strip().split("\n\n"):
        lines = block.splitlines()
        start = next(at for at, line in enumerate(lines) if not line.startswith("--"))
        end = next(at for at, line in enumerate(lines) if line.endswith(";")) + 1
        parts = ("\n".join(part) for part in (lines[:start], lines[start:end], lines[end:]))
        cases.append(Case(rule, *parts))
    return cases


CASES = [case for rule in RULES for case in read(rule)]


@pytest.fixture(scope="module")
def binder() -> Iterator[Binder]:
    made = Binder()
    yield made
    made.close()


def made(world: World, binder: Binder, case: Case) -> str:
    sql = case.sql.removesuffix(";")
    found = ((name, world.catalog.find(name)) for name in binder.parse(sql).tables)
    tables = {name: table for name, table in found if table is not None}
    names = Names()
    plan = adapt(binder.bind(Wording(sql, sql), tables, sql).plan or {}, tables, names)
    footers = Footers()
    for rule in RULES[case.rule]:
        plan = rule(plan, footers)
    if case.rule != "distribute":
        return describe_plan(plan)
    estimator = Estimator(footers, dict(plan.ctes))
    options = PlanOptions(3, 2, 2, 1 << 30, small_rows=0, few_groups=0)
    return describe_stages(distribute(plan, estimator, footers, Sizing(options), names))


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.rule}: {case.sql[:60]}")
def test_algebra_after_the_rule(world: World, binder: Binder, case: Case) -> None:
    if os.environ.get("UPDATE_FIXTURES"):
        pytest.skip("the fixtures are being written")
    assert made(world, binder, case) == case.expected


def test_fixtures_are_written_on_request(world: World, binder: Binder) -> None:
    if not os.environ.get("UPDATE_FIXTURES"):
        pytest.skip("UPDATE_FIXTURES is not set")
    for rule in RULES:
        blocks = (
            "\n".join(filter(None, (case.comments, case.sql, made(world, binder, case))))
            for case in CASES
            if case.rule == rule
        )
        (FOLDER / f"{rule}.sql").write_text("\n\n".join(blocks) + "\n")


def test_every_rule_has_fixtures() -> None:
    files = {path.stem for path in (Path(__file__).parents[2] / "planner/rules").glob("*.py")}
    assert files - {"__init__"} <= set(RULES)
    assert {path.stem for path in FOLDER.glob("*.sql")} == set(RULES)
