"""Depth first, just in time, compiled: the search of `depth.py` on arrays (proofs stand there; needs numba).

A node is (event, state, done, used): `event` is the place of the return that waits to be passed. What is open at an event is not
stored; a cursor walks the events forth and, where the search turns back, back. Few arrays, each with several columns: every
array that a function takes costs time at each call.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import int64

from checker.budget import Meter, Pace
from checker.search.arrays import (
    NONE,
    UNKNOWN,
    Arrays,
    Int32,
    Int64,
    Ordered,
    Refuted,
    Steps,
    Table,
    events_of,
    steps_of,
)
from checker.search.kernels import DEAD, DONE, FULL, MISSING, PAUSED, SLOTS, kernel, lowest, mixed, step
from checker.search.problem import NEVER, Kind
from checker.verdict import GaveUp

_READER, _BLIND = int(Kind.READER), int(Kind.BLIND)
_COMPARISONS = 64
"""How many nodes one is compared with before it is visited: any limit is sound."""
_FIRST_STEPS, _MOST_STEPS = 1 << 12, 1 << 17
"""Steps between two looks at the budget."""
_NODES_BETWEEN_LOOKS = 1 << 17
"""Of those that are put into a larger table: some hundredths of a second, as each is somewhere else in memory."""
_LANES, _LANE_BITS, _MOST_USED = 4, 16, (1 << 15) - 1
"""Uses of unanswered operations stand four to a word; the upper bit of each lane is free for comparisons."""
_UPPER = -9223231297218904064  # 0x8000 in each lane

_CLASS, _KIND, _SLOT, _RETURN, _GROUP = range(5)
"""Columns of `operations`; _SLOT: the bit while it is open; _RETURN: the place of its return; _GROUP: of an unanswered one, else -1."""
_COUNTED, _LOOKS, _AVAILABLE, _USED = range(4)
"""Columns of `groups`, one for each class of unanswered operations: the class, whether it looks at the state, how many were invoked
before the present event, how many are used."""
_NODE, _MOVE, _TRIED = range(3)
"""Columns of `path`: the node, the operation or -1 - group that led to it, how many of its candidates were tried."""
(
    _EVENT,
    _STATE,
    _DONE,
    _OPEN,
    _READERS,
    _BLINDS,
    _UPDATES,
    _TOP,
    _NODES,
    _BEST,
    _MISSING,
    _STEPS,
    _PAUSE,
    _SINCE,
    _PATIENCE,
) = range(15)
_OPENED, _UPDATED = 16, 16 + SLOTS
"""In `cursor`: numbers, then the operation in each slot, then open operations that are no readers, oldest first."""


class Memory(NamedTuple):
    """Nodes that were visited, and the path to the present one."""

    nodes: Int64  # event, state, done, then uses in lanes
    heads: Int32  # hash table: the newest node of each (event, state, done); -1: none
    chain: Int32  # the next older node of the same, or -1
    path: Int32


class Layout(NamedTuple):
    """The operations and the events in order."""

    operations: Int32
    events: Int32  # operation * 2, + 1 for its return
    members: Int64  # unanswered operations by group, oldest first
    starts: Int64  # where each group begins in `members`


@kernel
def _lay_out(events: Int32, operations: Int32) -> bool:
    """Gives each answered operation the lowest free bit; False if more are open at once than a word has."""
    taken = int64(0)
    every = (int64(1) << SLOTS) - 1
    for place in range(len(events)):
        number = events[place] >> 1
        if operations[number, _GROUP] >= 0:
            continue
        if events[place] & 1:
            taken &= ~(int64(1) << operations[number, _SLOT])
            operations[number, _RETURN] = place
        else:
            if taken == every:
                return False
            operations[number, _SLOT] = lowest(int(~taken))
            taken |= int64(1) << operations[number, _SLOT]
    return True


@kernel
def _turn(operations: Int32, code: int, groups: Int64, cursor: Int64, way: int) -> None:
    """Opens (way 1) or closes (-1) the operation of an event, whichever way the event is passed."""
    number = code >> 1
    if operations[number, _GROUP] >= 0:
        groups[operations[number, _GROUP], _AVAILABLE] += way
        return
    bit = int64(1) << operations[number, _SLOT]
    cursor[_OPEN] ^= bit
    kind = operations[number, _KIND]
    if kind == _READER:
        cursor[_READERS] ^= bit
    elif kind == _BLIND:
        cursor[_BLINDS] ^= bit
    if way == 1:
        cursor[_OPENED + operations[number, _SLOT]] = number
    if kind == _READER:
        return
    # Operations are numbered in the order of their invocations, so the updates are kept sorted.
    place = _UPDATED + cursor[_UPDATES]
    cursor[_UPDATES] += way
    if way == 1:
        while place > _UPDATED and cursor[place - 1] > number:
            cursor[place] = cursor[place - 1]
            place -= 1
        cursor[place] = number
    else:
        place -= 1
        moved = cursor[place]
        while moved != number:
            place -= 1
            moved, cursor[place] = cursor[place], moved


@kernel
def _go_to(operations: Int32, events: Int32, groups: Int64, cursor: Int64, event: int) -> None:
    """Walks to an event."""
    while cursor[_EVENT] > event:
        cursor[_EVENT] -= 1
        code = events[cursor[_EVENT]]
        _turn(operations, code, groups, cursor, 1 if code & 1 else -1)
    while cursor[_EVENT] < event:
        code = events[cursor[_EVENT]]
        cursor[_EVENT] += 1
        _turn(operations, code, groups, cursor, -1 if code & 1 else 1)


@kernel
def _advance(
    operations: Int32, events: Int32, steps: Steps, groups: Int64, cursor: Int64, order: Int64, ordered: int
) -> int:
    """Linearizes open readers that are legal now (reduction 1), and passes the returns whose operations are done.

    Notes the readers in `order`, if it is not empty, from place `ordered` on, and returns the next one; -2 where a cell is missing.
    """
    while True:
        while cursor[_EVENT] < len(events) and events[cursor[_EVENT]] & 1 == 0:
            _turn(operations, events[cursor[_EVENT]], groups, cursor, 1)
            cursor[_EVENT] += 1
        left = cursor[_READERS] & ~cursor[_DONE]
        while left:
            slot = lowest(left)
            left &= left - 1
            number = cursor[_OPENED + slot]
            after = _step(steps, cursor, cursor[_STATE], operations[number, _CLASS])
            if after == UNKNOWN:
                return UNKNOWN
            if after != NONE:
                cursor[_DONE] |= int64(1) << slot
                if len(order):
                    order[ordered] = number
                    ordered += 1
        if cursor[_EVENT] == len(events):
            return ordered
        code = events[cursor[_EVENT]]
        bit = int64(1) << operations[code >> 1, _SLOT]
        if cursor[_DONE] & bit == 0:
            return ordered
        cursor[_DONE] &= ~bit
        _turn(operations, code, groups, cursor, -1)
        cursor[_EVENT] += 1


@kernel
def _step(steps: Steps, cursor: Int64, state: int, klass: int) -> int:
    """The state after an operation of a class; notes the cell that the table lacks."""
    after = step(steps, state, klass)
    if after == UNKNOWN:
        cursor[_MISSING] = state * steps.width + klass
    return after


@kernel
def _place_of(nodes: Int64, heads: Int32, node: int) -> int:
    """Where in the hash table the newest node stands that differs from this one in its uses alone, or may stand."""
    size = len(heads)
    event, state, done = nodes[node, 0], nodes[node, 1], nodes[node, 2]
    place = mixed(mixed(mixed(event) + state) + done) & (size - 1)
    head = heads[place]
    while head >= 0 and not (nodes[head, 0] == event and nodes[head, 1] == state and nodes[head, 2] == done):
        place = (place + 1) & (size - 1)
        head = heads[place]
    return place


@kernel
def _remember(memory: Memory, groups: Int64, cursor: Int64) -> bool:
    """Notes the present node; False if one was visited that differs from it by having used no more of any class."""
    nodes, new = memory.nodes, cursor[_NODES]
    nodes[new, 0], nodes[new, 1], nodes[new, 2] = cursor[_EVENT], cursor[_STATE], cursor[_DONE]
    for word in range(3, nodes.shape[1]):
        nodes[new, word] = 0
    for group in range(len(groups)):
        nodes[new, 3 + group // _LANES] |= groups[group, _USED] << (_LANE_BITS * (group % _LANES))
    place = _place_of(nodes, memory.heads, new)
    rival, compared = memory.heads[place], 0
    memory.chain[new] = rival
    while rival >= 0 and compared < _COMPARISONS:
        no_more = True
        for word in range(3, nodes.shape[1]):  # then no lane borrows from its upper bit
            if ((nodes[new, word] | _UPPER) - nodes[rival, word]) & _UPPER != _UPPER:
                no_more = False
        if no_more:
            return False
        rival = memory.chain[rival]
        compared += 1
    memory.heads[place] = new
    cursor[_NODES] += 1
    return True


@kernel
def _is_awaited(operations: Int32, steps: Steps, groups: Int64, cursor: Int64, state: int) -> int:
    """Whether an operation that looks at the state could be next; -2 where a cell of the table is missing."""
    left = cursor[_OPEN] & ~cursor[_DONE] & ~cursor[_BLINDS]
    while left:
        number = cursor[_OPENED + lowest(left)]
        left &= left - 1
        after = _step(steps, cursor, state, operations[number, _CLASS])
        if after != NONE:
            return 1 if after != UNKNOWN else UNKNOWN
    for group in range(len(groups)):
        if groups[group, _LOOKS] and groups[group, _AVAILABLE] > 0:
            after = _step(steps, cursor, state, groups[group, _COUNTED])
            if after != NONE:
                return 1 if after != UNKNOWN else UNKNOWN
    return 0


@kernel
def _candidate(operations: Int32, steps: Steps, groups: Int64, cursor: Int64, place: int) -> int:
    """The state after the candidate in this place, if it is worth trying: open updates by age, then unanswered operations."""
    state = cursor[_STATE]
    group = place - cursor[_UPDATES]
    if group >= 0:
        if groups[group, _USED] >= min(groups[group, _AVAILABLE], _MOST_USED):
            return NONE
        after = _step(steps, cursor, state, groups[group, _COUNTED])
        if after < 0 or after == state:
            return UNKNOWN if after == UNKNOWN else NONE
        awaited = _is_awaited(operations, steps, groups, cursor, after)
        return UNKNOWN if awaited == UNKNOWN else after if awaited else NONE
    number = cursor[_UPDATED + place]
    if cursor[_DONE] & int64(1) << operations[number, _SLOT]:
        return NONE
    klass = operations[number, _CLASS]
    after = _step(steps, cursor, state, klass)
    if after >= 0:
        for other_place in range(_UPDATED, _UPDATED + cursor[_UPDATES]):
            other = cursor[other_place]
            if (
                operations[other, _CLASS] == klass
                and operations[other, _RETURN] < operations[number, _RETURN]
                and cursor[_DONE] & int64(1) << operations[other, _SLOT] == 0
            ):
                return NONE  # the twin that returns earlier goes first (reduction 4)
    return after


@kernel
def _passes(operations: Int32, waiting: int, steps: Steps, cursor: Int64, after: int, move: int) -> int:
    """Whether the return that waits is passed if this move leads to this state; -2 where a cell is missing."""
    if operations[waiting, _KIND] != _READER:
        return 1 if move == waiting else 0
    then = _step(steps, cursor, after, operations[waiting, _CLASS])
    return UNKNOWN if then == UNKNOWN else 0 if then == NONE else 1


@kernel
def _make(operations: Int32, groups: Int64, cursor: Int64, after: int, move: int) -> None:
    cursor[_STATE] = after
    if move >= 0:
        cursor[_DONE] |= int64(1) << operations[move, _SLOT]
    else:
        groups[-1 - move, _USED] += 1


@kernel
def _descend(
    layout: Layout, steps: Steps, groups: Int64, cursor: Int64, memory: Memory, order: Int64, passing_first: int
) -> int:
    """Goes on to the first new node that a candidate of the present one leads to; DEAD if there is none."""
    operations, events, path = layout.operations, layout.events, memory.path
    top = cursor[_TOP]
    event, state, done, updates = cursor[_EVENT], cursor[_STATE], cursor[_DONE], cursor[_UPDATES]
    waiting = events[event] >> 1
    width = updates + len(groups)
    while path[top, _TRIED] < width * (1 + passing_first):
        cursor[_STEPS] += 1
        place = path[top, _TRIED] % width
        move = cursor[_UPDATED + place] if place < updates else updates - 1 - place
        after = _candidate(operations, steps, groups, cursor, place)
        if after >= 0 and passing_first:
            passes = _passes(operations, waiting, steps, cursor, after, move)
            after = UNKNOWN if passes == UNKNOWN else after if passes == (path[top, _TRIED] < width) else NONE
        if after == UNKNOWN:
            return MISSING
        if after >= 0:
            _make(operations, groups, cursor, after, move)
            known = _advance(operations, events, steps, groups, cursor, order, 0) != UNKNOWN
            if known and _remember(memory, groups, cursor):
                path[top, _TRIED] += 1
                path[top + 1, _NODE], path[top + 1, _MOVE], path[top + 1, _TRIED] = cursor[_NODES] - 1, move, 0
                cursor[_TOP] += 1
                return DONE
            if move < 0:
                groups[-1 - move, _USED] -= 1
            _go_to(operations, events, groups, cursor, event)
            cursor[_STATE], cursor[_DONE] = state, done
            if not known:
                return MISSING
        path[top, _TRIED] += 1
    return DEAD


@kernel
def _search(
    layout: Layout, steps: Steps, groups: Int64, cursor: Int64, memory: Memory, order: Int64, passing_first: int
) -> int:
    """Goes on until there is an order, or none, or something is missing; then it may be called again."""
    nodes, path = memory.nodes, memory.path
    if cursor[_NODES] == 0:
        cursor[_DONE] = 0  # what an earlier call began before it missed a cell
        _go_to(layout.operations, layout.events, groups, cursor, 0)
        if _advance(layout.operations, layout.events, steps, groups, cursor, order, 0) == UNKNOWN:
            return MISSING
        _remember(memory, groups, cursor)
    while cursor[_TOP] >= 0:
        if cursor[_EVENT] == len(layout.events):
            return DONE
        if cursor[_NODES] == len(nodes) or cursor[_NODES] - cursor[_SINCE] > cursor[_PATIENCE]:
            return FULL
        if cursor[_STEPS] >= cursor[_PAUSE]:
            return PAUSED
        status = _descend(layout, steps, groups, cursor, memory, order, passing_first)
        if status == MISSING:
            return MISSING
        if cursor[_EVENT] > cursor[_BEST]:
            cursor[_BEST], cursor[_SINCE] = cursor[_EVENT], cursor[_NODES]
        if status == DEAD:
            top = cursor[_TOP]
            cursor[_TOP] -= 1
            if top > 0:
                if path[top, _MOVE] < 0:
                    groups[-1 - path[top, _MOVE], _USED] -= 1
                node = path[top - 1, _NODE]
                _go_to(layout.operations, layout.events, groups, cursor, nodes[node, 0])
                cursor[_STATE], cursor[_DONE] = nodes[node, 1], nodes[node, 2]
    return DEAD


@kernel
def _replay(layout: Layout, steps: Steps, groups: Int64, cursor: Int64, path: Int32, top: int, order: Int64) -> int:
    """Walks the path that was found once more, from the first event on; notes the order and returns its length."""
    operations, events = layout.operations, layout.events
    ordered = _advance(operations, events, steps, groups, cursor, order, 0)
    for place in range(1, top + 1):
        move = path[place, _MOVE]
        group = -1 - move
        klass = operations[move, _CLASS] if move >= 0 else groups[group, _COUNTED]
        order[ordered] = move if move >= 0 else layout.members[layout.starts[group] + groups[group, _USED]]
        _make(operations, groups, cursor, step(steps, cursor[_STATE], klass), move)
        ordered = _advance(operations, events, steps, groups, cursor, order, ordered + 1)
    return ordered


@kernel
def _rehash(nodes: Int64, heads: Int32, chain: Int32, begin: int, end: int) -> None:
    """Puts these nodes into the hash table, which holds those before them."""
    for node in range(begin, end):
        place = _place_of(nodes, heads, node)
        chain[node] = heads[place]
        heads[place] = node


def search(
    arrays: Arrays,
    table: Table | None,
    meter: Meter,
    limit: int,
    *,
    oldest_first: bool = False,
    patience: int | None = None,
    witness: bool = False,
) -> Ordered | Refuted | GaveUp:
    """Decides the problem, or gives up after `limit` nodes, or after `patience` of them that led no further than before.

    Operations are in the order of their invocations. Raises `OutOfBudgetError`.
    """
    layout, groups = _layout_of(arrays)
    if layout is None:
        return GaveUp(f"more than {SLOTS} operations were open at once")
    words = 3 + -(-len(groups) // _LANES)
    depth = len(arrays.invoked) + 1
    memory = _memory(min(limit, 1 << 12) + 1, words, np.zeros((depth, 3), np.int32))
    cursor, steps, nothing = _cursor(arrays), steps_of(arrays, table), np.zeros(0, np.int64)
    cursor[_PATIENCE] = limit if patience is None else patience
    pace = Pace(meter, _FIRST_STEPS, _MOST_STEPS)
    while True:
        before = int(cursor[_STEPS])
        cursor[_PAUSE] = before + pace.steps
        status = _search(layout, steps, groups, cursor, memory, nothing, int(not oldest_first))
        held = sum(each.nbytes for each in (*layout, *memory)) + (table.held if table else 0)
        meter.progress = (
            _place_in_history(arrays, layout, max(0, cursor[_BEST] - 1)),
            _place_in_history(arrays, layout, -1),
        )
        pace.spend(int(cursor[_STEPS]) - before, held)
        if status == MISSING:
            assert table is not None
            table.fill(*divmod(int(cursor[_MISSING]), table.width))
            steps = steps_of(arrays, table)
        elif status == FULL:
            stalled = cursor[_NODES] - cursor[_SINCE] > cursor[_PATIENCE]
            if stalled or cursor[_NODES] > limit:
                reached = f"{cursor[_BEST]:,} of {len(layout.events):,} events passed"
                return GaveUp(f"{cursor[_NODES]:,} nodes were tried depth first, {reached}")
            size = min(limit + 1, 2 * len(memory.nodes))
            meter.spend(0, held + size * (8 * words + 20))
            memory = _enlarged(memory, size, meter)
        elif status == DEAD:
            return Refuted(_not_passed(layout, int(cursor[_BEST])))
        elif status == DONE:
            if not witness:
                return Ordered()
            groups[:, _AVAILABLE:] = 0
            order = np.zeros(len(arrays.invoked), np.int64)
            length = _replay(layout, steps, groups, _cursor(arrays), memory.path, cursor[_TOP], order)
            return Ordered(order[:length])


def _not_passed(layout: Layout, best: int) -> tuple[int, ...]:
    """The operation whose return no path passed: where to look first for the first event that nothing explains."""
    number, end = divmod(int(layout.events[best]), 2) if best < len(layout.events) else (0, 0)
    return (number,) if end else ()


def _place_in_history(arrays: Arrays, layout: Layout, event: int) -> int:
    if not len(layout.events):
        return 0
    number, end = divmod(int(layout.events[event]), 2)
    return int((arrays.returned if end else arrays.invoked)[number])


def _layout_of(arrays: Arrays) -> tuple[Layout | None, Int64]:
    """The layout (None: too many operations are open at once), and the groups of unanswered operations."""
    count = len(arrays.invoked)
    unanswered = np.flatnonzero(arrays.returned == NEVER)
    counted, first, places = np.unique(arrays.classes[unanswered], return_index=True, return_inverse=True)
    groups = np.zeros((len(counted), 4), np.int64)
    groups[:, _COUNTED] = counted
    groups[:, _LOOKS] = arrays.kinds[unanswered[first]] != _BLIND
    operations = np.full((count, 5), -1, np.int32)
    operations[:, _CLASS] = arrays.classes
    operations[:, _KIND] = arrays.kinds
    operations[unanswered, _GROUP] = places
    events = events_of(arrays)
    by_group = np.argsort(places, kind="stable")
    starts = np.searchsorted(places[by_group], np.arange(len(counted)))
    fits = _lay_out(events, operations)
    return Layout(operations, events, unanswered[by_group], starts) if fits else None, groups


def _cursor(arrays: Arrays) -> Int64:
    cursor = np.zeros(_UPDATED + SLOTS + 1, np.int64)
    cursor[_STATE] = arrays.initial
    return cursor


def _memory(size: int, words: int, path: Int32) -> Memory:
    """Memory for so many nodes."""
    return Memory(
        nodes=np.empty((size, words), np.int64),
        heads=np.full(1 << (2 * size - 1).bit_length(), -1, np.int32),
        chain=np.empty(size, np.int32),
        path=path,
    )


def _enlarged(before: Memory, size: int, meter: Meter) -> Memory:
    """Memory for so many nodes, with those that are there. Raises `OutOfBudgetError`."""
    count = len(before.nodes)
    memory = _memory(size, before.nodes.shape[1], before.path)
    for begin in range(0, count, _NODES_BETWEEN_LOOKS):
        end = min(count, begin + _NODES_BETWEEN_LOOKS)
        memory.nodes[begin:end] = before.nodes[begin:end]
        _rehash(memory.nodes, memory.heads, memory.chain, begin, end)
        meter.look()
    return memory
