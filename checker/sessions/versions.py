"""The versions of a register and the order in which real time puts them, where each value that was read was brought once.

A version is an update that took effect, or the initial value. Reads say nothing here but that their value was there when they
returned: they may return old values. What follows for a client is said in `registers.py`.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from checker.history import Op
from checker.models.base import NOTHING, State
from checker.reasons.stories import BEFORE_ALL, NEVER, Story, brings

_FIRST = -2
"""Before all: where the initial version stands if real time is left out."""


class Version(msgspec.Struct):
    """One version: `end` is the place at which it had certainly taken effect, `shows` the operation that returned there.

    Versions of one chain of cas are in one block, `link` is the place in it: nothing stands between them in any order.
    """

    state: State
    op: Op | None
    end: int
    shows: Op | None
    block: int = 0
    link: int = 0

    @property
    def invoked(self) -> int:
        """Before this place it had not taken effect."""
        return BEFORE_ALL if self.op is None else self.op.invoked


class Span(NamedTuple):
    """A block in time: something of it had taken effect at `ends`, not all of it before `starts`."""

    ends: int
    starts: int


class Versions(NamedTuple):
    """All versions, by place of invocation (the initial one at BEFORE_ALL), the one of each value that was read, and the blocks.

    `conflict` says why no order of the updates respects real time, if none does.
    """

    by_place: dict[int, Version]
    of_state: dict[State, Version]
    spans: list[Span]
    conflict: str


def versions(told: Story) -> Versions | str:
    """The versions, or why there are none: values that repeat, or cas that can't stand right after what they replaced."""
    if not told.assignment:
        return "an operation does more than to ask for one value and to bring one"
    wanted = told.wanted()
    for state in wanted:
        if len(told.of(state).producers) + (state == told.model.init) != 1:
            text = told.model.describe(state)
            known = told.of(state).producers
            return f"{text} was read, and {'several operations' if known else 'no operation'} brought it"
    takers: dict[State, Op] = {}
    roots: list[tuple[State, Op | None]] = [(told.model.init, None)]
    for state, found in told.values.items():
        for op in found.producers:
            if op.returned is None and state not in wanted:
                continue  # nobody saw it: an order without it is an order, too
            asked = told.effects[op.invoked].requires
            if asked is NOTHING:
                roots.append((state, op))
            elif takers.setdefault(asked, op) is not op:
                return f"{told.model.describe(asked)} was replaced by two cas"
    chains = [_chain(told, takers, state, op) for state, op in roots]
    return _placed(chains, sum(map(len, chains)) - len(roots) == len(takers), wanted)


def _chain(told: Story, takers: dict[State, Op], state: State, root: Op | None) -> list[Version]:
    """A write or the initial value, and what cas made of it one after the other."""
    chain = [_version(told, state, root)]
    while (link := takers.get(chain[-1].state)) is not None:
        chain.append(_version(told, brings(told.effects[link.invoked]), link))
    return chain


def _version(told: Story, state: State, op: Op | None) -> Version:
    if op is None:
        return Version(state, None, BEFORE_ALL, None)
    shown = [each for each in (op, *told.of(state).witnesses) if each.returned is not None]
    first = min(shown, key=lambda each: each.returned or 0, default=None)
    return Version(state, op, NEVER if first is None or first.returned is None else first.returned, first)


def _placed(chains: Sequence[list[Version]], whole: bool, wanted: set[State]) -> Versions | str:  # noqa: FBT001
    """The versions with their places in blocks."""
    if not whole:
        return "the updates have no order: cas in a ring"
    found = Versions({}, {}, [], "")
    early = False
    for block, chain in enumerate(chains):
        latest = BEFORE_ALL
        for link, version in enumerate(chain):
            version.block, version.link = block, link
            latest = max(latest, version.invoked)
            early = early or version.end < latest
            found.by_place[version.invoked] = version
            if version.state in wanted:
                found.of_state[version.state] = version
        for earlier, later in zip(chain[-2::-1], chain[:0:-1], strict=True):
            if later.end < earlier.end:  # what came later had taken effect, so the earlier had, too
                earlier.end, earlier.shows = later.end, later.shows
        found.spans.append(Span(chain[0].end, latest))
    if early or not has_order(found.spans, []):
        return found._replace(conflict="the updates alone, whatever was read, have no order that respects real time")
    return found


def without_time(found: Versions) -> list[Span]:
    """The blocks as if only the initial value had a place in time."""
    return [Span(_FIRST, _FIRST) if span.ends == BEFORE_ALL else Span(NEVER, BEFORE_ALL) for span in found.spans]


def precedes(spans: Sequence[Span], one: Version, other: Version) -> bool:
    """Whether one version stands before another in every order: in its chain, or by time."""
    if one.block == other.block:
        return one.link < other.link
    return spans[one.block].ends < spans[other.block].starts


def has_order(spans: Sequence[Span], edges: Sequence[tuple[int, int]]) -> bool:
    """Whether blocks have an order in which a precedes b by time (a.ends < b.starts) and for each edge (a, b).

    Takes away a block that nothing left must precede, again and again. By time that is one whose `starts` is no later than
    the least `ends` of all others; so only the least `starts` without an edge matters, and the block with the least `ends`.
    """
    before = [0] * len(spans)
    after: dict[int, list[int]] = {}
    for one, other in edges:
        if one == other:
            continue
        before[other] += 1
        after.setdefault(one, []).append(other)
    by_ends = sorted(range(len(spans)), key=lambda block: spans[block].ends)
    ready = [(spans[block].starts, block) for block in range(len(spans)) if not before[block]]
    heapq.heapify(ready)
    gone = [False] * len(spans)
    first = 0
    for _ in spans:
        while gone[by_ends[first]]:
            first += 1
        chosen = _free(spans, by_ends, first, gone, before, ready)
        if chosen < 0:
            return False
        gone[chosen] = True
        for other in after.get(chosen, ()):
            before[other] -= 1
            if not before[other]:
                heapq.heappush(ready, (spans[other].starts, other))
    return True


def _free(
    spans: Sequence[Span],
    by_ends: list[int],
    first: int,
    gone: list[bool],
    before: list[int],
    ready: list[tuple[int, int]],
) -> int:
    """A block that nothing left must precede; -1 if there is none."""
    leader = by_ends[first]
    while ready and gone[ready[0][1]]:
        heapq.heappop(ready)
    if ready and ready[0][1] != leader and spans[ready[0][1]].starts <= spans[leader].ends:
        return ready[0][1]
    if before[leader]:
        return -1
    second = first + 1
    while second < len(by_ends) and gone[by_ends[second]]:
        second += 1
    return leader if second == len(by_ends) or spans[leader].starts <= spans[by_ends[second]].ends else -1
