"""The loops over columns: plain Python, which `compiled.py` makes fast for histories that are large.

Each function takes columns (lists of whole numbers, or arrays), alone or several under one name, fills those that are named as its
results, and returns a number: one text is the readable form and the source of the compiled one.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

Column: TypeAlias = Any
"""A list of whole numbers, or an array of them: no type of Python's is both."""

WW, WR, RW, PROCESS, FREE, REALTIME = 1, 2, 4, 8, 16, 32
"""Kinds of edges, one bit each. A free edge leads out of an auxiliary node: it goes on with what led into that node."""
ANY, ONE, NONADJACENT, PAIR = 0, 1, 2, 3
"""Which paths a search walks: any; with exactly one rw; with no rw right after another; beginning with rw, then any."""


class Steps(NamedTuple):
    """The micro-operations of a table of lists."""

    owner: Column
    kind: Column
    key: Column
    value: Column
    start: Column
    length: Column
    elements: Column


class Inside(NamedTuple):
    """What is seen of each micro-operation by looking back inside its transaction.

    `internal`: a read that disagrees with what its transaction read or appended before. `early`: a read that contains what its transaction
    appends later, or an append that stands before an earlier one of its transaction. `final`: 0 for an append that another one of its
    transaction and key follows. `based_on`: the first read of the key before the first append of a transaction, or -1.
    """

    internal: Column
    early: Column
    final: Column
    based_on: Column


class Net(NamedTuple):
    """A graph in compressed rows, the component of each node, and when each returned (in searches only transactions have an entry)."""

    first: Column
    target: Column
    kind: Column
    component: Column
    returned: Column


class Visits(NamedTuple):
    """What the search for components notes of nodes."""

    number: Column
    low: Column
    stack: Column
    path: Column
    at: Column


class Walk(NamedTuple):
    """How a search walks: its mode, the kinds of edges it may always take, the state it begins in, those (bits) it may end in."""

    mode: int
    base: int
    entered: int
    accepted: int


class Search(NamedTuple):
    """What a search notes of nodes in states (twice their number), and `work` (see `shortest`)."""

    seen: Column
    parent: Column
    via: Column
    queue: Column
    later: Column
    path: Column
    work: Column


def longest_reads(kind: Column, key: Column, length: Column, longest: Column) -> int:
    """Fills `longest`: for each key the first of its longest reads, or -1."""
    for each in range(len(kind)):
        if kind[each] == 0:
            best = longest[key[each]]
            if best < 0 or length[each] > length[best]:
                longest[key[each]] = each
    return 0


def compare_reads(
    kind: Column, key: Column, start: Column, length: Column, elements: Column, longest: Column, mismatch: Column
) -> int:
    """Fills `mismatch`: where a read stops being a prefix of the longest read of its key, or -1. Returns how many do."""
    found = 0
    for each in range(len(kind)):
        mismatch[each] = -1
        if kind[each] != 0:
            continue
        here = start[each]
        there = start[longest[key[each]]]
        for place in range(length[each]):
            if elements[here + place] != elements[there + place]:
                mismatch[each] = place
                found += 1
                break
    return found


def index_writes(
    kind: Column, key: Column, value: Column, owner: Column, status: Column, slots: Column, twice: Column
) -> int:
    """Fills `slots`, a hash table of writes by key and value; `twice` gets a pair of writes of one value, where there is one.

    Aborted transactions come last and give way: a value that was tried again is of the attempt that may have happened.
    """
    last = len(slots) - 1
    for turn in range(2):
        for each in range(len(kind)):
            if kind[each] != 1 or (status[owner[each]] == 2) != (turn == 1):
                continue
            mixed = value[each] * 0x1E3779B97F4A7C15 + key[each] * 0x2545F4914F6CDD1D
            slot = (mixed ^ (mixed >> 31)) & last
            while slots[slot] >= 0 and (value[slots[slot]] != value[each] or key[slots[slot]] != key[each]):
                slot = (slot + 1) & last
            if slots[slot] < 0:
                slots[slot] = each
            elif turn == 0 and twice[0] < 0:
                twice[0] = slots[slot]
                twice[1] = each
    return 0


def find_writes(
    key: Column, value: Column, slots: Column, wanted_key: Column, wanted_value: Column, found: Column
) -> int:
    """Fills `found`: the write of each wanted key and value, or -1 where nobody wrote it. Returns how many are missing."""
    last = len(slots) - 1
    missing = 0
    for each in range(len(wanted_key)):
        mixed = wanted_value[each] * 0x1E3779B97F4A7C15 + wanted_key[each] * 0x2545F4914F6CDD1D
        slot = (mixed ^ (mixed >> 31)) & last
        while slots[slot] >= 0 and (value[slots[slot]] != wanted_value[each] or key[slots[slot]] != wanted_key[each]):
            slot = (slot + 1) & last
        found[each] = slots[slot]
        if slots[slot] < 0:
            missing += 1
    return missing


def look_inside(steps: Steps, position: Column, seen: Inside) -> int:
    """Looks back inside each transaction of lists, and fills `seen`; `position` is the place of an append among versions, or -1."""
    for each in range(len(steps.owner)):
        seen.internal[each] = 0
        seen.early[each] = 0
        seen.final[each] = 1
        kind, begin = steps.kind[each], steps.start[each]
        appended = 0  # how many appends of this key the transaction did before
        earlier = -1
        fits = True
        back = each - 1
        while back >= 0 and steps.owner[back] == steps.owner[each]:
            if steps.key[back] == steps.key[each]:
                if steps.kind[back] == 1:
                    appended += 1
                    if kind == 1:
                        seen.final[back] = 0
                        if 0 <= position[each] < position[back]:
                            seen.early[each] = 1
                    elif fits and earlier < 0:
                        place = steps.length[each] - appended
                        fits = place >= 0 and steps.elements[begin + place] == steps.value[back]
                else:
                    if earlier < 0 and kind == 0 and fits:
                        fits = steps.length[each] == steps.length[back] + appended
                        place = 0
                        while fits and place < steps.length[back]:
                            fits = steps.elements[begin + place] == steps.elements[steps.start[back] + place]
                            place += 1
                    if kind == 1 and 0 <= position[each] < steps.length[back]:
                        seen.early[back] = 1
                    earlier = back
            back -= 1
        if kind == 0 and not fits:
            seen.internal[each] = 1
        seen.based_on[each] = earlier if kind == 1 and appended == 0 else -1
    return 0


def components(net: Net, mask: int, memory: Visits) -> int:
    """Fills `net.component` with strongly connected components over the edges of `mask`, sinks first; returns how many there are.

    Tarjan (1972), with the stack of calls as a column of its own, so that no depth of a history ends in a recursion error. `component` and
    `number` come filled with -1; `at` holds the next edge of each node on the path.
    """
    number, low, stack, path, at = memory
    clock = 0
    found = 0
    kept = 0
    for root in range(len(net.first) - 1):
        if number[root] >= 0:
            continue
        depth = 0
        path[0] = root
        while depth >= 0:
            node = path[depth]
            if number[node] < 0:
                number[node] = clock
                low[node] = clock
                at[node] = net.first[node]
                clock += 1
                stack[kept] = node
                kept += 1
            if at[node] < net.first[node + 1]:
                edge = at[node]
                other = net.target[edge]
                at[node] = edge + 1
                if net.kind[edge] & mask == 0:
                    continue
                if number[other] < 0:
                    depth += 1
                    path[depth] = other
                elif net.component[other] < 0 and number[other] < low[node]:
                    low[node] = number[other]
                continue
            if low[node] == number[node]:
                kept -= 1
                while stack[kept] != node:
                    net.component[stack[kept]] = found
                    kept -= 1
                net.component[node] = found
                found += 1
            depth -= 1
            if depth >= 0 and low[node] < low[path[depth]]:
                low[path[depth]] = low[node]
    return found


def earliest_returns(net: Net, order: Column, base: int, plain: Column, once: Column) -> int:
    """Fills `plain` with the earliest return of whatever can be reached from each node along edges of `base`, which make no cycle.

    `order` are the nodes, sinks first. `once` gets the same for paths with exactly one rw and else edges of `base`; since the node
    behind an rw may come later in the order, it is right if `plain` was filled already: that takes a second call.
    """
    for node in order:
        best = 1 << 62
        best_once = 1 << 62
        for edge in range(net.first[node], net.first[node + 1]):
            other = net.target[edge]
            through = min(net.returned[other], plain[other])
            if net.kind[edge] == 16 or net.kind[edge] & base != 0:
                best = min(best, through)
                best_once = min(best_once, once[other])
            elif net.kind[edge] == 4:
                best_once = min(best_once, through)
        plain[node] = best
        once[node] = best_once
    return 0


def state_after(kind: int, state: int, mode: int, base: int) -> int:
    """The state of a walk behind an edge of this kind; -1 if it must not take it."""
    if kind == 16:
        return state
    if kind == 4 and mode != 0:
        return 1 if mode == 3 or state == 0 else -1
    if kind & base == 0 or (mode == 3 and state == 0):
        return -1
    return 0 if mode == 2 else state


def shortest(starts: Column, goals: Column, limits: Column, net: Net, walk: Walk, memory: Search) -> int:
    """Fills `memory.path` with the edges of a shortest walk, the last one first; returns how many they are, 0 if there is none.

    Breadth first from each of `starts` to its goal, or to whatever returned before its limit, inside a component; what can't be
    shorter than the best one so far is not walked. `memory.work` holds how many edges may still be looked at, a stamp, and as results
    the number of the start and the length in steps.
    """
    _, parent, via, queue, later, path, work = memory
    real = len(net.returned)
    best = 1 << 62
    edges = 0
    for each in range(len(starts)):
        if work[0] <= 0:
            break
        work[1] += 1
        queue[0] = starts[each] * 2 + walk.entered
        memory.seen[queue[0]] = work[1]
        parent[queue[0]] = -1
        count, depth, found, place = 1, 0, -1, 0
        while count > 0 and found < 0 and depth + 1 < best:
            waiting, place = 0, 0
            while place < count and found < 0:
                entry = queue[place]
                node = entry >> 1
                place += 1
                work[0] -= net.first[node + 1] - net.first[node]
                for edge in range(net.first[node], net.first[node + 1]):
                    other = net.target[edge]
                    after = state_after(net.kind[edge], entry & 1, walk.mode, walk.base)
                    into = other * 2 + after
                    if after < 0 or net.component[other] != net.component[node] or memory.seen[into] == work[1]:
                        continue
                    memory.seen[into] = work[1]
                    parent[into] = entry
                    via[into] = edge
                    ends = other < real and (other == goals[each] or net.returned[other] < limits[each])
                    if ends and walk.accepted >> after & 1:
                        found = into
                        break
                    if node >= real:
                        queue[count] = into  # leaving an auxiliary node is no step
                        count += 1
                    else:
                        later[waiting] = into
                        waiting += 1
            if found >= 0:
                best = depth + (0 if queue[place - 1] >> 1 >= real else 1)
                work[2], work[3], edges = each, best, 0
                while parent[found] >= 0:
                    path[edges] = via[found]
                    edges += 1
                    found = parent[found]
                break
            queue, later = later, queue
            count = waiting
            depth += 1
    return edges
