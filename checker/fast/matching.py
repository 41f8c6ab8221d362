"""Elements of queues and stacks: who puts each one in and who takes it out, and while which time it is certainly inside."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Hashable, Sequence

import msgspec

from checker.history import INFO, freeze
from checker.models.queues import Pile
from checker.search.problem import NEVER, Problem
from checker.verdict import GaveUp, Invalid

AFTER_ALL = NEVER - 1
"""When an element is taken out in thought that nobody took out: after every event, before what never returns."""


class Element(msgspec.Struct, gc=False):
    """One element, put in by operation `put` in [put_from, put_until] and taken by `take` in [take_from, take_until].

    These are the operations' intervals, narrowed by what must be so in every order: the putting comes before the taking, so it is over
    when the taking is, and the taking does not begin before it. `take` is None if nobody took it out.
    """

    put: int
    put_from: int
    put_until: int
    take: int | None = None
    take_from: int = AFTER_ALL
    take_until: int = NEVER

    def operations(self) -> list[int]:
        """The operations by number."""
        return [self.put] if self.take is None else [self.put, self.take]


class Matching(msgspec.Struct):
    """All elements, the takings that found nothing (`empties`), and the unanswered takings (`wildcards`, oldest first)."""

    elements: list[Element]
    empties: list[int]
    wildcards: list[int]


def match(problem: Problem, model: Pile) -> Matching | Invalid | GaveUp:
    """Matches takings with puts, or gives up where an element was put in twice; an Invalid holds an impossible match.

    Unanswered puts: one whose element was taken took effect before the taking returned; one whose element nobody took is
    dropped: it may be deleted from any order, together with the unanswered taking that took it, if there is one.
    """
    if model.init:
        return GaveUp("there are elements from the beginning on")
    puts: dict[Hashable, int] = {}
    takes: dict[Hashable, int] = {}
    found = Matching([], [], [])
    invoked, returned = problem.invoked, problem.returned
    for number, op in problem.along(enumerate(problem.operations)):
        if op.f == model.puts:
            element = freeze(op.value)
            if element in puts:
                return GaveUp("an element was put in by several operations")
            puts[element] = number
        elif op.type == INFO:
            found.wildcards.append(number)
        elif model.is_empty_answer(op):
            found.empties.append(number)
        else:
            element = freeze(op.result)
            if element in takes:
                sources = [puts[element]] if element in puts else []
                return _twice(problem, element, [takes[element], number], sources, model)
            takes[element] = number
    for element, number in takes.items():
        if element not in puts or returned[number] < invoked[puts[element]]:
            return Invalid(problem.named([number, *([puts[element]] if element in puts else [])]))
    for element, number in puts.items():
        take = takes.get(element)
        if take is not None:
            until = min(returned[number], returned[take])
            take_from = max(invoked[take], invoked[number])
            found.elements.append(Element(number, invoked[number], until, take, take_from, returned[take]))
        elif returned[number] != NEVER:
            found.elements.append(Element(number, invoked[number], returned[number]))
    found.wildcards.sort(key=invoked.__getitem__)
    return found


def _twice(
    problem: Problem, element: Hashable, takings: list[int], sources: list[int], model: Pile
) -> Invalid | GaveUp:
    """An element that was taken twice: impossible if it was put in once (a later put may still be to come)."""
    puts = sources or [
        number
        for number, op in problem.along(enumerate(problem.operations))
        if op.f == model.puts and freeze(op.value) == element
    ]
    again = [
        number
        for number, op in problem.along(enumerate(problem.operations))
        if op.f == model.puts and freeze(op.value) == element and number not in puts[:1]
    ]
    if again:
        return GaveUp("an element was put in by several operations")
    return Invalid(problem.named([*puts, *takings]))


class Moments:
    """The moments at which something is certainly inside: unions of `spans`, each open between two places."""

    def __init__(self, elements: Sequence[Element]) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        spans = sorted((each.put_until, each.take_from) for each in elements if each.put_until < each.take_from)
        for start, end in spans:
            if self._ends and start <= self._ends[-1]:
                self._ends[-1] = max(self._ends[-1], end)
            else:
                self._starts.append(start)
                self._ends.append(end)

    def first_free(self, start: int, end: int) -> int | None:
        """The first place after which, and before the next one, possibly nothing is inside; at `start` or later, before `end`."""
        place = bisect_right(self._starts, start) - 1
        if place >= 0 and start < self._ends[place]:
            start = self._ends[place]
        return start if start < end else None


def cover(elements: Sequence[Element], start: int, end: int) -> list[Element]:
    """A few elements one or the other of which is certainly inside at each moment between the places; they must exist.

    Greedy: of those inside at a moment the one that stays longest, then on from its end; no cover has fewer.
    """
    spans = sorted((each for each in elements if each.put_until < each.take_from), key=lambda each: each.put_until)
    chosen: list[Element] = []
    place = 0
    while start < end:
        best: Element | None = None
        while place < len(spans) and spans[place].put_until <= start:
            if best is None or spans[place].take_from > best.take_from:
                best = spans[place]
            place += 1
        assert best is not None
        chosen.append(best)
        start = best.take_from
    return chosen
