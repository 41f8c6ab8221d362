"""Unanswered operations that can be settled before any search: those that nobody can see, and those that must have been.

Both need the assignment form (each operation requires one state or none, and produces one or none) and no operation
that observes "not v": such an operation has no effect in that form, so the way steps aside by itself.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from checker.models.base import NOTHING
from checker.search.problem import NEVER, Problem
from checker.verdict import Invalid


def has_assignment_form(problem: Problem) -> bool:
    """Whether every operation says what it requires and produces."""
    return all(effect is not None for effect in problem.effects)


def settle(problem: Problem) -> Problem | Invalid:
    """The problem without the unanswered operations that can be settled; same verdict (reductions 5 and 6).

    *Nobody can see it.* Let A be the least set with: what an answered operation requires is in A; if an unanswered
    operation requires a and produces b in A, then a is in A. Unanswered operations that produce a value outside A are
    dropped. Proof: delete them all from a linearization. While the old state was in A, its producer was kept, so the
    new state is the same; the operations kept require only states in A. "Its value is never read" alone would be wrong:
    0; info write(1); info cas(1, 2); read 2 needs the write although nobody reads 1.

    *It must have been.* If an answered operation requires v, and the only producer of v (the initial value included) is
    an unanswered operation, then that took effect before the earliest return of those that require v: it gets that
    return. If its invocation comes later, the problem is invalid.

    The two are repeated until nothing changes: a cas that must have been requires a value itself.
    """
    assert has_assignment_form(problem)
    returned = list(problem.returned)
    kept = list(range(len(problem)))
    while True:
        wanted = _wanted(problem, kept, returned)
        kept = [number for number in kept if returned[number] != NEVER or _produces(problem, number) in wanted]
        sure = _sure(problem, kept, returned)
        if not sure:
            return problem.keep(kept, returned)
        for number, asker in sure.items():
            returned[number] = returned[asker]
            if returned[number] < problem.invoked[number]:
                return Invalid(problem.named((asker, number)))


def _requires(problem: Problem, number: int) -> Any:
    effect = problem.effects[number]
    assert effect is not None
    return effect.requires


def _produces(problem: Problem, number: int) -> Any:
    """What the operation brings about: NOTHING if it leaves what it found."""
    effect = problem.effects[number]
    assert effect is not None
    return NOTHING if effect.produces == effect.requires else effect.produces


def _wanted(problem: Problem, kept: list[int], returned: list[int]) -> set[Any]:
    """The set A: what answered operations require, and backwards through unanswered ones."""
    wanted = {_requires(problem, number) for number in problem.along(kept) if returned[number] != NEVER}
    makers: dict[Any, list[Any]] = {}
    for number in problem.along(kept):
        if returned[number] == NEVER:
            makers.setdefault(_produces(problem, number), []).append(_requires(problem, number))
    todo = list(wanted)
    while todo:
        for value in makers.pop(todo.pop(), ()):
            if value not in wanted:
                wanted.add(value)
                todo.append(value)
    return wanted - {NOTHING}


def _sure(problem: Problem, kept: list[int], returned: list[int]) -> dict[int, int]:
    """The unanswered operations that must have taken effect, each with the operation that asks for it first."""
    makers = Counter(_produces(problem, number) for number in problem.along(kept))
    makers[problem.model.init] += 1
    first: dict[Any, int] = {}
    for number in problem.along(kept):
        value = _requires(problem, number)
        if returned[number] != NEVER and (value not in first or returned[number] < returned[first[value]]):
            first[value] = number
    sure = {}
    for number in problem.along(kept):
        value = _produces(problem, number)
        if returned[number] == NEVER and makers[value] == 1 and value in first and value is not NOTHING:
            sure[number] = first[value]
    return sure
