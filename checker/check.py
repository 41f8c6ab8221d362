"""`check`, the only door: splits a history by object, chooses ways to a verdict, keeps the budget, merges the verdicts.

No algorithm lives here. Every way is exact or says only what it can prove; which is tried when is a matter of speed.
"""

from __future__ import annotations

from collections.abc import Hashable

from checker import depth
from checker.budget import Budget, Meter, OutOfBudgetError
from checker.history import History, Op
from checker.models import Model, require_known
from checker.problem import Problem
from checker.verdict import INVALID, UNKNOWN, VALID, GaveUp, Invalid, Outcome, Verdict, worst


def check(history: History, model: Model, budget: Budget | None = None) -> Verdict:
    """Decides whether the history is linearizable to the model. Raises `HistoryError` if the model can't read it."""
    require_known(history, model)
    meter = Meter(budget or Budget())
    parts: dict[Hashable, list[Op]] = {}
    for op in history:
        parts.setdefault(model.partition(op), []).append(op)
    rows = []
    for key, operations in parts.items():
        outcome = _decide(Problem(model, operations), meter)
        rows.append({"key": key, "operations": len(operations), "verdict": _word(outcome), "reason": getattr(outcome, "reason", "")})
    verdict = worst(row["verdict"] for row in rows)
    decisive = next((row for row in rows if row["verdict"] == verdict), {"key": None, "reason": ""})
    return Verdict(
        verdict=verdict,
        reason=decisive["reason"],
        model=model.name,
        way="depth",
        operations=len(history),
        seconds=meter.elapsed(),
        key=decisive["key"] if verdict == INVALID else None,
        explanation="" if verdict != INVALID else f"No order of the operations on key {decisive['key']} explains their answers.",
        per_key=rows,
    )


def _decide(problem: Problem, meter: Meter) -> Outcome:
    try:
        return depth.search(problem, meter, 1 << 20)
    except OutOfBudgetError as error:
        return GaveUp(str(error))


def _word(outcome: Outcome) -> str:
    if isinstance(outcome, GaveUp):
        return UNKNOWN
    return INVALID if isinstance(outcome, Invalid) else VALID
