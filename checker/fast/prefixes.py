"""Lists that grow and are read whole: decided in time linear in the size of the reads.

All reads of one list are prefixes of the longest one, so they and the appends of its elements stand in one forced chain:
reads of length i, then the append of element i, then reads of length i + 1, and so on; the appends that nobody read come
after all reads. An order is right if and only if no operation returned before an operation of an earlier level of the
chain was invoked, so one pass with the greatest invocation so far decides. Exact for elements that were appended once.

Unanswered appends: one whose element was read took effect, and has no return to obey; one whose element was never read
is dropped (after it every read would hold the element, so it may stand last or be left out).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable

from checker.history import freeze
from checker.models.lists import AppendList
from checker.search.problem import NEVER, Kind, Problem
from checker.verdict import GaveUp, Invalid, Outcome, Valid


def decide(problem: Problem) -> Outcome:
    """Decides the problem of an append-only list, or gives up where an element that was read was appended twice."""
    if not isinstance(problem.model, AppendList):
        return GaveUp("the object is no list")
    reads: dict[int, tuple[Hashable, ...]] = {}
    appends: dict[Hashable, list[int]] = {}
    for number, op in problem.along(enumerate(problem.operations)):
        if problem.kinds[number] == Kind.READER:
            reads[number] = tuple(freeze(item) for item in op.result or ())
        else:
            appends.setdefault(freeze(op.value), []).append(number)
    by_length = sorted(reads, key=lambda number: (len(reads[number]), problem.invoked[number]))
    chain = _chain(problem, by_length, reads)
    if isinstance(chain, Invalid):
        return chain
    strange = _strange(problem, chain, by_length[-1:], appends)
    if strange is not None:
        return strange
    return _walk(problem, chain, _levels(by_length, reads), appends)


def _chain(
    problem: Problem, by_length: list[int], reads: dict[int, tuple[Hashable, ...]]
) -> tuple[Hashable, ...] | Invalid:
    """The longest list that was read, if every other one is a prefix of it."""
    longest = problem.model.init
    assert isinstance(longest, tuple)
    previous: list[int] = []
    for number in by_length:
        if reads[number][: len(longest)] != longest:
            return Invalid(problem.named([*previous, number]))
        longest = reads[number]
        previous = [number]
    return longest


def _strange(
    problem: Problem, chain: tuple[Hashable, ...], reader: list[int], appends: dict[Hashable, list[int]]
) -> Invalid | GaveUp | None:
    """Elements that were read but never appended, or more often than they were appended."""
    assert isinstance(problem.model.init, tuple)
    times = Counter(chain[len(problem.model.init) :])
    for element, count in times.items():
        sources = appends.get(element, [])
        if count > len(sources):
            return Invalid(problem.named([*sources, *reader]))
    if any(len(appends[element]) > 1 for element in times):
        return GaveUp("an element that was read was appended by several operations")
    return None


def _levels(by_length: list[int], reads: dict[int, tuple[Hashable, ...]]) -> dict[int, list[int]]:
    levels: dict[int, list[int]] = {}
    for number in by_length:
        levels.setdefault(len(reads[number]), []).append(number)
    return levels


def _walk(
    problem: Problem, chain: tuple[Hashable, ...], levels: dict[int, list[int]], appends: dict[Hashable, list[int]]
) -> Valid | Invalid:
    """One pass over the forced order, with the operation invoked last so far."""
    assert isinstance(problem.model.init, tuple)
    start = len(problem.model.init)
    steps: list[list[int]] = [levels.get(start, [])]
    for length in range(start + 1, len(chain) + 1):
        steps += [appends[chain[length - 1]], levels.get(length, [])]
    seen = set(chain[start:])
    unread = [number for element, numbers in appends.items() if element not in seen for number in numbers]
    steps += [
        [number] for number in sorted(unread, key=problem.invoked.__getitem__) if problem.returned[number] != NEVER
    ]
    latest = -1
    order: list[int] = []
    for step in steps:
        for number in step:
            if latest >= 0 and problem.returned[number] < problem.invoked[latest]:
                return Invalid(problem.named([number, latest]))
        for number in step:
            if latest < 0 or problem.invoked[number] > problem.invoked[latest]:
                latest = number
        order += step
    return Valid(problem.named(order))
