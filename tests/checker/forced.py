"""The door with compiled ways and columns forced upon small histories, where brute force can tell what is right."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import referee

from checker import Budget, History, Op, check, selections, ways
from checker.history import HistoryBuilder
from checker.models.base import Model

_SURE = {"valid": True, "invalid": False}


@contextmanager
def compiled_from_the_first_operation() -> Iterator[None]:
    """As if every history were large: it is kept in columns, its models are learned, compiled ways decide and explain it."""
    before = ways.COMPILED_FROM, selections._WORTH_IT
    ways.COMPILED_FROM, selections._WORTH_IT = 0, 0
    try:
        yield
    finally:
        ways.COMPILED_FROM, selections._WORTH_IT = before


def disagreements(model: Model, operations: Sequence[Op]) -> list[str]:
    """What the door says of the operations of one object, given as objects and in columns, that brute force contradicts.

    An order that it gives is replayed by the door itself; that one was wrong, or that explaining failed, is a disagreement as well.
    """
    return contradictions(model, operations, expected=referee.linearizable(model, operations))


def contradictions(model: Model, operations: Sequence[Op], *, expected: bool, witness: bool = True) -> list[str]:
    """The same of any history, of which brute force said this; `witness`: an order is asked for where it is valid."""
    builder = HistoryBuilder()
    for op in operations:
        builder.add(op)
    wrong = []
    with compiled_from_the_first_operation():
        for form, history in (("objects", History(operations)), ("columns", builder.finish())):
            verdict = check(history, model, Budget(seconds=None, steps=1 << 20), workers=1, witness=witness)
            if _SURE.get(verdict.verdict) is not expected:
                wrong.append(f"check of {form}: {verdict.verdict} by {verdict.way} {verdict.reason}")
            if witness and operations and expected and not verdict.witness:
                wrong.append(f"check of {form}: no order is given")
            wrong += [f"check of {form} warns: {text}" for text in verdict.warnings]
    return wrong
