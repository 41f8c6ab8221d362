"""The promises that a large register of unique values kept, on arrays (needs numba): what `registers.py` and `staleness.py` say.

Whether versions have an order is asked of few of them. Let L be the order of all blocks by the lesser of `ends` and `starts`, reads
counted. A cycle must come back: each place between its first and its last block in L is passed by a step against L. So every
cycle lies within one of the stretches that such steps cover, and only the blocks of these are given to `versions.has_order`.
In a history that is linearizable no step goes against L (an operation of a session returned before the next began, so the blocks
of the two are in order by time); in one with few faults few do.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from checker.columns import UNKNOWN, Columns
from checker.fast import compiled_zones
from checker.models.base import Model, State
from checker.reasons.stories import BEFORE_ALL
from checker.search import arrays, settling
from checker.search.arrays import NONE, Arrays, Flags, Int64, Refuted
from checker.search.problem import NEVER
from checker.selections import Selected
from checker.sessions.answers import (
    HOLDS,
    MONOTONIC_READS,
    MONOTONIC_WRITES,
    READ_YOUR_WRITES,
    WRITES_FOLLOW_READS,
    Answer,
    broken,
)
from checker.sessions.registers import Step, did
from checker.sessions.staleness import WORST, Stale, StaleRead, Update, oldest, stale_read
from checker.sessions.versions import Span, Version, has_order


class _Versions(NamedTuple):
    """Versions by the number of the operation that made them, the initial one last. `made`: which of these numbers are versions.

    By block: `ends` and `starts` as in `versions.Span`, `place` in L.
    """

    made: Flags
    block: Int64
    link: Int64
    end: Int64
    of_state: Int64  # the version of each state that was asked for
    ends: Int64
    starts: Int64
    place: Int64


def placed(model: Model, given: Selected) -> tuple[dict[str, Answer], Stale] | None:
    """The guarantees and the stale reads; None where that takes the readable way."""
    form = arrays.of_columns(model, given.columns) if given.exact else None
    if form is None or not len(form.rows) or (np.diff(form.invoked) <= 0).any():
        return None
    found = _versions(form)
    if found is None or not _has_order(found, np.zeros((0, 2), np.int64)):
        return None
    columns = given.columns
    sessions = _Sessions(model, given, form, found, columns.process[form.rows])
    return sessions.guarantees(), _stale(given, columns, form, found)


def _versions(form: Arrays) -> _Versions | None:
    """The versions; None where some value was brought by several, or time contradicts a chain of cas."""
    numbered = form._replace(rows=np.arange(len(form.rows)), invoked=np.zeros_like(form.invoked))
    settled = settling.settle(numbered)
    blocks = None if isinstance(settled, Refuted) else compiled_zones.blocks_of(settled)
    if blocks is None or isinstance(settled, Refuted):
        return None
    count = len(form.rows)
    made = np.zeros(count + 1, np.bool_)
    kept = settled.rows[settled.produces != NONE]
    made[kept] = made[count] = True
    block, link = np.zeros(count + 1, np.int64), np.zeros(count + 1, np.int64)
    roots = settled.rows[blocks.roots]
    block[roots] = np.arange(1, len(roots) + 1)
    takers = kept[form.requires[kept] != NONE]
    block[takers], link[takers] = blocks.block[form.requires[takers]], blocks.link[form.requires[takers]] + 1
    of_state = np.full(form.states, count, np.int64)
    of_state[form.produces[kept]] = kept
    of_state[form.initial] = count
    asks = np.flatnonzero((form.requires != NONE) & (form.returned != NEVER))
    first = np.full(form.states, NEVER, np.int64)
    np.minimum.at(first, form.requires[asks], form.returned[asks])
    end = np.full(count + 1, BEFORE_ALL, np.int64)
    end[kept] = np.minimum(form.returned[kept], first[form.produces[kept]])
    order = np.lexsort((link[kept], block[kept]))
    chain = kept[order]
    limit = int(max(form.invoked.max(), form.returned[form.returned != NEVER].max(initial=0))) + 2
    base = block[chain] * limit
    if (end[chain] < np.maximum.accumulate(form.invoked[chain] + base) - base).any():
        return None
    short = np.minimum(end[chain], limit - 1)[::-1] + base[::-1]
    short = (
        np.minimum.accumulate(short)[::-1] - base
    )  # blocks fall on the way back, so the least never comes from another one
    end[chain] = np.where(short == limit - 1, NEVER, short)
    blocks_count = len(roots) + 1
    ends, starts = np.full(blocks_count, BEFORE_ALL, np.int64), np.full(blocks_count, BEFORE_ALL, np.int64)
    ends[block[roots]] = end[roots]
    np.maximum.at(starts, block[kept], form.invoked[kept])
    all_starts = starts.copy()
    np.maximum.at(all_starts, block[of_state[form.requires[asks]]], form.invoked[asks])
    sorted_blocks = np.argsort(2 * np.minimum(ends, all_starts) + (ends < all_starts), kind="stable")
    place = np.empty(blocks_count, np.int64)
    place[sorted_blocks] = np.arange(blocks_count)
    return _Versions(made, block, link, end, of_state, ends, starts, place)


def _has_order(found: _Versions, edges: Int64, *, by_time: bool = True) -> bool:
    """`versions.has_order` of all blocks with these edges between blocks, shape (n, 2)."""
    place = found.place
    back = edges[place[edges[:, 0]] > place[edges[:, 1]]]
    first, last = [place[back[:, 1]]], [place[back[:, 0]]]
    if by_time:
        order = np.argsort(found.ends, kind="stable")
        furthest = np.concatenate([[-1], np.maximum.accumulate(place[order])])
        reached = furthest[np.searchsorted(found.ends[order], found.starts)]
        against = reached > place
        first.append(place[against])
        last.append(reached[against])
    covered = np.zeros(len(place) + 1, np.int64)
    np.add.at(covered, np.concatenate(first), 1)
    np.subtract.at(covered, np.concatenate(last) + 1, 1)
    inside = np.cumsum(covered)[place] > 0
    numbers = np.full(len(place), -1, np.int64)
    chosen = np.flatnonzero(inside)
    numbers[chosen] = np.arange(len(chosen))
    kept = edges[inside[edges[:, 0]] & inside[edges[:, 1]]] if len(edges) else edges
    if by_time:
        spans = [Span(*pair) for pair in zip(found.ends[chosen].tolist(), found.starts[chosen].tolist(), strict=True)]
    else:
        spans = [
            Span(BEFORE_ALL - 1, BEFORE_ALL - 1) if number == 0 else Span(NEVER, BEFORE_ALL)
            for number in chosen.tolist()
        ]
    return has_order(spans, [(one, other) for one, other in numbers[kept].tolist()])


class _Sessions:
    """The steps of all sessions, one session after the other: which operation met or made which version."""

    def __init__(self, model: Model, given: Selected, form: Arrays, found: _Versions, process: Int64) -> None:
        self._model, self._given, self._form, self._found = model, given, form, found
        _, first, session = np.unique(process, return_index=True, return_inverse=True)
        count = len(form.rows)
        reads = np.flatnonzero((form.requires != NONE) & (form.returned != NEVER))
        writes = np.flatnonzero(found.made[:count])
        op = np.concatenate([reads, writes])
        wrote = np.repeat([False, True], [len(reads), len(writes)])
        version = np.concatenate([found.of_state[form.requires[reads]], writes])
        order = np.lexsort((wrote, op, first[session[op]]))
        self._op, self._wrote, self._version = op[order], wrote[order], version[order]
        self._session = session[self._op]

    def guarantees(self) -> dict[str, Answer]:
        """Whether each of the guarantees holds."""
        reads, writes = np.flatnonzero(~self._wrote), np.flatnonzero(self._wrote)
        steps = np.arange(len(self._op))
        last = np.maximum.accumulate(np.where(self._wrote, steps, -1))[reads]
        next_write = np.append(writes, -1)[np.searchsorted(writes, reads)]
        return {
            READ_YOUR_WRITES: self._judged(last, reads),
            MONOTONIC_READS: self._judged(reads[:-1], reads[1:]),
            MONOTONIC_WRITES: self._judged(writes[:-1], writes[1:], by_time=False),
            WRITES_FOLLOW_READS: self._judged(reads, next_write),
        }

    def _judged(self, one: Int64, other: Int64, *, by_time: bool = True) -> Answer:
        """Pairs of steps, those of which one is missing (-1) or that are of two sessions left out."""
        kept = (one >= 0) & (other >= 0)
        kept &= self._session[one] == self._session[other]
        one, other = one[kept], other[kept]
        found = self._found
        before, after = self._version[one], self._version[other]
        blocks = found.block[before], found.block[after]
        wrong = np.where(blocks[0] == blocks[1], found.link[after] < found.link[before], False)
        if by_time:
            wrong |= (blocks[0] != blocks[1]) & (found.ends[blocks[1]] < found.starts[blocks[0]])
        if wrong.any():
            place = int(np.argmax(wrong))
            return self._broken(int(one[place]), int(other[place]))
        if _has_order(found, np.stack(blocks, axis=1), by_time=by_time):
            return HOLDS
        return broken("no order of the updates gives it to all clients at once")

    def _broken(self, one: int, other: int) -> Answer:
        describe = self._model.describe
        first, second = self._step(one), self._step(other)
        return broken(
            f"process {first.op.process} {did(first, describe)} and then {did(second, describe)}, "
            f"which came before {describe(first.version.state)}"
        )

    def _step(self, step: int) -> Step:
        op = self._given.pick(self._form.rows[self._op[step : step + 1]])[0]
        effect = self._model.effect(op)
        assert effect is not None
        wrote = bool(self._wrote[step])
        state: State = effect.produces if wrote else effect.requires
        return Step(op, Version(state, None, BEFORE_ALL, None), wrote)


def _stale(given: Selected, columns: Columns, form: Arrays, found: _Versions) -> Stale:
    """The stale reads, and the stalest of them."""
    count = len(form.rows)
    updates = np.flatnonzero(found.made[:count])
    places, ends = form.invoked[updates], found.end[updates]
    best = len(ends) - 1 - _last_least(ends[::-1])[::-1] if len(ends) else ends
    looks = np.flatnonzero((form.requires != NONE) & (form.produces == NONE) & (form.returned != NEVER))
    own = found.of_state[form.requires[looks]]
    later = np.searchsorted(places, found.end[own], "right")
    there = later < len(places)
    looks, own, later = looks[there], own[there], later[there]
    replaced = updates[best[later]] if len(looks) else looks
    stale = found.end[replaced] < form.invoked[looks]
    looks, own, replaced = looks[stale], own[stale], replaced[stale]
    at = np.full(int(form.returned[form.returned != NEVER].max(initial=0)) + 1, UNKNOWN, np.int64)
    answered = np.flatnonzero(form.returned != NEVER)
    at[form.returned[answered]] = columns.return_time[form.rows[answered]]
    start, end = at[found.end[replaced]], columns.invoke_time[form.rows[looks]]
    known = (start != UNKNOWN) & (end != UNKNOWN)
    age = np.where(known, end - start, form.invoked[looks] - found.end[replaced])
    worst = np.argsort(-age, kind="stable")[:WORST]
    unseen = np.flatnonzero((form.produces != NONE) & ~found.made[:count])
    every = np.sort(np.concatenate([updates, unseen]))
    every_end = np.where(found.made[every], found.end[every], NEVER)
    counted: list[StaleRead] = []
    ops = given.pick(form.rows[looks[worst]])
    for number, op in zip(worst.tolist(), ops, strict=True):
        begin = int(own[number])
        since = BEFORE_ALL if begin == count else int(form.invoked[begin])
        sure = int(((places > found.end[begin]) & (ends < op.invoked)).sum())
        possible = every[
            (form.invoked[every] < (op.returned or 0)) & (every_end >= since) & (form.invoked[every] != since)
        ]
        earliest = max(int(possible[0]), begin if begin != count else -1)
        when, what = int(start[number]), int(columns.invoke_time[form.rows[earliest]])
        counted.append(
            stale_read(
                op,
                Update(0, None, 0, None if when == UNKNOWN else when),
                Update(0, None if what == UNKNOWN else what, 0, None),
                sure,
                len(possible),
            )
        )
    return Stale(len(looks), sorted(counted, key=oldest))


def _last_least(column: Int64) -> Int64:
    """For each place where the least number up to there last stood."""
    least = np.minimum.accumulate(column)
    return np.maximum.accumulate(np.where(column == least, np.arange(len(column)), -1))
