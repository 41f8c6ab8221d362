"""Sets that only grow and are read whole: decided in time linear in the size of the reads.

All sets that are read must form a chain under inclusion. So there is one forced sequence of levels: reads of the smallest set, the adds
of what the next one holds besides, reads of that, and so on; the adds of what nobody read come after all reads. An order is
right if and only if no operation returned before one of an earlier level was invoked, so one pass with the greatest
invocation so far decides (operations of one level in the order of their invocations). Exact for elements that were added once.

Unanswered adds: one whose element was read took effect, and has no return to obey; one whose element was never read is
dropped (reduction 5: after it every read would hold the element, so it may stand last or be left out).
"""

from __future__ import annotations

from collections.abc import Hashable

from checker.history import freeze
from checker.models.sets import GrowOnlySet, members
from checker.search.problem import NEVER, Problem
from checker.verdict import GaveUp, Invalid, Outcome, Valid


def decide(problem: Problem) -> Outcome:
    """Decides the problem of a set that only grows, or gives up where an element that was read was added twice."""
    if not isinstance(problem.model, GrowOnlySet):
        return GaveUp("the object is no set that only grows")
    adds: dict[Hashable, list[int]] = {}
    reads: dict[int, tuple[Hashable, ...]] = {}
    for number, op in problem.along(enumerate(problem.operations)):
        if op.f == "read":
            reads[number] = members(op)
        else:
            adds.setdefault(freeze(op.value), []).append(number)
    levels = _levels(problem, adds, reads)
    return levels if isinstance(levels, Invalid | GaveUp) else _walk(problem, levels)


def _levels(
    problem: Problem, adds: dict[Hashable, list[int]], reads: dict[int, tuple[Hashable, ...]]
) -> list[list[int]] | Invalid | GaveUp:
    """The forced sequence: operations level by level."""
    seen = problem.model.init
    assert isinstance(seen, frozenset)
    if not seen.isdisjoint(adds):
        return GaveUp("an element was added that was there from the beginning on")
    levels: list[list[int]] = [[]]
    previous: list[int] = []
    for number in sorted(reads, key=lambda each: (len(reads[each]), problem.invoked[each])):
        now = frozenset(reads[number])
        if len(now) < len(reads[number]):
            return Invalid(problem.named([number]))
        if not seen <= now:
            return Invalid(problem.named([*previous, number]))
        if len(now) > len(seen):
            for element in now - seen:
                if element not in adds:
                    return Invalid(problem.named([number]))
                if len(adds[element]) > 1:
                    return GaveUp("an element that was read was added by several operations")
            levels += [[add for element in now - seen for add in adds[element]], []]
            seen = now
        levels[-1].append(number)
        previous = [number]
    levels.append([add for element, them in adds.items() if element not in seen for add in them])
    levels[-1] = [add for add in levels[-1] if problem.returned[add] != NEVER]
    return levels


def _walk(problem: Problem, levels: list[list[int]]) -> Valid | Invalid:
    """One pass over the forced sequence, with the operation invoked last so far."""
    invoked, returned = problem.invoked, problem.returned
    order: list[int] = []
    latest: int | None = None
    for level in levels:
        level.sort(key=invoked.__getitem__)
        if latest is not None:
            early = min(level, key=returned.__getitem__, default=latest)
            if returned[early] < invoked[latest]:
                return Invalid(problem.named([early, latest]))
        if level and (latest is None or invoked[level[-1]] > invoked[latest]):
            latest = level[-1]
        order += level
    return Valid(problem.named(order))
