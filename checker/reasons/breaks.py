"""Where a history breaks: the first event at which no order of the operations is left, found on prefixes.

A way to a verdict may notice a contradiction earlier (it looks at what is to come) or later than it arises, so no way is asked
for the place: prefixes are decided. What a way gives as evidence only says which prefixes to try first.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Hashable, Sequence
from typing import NamedTuple

import msgspec

from checker import ways
from checker.budget import Meter
from checker.history import FAIL, INFO, Op
from checker.models.base import Model
from checker.search.problem import matters
from checker.verdict import Invalid, Outcome, Valid

STEPS_BACK = 3
"""How often the prefix before the end of the evidence is tried; then it leads back only step by step, and bisecting is quicker."""


class Break(NamedTuple):
    """An object that is not linearizable, cut at the first event that nothing explains.

    `evidence` shows that the prefix is impossible, where a way gave some. `before` is what came out for all that happened
    before the event; where that is not known to be valid, an earlier event may be impossible already (`certain`).
    """

    key: Hashable
    relevant: list[Op]
    impossible: Op
    prefix: list[Op]
    evidence: tuple[Op, ...]
    before: Outcome | None

    @property
    def certain(self) -> bool:
        """Whether no earlier event is impossible."""
        return isinstance(self.before, Valid)


def cut(model: Model, operations: Sequence[Op], end: int) -> list[Op]:
    """What is known of some operations when the event at `end` has just happened.

    Open updates have no answer yet. Open reads say nothing; a taking that finds nothing in the end is none of them, as long as it
    may still take something. What failed in the end is left out from the beginning.
    """
    kept = []
    for op in operations:
        if op.invoked > end:
            continue
        if op.returned is None or op.returned <= end:
            kept.append(op)
        elif op.type != FAIL and not model.readonly(asked := unanswered(op)):
            kept.append(asked)
    return kept


def unanswered(op: Op) -> Op:
    """The operation as if its answer had never come: what is known of it at first, and less than what is known in the end."""
    return msgspec.structs.replace(op, type=INFO, result=None, error=None, returned=None)


def first_break(model: Model, key: Hashable, operations: Sequence[Op], evidence: Sequence[Op], meter: Meter) -> Break:
    """The first bad prefix of operations that have no order; there is one, since prefixes of valid ones are valid.

    (Herlihy & Wing 1990, section 2: linearizability is prefix-closed.) If the evidence of an impossible prefix ends with an
    event, the prefix before this event is tried next: mostly it is valid, and then that was the first. Else the returns
    are bisected.
    """
    relevant = [op for op in operations if matters(model, op)]
    returns = sorted(op.returned for op in relevant if op.returned is not None)
    low, high = 0, len(returns) - 1
    before: Outcome | None = None
    proof, steps = tuple(evidence), 0
    while low < high:
        middle = _place_of(returns, proof)
        if middle == high and steps < STEPS_BACK:
            middle, steps = high - 1, steps + 1
        elif not low <= middle < high:
            middle = (low + high) // 2
        outcome = ways.decide(model, cut(model, relevant, returns[middle + 1] - 1), meter)
        if isinstance(outcome, Invalid):
            high, proof = middle, outcome.evidence
        else:
            low, before = middle + 1, outcome
    if before is None:
        before = ways.decide(model, cut(model, relevant, returns[high] - 1), meter)
    return _at(model, key, relevant, returns[high], proof)._replace(before=before)


def break_at(model: Model, key: Hashable, operations: Sequence[Op], end: int, meter: Meter) -> Break:
    """The break of operations of which is known that their first impossible event is the one at `end`."""
    relevant = [op for op in operations if matters(model, op)]
    before = ways.decide(model, cut(model, relevant, end - 1), meter)
    return _at(model, key, relevant, end, ())._replace(before=before)


def _at(model: Model, key: Hashable, relevant: list[Op], end: int, proof: Sequence[Op]) -> Break:
    impossible = next(op for op in relevant if op.returned == end)
    prefix = cut(model, relevant, end)
    known = {op.invoked for op in prefix}
    within = all(op.invoked in known and (op.returned or 0) <= end for op in proof)
    return Break(key, relevant, impossible, prefix, tuple(proof) if within else (), None)


def _place_of(returns: Sequence[int], evidence: Sequence[Op]) -> int:
    """The place of the return at which all of the evidence is there; -1 if there is no evidence."""
    last = max((op.returned for op in evidence if op.returned is not None), default=None)
    return -1 if last is None else bisect_left(returns, last)
