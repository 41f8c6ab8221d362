"""Stacks whose elements differ: decided by taking away the bottom, again and again.

The idea of removing one element that can't hurt is from Lee & Mathur 2024 ("Efficient decrease-and-conquer linearizability monitoring",
arXiv 2410.04581) and Abdulla et al. 2025 ("Efficient linearizability monitoring", PLDI); the proof here is our own and short.

Each element is certainly inside between the end of its push and the beginning of its pop (the intervals narrowed as in
`matching.Element`; what was never popped is popped after all), if that is a span at all. The orders of a stack stay right when an
element is taken out of them with its push and its pop, and when two of them follow each other, the first of which ends empty.

1. *No span*: there is a moment that lies in push and pop. Both can be there, directly one after the other, in every order
   of the rest. So the element may be left out.
2. *A moment in no span* separates: each element's span lies before it or after it. In an order of all, take those before it first and then
   those after it: both parts are right, so their sequence is; and no operation of the second part was over before one of the first
   began, since those of the first all began before the moment and those of the second all ended after it. So the parts are decided each
   by itself, and a pop that found nothing may be at any such moment in its interval, and nowhere else.
3. *Spans that hang together* from l to r have one bottom: else the order would be a sequence of two, and the moment between them in no
   span. The bottom x is pushed before all others and popped after them, so its push began before l and its pop ended after r. Any
   element of which that is true will do: if there is an order of all, there is one without x (it may be taken out), and around that
   push x and pop x fit. So take x away and decide the rest. If there is no such x, there is no order; and none of a few elements
   whose spans lead from l to r either, by the same argument: these are the evidence.

Cost: n log n, if the number of pushes open at one moment is bounded: a tree counts by how many spans each moment is covered.

Unanswered pops may have popped anything: valid if there is an order in which they did not happen, or took what most needs it;
invalid if the elements that were popped have no order alone; else the search decides.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import accumulate, islice

import msgspec

from checker.fast.matching import Element, Matching, Moments, cover, match
from checker.models.queues import Stack
from checker.search.problem import NEVER, Problem
from checker.verdict import GaveUp, Invalid, Outcome, Valid

_SMALL = 40
"""Up to so many elements that hang together are decided without the tree, by comparing all with all."""
_LOOKED_AT = 10_000
"""At how many pops after a push it is looked whether one of them needs an unanswered pop."""


def decide(problem: Problem) -> Outcome:
    """Decides the problem of a stack, or gives up where an element was pushed twice."""
    if not isinstance(problem.model, Stack):
        return GaveUp("the object is no stack")
    found = match(problem, problem.model)
    if not isinstance(found, Matching):
        return found
    outcome = _order(problem, found)
    if not found.wildcards or isinstance(outcome, Valid):
        return outcome
    taken = [each for each in found.elements if each.take is not None]
    outcome = _order(problem, msgspec.structs.replace(found, elements=taken))
    if isinstance(outcome, Invalid):
        return outcome
    outcome = _order(problem, _given(problem, found))
    return outcome if isinstance(outcome, Valid) else GaveUp("unanswered pops may have taken what others did not find")


def _given(problem: Problem, found: Matching) -> Matching:
    """The elements, some of those that nobody popped given to unanswered pops: the one that needs it soonest the oldest pop.

    What was pushed upon an element that was popped later is gone by then. (Upon: the one was inside during the whole push of the
    other.) This is only a guess: others may need it as well.
    """
    by_end = sorted((each for each in found.elements if each.take is not None), key=lambda each: each.take_until)
    ends = [each.take_until for each in by_end]
    until: dict[int, int] = {}
    for each in found.elements:
        if each.take is None:
            place = bisect_right(ends, each.put_until)
            for below in islice(by_end, place, place + _LOOKED_AT):
                if below.put_until < each.put_from and below.take_from > each.put_until:
                    until[each.put] = below.take_until
                    break
    lost = sorted((each for each in found.elements if each.put in until), key=lambda each: until[each.put])
    given = {
        each.put: msgspec.structs.replace(
            each, take=number, take_from=max(problem.invoked[number], each.put_from), take_until=NEVER
        )
        for each, number in zip(lost, found.wildcards, strict=False)
    }
    return Matching([given.get(each.put, each) for each in found.elements], found.empties, [])


def _order(problem: Problem, found: Matching) -> Valid | Invalid:
    """An order of all operations, or those that contradict each other."""
    moments = Moments(found.elements)
    cuts: list[tuple[int, int]] = []
    for number in problem.along(found.empties):
        invoked, returned = problem.invoked[number], problem.returned[number]
        moment = moments.first_free(invoked, returned)
        if moment is None:
            inside = cover(found.elements, invoked, returned)
            return Invalid(problem.named([*(each for one in inside for each in one.operations()), number]))
        cuts.append((moment, number))
    spans = sorted(
        (each for each in found.elements if each.put_until < each.take_from), key=lambda each: each.put_until
    )
    nested = _nested(spans)
    if isinstance(nested, _Stuck):
        return Invalid(problem.named([number for each in nested.chain for number in each.operations()]))
    return Valid(problem.named(_witness(found, nested, sorted(cuts))))


class _Stuck(msgspec.Struct):
    """Elements whose spans hang together, and none of which can be the bottom."""

    chain: list[Element]


_Step = tuple[Element, bool]
"""The push of an element, or (True) its pop."""


def _witness(found: Matching, nested: list[_Step], cuts: list[tuple[int, int]]) -> list[int]:
    """All operations in order: pops that found nothing at their moments, elements without a span at theirs.

    Twice the place of an event is its point, one more is the moment after it; an operation is at the latest point up to it.
    """
    points: list[tuple[int, int, int]] = []
    latest = depth = 0
    waiting = iter([*cuts, (NEVER, -1)])
    moment, number = next(waiting)
    for element, is_pop in nested:
        while depth == 0 and not is_pop and moment < element.put_until:
            latest = max(latest, 2 * moment + 1)
            points.append((latest, len(points), number))
            moment, number = next(waiting)
        depth += -1 if is_pop else 1
        latest = max(latest, 2 * (element.take_from if is_pop else element.put_from))
        if not is_pop:
            points.append((latest, len(points), element.put))
        elif element.take is not None:
            points.append((latest, len(points), element.take))
    while number >= 0:
        latest = max(latest, 2 * moment + 1)
        points.append((latest, len(points), number))
        moment, number = next(waiting)
    for each in found.elements:
        if each.put_until >= each.take_from:
            point = 2 * max(each.put_from, each.take_from)
            points += [(point, len(points), each.put), (point, len(points) + 1, each.take or 0)]
    return [number for _, _, number in sorted(points)]


def _nested(spans: Sequence[Element]) -> list[_Step] | _Stuck:
    """Pushes and pops of the elements, sorted by the ends of their pushes, in an order of a stack."""
    forest = _Forest(spans)
    order: list[_Step] = []
    todo: list[int | tuple[int, int]] = forest.parts(0, forest.last)[::-1]
    while todo:
        work = todo.pop()
        if isinstance(work, int):
            order.append((spans[work], True))
            continue
        few = forest.few(work)
        if few is not None:
            if not _nest_few(few, order):
                return _stuck(few)
            continue
        bottom = forest.bottom(work)
        if bottom is None:
            return _stuck(forest.members(work))
        order.append((spans[bottom], False))
        todo.append(bottom)
        todo += forest.without(bottom, work)[::-1]
    return order


def _stuck(members: list[Element]) -> _Stuck:
    """The evidence in the first part of the members that has no bottom."""
    for part in _parts(members):
        if len(part) == len(members):
            start, end = part[0].put_until, max(each.take_from for each in part)
            below = next((each for each in part if each.put_from < start and each.take_until > end), None)
            if below is None:
                return _Stuck(cover(part, start, end))
            return _stuck([each for each in part if each is not below])
        if not _nest_few(part, []):
            return _stuck(part)
    raise AssertionError("members that are stuck have a part that is")


def _parts(members: Sequence[Element]) -> list[list[Element]]:
    """The members, sorted by the ends of their pushes, in parts whose spans hang together."""
    parts: list[list[Element]] = []
    end = -1
    for each in members:
        if each.put_until >= end or not parts:
            parts.append([])
        parts[-1].append(each)
        end = max(end, each.take_from)
    return parts


def _nest_few(members: list[Element], order: list[_Step]) -> bool:
    """Appends the order of a few members; False if there is none."""
    for part in _parts(members):
        start, end = part[0].put_until, max(each.take_from for each in part)
        below = next((each for each in part if each.put_from < start and each.take_until > end), None)
        if below is None:
            return False
        order.append((below, False))
        if len(part) > 1 and not _nest_few([each for each in part if each is not below], order):
            return False
        order.append((below, True))
    return True


class _Forest:
    """The elements that are left, by rank (the order of the ends of their pushes), and by how many spans each gap is covered.

    Gaps lie between neighbouring ends of spans. A part is (rank of its first element, the gap where it ends).
    """

    def __init__(self, spans: Sequence[Element]) -> None:
        self._spans = spans
        places = sorted({each.put_until for each in spans} | {each.take_from for each in spans})
        gap = {place: number for number, place in enumerate(places)}
        self._places = places
        self.last = len(places)
        self._begin = [gap[each.put_until] for each in spans] + [self.last]
        self._end = [gap[each.take_from] for each in spans]
        change = [0] * (len(places) + 1)
        for begin, end in zip(self._begin, self._end, strict=False):
            change[begin] += 1
            change[end] -= 1
        self._cover = _Cover(list(accumulate(change)))
        self._next = list(range(1, len(spans) + 1))
        self._previous = list(range(-1, len(spans)))
        self._left = [True] * len(spans)
        self._open = self._opened()

    def _opened(self) -> list[list[int]]:
        """For each element the ranks of those whose pushes were open when its push ended, itself included."""
        events = [(each.put_from, 0, rank) for rank, each in enumerate(self._spans)]
        events += [(each.put_until, 1, rank) for rank, each in enumerate(self._spans)]
        opened: dict[int, None] = {}
        found: list[list[int]] = [[] for _ in self._spans]
        for _, ends, rank in sorted(events):
            if ends:
                found[rank] = list(opened)
                del opened[rank]
            else:
                opened[rank] = None
        return found

    def parts(self, first: int, end: int) -> list[int | tuple[int, int]]:
        """The parts from the element `first` on to the gap `end`, in order."""
        found: list[int | tuple[int, int]] = []
        while self._begin[first] < end:
            stop = self._cover.first_zero(self._begin[first])
            found.append((first, stop))
            first = self._first_left(bisect_left(self._begin, stop))
        return found

    def _first_left(self, rank: int) -> int:
        """The first element from this one on that is left; what was skipped is skipped at once the next time."""
        path = []
        while rank < len(self._left) and not self._left[rank]:
            path.append(rank)
            rank = self._next[rank]
        for passed in path:
            self._next[passed] = rank
        return rank

    def members(self, part: tuple[int, int], most: int = NEVER) -> list[Element]:
        """The elements of a part, no more than so many."""
        rank, end = part
        found: list[Element] = []
        while self._begin[rank] < end and len(found) < most:
            found.append(self._spans[rank])
            rank = self._next[rank]
        return found

    def few(self, part: tuple[int, int]) -> list[Element] | None:
        """The elements of a part that has only a few."""
        found = self.members(part, _SMALL + 1)
        return found if len(found) <= _SMALL else None

    def bottom(self, part: tuple[int, int]) -> int | None:
        """An element that may be the bottom of a part."""
        first, end = part
        for rank in self._open[first]:
            if self._left[rank] and self._end[rank] <= end and self._spans[rank].take_until > self._places[end]:
                return rank
        return None

    def without(self, bottom: int, part: tuple[int, int]) -> list[int | tuple[int, int]]:
        """Takes the bottom of a part away, and gives the parts of the rest."""
        first, end = part
        before, after = self._previous[bottom], self._next[bottom]
        self._previous[after] = before
        if before >= 0:
            self._next[before] = after
        self._left[bottom] = False
        self._cover.uncover(self._begin[bottom], self._end[bottom])
        return self.parts(after if bottom == first else first, end)


class _Cover:
    """Counts by how many spans each gap is covered: a tree of minima, with what is to be added to all of a node beside it."""

    def __init__(self, counts: Sequence[int]) -> None:
        self._size = size = 1 << (len(counts) - 1).bit_length()
        self._least = [0] * size + list(counts) + [0] * (size - len(counts))
        self._added = [0] * (2 * size)
        for node in range(size - 1, 0, -1):
            self._least[node] = min(self._least[2 * node], self._least[2 * node + 1])

    def uncover(self, begin: int, end: int) -> None:
        """One span less over the gaps from `begin` to before `end`."""
        least, added = self._least, self._added
        left, right = begin + self._size, end + self._size
        low, high = left, right - 1
        while left < right:
            if left & 1:
                least[left] -= 1
                added[left] -= 1
                left += 1
            if right & 1:
                right -= 1
                least[right] -= 1
                added[right] -= 1
            left >>= 1
            right >>= 1
        while low > 1:
            low >>= 1
            one, other = least[2 * low], least[2 * low + 1]
            least[low] = (one if one < other else other) + added[low]
        while high > 1:
            high >>= 1
            one, other = least[2 * high], least[2 * high + 1]
            least[high] = (one if one < other else other) + added[high]

    def first_zero(self, begin: int) -> int:
        """The first gap from `begin` on that no span covers; there must be one."""
        least, added = self._least, self._added
        node = begin + self._size
        above = 0
        up = node
        while up > 1:
            up >>= 1
            above += added[up]
        while least[node] + above:
            while node & 1:  # a right child: all to its right is beside an ancestor
                node >>= 1
                above -= added[node]
            node += 1
        while node < self._size:
            above += added[node]
            node *= 2
            if least[node] + above:
                node += 1
        return node - self._size
