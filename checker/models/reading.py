"""Histories as a model reads them: functions by their aliases, and operations that stand for several as these."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import msgspec

from checker.history import History, Op
from checker.models.base import Model


def as_read(history: History, model: Model) -> History:
    """The history in the words of the model, its warnings those of the reading; the same one if it is in them already.

    An operation that stands for several (a drain of a queue) becomes as many, one after the other between its events. Where other
    operations have events there as well, nobody knows which of the parts came before these, so each part may be anywhere in
    the whole, and that they came one after the other is given up: a weaker claim, of which a warning tells.
    """
    if model.functions.issuperset(history.functions()):
        return history
    operations = [named(op, model) for op in history]
    parts = [model.unfolded(op, operations) if op.f not in model.functions else None for op in operations]
    if all(part is None for part in parts):
        return History(operations)
    return _unfolded(operations, parts)


def named(op: Op, model: Model) -> Op:
    """The operation by the model's name for what it asks."""
    f = model.aliases.get(op.f, op.f) if op.f not in model.functions else op.f
    return op if f == op.f else msgspec.structs.replace(op, f=f)


def _unfolded(operations: Sequence[Op], parts: Sequence[Sequence[Op] | None]) -> History:
    """All operations, with room between their events for the parts; indices of events stay what they were."""
    room = 2 * max(len(part) for part in parts if part is not None) + 2
    places = sorted({place for op in operations for place in (op.invoked, op.returned) if place is not None})
    following = dict(pairwise(places))
    found: list[Op] = []
    told: list[str] = []
    for op, part in zip(operations, parts, strict=True):
        alone = following.get(op.invoked) == op.returned
        if part is not None and len(part) > 1 and op.returned is not None and not alone:
            told.append(
                f"the {op.f} of process {op.process} ran beside other operations: in which order its parts came was not used"
            )
        for place, each in enumerate([op] if part is None else part):
            begin, end = op.invoked * room, None if op.returned is None else op.returned * room
            if part is not None and alone:
                begin, end = begin + 2 * place, begin + 2 * place + 1
            elif part is not None:
                begin += place  # so that no two begin at one place: an operation is known by the place of its beginning
            found.append(
                msgspec.structs.replace(
                    each,
                    invoked=begin,
                    returned=end,
                    invoke_index=op.invoked if op.invoke_index is None else op.invoke_index,
                    return_index=op.returned if op.return_index is None else op.return_index,
                )
            )
    unfolded = History(found)
    unfolded.warnings = told
    return unfolded
