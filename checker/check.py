"""`check`, the only door: splits a history by object, keeps the budget, merges the verdicts.

How one object is decided is told in `ways.py`, how an invalid one is explained in `explain.py`.
"""

from __future__ import annotations

from collections.abc import Hashable

import msgspec

from checker import ways
from checker.budget import Budget, Meter
from checker.history import History, Op
from checker.models.base import Model, require_known, show
from checker.reasons import explain
from checker.verdict import INVALID, UNKNOWN, VALID, GaveUp, Invalid, Outcome, Valid, Verdict, worst


class Part(msgspec.Struct):
    """One object of the history, and what is known about it so far."""

    key: Hashable
    operations: list[Op]
    outcome: Outcome
    way: str = ""
    seconds: float = 0.0

    @property
    def verdict(self) -> str:
        """The outcome as a word."""
        if isinstance(self.outcome, GaveUp):
            return UNKNOWN
        return INVALID if isinstance(self.outcome, Invalid) else VALID

    def broken(self) -> explain.Broken:
        """What there is to explain."""
        return explain.Broken(self.operations, self.outcome.evidence if isinstance(self.outcome, Invalid) else ())

    def row(self) -> dict[str, object]:
        """The line of this object in the verdict's statistics."""
        return {
            "key": self.key,
            "verdict": self.verdict,
            "operations": len(self.operations),
            "unanswered": sum(1 for op in self.operations if op.returned is None),
            "way": self.way,
            "seconds": round(self.seconds, 6),
            "reason": self.outcome.reason if isinstance(self.outcome, GaveUp) else "",
        }


def check(history: History, model: Model, budget: Budget | None = None) -> Verdict:
    """Decides whether the history is linearizable to the model: valid, invalid with evidence, or unknown with a reason.

    Quick ways are tried on every object first, each with its share, so that no hard one takes the budget from the others;
    the hard ones then share what is left, unless a violation is proved already. Raises `HistoryError` if the model can't read the history.
    """
    require_known(history, model)
    meter = Meter(budget or Budget())
    parts = [Part(key, operations, GaveUp("not tried")) for key, operations in _grouped(history, model).items()]
    for place, part in enumerate(sorted(parts, key=lambda part: len(part.operations))):
        _try(part, model, meter.share(len(parts) - place), hard=False)
    if not any(part.verdict == INVALID for part in parts):
        hard = [part for part in parts if part.verdict == UNKNOWN]
        for place, part in enumerate(hard):
            _try(part, model, meter.share(len(hard) - place), hard=True)
    verdict = _summary(history, model, parts)
    broken = {part.key: part.broken() for part in parts if isinstance(part.outcome, Invalid)}
    if broken:
        explain.explain(verdict, model, broken, meter)
    verdict.seconds = round(meter.elapsed(), 6)
    return verdict


def witness(history: History, model: Model, budget: Budget | None = None) -> dict[Hashable, tuple[Op, ...]] | None:
    """For a valid history an order of the operations of each object that shows it; None where none was found."""
    meter = Meter(budget or Budget())
    orders: dict[Hashable, tuple[Op, ...]] = {}
    for key, operations in _grouped(history, model).items():
        outcome = ways.decide(model, operations, meter)
        if not isinstance(outcome, Valid):
            return None
        orders[key] = outcome.witness
    return orders


def _grouped(history: History, model: Model) -> dict[Hashable, list[Op]]:
    """The operations of each object."""
    grouped: dict[Hashable, list[Op]] = {}
    for op in history:
        grouped.setdefault(model.partition(op), []).append(op)
    return grouped


def _try(part: Part, model: Model, meter: Meter, *, hard: bool) -> None:
    started = meter.elapsed()
    problem = ways.pose(model, part.operations)
    tried = ways.thorough(problem, meter) if hard else ways.quick(problem, meter)
    part.outcome, part.way = ways.attempt(tried, meter)
    part.seconds += meter.elapsed() - started


def _summary(history: History, model: Model, parts: list[Part]) -> Verdict:
    """The verdict of the whole: invalid beats unknown beats valid."""
    word = worst(part.verdict for part in parts)
    decisive = [part for part in parts if part.verdict == word]
    reason = ""
    if word == UNKNOWN and isinstance(decisive[0].outcome, GaveUp):
        where = "" if decisive[0].key is None else f"key {show(decisive[0].key)}, "
        more = f"; {len(decisive) - 1} more keys are undecided" if len(decisive) > 1 else ""
        reason = f"{where}{len(decisive[0].operations):,} operations: {decisive[0].outcome.reason}{more}"
    return Verdict(
        verdict=word,
        reason=reason,
        model=model.name,
        way=", ".join(sorted({part.way for part in decisive})),
        operations=len(history),
        per_key=[part.row() for part in parts],
    )
