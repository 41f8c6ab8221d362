"""The referee: linearizability by brute force, straight from the definition; shares nothing with the checker's ways.

Herlihy & Wing (1990): a history is linearizable if some unanswered invocations can be given answers, the others dropped, so
that an order of the operations exists which is legal and in which a precedes b wherever a returned before b was invoked.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from checker.history import FAIL, Op
from checker.models import Model, State


def relevant(model: Model, operations: Sequence[Op]) -> list[Op]:
    """Failed operations did not happen; what one of them observed did."""
    return [op for op in operations if op.type != FAIL or model.observes(op)]


def linearizable(model: Model, operations: Sequence[Op]) -> bool:
    """Whether the operations of one object have an order. For about ten operations."""
    ops = relevant(model, operations)
    must = sum(1 << number for number, op in enumerate(ops) if op.returned is not None)

    @cache
    def search(done: int, state: State) -> bool:
        if done & must == must:
            return True
        left = [number for number in range(len(ops)) if not done >> number & 1]
        ends = [returned for number in left if (returned := ops[number].returned) is not None]
        for number in left:
            if ops[number].invoked < min(ends):
                after = model.step(state, ops[number])
                if after is not None and search(done | 1 << number, after):
                    return True
        return False

    return search(0, model.init)


def replay(model: Model, operations: Sequence[Op], order: Sequence[Op]) -> str:
    """What is wrong with an order that should show that the operations are linearizable; empty if nothing is."""
    places = [op.invoked for op in order]
    if len(set(places)) < len(places):
        return "an operation stands in it twice"
    if {op.invoked for op in relevant(model, operations) if op.returned is not None} - set(places):
        return "an answered operation is missing"
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
