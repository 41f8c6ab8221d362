"""Zones on arrays, compiled: registers with one producer for each value that somebody asks for (theorem: `zones.py`)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import int64

from checker.search.arrays import Arrays, Int64, Ordered, Refuted
from checker.search.kernels import kernel
from checker.search.problem import NEVER
from checker.verdict import GaveUp

_ASKED, _PRODUCER, _TAKER, _FIRST_END, _LAST_START, _BLOCK, _LINK = range(7)
"""Columns of `values`: whether somebody requires the value; its producer, and the operation that takes it away (-1: none);
of its readers the one that returned first and the one that was invoked last; its block, and its place in the chain."""
_ENDS, _STARTS, _ENDING, _STARTING = range(4)
"""Columns of `blocks`: the least return and the greatest invocation, and the operations at these two events (-1: none)."""
_INITIAL = -2
"""The producer of the initial value."""
_BEFORE_ALL = -1
_FINE, _IMPOSSIBLE, _REPEATED = range(3)


@kernel
def _relate(
    requires: Int64, produces: Int64, invoked: Int64, returned: Int64, values: Int64, initial: int, evidence: Int64
) -> int:
    """Finds who produces, reads and takes away each value."""
    for number in range(len(requires)):
        if requires[number] >= 0:
            values[requires[number], _ASKED] = 1
    values[initial, _PRODUCER] = _INITIAL
    for number in range(len(requires)):
        made = produces[number]
        if made >= 0 and values[made, _ASKED]:
            if values[made, _PRODUCER] != -1:
                return _REPEATED
            values[made, _PRODUCER] = number
    for number in range(len(requires)):
        asked = requires[number]
        if asked < 0:
            continue
        evidence[0] = number
        if values[asked, _PRODUCER] == -1:
            return _IMPOSSIBLE
        if produces[number] >= 0:
            if values[asked, _TAKER] >= 0:
                evidence[1] = values[asked, _TAKER]
                return _IMPOSSIBLE
            values[asked, _TAKER] = number
        else:
            first, last = values[asked, _FIRST_END], values[asked, _LAST_START]
            if first < 0 or returned[number] < returned[first]:
                values[asked, _FIRST_END] = number
            if last < 0 or invoked[number] > invoked[last]:
                values[asked, _LAST_START] = number
    return _FINE


@kernel
def _link(invoked: Int64, returned: Int64, block: Int64, first: int, last: int, evidence: Int64) -> bool:
    """Adds a link to a block: operations of which `first` returned first and `last` was invoked last. False: out of order."""
    if first < 0:
        return True
    if returned[first] < block[_STARTS]:
        evidence[0], evidence[1] = block[_STARTING], first
        return False
    if returned[first] < block[_ENDS]:
        block[_ENDS], block[_ENDING] = returned[first], first
    if invoked[last] > block[_STARTS]:
        block[_STARTS], block[_STARTING] = invoked[last], last
    return True


@kernel
def _chain(
    requires: Int64,
    produces: Int64,
    invoked: Int64,
    returned: Int64,
    values: Int64,
    blocks: Int64,
    initial: int,
    evidence: Int64,
) -> int:
    """Follows the chain of each write, and of the initial value; the number of blocks, or -1 with evidence."""
    count, linked = 0, 0
    for root in range(-1, len(requires)):
        if root >= 0 and (requires[root] >= 0 or produces[root] < 0):  # a link of a chain, or in no block
            continue
        block = blocks[count]
        block[_ENDS] = block[_STARTS] = _BEFORE_ALL
        block[_ENDING] = block[_STARTING] = -1
        value = int64(initial)
        if root >= 0:
            block[_ENDS], block[_STARTS] = returned[root], invoked[root]
            block[_ENDING] = block[_STARTING] = root
            value = produces[root]
        link = 0
        while value >= 0 and values[value, _ASKED]:
            values[value, _BLOCK], values[value, _LINK] = count, link
            taker = values[value, _TAKER]
            if not (
                _link(invoked, returned, block, values[value, _FIRST_END], values[value, _LAST_START], evidence)
                and _link(invoked, returned, block, taker, taker, evidence)
            ):
                return -1
            if taker < 0:
                break
            linked += 1
            value = produces[taker]
            link += 1
        count += 1
    for number in range(len(requires)):  # a ring of cas, none of which can be the first
        if requires[number] >= 0 and values[requires[number], _BLOCK] < 0:
            evidence[0] = number
            return -1
    return count


@kernel
def _conflict(blocks: Int64, order: Int64, evidence: Int64) -> bool:
    """Whether two blocks, sorted as in `zones._order`, must each precede the other."""
    latest = order[0]
    for place in range(1, len(order)):
        block = order[place]
        if blocks[block, _ENDS] < blocks[latest, _STARTS]:
            evidence[0], evidence[1] = blocks[latest, _ENDING], blocks[latest, _STARTING]
            evidence[2], evidence[3] = blocks[block, _ENDING], blocks[block, _STARTING]
            return True
        if blocks[block, _STARTS] > blocks[latest, _STARTS]:
            latest = block
    return False


class Blocks(NamedTuple):
    """The blocks of operations that have an order: by block when it `ends` and `starts`, the initial value's block first.

    By state (-1: none) the operation that produces it (-2: nobody, it is the initial one), the one that takes it away, its
    reader that returned first, its block and its place in that. `roots` are the operations that begin a block.
    """

    ends: Int64
    starts: Int64
    producer: Int64
    taker: Int64
    first_reader: Int64
    block: Int64
    link: Int64
    roots: Int64


def decide(arrays: Arrays, *, witness: bool = False) -> Ordered | Refuted | GaveUp:
    """Decides the problem, or gives up at once where the conditions of the theorem do not hold."""
    laid = _laid_out(arrays)
    if isinstance(laid, Refuted | GaveUp):
        return laid
    values, blocks = laid
    order, evidence = _block_order(blocks), np.full(4, -1, np.int64)
    if _conflict(blocks, order, evidence):
        return _refuted(evidence)
    return Ordered(_witness(arrays, values, order) if witness else None)


def blocks_of(arrays: Arrays) -> Blocks | None:
    """The blocks, None where there are none; whether they fit together is not asked."""
    laid = _laid_out(arrays)
    if isinstance(laid, Refuted | GaveUp):
        return None
    values, blocks = laid
    return Blocks(
        ends=blocks[:, _ENDS],
        starts=blocks[:, _STARTS],
        producer=values[:, _PRODUCER],
        taker=values[:, _TAKER],
        first_reader=values[:, _FIRST_END],
        block=values[:, _BLOCK],
        link=values[:, _LINK],
        roots=_roots(arrays),
    )


def _laid_out(arrays: Arrays) -> tuple[Int64, Int64] | Refuted | GaveUp:
    """What is known of each value, and the blocks; refuted where the operations on one value have no order already."""
    if not arrays.assignment:
        return GaveUp("some operation does not simply require one value and leave one")
    if (arrays.returned == NEVER).any():
        return GaveUp("an unanswered operation could not be settled, since several operations bring the same value")
    columns = arrays.requires, arrays.produces, arrays.invoked, arrays.returned
    values, evidence = np.full((arrays.states, 7), -1, np.int64), np.full(4, -1, np.int64)
    values[:, _ASKED] = 0
    related = _relate(*columns, values, arrays.initial, evidence)
    if related == _REPEATED:
        return GaveUp("a value that somebody asks for is brought by several operations")
    if related == _IMPOSSIBLE:
        return _refuted(evidence)
    blocks = np.empty((len(_roots(arrays)) + 1, 4), np.int64)
    count = _chain(*columns, values, blocks, arrays.initial, evidence)
    return _refuted(evidence) if count < 0 else (values, blocks)


def _roots(arrays: Arrays) -> Int64:
    """The operations that begin a block; who requires nothing and produces nothing is in none."""
    return np.flatnonzero((arrays.requires < 0) & (arrays.produces >= 0))


def _block_order(blocks: Int64) -> Int64:
    """The blocks by the lesser of `ends` and `starts`; at equal places those with `starts` <= `ends` first."""
    ends, starts = blocks[:, _ENDS], blocks[:, _STARTS]
    order: Int64 = np.argsort(2 * np.minimum(ends, starts) + (ends < starts), kind="stable")
    return order


def _refuted(evidence: Int64) -> Refuted:
    return Refuted(tuple(dict.fromkeys(number for number in evidence.tolist() if number >= 0)))


def _witness(arrays: Arrays, values: Int64, order: Int64) -> Int64:
    """The blocks in order, in each of them link by link: what produces a value, its readers, what takes it away."""
    roots, anywhere = _roots(arrays), np.flatnonzero((arrays.requires < 0) & (arrays.produces < 0))
    block, link = np.zeros(len(arrays.invoked), np.int64), np.zeros(len(arrays.invoked), np.int64)
    block[roots] = np.arange(1, len(roots) + 1)
    rest = np.flatnonzero(arrays.requires >= 0)
    asked = arrays.requires[rest]
    block[rest] = values[asked, _BLOCK]
    link[rest] = 2 * values[asked, _LINK] + 1 + (arrays.produces[rest] >= 0)
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    found: Int64 = np.lexsort((link, rank[block]))
    return found if not len(anywhere) else _among(arrays, np.setdiff1d(found, anywhere, assume_unique=True), anywhere)


def _among(arrays: Arrays, order: Int64, anywhere: Int64) -> Int64:
    """The order of some operations with others that are legal in every state and change none: see `zones.among`."""
    by_return = np.argsort(arrays.returned[order], kind="stable")
    places = np.concatenate([[0], np.maximum.accumulate(by_return + 1)])
    ahead = np.searchsorted(arrays.returned[order][by_return], arrays.invoked[anywhere])
    numbers = np.concatenate([order, anywhere])
    place = np.concatenate([np.arange(1, len(order) + 1), places[ahead]])
    moment = np.concatenate([np.full(len(order), -1, np.int64), arrays.invoked[anywhere]])
    found: Int64 = numbers[np.lexsort((moment, place))]
    return found
