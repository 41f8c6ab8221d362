"""Objects with two states, whose updates lead from one to the other: locks, elements of a set; decided by one pass.

In each state the updates that lead out of it are all alike, so which one is next is decided by deadlines alone. At the return of x,
if x was not linearized: should the state be right for x, x is next, since of all open operations like it, it returns first
(reduction 4: in any order that has another one here and x later, the two can be swapped), and nothing else is legal but
readers, which have read already (reduction 1). Should it not, an update that leads there must come first: the open
one that returns first, or an unanswered one if none is open (it can wait for ever). Just in time, nothing else needs to happen before the
return (Lowe 2017, "Testing for linearizability"). So there is never a choice, and no order if the operation that is needed is not there.

The condition: each operation requires one of two states, and leaves it or leads to the other one. An unanswered update without a
requirement (an add to a set that may have been there) matters only where it leads to the other state, since else it may be left out.
"""

from __future__ import annotations

from collections import deque
from heapq import heappop, heappush
from typing import Any

from checker.models.base import NOTHING
from checker.search.problem import NEVER, Problem
from checker.search.reductions import has_assignment_form
from checker.verdict import GaveUp, Invalid, Outcome, Valid


def decide(problem: Problem) -> Outcome:
    """Decides the problem, or gives up where there are more states, or an answered update that is legal in both."""
    if not has_assignment_form(problem):
        return GaveUp("some operation does not simply require one value and leave one")
    states = _states(problem)
    if states is None:
        return GaveUp("there are more than two states")
    sides = [_side(problem, number, states) for number in problem.along(range(len(problem)))]
    if None in sides:
        return GaveUp("an update is legal in both states")
    walk = _Walk(problem, sides)
    for _, is_return, number in problem.along(problem.events):
        if not is_return:
            walk.invoke(number)
        elif not walk.settle(number):
            return Invalid()
    return Valid(problem.named(walk.order))


def _states(problem: Problem) -> dict[Any, int] | None:
    """The numbers of the two states, 0 for the initial one."""
    states = {problem.model.init: 0}
    for effect in problem.effects:
        assert effect is not None
        for state in effect:
            if state is not NOTHING and states.setdefault(state, len(states)) > 1:
                return None
    return states


def _side(problem: Problem, number: int, states: dict[Any, int]) -> tuple[int, bool] | None:
    """The state in which the operation is legal, and whether it leads to the other one; None if it is legal in both."""
    effect = problem.effects[number]
    assert effect is not None
    if effect.requires is not NOTHING:
        return states[effect.requires], effect.produces not in (NOTHING, effect.requires)
    if effect.produces is NOTHING or problem.returned[number] != NEVER:
        return None
    return 1 - states[effect.produces], True


class _Walk:
    """The state, the order so far, and the open operations by the state that they require."""

    def __init__(self, problem: Problem, sides: list[tuple[int, bool] | None]) -> None:
        self._problem = problem
        self._sides = sides
        self._state = 0
        self.order: list[int] = []
        self._done = [False] * len(problem)
        self._updates: tuple[list[tuple[int, int]], list[tuple[int, int]]] = ([], [])
        self._unanswered: tuple[deque[int], deque[int]] = (deque(), deque())
        self._readers: tuple[list[int], list[int]] = ([], [])

    def invoke(self, number: int) -> None:
        """Opens an operation; a reader reads at once if it may."""
        side = self._sides[number]
        assert side is not None
        state, is_update = side
        returned = self._problem.returned[number]
        if not is_update:
            self._readers[state].append(number)
            self._read()
        elif returned == NEVER:
            self._unanswered[state].append(number)
        else:
            heappush(self._updates[state], (returned, number))

    def settle(self, number: int) -> bool:
        """Linearizes the operation if it is not, at its return; False if that can't be."""
        if self._done[number]:
            return True
        side = self._sides[number]
        assert side is not None
        state, is_update = side
        if state != self._state and not self._update():
            return False
        return self._done[number] or (is_update and self._update() and self._done[number])

    def _update(self) -> bool:
        """Linearizes the update that is next in this state; False if none is open."""
        updates, unanswered = self._updates[self._state], self._unanswered[self._state]
        if updates:
            _, number = heappop(updates)
        elif unanswered:
            number = unanswered.popleft()
        else:
            return False
        self._done[number] = True
        self.order.append(number)
        self._state = 1 - self._state
        self._read()
        return True

    def _read(self) -> None:
        for number in self._readers[self._state]:
            if not self._done[number]:
                self._done[number] = True
                self.order.append(number)
        self._readers[self._state].clear()
