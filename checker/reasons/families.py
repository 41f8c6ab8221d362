"""Why a queue, stack, set, counter, lock or generator can't have answered so: a sentence, and the operations that show it.

Each rests on the evidence of the family's way in `fast/`, taken on the prefix that ends with the impossible operation.
"""

from __future__ import annotations

from collections.abc import Sequence

from checker.fast import queues, stacks
from checker.history import FAIL, OK, Op, freeze
from checker.models.base import Model
from checker.models.counters import Counter
from checker.models.identifiers import UniqueIds
from checker.models.locks import FencingLock, Mutex, OwnerLock, holder
from checker.models.queues import Pile, Queue
from checker.models.sets import GrowOnlySet, members
from checker.reasons import phrases
from checker.reasons.registers import Finding
from checker.search.problem import Problem
from checker.verdict import Invalid

_SHOWN = 3
"""How many elements a sentence names at most."""


def find(model: Model, impossible: Op, prefix: Sequence[Op], everything: Sequence[Op]) -> Finding | None:
    """Why `impossible`, the last event of `prefix`, fits no order; None for other models, or if it takes a search to see.

    `everything` are all operations of the object, those of later and failed ones included.
    """
    if isinstance(model, Pile):
        return _pile(model, impossible, prefix, everything)
    if isinstance(model, GrowOnlySet):
        return _growing(model, impossible, prefix, everything)
    if isinstance(model, Counter):
        return _counter(model, impossible, prefix)
    if isinstance(model, Mutex):
        return _mutex(impossible, prefix)
    if isinstance(model, OwnerLock | FencingLock):
        return _owned(model, impossible, prefix)
    if isinstance(model, UniqueIds):
        twin = next(op for op in prefix if op is not impossible and _same(op.result, impossible.result))
        return Finding(f"{phrases.named(twin)} had been given {phrases.value(twin.result)} as well", [twin, impossible])
    return None


def _pile(model: Pile, impossible: Op, prefix: Sequence[Op], everything: Sequence[Op]) -> Finding | None:
    """Queues and stacks: what was taken twice or never put in, order that was not kept, nothing found where something was."""
    if model.is_empty_answer(impossible) or impossible.f == model.puts:
        strange = None
    else:
        strange = _taken_strangely(model, impossible, prefix, everything)
    if strange is not None:
        return strange
    problem = Problem(model, prefix)
    outcome = queues.decide(problem) if isinstance(model, Queue) else stacks.decide(problem)
    if not isinstance(outcome, Invalid) or not outcome.evidence:
        return None
    evidence = sorted(outcome.evidence, key=lambda op: op.invoked)
    puts = [op for op in evidence if op.f == model.puts]
    taken = {freeze(op.result): op for op in evidence if op.f == model.takes and not model.is_empty_answer(op)}
    empty = next((op for op in evidence if model.is_empty_answer(op)), None)
    unanswered = any(op.f == model.takes and op.returned is None for op in prefix)
    if unanswered and any(freeze(op.value) not in taken for op in puts):
        return None  # an unanswered taking may have taken it
    inside = [_stay(op, taken.get(freeze(op.value))) for op in puts]
    if empty is not None:
        who = (
            "" if empty is impossible else f"{phrases.action(empty)} by process {empty.process} found nothing, though "
        )
        return Finding(f"{who}at each moment something was certainly inside: {_some(inside)}", evidence)
    if isinstance(model, Queue) and len(puts) == 2:
        return Finding(_overtaken(puts, taken), evidence)
    return Finding(f"one of these would have to lie below all others, and none can: {_some(inside)}", evidence)


def _taken_strangely(model: Pile, impossible: Op, prefix: Sequence[Op], everything: Sequence[Op]) -> Finding | None:
    """An element that was taken before, more often than it was put in, or was not there yet, or never."""
    element = freeze(impossible.result)
    name = phrases.value(impossible.result)
    puts = [op for op in prefix if op.f == model.puts and freeze(op.value) == element]
    if not puts and element not in model.init:
        failed = [op for op in everything if op.f == model.puts and freeze(op.value) == element]
        if not failed:
            return Finding(f"{name} was never put in{_other_type(model, element, everything)}", [impossible])
        how = "failed and did nothing" if failed[0].type == FAIL else "began only later"
        return Finding(f"{phrases.begun(failed[0])} {how}", [failed[0], impossible])
    takings = [op for op in prefix if op.f == model.takes and op.type == OK and op is not impossible]
    before = [op for op in takings if op.result is not None and freeze(op.result) == element]
    if len(before) < len(puts) + model.init.count(element):
        return None
    times = "once" if len(puts) == 1 else f"{len(puts)} times"
    took = f"{name} was put in {times}, and process {before[0].process} had taken it {phrases.end(before[0])}"
    return Finding(took, [*puts, *before, impossible])


def _other_type(model: Pile, element: object, everything: Sequence[Op]) -> str:
    for op in everything:
        if op.f == model.puts and freeze(op.value) != element and str(op.value) == str(element):
            return f"; {phrases.value(op.value)} is another value: values are never converted here"
    return ""


def _overtaken(puts: Sequence[Op], taken: dict[object, Op]) -> str:
    """Two elements of a queue, the first of which was left behind."""
    first, second = puts
    if not _is_before(first, second, taken):
        first, second = second, first
    ahead, left = taken[freeze(second.value)], taken.get(freeze(first.value))
    behind = "nobody had dequeued it" if left is None else f"its dequeue began only {phrases.start(left)}"
    return (
        f"{phrases.named(first)} came before {phrases.begun(second)}, and when {phrases.value(second.value)} was out "
        f"({phrases.end(ahead)}) {behind}"
    )


def _is_before(first: Op, second: Op, taken: dict[object, Op]) -> bool:
    """Whether the first element was in, or even out again, before the second was put in."""
    ends = [op.returned for op in (first, taken.get(freeze(first.value))) if op is not None and op.returned is not None]
    return min(ends, default=second.invoked) < second.invoked and freeze(second.value) in taken


def _stay(put: Op, taken: Op | None) -> str:
    """An element and while which time it was certainly inside."""
    out = "never taken" if taken is None else f"taken by process {taken.process}, from {phrases.start(taken)} on"
    return f"{phrases.value(put.value)} (put in by process {put.process}, done {phrases.end(put)}; {out})"


def _some(texts: Sequence[str]) -> str:
    return ", ".join(texts[:_SHOWN]) + (f" and {len(texts) - _SHOWN} more" if len(texts) > _SHOWN else "")


def _growing(model: GrowOnlySet, impossible: Op, prefix: Sequence[Op], everything: Sequence[Op]) -> Finding | None:
    """Sets that are read whole: elements that are missing, never added, given twice, or seen by one read and not by the other."""
    if impossible.f != "read":
        return None
    got = members(impossible)
    twice = next((item for place, item in enumerate(got) if item in got[:place]), None)
    if twice is not None:
        return Finding(f"it holds {phrases.value(twice)} more than once", [impossible])
    begun = {freeze(op.value) for op in prefix if op.f == "add"} | set(model.init)
    unknown = [item for item in got if item not in begun]
    if unknown:
        return Finding(f"it holds {phrases.value(unknown[0])}, which nobody had begun to add", [impossible])
    lost = [
        op
        for op in prefix
        if op.f == "add" and (op.returned or impossible.invoked) < impossible.invoked and freeze(op.value) not in got
    ]
    if lost:
        return Finding(_missing(lost, impossible, everything), [lost[0], impossible])
    reads = [op for op in prefix if op.f == "read" and op.returned is not None and op is not impossible]
    for other in reads:
        gone = set(members(other)) - set(got)
        if gone and (other.returned or 0) < impossible.invoked:
            adds = [op for op in prefix if op.f == "add" and freeze(op.value) in gone][:1]
            because = f"it lacks {phrases.value(next(iter(adds)).value)}, which the read by process {other.process} had seen {phrases.end(other)}"
            return Finding(because, [*adds, other, impossible])
        new = set(got) - set(members(other))
        if gone and new:
            adds = [op for op in prefix if op.f == "add" and freeze(op.value) in gone | new]
            because = f"the read by process {other.process} ({phrases.end(other)}) held an element that it lacks, and lacks one that it holds"
            return Finding(because, [*adds, other, impossible])
    return None


def _missing(lost: Sequence[Op], impossible: Op, everything: Sequence[Op]) -> str:
    """Acknowledged elements that a read lacks: stale if a later read has them again, lost if none has (Jepsen's set-full)."""
    later = [op for op in everything if op.f == "read" and op.type == OK and op.invoked > impossible.invoked]
    again = {item for op in later for item in members(op)}
    stale = sum(1 for op in lost if freeze(op.value) in again)
    first = (
        f"it lacks {phrases.value(lost[0].value)}, although {phrases.named(lost[0])} was acknowledged before it began"
    )
    counts = [f"{count} {word}" for count, word in ((len(lost) - stale, "lost"), (stale, "stale")) if count]
    how = "no later read holds it" if freeze(lost[0].value) not in again else "a later read holds it again"
    return f"{first}; {how} ({' and '.join(counts)} in this read)" if later else f"{first} ({len(lost)} lacking)"


def _counter(model: Counter, impossible: Op, prefix: Sequence[Op]) -> Finding | None:
    """A counter's read out of its bounds: what was certainly added before it, and what may have been added by its return."""
    if impossible.f != "read":
        return None
    adds = [op for op in prefix if op.f == "add"]
    certain = [op for op in adds if op.returned is not None and op.returned < impossible.invoked]
    maybe = [op.value for op in adds if op.returned is None or op.returned > impossible.invoked]
    base = model.init + sum(op.value for op in certain)
    least, most = (base + sum(amount for amount in maybe if (amount > 0) == up) for up in (False, True))
    if least <= impossible.result <= most:
        return None
    possible = f"only be {least}" if least == most else f"only be between {least} and {most}"
    return Finding(f"the sum could {possible}, and {impossible.result} was read", [])


def _mutex(impossible: Op, prefix: Sequence[Op]) -> Finding | None:
    """More acquires within a while than releases that may lie between them allow, or the other way round."""
    same = [op for op in prefix if op.f == impossible.f and op.returned is not None]
    others = [op for op in prefix if op.f != impossible.f]
    same.sort(key=lambda op: -op.invoked)
    for count, op in enumerate(same[:_MOST], 1):
        begin = op.invoked
        inside = [each for each in same[:count] if each.invoked >= begin]
        between = [each for each in others if each.returned is None or each.returned > begin]
        if len(between) + 2 <= len(inside) and len(between) <= _MOST:
            few = f"at most {len(between)}" if between else "no"
            what = (
                f"the lock was {_PAST[impossible.f]} {len(inside)} times after {phrases.start(op).removeprefix('at ')}"
            )
            return Finding(
                f"{what} ({', '.join(f'by process {each.process}' for each in inside[::-1])}), and {few} "
                f"{others[0].f if others else _OTHER[impossible.f]} can lie between",
                [*inside, *between],
                anywhere=True,
            )
    return None


_MOST = 12
"""How many operations a finding about a lock names at most."""
_PAST = {"acquire": "acquired", "release": "released"}
_OTHER = {"acquire": "release", "release": "acquire"}


def _owned(model: OwnerLock | FencingLock, impossible: Op, prefix: Sequence[Op]) -> Finding | None:
    """A lock with holders: a token that did not grow, a release by who did not hold it, two that hold it at once."""
    acquires = [op for op in prefix if op.f == "acquire" and op.type == OK]
    if impossible.f == "acquire" and isinstance(model, FencingLock):
        for op in acquires:
            if op is not impossible and (op.returned or 0) < impossible.invoked and op.result >= impossible.result:
                because = f"its token {impossible.result} is not greater than {op.result}, which {phrases.named(op)} got before"
                return Finding(because, [op, impossible])
    owner = (lambda op: op.process) if isinstance(model, FencingLock) else holder
    mine = [op for op in prefix if owner(op) == owner(impossible)]
    held = [op for op in mine if op.f == "acquire"]
    if impossible.f == "release" and len(held) < sum(1 for op in mine if op.f == "release" and op.returned is not None):
        who = (
            f"process {impossible.process}"
            if owner(impossible) == impossible.process
            else phrases.value(impossible.value)
        )
        return Finding(f"{who} did not hold the lock", mine if len(mine) <= _MOST else [])
    for op in acquires:
        released = [
            each for each in prefix if owner(each) == owner(op) and each.f == "release" and each.invoked > op.invoked
        ]
        if owner(op) != owner(impossible) and (op.returned or 0) < impossible.invoked and not released:
            return Finding(f"{phrases.named(op)} had it, and did not release it", [op, *held[-1:], impossible])
    return None


def _same(one: object, other: object) -> bool:
    return freeze(one) == freeze(other)
