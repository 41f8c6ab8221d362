"""Budgets of a check: steps, seconds and bytes, and the meter that keeps them.

Steps are deterministic: the same history with the same budget of steps gives the same verdict on every machine. Memory is
kept twice: searches say what they are about to hold before they take it, and what the process really took is measured.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import msgspec

_Number = TypeVar("_Number", int, float)
_Item = TypeVar("_Item")

_FIRST_STRIDE, _LONGEST_STRIDE = 16, 1024
"""How many steps pass between two looks at the clock, at first and at most: a step costs from a tenth of a microsecond to seconds
(of a user's model), a look about a third of a microsecond."""
_SHORT, _LONG = 0.005, 0.02
"""Seconds between two looks: the stride grows where it takes less than the first, and shrinks where it takes more than the other."""
_SECONDS_BETWEEN_MEASURES = 0.02
"""How often the memory of the process is measured; that costs about ten microseconds."""
_SLACK = 1.25
"""What is measured may exceed the budget by this factor: interpreters give memory back late, and estimates stop searches before."""
_STATM = Path("/proc/self/statm")


class Clock:
    """The seconds that count, of any budget: the clock stands still while numba compiles.

    That is done once on a machine, is announced, and says nothing about the history; a budget of seconds would decide
    nothing in the first check and something in the next. What is stopped twice has to go on twice.
    """

    def __init__(self) -> None:
        self._stopped = 0
        self._stopped_at = 0.0
        self._stood = 0.0

    def now(self) -> float:
        """Seconds since some moment."""
        return (self._stopped_at if self._stopped else time.monotonic()) - self._stood

    def stop(self) -> None:
        """Stands still from now on."""
        if not self._stopped:
            self._stopped_at = time.monotonic()
        self._stopped += 1

    def go_on(self) -> None:
        """Goes on where it stopped."""
        self._stopped -= 1
        if not self._stopped:
            self._stood += time.monotonic() - self._stopped_at


CLOCK = Clock()


class Budget(msgspec.Struct, frozen=True):
    """What a check may use; None is no limit. `bytes` bounds the memory of the search beside the history."""

    steps: int | None = None
    seconds: float | None = 60.0
    bytes: int | None = 1 << 30

    def __post_init__(self) -> None:
        """Raises `ValueError` for what bounds nothing."""
        given: tuple[tuple[str, Any], ...] = (("steps", self.steps), ("seconds", self.seconds), ("bytes", self.bytes))
        for name, most in given:
            if most is None:
                continue
            if isinstance(most, bool) or not isinstance(most, int | float) or not most >= 0:
                raise ValueError(f"the {name} of a budget must be a number, not below 0, or None: this is {most!r}")


def require_budget(budget: object) -> None:
    """Raises `TypeError` for what is neither a budget nor None."""
    if not isinstance(budget, Budget | None):
        raise TypeError(f"expected a Budget, such as Budget(seconds=10), or None, this is {budget!r}")


class OutOfBudgetError(Exception):
    """The budget is used up; the message says which part of it. `of_memory`: it was the memory, and time may be left."""

    def __init__(self, sentence: str, *, of_memory: bool = False) -> None:
        super().__init__(sentence)
        self.of_memory = of_memory


def resident() -> int:
    """The bytes of memory that this process holds now; where nobody tells (no /proc), the most that it ever held."""
    try:
        return int(_STATM.read_bytes().split()[1]) * resource.getpagesize()
    except OSError:
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024


class Meter:
    """Counts what was used of a budget, or of a share of it.

    `progress` is how far the present way is: the place of its event and of the last one; `furthest` is how far any way got.
    `watch` is called now and then while the work goes on.
    """

    def __init__(
        self, budget: Budget, name: str = "the budget", resident_before: int | None = None, started: float | None = None
    ) -> None:
        self.budget = budget
        self.started = CLOCK.now() if started is None else started
        self.steps = 0
        self.furthest = (0, 0)
        self.watch: Callable[[], None] | None = None
        self._progress = (0, 0)
        self._name = name
        self._stride = _FIRST_STRIDE
        self._next_look = _FIRST_STRIDE
        self._last_look = self.started
        self._resident_before = resident() if resident_before is None else resident_before
        self._next_measure = self.started + _SECONDS_BETWEEN_MEASURES

    @property
    def progress(self) -> tuple[int, int]:
        """The place of the event that the present way is at, and of the last event."""
        return self._progress

    @progress.setter
    def progress(self, reached: tuple[int, int]) -> None:
        self._progress = reached
        if reached[0] > self.furthest[0]:
            self.furthest = reached

    def spend(self, steps: int, held: int = 0) -> None:
        """Counts steps; `held` is how many bytes the search holds, or is about to hold. Raises `OutOfBudgetError`."""
        self._count(steps)
        budget = self.budget
        if budget.steps is not None and self.steps > budget.steps:
            raise OutOfBudgetError(f"{self._name} of {budget.steps:,} steps was used up")
        if budget.bytes is not None and held > budget.bytes:
            raise OutOfBudgetError(
                f"the search would hold more than the {budget.bytes:,} bytes of its budget", of_memory=True
            )
        if self.steps >= self._next_look:
            self._stride = self._look_after(self._stride)
            self._next_look = self.steps + self._stride

    def along(self, items: Iterable[_Item]) -> Iterator[_Item]:
        """The items one after the other, with looks meanwhile: for loops that are no search, and count no steps."""
        stride = due = 1
        for place, item in enumerate(items):
            if place >= due:
                stride = self._look_after(stride)
                due = place + stride
            yield item

    def _look_after(self, stride: int) -> int:
        """Looks at the budget after so many steps, and says after how many more it is time to look again."""
        before = self._last_look
        self.look()
        took = self._last_look - before
        if took > _LONG:
            return max(1, int(stride * _LONG / took))
        return min(_LONGEST_STRIDE, 2 * stride) if took < _SHORT else stride

    def look(self) -> None:
        """Looks at the clock and, less often, at the memory that was really taken. Raises `OutOfBudgetError`."""
        budget, now = self.budget, CLOCK.now()
        self._last_look = now
        if budget.seconds is not None and now - self.started > budget.seconds:
            raise OutOfBudgetError(f"{self._name} of {budget.seconds:.3g} seconds was used up")
        if now < self._next_measure:
            return
        self._next_measure = now + _SECONDS_BETWEEN_MEASURES
        if self.watch is not None:
            self.watch()
        if budget.bytes is not None:
            taken = resident() - self._resident_before
            if taken > _SLACK * budget.bytes:
                raise OutOfBudgetError(
                    f"the check took {taken:,} bytes, more than the {budget.bytes:,} of its budget", of_memory=True
                )

    def _count(self, steps: int) -> None:
        self.steps += steps

    def is_used_up(self) -> bool:
        """Whether the next look at the budget will raise: for those who do much between two steps."""
        budget = self.budget
        too_long = budget.seconds is not None and self.elapsed() > budget.seconds
        return too_long or (budget.steps is not None and self.steps > budget.steps)

    def elapsed(self) -> float:
        """Seconds since the check began."""
        return CLOCK.now() - self.started

    def seconds_left(self) -> float | None:
        """What is left of the seconds, never below zero; None: there is no limit."""
        return None if self.budget.seconds is None else max(0.0, self.budget.seconds - self.elapsed())

    def steps_left(self) -> int | None:
        """What is left of the steps, never below zero; None: there is no limit."""
        return None if self.budget.steps is None else max(0, self.budget.steps - self.steps)

    def within(self, *, steps: int | None = None, seconds: float | None = None) -> Meter:
        """A meter over what is left of this one, and no more than these steps and seconds."""
        budget = Budget(
            steps=_least(self.steps_left(), steps),
            seconds=_least(self.seconds_left(), seconds),
            bytes=self.budget.bytes,
        )
        return _Share(self, budget, self._resident_before)

    def used_elsewhere(self, steps: int) -> None:
        """Counts steps that another process spent of this budget."""
        self._count(steps)


class _Share(Meter):
    """A part of a budget; what it uses is used of the whole as well."""

    def __init__(self, whole: Meter, budget: Budget, resident_before: int) -> None:
        super().__init__(budget, "its share of the budget", resident_before)
        self._whole = whole
        self.watch = whole.watch

    def _count(self, steps: int) -> None:
        super()._count(steps)
        self._whole._count(steps)  # noqa: SLF001 - of its own class


class Pace:
    """How many steps a kernel may take until it comes back to look at the budget: so many as take some hundredths of a second."""

    def __init__(self, meter: Meter, first: int, longest: int) -> None:
        self.steps = first
        self._meter, self._longest = meter, longest
        self._since = meter.elapsed()

    def spend(self, steps: int, held: int) -> None:
        """Counts what the kernel did since the last time, and sets how long it may go on next. Raises `OutOfBudgetError`."""
        now = self._meter.elapsed()
        took, self._since = now - self._since, now
        if took > 2 * _LONG:
            self.steps = max(1, int(min(steps, self.steps) * _LONG / took))
        elif took < _LONG and steps >= self.steps:
            self.steps = min(self._longest, 2 * self.steps)
        self._meter.spend(steps, held)
        if took > _SHORT:
            self._meter.look()


def _least(one: _Number | None, other: _Number | None) -> _Number | None:
    return other if one is None else one if other is None else min(one, other)
