"""What operations of a model that declares nothing do: found out by trying all of them in all states, where these are few.

So a model of one's own that says no more than `step` is searched like one that declares everything.
"""

from __future__ import annotations

import numpy as np

from checker.budget import Meter, OutOfBudgetError
from checker.search.arrays import NONE, Arrays
from checker.search.problem import ILLEGAL, Kind, Transitions

CALLS = 1 << 14
"""How often `step` may be called for this: some hundredths of a second. Less often for small problems (`_FEW`, `_EACH`)."""
_FEW, _EACH = 256, 4
_SHARE = 20
"""A step may be slow: no more than this part of the seconds that are left goes into learning."""


def learn(form: Arrays, transitions: Transitions, meter: Meter) -> Arrays:
    """The arrays with kinds, and with the assignment form where all operations have it; as they are if the states are too many.

    All states that operations of these classes can reach from the initial one, in any order and number, are tried: no search
    can meet another one, so what holds in all of these holds wherever a reduction needs it. (A table that was filled as a
    search went along could not say so: it has holes.)
    """
    classes = int(form.classes.max(initial=-1)) + 1
    calls = min(CALLS, _FEW + _EACH * len(form.rows))
    left = meter.seconds_left()
    own = meter.within(seconds=None if left is None else left / _SHARE)
    found: list[list[int]] = []
    while len(found) < len(transitions.states):
        if len(transitions.states) * classes > calls:
            return form
        try:
            found.append([transitions.step(len(found), klass) for klass in own.along(range(classes))])
        except OutOfBudgetError:
            return form
    after = np.array(found, np.int64)
    states = len(after)
    legal = after != ILLEGAL
    reads = (~legal | (after == np.arange(states)[:, None])).all(axis=0)
    result = after.max(axis=0, initial=ILLEGAL)
    constant = (~legal | (after == result)).all(axis=0)
    times = legal.sum(axis=0)
    blind = constant & (times == states) & ~reads
    kinds = np.where(reads, Kind.READER, np.where(blind, Kind.BLIND, Kind.OTHER)).astype(np.int8)[form.classes]
    if not ((reads | constant) & ((times <= 1) | (times == states))).all():
        return form._replace(kinds=kinds)
    # What is legal nowhere requires a state that there is not.
    required = np.where(times == states, NONE, np.where(times == 1, legal.argmax(axis=0), states))
    produced = np.where(reads, NONE, result)
    return form._replace(
        kinds=kinds,
        requires=required[form.classes],
        produces=produced[form.classes],
        states=states + 1,
        assignment=True,
    )
