"""The independent search: whether a handful of operations has an order, straight from the definition.

Shares nothing with the ways to a verdict, so that it can contradict them: cores are checked again by it.
"""

from __future__ import annotations

from collections.abc import Sequence

from checker.history import FAIL, Op
from checker.models.base import Model, State

_NEVER = 1 << 62


def has_order(model: Model, operations: Sequence[Op], init: State, most: int = 2_000) -> bool | None:
    """Whether the operations fit together, beginning in the state `init`; None if `most` nodes did not suffice to tell.

    Herlihy & Wing (1990): an order that is legal, has all that returned, and has a before b where a returned before b was
    invoked. A node is what was done, and the state after it.
    """
    ops = [op for op in operations if op.type != FAIL or model.observes(op)]
    must = sum(1 << number for number, op in enumerate(ops) if op.returned is not None)
    seen: set[tuple[int, State]] = {(0, init)}
    ahead: list[tuple[int, State]] = [(0, init)]
    while ahead:
        done, state = ahead.pop()
        if done & must == must:
            return True
        left = [number for number in range(len(ops)) if not done >> number & 1]
        first = min((end for number in left if (end := ops[number].returned) is not None), default=_NEVER)
        for number in left:
            if ops[number].invoked < first:
                after = model.step(state, ops[number])
                node = (done | 1 << number, after)
                if after is not None and node not in seen:
                    seen.add(node)
                    ahead.append(node)
        if len(seen) > most:
            return None
    return False
