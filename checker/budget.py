"""Budgets of a check: steps, seconds and bytes, and the meter that keeps them.

Steps are deterministic: the same history with the same budget of steps gives the same verdict on every machine.
"""

from __future__ import annotations

import time
from typing import TypeVar

import msgspec

_Number = TypeVar("_Number", int, float)

_STEPS_BETWEEN_LOOKS = 1024
"""How many steps pass between two looks at the clock: a step costs microseconds, a look about 0.1 of one."""


class Budget(msgspec.Struct, frozen=True):
    """What a check may use; None is no limit. `bytes` bounds the memory of the search beside the history."""

    steps: int | None = None
    seconds: float | None = 60.0
    bytes: int | None = 1 << 30


class OutOfBudgetError(Exception):
    """The budget is used up; the message says which part of it."""


class Meter:
    """Counts what was used of a budget, or of a share of it; `progress` is how far the present way is: place and end."""

    def __init__(self, budget: Budget, name: str = "the budget") -> None:
        self.budget = budget
        self.started = time.monotonic()
        self.steps = 0
        self.progress = (0, 0)
        self._name = name
        self._next_look = _STEPS_BETWEEN_LOOKS

    def spend(self, steps: int, held: int = 0) -> None:
        """Counts steps; `held` is an estimate of the bytes that the search holds now. Raises `OutOfBudgetError`."""
        self._count(steps)
        budget = self.budget
        if budget.steps is not None and self.steps > budget.steps:
            raise OutOfBudgetError(f"{self._name} of {budget.steps:,} steps was used up")
        if budget.bytes is not None and held > budget.bytes:
            raise OutOfBudgetError(f"the search would hold more than the {budget.bytes:,} bytes of its budget")
        if self.steps >= self._next_look:
            self._next_look = self.steps + _STEPS_BETWEEN_LOOKS
            if budget.seconds is not None and self.elapsed() > budget.seconds:
                raise OutOfBudgetError(f"{self._name} of {budget.seconds:.3g} seconds was used up")

    def _count(self, steps: int) -> None:
        self.steps += steps

    def is_used_up(self) -> bool:
        """Whether the next look at the budget will raise: for those who do much between two steps."""
        budget = self.budget
        too_long = budget.seconds is not None and self.elapsed() > budget.seconds
        return too_long or (budget.steps is not None and self.steps > budget.steps)

    def elapsed(self) -> float:
        """Seconds since the check began."""
        return time.monotonic() - self.started

    def within(self, *, steps: int | None = None, seconds: float | None = None) -> Meter:
        """A meter over what is left of this one, and no more than these steps and seconds."""
        budget = self.budget
        left = None if budget.seconds is None else max(0.0, budget.seconds - self.elapsed())
        steps_left = None if budget.steps is None else max(0, budget.steps - self.steps)
        return _Share(self, Budget(steps=_least(steps_left, steps), seconds=_least(left, seconds), bytes=budget.bytes))

    def share(self, parts: int) -> Meter:
        """A meter over one of so many equal parts of the seconds and steps that are left."""
        if parts == 1:
            return self
        budget = self.budget
        seconds = None if budget.seconds is None else (budget.seconds - self.elapsed()) / parts
        steps = None if budget.steps is None else (budget.steps - self.steps) // parts
        return self.within(steps=steps, seconds=seconds)


class _Share(Meter):
    """A part of a budget; what it uses is used of the whole as well."""

    def __init__(self, whole: Meter, budget: Budget) -> None:
        super().__init__(budget, "its share of the budget")
        self._whole = whole

    def _count(self, steps: int) -> None:
        super()._count(steps)
        self._whole._count(steps)  # noqa: SLF001 - of its own class


def _least(one: _Number | None, other: _Number | None) -> _Number | None:
    return other if one is None else one if other is None else min(one, other)
