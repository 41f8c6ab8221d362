"""Reductions 5 and 6 on arrays: unanswered operations that nobody can see, and those that must have been.

The readable twin, with the proofs, is `reductions.py`. Whole columns at a time; nothing here has to be compiled.
"""

from __future__ import annotations

import numpy as np

from checker.search.arrays import Arrays, Flags, Int64, Refuted
from checker.search.problem import NEVER


def settle(arrays: Arrays) -> Arrays | Refuted:
    """The problem without the unanswered operations that can be settled; same verdict. Needs the assignment form."""
    assert arrays.assignment
    unanswered = np.flatnonzero(arrays.returned == NEVER)
    if not len(unanswered):
        return arrays
    returned = arrays.returned.copy()
    asked_first, first_asker, makers = _askers(arrays)
    dropped: list[Int64] = []
    while len(unanswered):
        wanted = _wanted(arrays, asked_first, unanswered)
        seen = wanted[arrays.produces[unanswered]]
        dropped.append(unanswered[~seen])
        np.subtract.at(makers, arrays.produces[unanswered[~seen]], 1)
        unanswered = unanswered[seen]
        produced = arrays.produces[unanswered]
        sure = (makers[produced] == 1) & (asked_first[produced] != NEVER)
        if not sure.any():
            break
        settled, produced = unanswered[sure], produced[sure]
        returned[settled] = asked_first[produced]
        late = np.flatnonzero(returned[settled] < arrays.invoked[settled])
        if len(late):
            return Refuted((int(first_asker[produced[late[0]]]), int(settled[late[0]])))
        unanswered = unanswered[~sure]
        _ask(arrays, returned, settled, asked_first, first_asker)
    if not sum(len(each) for each in dropped):
        return arrays._replace(returned=returned)
    kept = np.ones(len(returned), np.bool_)
    kept[np.concatenate(dropped)] = False
    return arrays.keep(np.flatnonzero(kept), returned)


def _askers(arrays: Arrays) -> tuple[Int64, Int64, Int64]:
    """By state, and once more for "none" in the last place: the earliest return of an answered operation that requires it,
    (NEVER: nobody asks), which operation that is, and how many operations produce it, the initial value included.
    """
    asked_first = np.full(arrays.states + 1, NEVER, np.int64)
    first_asker = np.full(arrays.states + 1, -1, np.int64)
    answered = np.flatnonzero((arrays.returned != NEVER) & (arrays.requires >= 0))
    _ask(arrays, arrays.returned, answered, asked_first, first_asker)
    makers = np.bincount(arrays.produces[arrays.produces >= 0], minlength=arrays.states + 1)
    makers[arrays.initial] += 1
    return asked_first, first_asker, makers


def _ask(arrays: Arrays, returned: Int64, numbers: Int64, asked_first: Int64, first_asker: Int64) -> None:
    """Notes what these operations require, and when they returned."""
    numbers = numbers[arrays.requires[numbers] >= 0]
    required = arrays.requires[numbers]
    np.minimum.at(asked_first, required, returned[numbers])
    first = numbers[asked_first[required] == returned[numbers]]
    first_asker[arrays.requires[first]] = first


def _wanted(arrays: Arrays, asked_first: Int64, unanswered: Int64) -> Flags:
    """The set A: what answered operations require, and backwards through unanswered ones."""
    wanted: Flags = asked_first != NEVER
    conditional = unanswered[arrays.requires[unanswered] >= 0]
    while True:
        more = arrays.requires[conditional[wanted[arrays.produces[conditional]]]]
        more = more[~wanted[more]]
        if not len(more):
            return wanted
        wanted[more] = True
