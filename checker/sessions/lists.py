"""The session guarantees on lists that are read whole: each read shows all that the replica that answered knew, in its order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from checker.history import FAIL, OK, Op, freeze
from checker.reasons import phrases
from checker.sessions.answers import (
    HOLDS,
    MONOTONIC_READS,
    MONOTONIC_WRITES,
    READ_YOUR_WRITES,
    WRITES_FOLLOW_READS,
    Answer,
    broken,
    by_process,
    undecided,
)

PAIRS = 4_000_000
"""So many pairs of elements are compared where the reads do not agree on one order; more are not decided."""
_PLAIN = {int, str}
"""The types of values that are their own frozen form."""

_List = tuple[Hashable, ...]


class _Read(NamedTuple):
    """A read, and where each element stands in it."""

    op: Op
    places: dict[Hashable, int]

    def has_before(self, one: Hashable, other: Hashable) -> bool:
        """Whether it lacks the second element, or has the first one before it."""
        at = self.places.get(other)
        return at is None or self.places.get(one, at) < at


def guarantees(initial: Sequence[Hashable], operations: Sequence[Op]) -> dict[str, Answer]:
    """Whether each of the guarantees holds."""
    reads = {op.invoked: read_of(op) for op in operations if op.f == "read" and op.type == OK}
    appended = Counter(initial)
    appended.update(freeze(op.value) for op in operations if op.f == "append" and op.type != FAIL)
    if any(count > 1 for count in appended.values()) or any(len(set(items)) < len(items) for items in reads.values()):
        return undecided("an element was appended, or stands in a read, more than once")
    kept = [op for op in operations if op.invoked in reads or (op.f == "append" and op.type != FAIL)]
    shown = [_Read(op, {item: at for at, item in enumerate(reads[op.invoked])}) for op in telling(kept, reads)]
    if len(shown) > 1 and len(shown) * sum(map(len, reads.values())) > PAIRS:
        return undecided("the reads do not agree on one order, and there are too many to compare")
    sessions = by_process(kept)
    return {
        READ_YOUR_WRITES: next(_own_lost(sessions, reads), HOLDS),
        MONOTONIC_READS: next(_gone_again(sessions, reads), HOLDS),
        MONOTONIC_WRITES: next(_swapped(sessions, shown), HOLDS),
        WRITES_FOLLOW_READS: next(_before_read(sessions, reads, shown), HOLDS),
    }


def read_of(op: Op) -> _List:
    """What a read returned."""
    items = op.result or ()
    return tuple(items) if set(map(type, items)) <= _PLAIN else tuple(freeze(item) for item in items)


def telling(operations: Sequence[Op], reads: dict[int, _List]) -> list[Op]:
    """The longest read, if all others are prefixes of it and so show nothing else; else all reads."""
    by_size = sorted((op for op in operations if op.invoked in reads), key=lambda op: len(reads[op.invoked]))
    lists = [reads[op.invoked] for op in by_size]
    agree = all(two[: len(one)] == one for one, two in pairwise(lists))
    return by_size[-1:] if agree else by_size


def _own_lost(sessions: Sequence[Sequence[Op]], reads: dict[int, _List]) -> Iterator[Answer]:
    """Reads that lack an append of their own session."""
    for session in sessions:
        own: dict[Hashable, Op] = {}
        for op in session:
            if op.f == "append":
                own[freeze(op.value)] = op
            elif own and (lost := own.keys() - set(reads[op.invoked])):
                first = min((own[item] for item in lost), key=lambda each: each.invoked)
                yield broken(
                    f"process {op.process} appended {phrases.value(first.value)} ({phrases.end(first)}) and then read a list "
                    f"without it ({phrases.end(op)})"
                )


def _gone_again(sessions: Sequence[Sequence[Op]], reads: dict[int, _List]) -> Iterator[Answer]:
    """Reads that lack what the read before them in their session had."""
    for session in sessions:
        before: _List = ()
        for op in session:
            if op.f == "read":
                now = reads[op.invoked]
                if now[: len(before)] != before:
                    have = set(now)
                    lost = next((item for item in before if item not in have), None)
                    if lost is not None:
                        yield broken(
                            f"process {op.process} read a list with {phrases.value(lost)} and then one without it "
                            f"({phrases.end(op)})"
                        )
                before = now


def _swapped(sessions: Sequence[Sequence[Op]], shown: Sequence[_Read]) -> Iterator[Answer]:
    """Reads that have an append of a session without the one before it, or before it. By induction neighbours are enough."""
    for session in sessions:
        appends = [op for op in session if op.f == "append"]
        for one, other in pairwise(appends):
            for read in shown:
                if not read.has_before(freeze(one.value), freeze(other.value)):
                    done = f"process {one.process} appended {phrases.value(one.value)} and then {phrases.value(other.value)}"
                    yield broken(f"{done}, but {_has(read)}")


def _before_read(sessions: Sequence[Sequence[Op]], reads: dict[int, _List], shown: Sequence[_Read]) -> Iterator[Answer]:
    """Reads that have an append of a session without what the session had read before it, or before that.

    Of what the session had read only that matters which the read in question has last, or not at all.
    """
    for session in sessions:
        for read in shown:
            last: Hashable = None
            latest = -1
            for op in session:
                if op.f == "read":
                    for item in reads[op.invoked] if len(shown) > 1 else reads[op.invoked][latest + 1 :]:
                        at = read.places.get(item, len(read.places))
                        if at > latest:
                            last, latest = item, at
                elif latest >= 0 and not read.has_before(last, freeze(op.value)):
                    done = f"process {op.process} read a list with {phrases.value(last)} and then appended {phrases.value(op.value)}"
                    yield broken(f"{done}, but {_has(read)}")


def _has(read: _Read) -> str:
    return f"the read by process {read.op.process} ({phrases.end(read.op)}) has the second without or before the first"
