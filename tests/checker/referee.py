"""The referee: linearizability by brute force, straight from the definition; shares nothing with the checker's ways.

Herlihy & Wing (1990): a history is linearizable if some unanswered invocations can be given answers, the others dropped, so
that an order of the operations exists which is legal and in which a precedes b wherever a returned before b was invoked.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache

from checker.history import FAIL, Op
from checker.models.base import Model, State

NEVER = 1 << 62


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


def paths(model: Model, operations: Sequence[Op]) -> Iterator[list[State]]:
    """The states that each order of the operations passes through, for about eight operations."""
    ops = relevant(model, operations)

    def grow(left: tuple[int, ...], states: list[State]) -> Iterator[list[State]]:
        ends = [returned for number in left if (returned := ops[number].returned) is not None]
        if not ends:
            yield states
        for number in left:
            if ops[number].invoked < min(ends, default=NEVER):
                after = model.step(states[-1], ops[number])
                if after is not None:
                    yield from grow(tuple(other for other in left if other != number), [*states, after])

    return grow(tuple(range(len(ops))), [model.init])


def possible_states(model: Model, operations: Sequence[Op], impossible: Op) -> set[State]:
    """The states in which an order of all other operations can be while this one runs.

    In each order of the others it could stand after all that returned before it began, and before all that began after
    it returned; of the latter there are none in a prefix that ends with it.
    """
    ops = relevant(model, [op for op in operations if op.invoked != impossible.invoked])
    before = sum(1 << number for number, op in enumerate(ops) if (op.returned or NEVER) < impossible.invoked)
    must = sum(1 << number for number, op in enumerate(ops) if op.returned is not None)

    @cache
    def ends(done: int, state: State) -> bool:
        return done & must == must or any(ends(*after) for after in following(done, state))

    def following(done: int, state: State) -> list[tuple[int, State]]:
        left = [number for number in range(len(ops)) if not done >> number & 1]
        first = min((returned for number in left if (returned := ops[number].returned) is not None), default=NEVER)
        steps = [(number, model.step(state, ops[number])) for number in left if ops[number].invoked < first]
        return [(done | 1 << number, after) for number, after in steps if after is not None]

    found: set[State] = set()
    seen = {(0, model.init)}
    ahead = [(0, model.init)]
    while ahead:
        done, state = ahead.pop()
        if done & before == before and ends(done, state):
            found.add(state)
        fresh = [after for after in following(done, state) if after not in seen]
        seen.update(fresh)
        ahead += fresh
    return found


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
