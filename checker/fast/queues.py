"""Queues whose elements differ: decided by two sorts.

Henzinger, Sezgin & Vafeiadis 2013 ("Aspect-oriented linearizability proofs", theorem 5) and Bouajjani, Emmi, Enea & Hamza 2015
("On reducing linearizability to state reachability", section 4): a history of a queue whose elements differ is wrong if and only
if an element is taken that was never put in, or twice, or before it was put in, or out of order, or if a dequeue found nothing
although at each moment something was certainly inside. Here with an order as the witness of the opposite.

*Order.* Say that a must precede b if the enqueue of a is over before that of b begins, or the same of their dequeues (the
intervals narrowed as in `matching.Element`; what was never dequeued is dequeued after all). If the two relations contradict each other
nowhere, some element always may be next: let a be the one left whose enqueue ends first, b the one whose dequeue does. If neither may be
next, b's dequeue ends before a's begins, and a's enqueue ends before b's begins: the two contradict each other.

*Witness.* Put each enqueue at the latest beginning of an enqueue up to it in this order, and each dequeue likewise, but not before
its enqueue. It lies in its interval, else a later element would have to precede it. All enqueues are in order, all dequeues are.

*Empty.* At a moment t at which possibly nothing is inside each element was either put in certainly before t, and may have been taken by
then, or may be put in after t. What must precede one of the former kind is of that kind, so the order can be cut at t: take all those
first. So a dequeue that finds nothing may be at any such moment in its interval, whatever the others do.

*Unanswered dequeues* may have taken anything. An element nobody took needs one if it stood before one that was dequeued: one that was
invoked before that dequeue was over. The elements whose need ends first get those invoked first: exact, if no dequeue found
nothing, by the marriage theorem for nested sets. With those that found nothing the search decides what neither this finds in order, nor
the history without the elements that nobody took finds wrong.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from itertools import accumulate

import msgspec

from checker.fast.matching import Element, Matching, Moments, cover, match
from checker.models.queues import Queue
from checker.search.problem import NEVER, Problem
from checker.verdict import GaveUp, Invalid, Outcome, Valid


def decide(problem: Problem) -> Outcome:
    """Decides the problem of a queue, or gives up where an element was enqueued twice."""
    if not isinstance(problem.model, Queue):
        return GaveUp("the object is no queue")
    found = match(problem, problem.model)
    if not isinstance(found, Matching):
        return found
    if not found.wildcards:
        return _order(problem, found)
    taken = msgspec.structs.replace(found, elements=[each for each in found.elements if each.take is not None])
    outcome = _order(problem, taken)
    if isinstance(outcome, Invalid):
        return outcome
    outcome = _order(problem, _given(problem, found))
    if isinstance(outcome, Valid):
        return outcome
    if not found.empties:
        return (
            Invalid()
        )  # too few unanswered dequeues for all: that two elements contradict each other says nothing alone
    return GaveUp("unanswered dequeues may have taken the elements that other dequeues did not find")


def _given(problem: Problem, found: Matching) -> Matching:
    """The elements, those that nobody took and that need it given to unanswered dequeues: the one that needs it soonest first.

    What was certainly enqueued before another one that was dequeued, or before a dequeue that found nothing, is gone by the time
    that dequeue returns.
    """
    behind = [(each.put_from, each.take_until) for each in found.elements if each.take is not None]
    behind += [(problem.invoked[number], problem.returned[number]) for number in found.empties]
    behind.sort()
    needs = list(accumulate((until for _, until in reversed(behind)), min, initial=NEVER))[::-1]
    until = {each.put: needs[bisect_right(behind, (each.put_until, NEVER))] for each in found.elements}
    lost = [each for each in found.elements if each.take is None and until[each.put] < NEVER]
    lost.sort(key=lambda each: until[each.put])
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
    cuts: dict[int, int] = {}
    for number in found.empties:
        invoked, returned = problem.invoked[number], problem.returned[number]
        moment = moments.first_free(invoked, returned)
        if moment is None:
            inside = cover(found.elements, invoked, returned)
            return Invalid(problem.named([*(each for one in inside for each in one.operations()), number]))
        cuts[number] = moment
    places = sorted(set(cuts.values()))
    parts: list[list[Element]] = [[] for _ in range(len(places) + 1)]
    for element in found.elements:
        parts[bisect_left(places, element.put_until)].append(element)
    # Twice the place of an event, and one more for the moment after it; what is at one moment: empties, puts, takes.
    points = [(2 * moment + 1, 0, 0, number) for number, moment in cuts.items()]
    rank = 0
    for place, part in problem.along(enumerate(parts)):
        latest_put = latest_take = 2 * places[place - 1] + 1 if place else 0
        order = _sorted(part)
        if isinstance(order, tuple):
            return Invalid(problem.named([number for each in order for number in each.operations()]))
        for each in order:
            rank += 1
            latest_put = max(latest_put, 2 * each.put_from)
            points.append((latest_put, 1, rank, each.put))
            if each.take is not None:
                latest_take = max(latest_take, latest_put, 2 * each.take_from)
                points.append((latest_take, 2, rank, each.take))
    points.sort()
    return Valid(problem.named([number for _, _, _, number in points]))


def _sorted(elements: list[Element]) -> list[Element] | tuple[Element, Element]:
    """The elements in an order that both relations allow, or two of which each must precede the other."""
    by_put = sorted(elements, key=lambda each: -each.put_until)
    by_take = sorted(elements, key=lambda each: -each.take_until)
    order: list[Element] = []
    done: set[int] = set()
    while len(order) < len(elements):
        while by_put[-1].put in done:
            by_put.pop()
        while by_take[-1].put in done:
            by_take.pop()
        first, soonest = by_put[-1], by_take[-1]
        if first.take_from <= soonest.take_until:
            following = first
        elif soonest.put_from <= first.put_until:
            following = soonest
        else:
            return first, soonest
        done.add(following.put)
        order.append(following)
    return order
