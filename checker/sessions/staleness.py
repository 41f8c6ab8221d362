"""How old what reads returned was: by how much time and by how many updates, at least and at most.

A read is stale if its value had certainly been replaced before it began: by an update that was invoked after the value had
taken effect, and that had taken effect itself. Bounds are honest about what nobody can know: at least since the last moment at
which that update can have taken effect to the invocation of the read, at most since the first moment at which any update can
have replaced the value to the return of the read.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from checker.history import OK, Op, freeze
from checker.models.base import NOTHING
from checker.reasons.stories import NEVER, Story
from checker.sessions.lists import PAIRS, read_of, telling
from checker.sessions.versions import Version, Versions

WORST = 20
"""So many stale reads are listed, the oldest first."""


class StaleRead(msgspec.Struct, frozen=True):
    """One read of an old value; milliseconds are None where the history has no times, versions count updates after it."""

    process: int | str
    key: Any
    invoke_index: int | None
    milliseconds_at_least: float | None
    milliseconds_at_most: float | None
    versions_at_least: int
    versions_at_most: int


class Stale(NamedTuple):
    """How many reads were stale, and the stalest."""

    reads: int
    worst: list[StaleRead]


class Update(NamedTuple):
    """An update in time; `end` is the place at which it had certainly taken effect, with the time of that."""

    invoked: int
    invoke_time: int | None
    end: int
    end_time: int | None
    element: Hashable = None


class _Look(NamedTuple):
    """A stale read: what is certain to have replaced its value first, and when the value had come at the latest and the earliest."""

    op: Op
    replaced: Update
    end: int
    begin: Update | None


def of_register(told: Story, found: Versions, operations: Sequence[Op]) -> Stale:
    """The stale reads of a register whose values are unique."""
    updates = [_update(version) for place, version in sorted(found.by_place.items()) if version.op is not None]
    first_end = _first_ends(updates)
    places = [update.invoked for update in updates]
    looks = []
    for op in operations:
        effect = told.effects.get(op.invoked)
        if effect is None or effect.requires is NOTHING or op.returned is None or told.takes(op):
            continue
        version = found.of_state[effect.requires]
        later = bisect_right(places, version.end)
        replaced = first_end[later] if later < len(updates) else None
        if replaced is not None and replaced.end < op.invoked:
            begin = None if version.op is None else _update(version)
            looks.append(_Look(op, replaced, version.end, begin))
    unseen = [
        Update(op.invoked, op.invoke_time, NEVER, None)
        for known in told.values.values()
        for op in known.producers
        if op.invoked not in found.by_place
    ]
    return _stale(looks, updates, unseen)


def of_list(operations: Sequence[Op]) -> Stale | None:
    """The stale reads of a list: those without an element whose append had been answered, or been read, before they began.

    None where an element was read before it was appended, or where reads do not agree and there are too many to compare.
    """
    reads = [op for op in operations if op.f == "read" and op.type == OK]
    lists = {op.invoked: read_of(op) for op in reads}
    updates = _appends(operations, reads, lists)
    longest = telling(reads, lists)
    if any(update.end < update.invoked for update in updates.values()):
        return None  # a read from the future
    if len(longest) > 1 and len(reads) * len(updates) > PAIRS:
        return None
    nobody = Update(NEVER, None, NEVER, None)
    agree = len(longest) == 1
    ordered = [updates.pop(item, nobody) for item in lists[longest[0].invoked]] if agree else []
    ordered += updates.values()
    first_end = _first_ends(ordered)
    looks = []
    for op in reads:
        size = len(lists[op.invoked]) if agree else 0
        if size < len(ordered) and first_end[size].end < op.invoked:
            have = set() if agree else set(lists[op.invoked])
            missing = (
                [update for update in ordered if update.element not in have] if have else first_end[size : size + 1]
            )
            replaced = min(missing, key=lambda each: each.end, default=nobody)
            if replaced.end < op.invoked:
                looks.append(_Look(op, replaced, 0, None))
    worst = sorted(looks, key=_by_time)[:WORST]
    counted = [_list_read(look.op, look.replaced, ordered, set(lists[look.op.invoked])) for look in worst]
    return Stale(len(looks), sorted(counted, key=oldest))


def _appends(
    operations: Sequence[Op], reads: Sequence[Op], lists: Mapping[int, Sequence[Hashable]]
) -> dict[Hashable, Update]:
    """The appends that took effect, by element: answered, or seen by a read; the first such moment counts."""
    seen: dict[Hashable, Op] = {}
    for op in sorted(reads, key=lambda each: -(each.returned or 0)):
        seen.update(dict.fromkeys(lists[op.invoked], op))
    updates = {}
    for op in operations:
        element = freeze(op.value) if op.f == "append" else None
        if op.f == "append" and (op.type == OK or element in seen):
            shows = min(
                (each for each in (op, seen.get(element)) if each is not None and each.returned is not None),
                key=_returned,
            )
            updates[element] = Update(op.invoked, op.invoke_time, _returned(shows), shows.return_time, element)
    return updates


def _returned(op: Op) -> int:
    return NEVER if op.returned is None else op.returned


def _list_read(op: Op, replaced: Update, ordered: Sequence[Update], have: set[Hashable]) -> StaleRead:
    missing = [update for update in ordered if update.element not in have]
    sure = sum(1 for update in missing if update.end < op.invoked)
    possible = [update for update in missing if update.invoked < _returned(op)]
    inside = (update for update in ordered if update.element in have)
    earliest = min(possible, key=lambda each: each.invoked)
    return stale_read(
        op, replaced, _later(earliest, max(inside, key=lambda each: each.invoked, default=None)), sure, len(possible)
    )


def _update(version: Version) -> Update:
    op, shows = version.op, version.shows
    assert op is not None
    return Update(op.invoked, op.invoke_time, version.end, None if shows is None else shows.return_time)


def _first_ends(updates: Sequence[Update]) -> list[Update]:
    """For each place in the order of invocations the update that had taken effect first among those from there on."""
    best: list[Update] = list(updates)
    for place in range(len(updates) - 2, -1, -1):
        if best[place + 1].end < best[place].end:
            best[place] = best[place + 1]
    return best


def _stale(looks: Sequence[_Look], updates: Sequence[Update], unseen: Sequence[Update]) -> Stale:
    worst = [_counted(look, updates, unseen) for look in sorted(looks, key=_by_time)[:WORST]]
    return Stale(len(looks), sorted(worst, key=oldest))


def _by_time(look: _Look) -> int:
    """By how long a read certainly was stale, the stalest first."""
    start, end = look.replaced.end_time, look.op.invoke_time
    return -(look.op.invoked - look.replaced.end if start is None or end is None else end - start)


def _counted(look: _Look, updates: Sequence[Update], unseen: Sequence[Update]) -> StaleRead:
    """The read with the updates that certainly, and that possibly, came between its value and itself."""
    op, own = look.op, -1 if look.begin is None else look.begin.invoked
    sure = sum(1 for update in updates if update.invoked > look.end and update.end < op.invoked)
    possible = [
        update
        for update in (*updates, *unseen)
        if update.invoked < (op.returned or 0) and update.end >= own and update.invoked != own
    ]
    earliest = min(possible, key=lambda each: each.invoked)
    return stale_read(op, look.replaced, _later(earliest, look.begin), sure, len(possible))


def _later(one: Update, other: Update | None) -> Update:
    return one if other is None or other.invoked < one.invoked else other


def stale_read(op: Op, replaced: Update, earliest: Update, sure: int, possible: int) -> StaleRead:
    return StaleRead(
        process=op.process,
        key=op.key,
        invoke_index=op.invoke_index,
        milliseconds_at_least=_milliseconds(replaced.end_time, op.invoke_time),
        milliseconds_at_most=_milliseconds(earliest.invoke_time, op.return_time),
        versions_at_least=sure,
        versions_at_most=possible,
    )


def _milliseconds(start: int | None, end: int | None) -> float | None:
    return None if start is None or end is None else round((end - start) / 1e6, 3)


def oldest(read: StaleRead) -> tuple[float, int]:
    return (-(read.milliseconds_at_least or 0.0), -read.versions_at_least)
