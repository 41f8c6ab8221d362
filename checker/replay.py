"""Replays an order of operations against a model: whether it shows that a history is linearizable.

Straight from the definition (Herlihy & Wing 1990), and shares nothing with the searches that find orders.
"""

from __future__ import annotations

from collections.abc import Sequence

from checker.history import FAIL, Op
from checker.models.base import Model, State


def replay(model: Model, operations: Sequence[Op], order: Sequence[Op]) -> str:
    """What is wrong with an order of some operations of one object; empty if nothing is.

    Every operation that was answered must stand in it once, failed ones must not (unless they observed something), each must
    be legal in the state that it meets, and none may stand behind one that was invoked after its return.
    """
    places = {op.invoked for op in order}
    if len(places) < len(order):
        return "an operation stands in it twice"
    relevant = {op.invoked for op in operations if op.type != FAIL or model.observes(op)}
    answered = {op.invoked for op in operations if op.returned is not None} & relevant
    if answered - places or places - relevant:
        return "an answered operation is missing" if answered - places else "an operation is in it that did not happen"
    state: State | None = model.init
    latest = -1
    for op in order:
        state = model.step(state, op)
        if state is None:
            return f"{op.f} of process {op.process} is illegal in its place"
        if op.returned is not None and op.returned < latest:
            return f"{op.f} of process {op.process} returned before an earlier one was invoked"
        latest = max(latest, op.invoked)
    return ""
