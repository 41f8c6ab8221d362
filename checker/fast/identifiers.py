"""Unique identifiers: right if and only if no identifier was given twice, whatever the order."""

from __future__ import annotations

from collections.abc import Hashable

from checker.history import freeze
from checker.models.identifiers import UniqueIds
from checker.search.problem import Problem
from checker.verdict import GaveUp, Invalid, Outcome, Valid


def decide(problem: Problem) -> Outcome:
    """Decides the problem of a generator of identifiers."""
    if not isinstance(problem.model, UniqueIds):
        return GaveUp("the object is no generator of identifiers")
    given: dict[Hashable, int] = {}
    for number in problem.along(sorted(range(len(problem)), key=problem.invoked.__getitem__)):
        first = given.setdefault(freeze(problem.operations[number].result), number)
        if first != number:
            return Invalid(problem.named([first, number]))
    return Valid(problem.named(list(given.values())))
