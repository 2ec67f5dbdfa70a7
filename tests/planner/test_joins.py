"""Each cell of the table of what may be cut and replicated: NULLs, duplicates, empty sides."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from starling_py.planner.placement import Choice, JoinPlacement, Way
from starling_py.planner.rules import join_order
from starling_py.shuffle.errors import StarlingError

if TYPE_CHECKING:
    from conftest import World

SIDES = {
    "nulls and duplicates": ("l", "k", "r", "k2"),
    "empty right": ("l", "k", "empty", "k5"),
    "empty left": ("empty", "k5", "l", "k"),
    "only NULLs right": ("l", "k", "only_nulls", "k4"),
    "only NULLs left": ("only_nulls", "k4", "r", "k2"),
    "no NULLs right": ("l", "k", "no_nulls", "k3"),
    "unique right": ("r", "k2", "u", "uk"),
}

JOINS = {
    "inner": "SELECT * FROM {l} JOIN {r} ON {lk} = {rk}",
    "left": "SELECT * FROM {l} LEFT JOIN {r} ON {lk} = {rk}",
    "right": "SELECT * FROM {l} RIGHT JOIN {r} ON {lk} = {rk}",
    "full": "SELECT * FROM {l} FULL JOIN {r} ON {lk} = {rk}",
    "semi": "SELECT * FROM {l} WHERE EXISTS (SELECT 1 FROM {r} WHERE {rk} = {lk})",
    "anti": "SELECT * FROM {l} WHERE NOT EXISTS (SELECT 1 FROM {r} WHERE {rk} = {lk})",
    "in": "SELECT * FROM {l} WHERE {lk} IN (SELECT {rk} FROM {r})",
    "not in": "SELECT * FROM {l} WHERE {lk} NOT IN (SELECT {rk} FROM {r})",
    "mark": "SELECT *, {lk} IN (SELECT {rk} FROM {r}) AS m FROM {l}",
    "null-safe": "SELECT * FROM {l} LEFT JOIN {r} ON {lk} IS NOT DISTINCT FROM {rk}",
    "null-safe full": "SELECT * FROM {l} FULL JOIN {r} ON {lk} IS NOT DISTINCT FROM {rk}",
    "unequal": "SELECT * FROM {l} JOIN {r} ON {lk} < {rk}",
    "unequal left": "SELECT * FROM {l} LEFT JOIN {r} ON {lk} > {rk}",
    "more than one": "SELECT * FROM {l} LEFT JOIN {r} ON {lk} = {rk} AND {lk} + {rk} > 9",
    "product": "SELECT * FROM {l}, {r}",
    "grouped": "SELECT {lk}, count(*), count({rk}) FROM {l} FULL JOIN {r} ON {lk} = {rk} "
    "GROUP BY 1",
    "twice": "SELECT a.{lk}, b.{rk}, c.uk FROM {l} a JOIN {r} b ON a.{lk} = b.{rk} "
    "LEFT JOIN u c ON c.uk = a.{lk} WHERE c.grp < 4",
    "single": "SELECT *, (SELECT name FROM u WHERE uk = {lk}) AS one FROM {l}",
    "aggregate": "SELECT *, (SELECT max({rk}) FROM {r} WHERE {rk} <= {lk}) AS m FROM {l}",
}


@pytest.mark.parametrize("tasks", [1, 2, 5])
@pytest.mark.parametrize("sides", SIDES)
@pytest.mark.parametrize("join", JOINS)
def test_as_planned(world: World, join: str, sides: str, tasks: int) -> None:
    left, left_key, right, right_key = SIDES[sides]
    sql = JOINS[join].format(l=left, lk=left_key, r=right, rk=right_key)
    plan = world.check(sql, tasks)
    assert not any(stage.fallback for stage in plan.stages)


@pytest.mark.parametrize("way", [Way.HASH, Way.REPLICATE_LEFT, Way.REPLICATE_RIGHT, Way.GATHER])
@pytest.mark.parametrize("sides", ["nulls and duplicates", "empty right", "empty left"])
@pytest.mark.parametrize("join", JOINS)
def test_every_way_that_is_allowed(
    world: World, join: str, sides: str, way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Take the way under test wherever it is among the ways, whatever it costs."""

    def choose(self: JoinPlacement) -> Choice:
        return min(self.ways(), key=lambda choice: (choice.way is not way, choice.cost))

    monkeypatch.setattr(JoinPlacement, "choose", choose)
    left, left_key, right, right_key = SIDES[sides]
    sql = JOINS[join].format(l=left, lk=left_key, r=right, rk=right_key)
    for tasks in (2, 5):
        world.check(sql, tasks)


def test_the_ways_of_each_join(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, set[Way]] = {}
    choose = JoinPlacement.choose

    def record(self: JoinPlacement) -> Choice:
        seen.setdefault(self.join.kind, set()).update(choice.way for choice in self.ways())
        return choose(self)

    monkeypatch.setattr(JoinPlacement, "choose", record)
    for join in ("inner", "left", "right", "full", "semi", "anti", "mark", "single"):
        world.plan(JOINS[join].format(l="l", lk="k", r="r", rk="k2"), 2)
    both = {Way.REPLICATE_RIGHT, Way.HASH, Way.GATHER}
    seen = {kind: ways - {Way.RANGE} for kind, ways in seen.items()}
    assert seen == {
        "INNER": both | {Way.REPLICATE_LEFT},
        "LEFT": both,
        "RIGHT": {Way.REPLICATE_LEFT, Way.HASH, Way.GATHER},
        "FULL": {Way.HASH, Way.GATHER},
        "SEMI": both,
        "ANTI": both,
        "MARK": {Way.REPLICATE_RIGHT, Way.GATHER},
        "SINGLE": both,
    }


@pytest.mark.parametrize("tasks", [1, 2, 5])
def test_scalar_subquery_with_two_rows_is_an_error(world: World, tasks: int) -> None:
    sql = "SELECT *, (SELECT id2 FROM r WHERE k2 = k) AS one FROM l"
    with pytest.raises(StarlingError, match="More than one row"):
        world.engine.run(world.plan(sql, tasks))


def test_small_tables_are_read_whole_by_few_tasks_and_once_for_many(world: World) -> None:
    plan = world.check("SELECT * FROM l JOIN few ON a = k", 2, small_rows=20_000)
    assert [stage.tasks for stage in plan.stages] == [2]
    plan = world.check("SELECT * FROM l JOIN few ON a = k", 3, small_rows=20_000)
    assert [stage.tasks for stage in plan.stages] == [1, 3]
    plan = world.check("SELECT * FROM l JOIN few ON a = k", 3)
    assert [stage.tasks for stage in plan.stages] == [3, 3]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM l JOIN r ON k = k2 JOIN u ON uk = id2 WHERE grp < 3 AND id + id2 > 20",
        "SELECT l.id, b.id2 FROM (r b JOIN u ON uk = b.id2) JOIN (l JOIN few ON a = k) ON k = k2",
        "SELECT * FROM l, r, u WHERE k = k2 AND uk = id AND grp = k2 % 5 AND 1 < 2",
    ],
)
def test_the_order_as_written(world: World, sql: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which stays where the greedy one is expected to cost more."""
    greedy = join_order._greedy  # noqa: SLF001
    monkeypatch.setattr(join_order, "_greedy", lambda *known: (greedy(*known)[0], float("inf")))
    for tasks in (1, 3):
        world.check(sql, tasks)
