"""Registers with one producer for each value that somebody asks for: decided by one sort.

Gibbons & Korach 1997 ("Testing shared memories", reads and writes with a read mapping), with chains of compare-and-set
added. Applies to workloads whose values are unique, after `reductions.settle` has removed the unanswered operations.

An operation that requires nothing and produces nothing (a ping, a read whose answer nobody knows) belongs to no block: it may
stand anywhere, and changes nothing. It is left out, and put into the order that was found of the others (`among`).

A *block* is a write (or the initial value), the reads of its value, the cas that takes this value away, the reads of what
it put there, and so on. In every linearization a block stands together, since between a write and its last read or cas
nothing else may change the state. So a linearization is an order of blocks. Let `ends` be the least return and `starts`
the greatest invocation in a block: block i must precede j if and only if ends(i) < starts(j).

Theorem: linearizable if and only if every block is consistent inside (no operation returns before an operation of an
earlier link of its chain is invoked; no value taken twice; no ring of cas without a start) and no two blocks must each
precede the other. Pairs are enough: in a cycle of "must precede" let m have the greatest `starts` and n be its successor:
ends(m) < starts(n) <= starts(m), and ends(n) < starts(successor of n) <= starts(m), so m and n already conflict.
"""

from __future__ import annotations

from bisect import bisect_left
from itertools import accumulate
from typing import Any

import msgspec

from checker.history import Op
from checker.models.base import NOTHING
from checker.search.problem import NEVER, Problem
from checker.search.reductions import has_assignment_form
from checker.verdict import GaveUp, Invalid, Outcome, Valid

_BEFORE_ALL = -1
"""When the initial value was written: before every event."""


class _Block(msgspec.Struct):
    """A block that grows link by link; `first_end` and `last_start` are the operations at its two decisive events."""

    ends: int
    starts: int
    first_end: int | None
    last_start: int | None
    members: list[int]

    def add(self, problem: Problem, number: int) -> None:
        self.members.append(number)
        if problem.returned[number] < self.ends:
            self.ends, self.first_end = problem.returned[number], number
        if problem.invoked[number] > self.starts:
            self.starts, self.last_start = problem.invoked[number], number

    def evidence(self) -> list[int]:
        return [number for number in (self.first_end, self.last_start) if number is not None]


class _Values(msgspec.Struct):
    """Who produces, reads and takes away each value; `roots` begin a block, those of `anywhere` are in none."""

    producers: dict[Any, int]
    readers: dict[Any, list[int]]
    takers: dict[Any, list[int]]
    roots: list[int]
    anywhere: list[int]


def decide(problem: Problem) -> Outcome:
    """Decides the problem, or gives up at once where the conditions of the theorem do not hold."""
    if not has_assignment_form(problem):
        return GaveUp("some operation does not simply require one value and leave one")
    if NEVER in problem.returned:
        return GaveUp("an unanswered operation could not be settled, since several operations bring the same value")
    values = _values(problem)
    if isinstance(values, GaveUp | Invalid):
        return values
    blocks = []
    for root in [None, *values.roots]:
        block = _chain(problem, values, root)
        if isinstance(block, Invalid):
            return block
        blocks.append(block)
    left = set(range(len(problem))).difference(values.anywhere, *(block.members for block in blocks))
    if left:  # a ring of cas, each of which takes what another one brings, and none of which can be the first
        return Invalid(problem.named(sorted(left)))
    order = _order(problem, blocks)
    return order if isinstance(order, Invalid) else Valid(problem.named(among(problem, order, values.anywhere)))


def _values(problem: Problem) -> _Values | GaveUp | Invalid:
    found = _Values({}, {}, {}, [], [])
    asked = {effect.requires for effect in problem.effects if effect is not None} - {NOTHING}
    for number, effect in problem.along(enumerate(problem.effects)):
        assert effect is not None
        if effect.requires is NOTHING and effect.produces is NOTHING:
            found.anywhere.append(number)
        elif effect.requires is NOTHING:
            found.roots.append(number)
        elif effect.produces in (NOTHING, effect.requires):
            found.readers.setdefault(effect.requires, []).append(number)
            continue
        else:
            found.takers.setdefault(effect.requires, []).append(number)
        if effect.produces in asked:
            if effect.produces in found.producers or effect.produces == problem.model.init:
                return GaveUp("a value that somebody asks for is brought by several operations")
            found.producers[effect.produces] = number
    for value, numbers in [*found.readers.items(), *found.takers.items()]:
        if value not in found.producers and value != problem.model.init:
            return Invalid(problem.named(numbers[:1]))
    for numbers in found.takers.values():
        if len(numbers) > 1:
            return Invalid(problem.named(numbers[:2]))
    return found


def _chain(problem: Problem, values: _Values, root: int | None) -> _Block | Invalid:
    """The block that begins with this write, or with the initial value."""
    if root is None:
        block = _Block(_BEFORE_ALL, _BEFORE_ALL, None, None, [])
        value = problem.model.init
    else:
        block = _Block(NEVER, _BEFORE_ALL, None, None, [])
        block.add(problem, root)
        value = _produced(problem, root)
    while True:
        links = [values.readers.get(value, []), values.takers.get(value, [])]
        for link in links:
            latest, latest_at = block.last_start, block.starts
            for number in link:
                if problem.returned[number] < latest_at and latest is not None:
                    return Invalid(problem.named((latest, number)))
                block.add(problem, number)
        if not links[1]:
            return block
        value = _produced(problem, links[1][0])


def _produced(problem: Problem, number: int) -> Any:
    effect = problem.effects[number]
    assert effect is not None
    return effect.produces


def _order(problem: Problem, blocks: list[_Block]) -> list[int] | Invalid:
    """Puts the blocks in order, or finds two that must each precede the other.

    Sorted by the lesser of `ends` and `starts` (at equal places those with `starts` <= `ends` first), the blocks are in
    a right order if there is one: of two blocks of which i must precede j, j can stand first only if it must precede i, too.
    So it is enough that no block ends before the greatest `starts` so far.
    """
    blocks.sort(key=lambda block: (min(block.ends, block.starts), block.ends < block.starts))
    latest = blocks[0]
    for block in blocks[1:]:
        if block.ends < latest.starts:
            return Invalid(_distinct(problem, latest.evidence() + block.evidence()))
        if block.starts > latest.starts:
            latest = block
    return [number for block in blocks for number in block.members]


def among(problem: Problem, order: list[int], anywhere: list[int]) -> list[int]:
    """The order of some operations with others that are legal in every state and change none.

    Each stands right after the last one, x, of those that returned before it was invoked. Whatever must come after it does:
    what was invoked after its return was invoked after the return of x, so it stands behind x. In one place they stand by invocation,
    and who is invoked later never stands in an earlier place.
    """
    ends = sorted((problem.returned[number], place) for place, number in enumerate(order, 1))
    returns = [end for end, _ in ends]
    places = [0, *accumulate((place for _, place in ends), max)]
    behind: list[list[int]] = [[] for _ in range(len(order) + 1)]
    for number in sorted(anywhere, key=problem.invoked.__getitem__):
        behind[places[bisect_left(returns, problem.invoked[number])]].append(number)
    return [*behind[0], *(each for number, after in zip(order, behind[1:], strict=True) for each in (number, *after))]


def _distinct(problem: Problem, numbers: list[int]) -> tuple[Op, ...]:
    return problem.named(list(dict.fromkeys(numbers)))
