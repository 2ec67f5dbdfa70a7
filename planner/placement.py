"""Where a join runs: which side moves, and what may be cut or replicated.

====================  ===================  ====================  ==================
join                  hash-partition both  replicate right       replicate left
====================  ===================  ====================  ==================
INNER                 yes                  yes                   yes
LEFT                  yes                  yes                   no
RIGHT                 yes                  no                    yes
FULL                  yes                  no                    no
SEMI, ANTI            yes                  yes                   no
MARK                  no                   yes                   no
SINGLE                yes                  yes                   no
====================  ===================  ====================  ==================

An ASOF join of any kind takes the nearest of all right rows that match: its left side is never
replicated. A POSITIONAL join runs in one task.

A preserved or filtered side must be seen once, so it cannot be replicated; the other side must be
seen whole by every row that may match it. A MARK join's NULL depends on all of its right side
(whether it is empty, whether it holds a NULL), so its right side is never cut.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from starling_py.planner.algebra import Condition, Join, JoinKind
from starling_py.planner.clustering import acceptable, common_bounds, extents
from starling_py.planner.expressions import Column, Expression, is_volatile
from starling_py.planner.fragments import Fragment, Spread, is_replicable
from starling_py.planner.types import is_hashable

if TYPE_CHECKING:
    from starling_py.planner.footers import Footers
    from starling_py.planner.sizing import Sizing
    from starling_py.planner.statistics import Relation

__all__ = ["MAY_REPLICATE_LEFT", "MAY_REPLICATE_RIGHT", "Choice", "JoinPlacement", "Way"]

_MAY_HASH = frozenset(JoinKind) - {JoinKind.MARK, JoinKind.POSITIONAL}
MAY_REPLICATE_RIGHT = frozenset(
    (
        JoinKind.INNER,
        JoinKind.LEFT,
        JoinKind.SEMI,
        JoinKind.ANTI,
        JoinKind.MARK,
        JoinKind.SINGLE,
    )
)
MAY_REPLICATE_LEFT = frozenset((JoinKind.INNER, JoinKind.RIGHT))
_PRESERVES_LEFT = frozenset((JoinKind.LEFT, JoinKind.FULL, JoinKind.ANTI, JoinKind.SINGLE))
_PRESERVES_RIGHT = frozenset((JoinKind.RIGHT, JoinKind.FULL))

# Relative costs of one row: put into a hash table, partitioned and moved, moved without that,
# and worked on by one task where several could.
_BUILD, _PARTITION, _MOVE, _ALONE = 1.0, 2.5, 0.5, 2.0
# What a stage costs besides its rows.
_STAGE = 50_000.0
_BYTES_PER_UNIT = 64.0


_REDUCES_RIGHT = _MAY_HASH - {JoinKind.RIGHT, JoinKind.FULL}


class Way(StrEnum):
    """How the two sides of a join come together."""

    IN_PLACE = "in place"
    REPLICATE_RIGHT = "broadcast right"
    REPLICATE_LEFT = "broadcast left"
    HASH = "hash"
    RANGE = "range"
    GATHER = "gather"


@dataclass(frozen=True, slots=True)
class Choice:
    """A way and its cost.

    For HASH: the keys by which a side moves, none where it stays; with ``reduces_right`` the
    right side first loses what matches no left key. For RANGE: the one key by which a side is
    cut at ``bounds``, none where it is cut so already.
    """

    way: Way
    cost: float
    left_keys: tuple[Expression, ...] = ()
    right_keys: tuple[Expression, ...] = ()
    left_nulls: bool = False
    right_nulls: bool = False
    reduces_right: bool = False
    bounds: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class JoinPlacement:
    """The ways in which a join could run, and the cheapest."""

    join: Join
    left: Fragment
    right: Fragment
    left_size: Relation
    right_size: Relation
    reduced_size: Relation
    footers: Footers
    sizing: Sizing

    @property
    def preserves_left(self) -> bool:
        return self.join.kind in _PRESERVES_LEFT

    @property
    def preserves_right(self) -> bool:
        return self.join.kind in _PRESERVES_RIGHT

    @property
    def _may_replicate_left(self) -> bool:
        return self.join.kind in MAY_REPLICATE_LEFT and not self.join.asof

    def choose(self) -> Choice:
        """Return the cheapest way that gives the right rows."""
        return min(self.ways(), key=lambda choice: choice.cost)

    def ways(self) -> list[Choice]:
        """Return all ways that give the right rows."""
        if self._stays():
            return [Choice(Way.IN_PLACE, 0.0)]
        ways = [self._gather()]
        kind = self.join.kind
        if kind in MAY_REPLICATE_RIGHT:
            ways.append(
                self._replicate(Way.REPLICATE_RIGHT, self.right, self.right_size, self.left)
            )
        if self._may_replicate_left:
            ways.append(self._replicate(Way.REPLICATE_LEFT, self.left, self.left_size, self.right))
        if kind in _MAY_HASH:
            ways += [*self._hash(), *self._range()]
        return ways

    def _stays(self) -> bool:
        """Return whether the join is right with both sides as they lie."""
        left, right = self.left, self.right
        if not left.is_parallel and not right.is_parallel:
            return True
        if right.spread is Spread.EVERY:
            return self.join.kind in MAY_REPLICATE_RIGHT
        if left.spread is Spread.EVERY:
            return self._may_replicate_left
        return False

    def _gather(self) -> Choice:
        rows = _units(self.left_size) + _units(self.right_size)
        return Choice(Way.GATHER, rows * (_MOVE + _ALONE * self.sizing.hash_tasks()))

    def _replicate(self, way: Way, side: Fragment, size: Relation, other: Fragment) -> Choice:
        moved = 0.0 if side.spread is Spread.EVERY else _MOVE
        cost = _units(size) * (moved + _BUILD * other.tasks)
        if not other.is_parallel:
            # The other side lies in one task, which then does all the work.
            cost += _units(size) * _ALONE * self.sizing.hash_tasks()
        return Choice(way, cost)

    def _hash(self) -> list[Choice]:
        """Return the ways by hash: both sides move, or one to where the other lies."""
        keys = [c for c in self.join.conditions if c.equates and _may_be_key(c)]
        if not keys:
            return []
        left, right = _units(self.left_size), _units(self.right_size)
        tasks = self.sizing.hash_tasks()
        build = _BUILD * min(left, right)
        at_left = _aligned(self.left, [c.left for c in keys], tasks)
        at_right = _aligned(self.right, [c.right for c in keys], tasks)
        nulls = self._nulls(keys)
        if at_left is not None and at_left == at_right:
            return [Choice(Way.HASH, build)]
        ways = [
            Choice(
                Way.HASH,
                _PARTITION * (left + right) + build,
                tuple(c.left for c in keys),
                tuple(c.right for c in keys),
                *nulls,
            )
        ]
        if self.join.kind in _REDUCES_RIGHT and self.right.is_parallel:
            ways.append(self._reduced(ways[0]))
        if at_left is not None:
            moved = tuple(keys[at].right for at in at_left)
            ways.append(Choice(Way.HASH, _PARTITION * right + build, (), moved, False, nulls[1]))
        if at_right is not None:
            moved = tuple(keys[at].left for at in at_right)
            ways.append(Choice(Way.HASH, _PARTITION * left + build, moved, (), nulls[0], False))
        return ways

    def _reduced(self, plain: Choice) -> Choice:
        """Return the way by hash that first drops right rows without a left key."""
        left = _units(self.left_size)
        broadcast = left * (_MOVE + _BUILD * self.right.tasks)
        right = _units(self.reduced_size)
        cost = broadcast + _PARTITION * (left + right) + _BUILD * min(left, right) + _STAGE
        return replace(plain, cost=cost, reduces_right=True)

    def _range(self) -> list[Choice]:
        """Return the ways by ranges of a key in which both sides are clustered."""
        cost = _BUILD * min(_units(self.left_size), _units(self.right_size))
        left, right = self.left, self.right
        ways = []
        for condition in self.join.conditions:
            if not condition.equates or condition.left.type != condition.right.type:
                continue
            keys = ((condition.left,), (condition.right,))
            at_left, at_right = _ranges_by(left, *keys[0]), _ranges_by(right, *keys[1])
            if at_left and at_right and left.bounds == right.bounds:
                return [Choice(Way.RANGE, cost, bounds=left.bounds)]
            of_left = extents(left, *keys[0], self.footers)
            of_right = extents(right, *keys[1], self.footers)
            if at_left and of_right and acceptable([of_right], left.bounds):
                ways.append(Choice(Way.RANGE, cost, (), keys[1], bounds=left.bounds))
            elif at_right and of_left and acceptable([of_left], right.bounds):
                ways.append(Choice(Way.RANGE, cost, keys[0], (), bounds=right.bounds))
            elif of_left and of_right:
                bounds = common_bounds([of_left, of_right], max(left.tasks, right.tasks))
                if bounds is not None:
                    ways.append(Choice(Way.RANGE, cost, *keys, bounds=bounds))
        return ways

    def _nulls(self, keys: list[Condition]) -> tuple[bool, bool]:
        """Return for each side whether rows with a NULL key occur and match nothing."""
        if any(c.matches_nulls for c in keys):
            return False, False
        return (
            any(_nullable(c.left, self.left_size) for c in keys),
            any(_nullable(c.right, self.right_size) for c in keys),
        )

    def result(self, joined: Join, left: Fragment, right: Fragment, choice: Choice) -> Fragment:
        """Return the fragment of the join over sides that now lie as ``choice`` says."""
        carrier = left if left.is_parallel or not right.is_parallel else right
        if choice.way is Way.REPLICATE_LEFT:
            carrier = right
        if left.spread is Spread.EVERY and right.spread is Spread.EVERY:
            spread = Spread.EVERY if is_replicable(joined) else Spread.ONE
            return Fragment(joined, spread, 1)
        if not carrier.is_parallel:
            return Fragment(joined, Spread.ONE, 1)
        if choice.way is Way.HASH and not (left.is_keyed and right.is_keyed):
            # Rows with NULL keys lie anywhere.
            return Fragment(joined, Spread.SPLIT, self.sizing.hash_tasks())
        if not carrier.is_keyed:
            return Fragment(joined, Spread.SPLIT, carrier.tasks)
        return self._keep_keys(joined, carrier, left, right)

    def _keep_keys(
        self, joined: Join, carrier: Fragment, left: Fragment, right: Fragment
    ) -> Fragment:
        kind = joined.kind
        if kind is JoinKind.FULL:
            return Fragment(joined, Spread.SPLIT, carrier.tasks)
        if kind is JoinKind.RIGHT:
            carrier = right if right.is_keyed else carrier
            if carrier is left:
                return Fragment(joined, Spread.SPLIT, carrier.tasks)
        elif kind is not JoinKind.INNER and carrier is right:
            return Fragment(joined, Spread.SPLIT, carrier.tasks)
        keys = carrier.keys
        if kind is JoinKind.INNER:
            equal = [frozenset((c.left, c.right)) for c in joined.conditions if c.equates]
            keys = tuple(_merged(key, equal) for key in keys)
        return replace(carrier, node=joined, keys=keys)


def _merged(
    key: frozenset[Expression], equal: list[frozenset[Expression]]
) -> frozenset[Expression]:
    grown = key
    for pair in equal:
        if grown & pair:
            grown |= pair
    return grown


def _units(size: Relation) -> float:
    """Return the weight of moving a relation: rows, wide ones counting more."""
    width = size.bytes / size.rows if size.rows else 0.0
    return size.rows * (1.0 + width / _BYTES_PER_UNIT)


def _may_be_key(condition: Condition) -> bool:
    # What partitions rows is computed once more where they are joined.
    if is_volatile(condition.left) or is_volatile(condition.right):
        return False
    return is_hashable(condition.left.type) and condition.left.type == condition.right.type


def _aligned(fragment: Fragment, keys: list[Expression], tasks: int) -> tuple[int, ...] | None:
    """Return which of ``keys`` each of the fragment's hash keys is, or ``None``."""
    if fragment.spread is not Spread.HASHED or fragment.tasks != tasks:
        return None
    found = []
    for equal in fragment.keys:
        at = next((at for at, key in enumerate(keys) if key in equal), None)
        if at is None:
            return None
        found.append(at)
    return tuple(found)


def _ranges_by(fragment: Fragment, key: Expression) -> bool:
    return fragment.spread is Spread.RANGED and key in fragment.keys[0]


def _nullable(expression: Expression, relation: Relation) -> bool:
    if not isinstance(expression, Column):
        return True
    facts = relation.columns.get(expression.name)
    return facts is None or facts.nullable
