"""The problem that the ways to a verdict solve: the operations of one object, compiled to small numbers.

States and classes of operations are numbered; transitions are asked of the model once and remembered. Which operations
matter at all (failed ones do not, unanswered reads do not) is decided here; how to search is not.
"""

from __future__ import annotations

import enum
import sys
from collections.abc import Hashable, Iterable, Sequence
from functools import cached_property
from typing import TypeVar

from checker import columns
from checker.budget import Meter
from checker.history import FAIL, INFO, Op, freeze
from checker.models import guard
from checker.models.base import Effect, Model, State

_Item = TypeVar("_Item")

NEVER = columns.NEVER
"""The place of a return that never came: after every event."""
ILLEGAL = -1
STATE_BYTES = 600
"""What a state costs beside itself: its number, its row of transitions and places in two dictionaries (CPython 3.11)."""


class Kind(enum.IntEnum):
    """What an operation can do to the state, by the declarations of its model."""

    READER = 0
    BLIND = 1
    OTHER = 2


class Transitions:
    """The model's transitions between numbered states by numbered classes, filled on demand.

    Two operations are of one class if they have the same effect, or the same f, value, answer, type and identity: `step`
    may look at nothing else. `held` is how many bytes the states take, nearly.
    """

    def __init__(self, model: Model) -> None:
        self._model = model
        self._ask = guard.asking(model)
        self.states: list[State] = [model.init]
        self._state_numbers: dict[State, int] = {model.init: 0}
        self._samples: list[Op] = []
        self._class_numbers: dict[Hashable, int] = {}
        self._rows: list[dict[int, int]] = [{}]
        self.held = 0

    def class_of(self, op: Op, effect: Effect | None) -> int:
        """The number of the operation's class."""
        known = (_named(op), self._model.identity(op)) if effect is None else effect
        number = self._class_numbers.setdefault(known, len(self._samples))
        if number == len(self._samples):
            self._samples.append(op)
        return number

    def step(self, state: int, klass: int) -> int:
        """The number of the state after an operation of the class, or ILLEGAL."""
        row = self._rows[state]
        after = row.get(klass)
        if after is None:
            after = row[klass] = self._number(self._ask(self.states[state], self._samples[klass]))
        return after

    def _number(self, state: State | None) -> int:
        if state is None:
            return ILLEGAL
        number = self._state_numbers.setdefault(state, len(self.states))
        if number == len(self.states):
            self.states.append(state)
            self._rows.append({})
            self.held += STATE_BYTES + sys.getsizeof(state)
        return number


def _named(op: Op) -> Hashable:
    """All that `step` may look at."""
    return (op.f, freeze(op.value), freeze(op.result), op.type, freeze(op.error) if op.type == FAIL else None)


class Problem:
    """The operations of one object that matter, as columns; the number of an operation is its place in these columns.

    `invoked` and `returned` are places in the order of events; an operation that never returned has `returned` NEVER:
    it may take effect at any time after its invocation, or never. Making the columns looks at the budget of `meter`, if there
    is one, and raises `OutOfBudgetError`.
    """

    def __init__(self, model: Model, operations: Sequence[Op], meter: Meter | None = None) -> None:
        self.model = model
        self.given = operations
        self.meter = meter

    def along(self, items: Iterable[_Item]) -> Iterable[_Item]:
        """The items, with looks at the budget while they are passed: for loops over all operations, or all events."""
        return items if self.meter is None else self.meter.along(items)

    @cached_property
    def operations(self) -> list[Op]:
        return [op for op in self.along(self.given) if matters(self.model, op)]

    @cached_property
    def effects(self) -> list[Effect | None]:
        return [self.model.effect(op) for op in self.along(self.operations)]

    @cached_property
    def invoked(self) -> list[int]:
        return [op.invoked for op in self.operations]

    @cached_property
    def returned(self) -> list[int]:
        return [NEVER if op.returned is None else op.returned for op in self.operations]

    @cached_property
    def kinds(self) -> list[Kind]:
        return [kind_of(self.model, op) for op in self.along(self.operations)]

    @cached_property
    def transitions(self) -> Transitions:
        return Transitions(self.model)

    @cached_property
    def classes(self) -> list[int]:
        pairs = zip(self.operations, self.effects, strict=True)
        return [self.transitions.class_of(op, effect) for op, effect in self.along(pairs)]

    @cached_property
    def unanswered(self) -> dict[int, list[int]]:
        """The operations that never returned, by class, oldest first."""
        found: dict[int, list[int]] = {}
        numbers = (number for number, place in enumerate(self.returned) if place == NEVER)
        for number in sorted(numbers, key=self.invoked.__getitem__):
            found.setdefault(self.classes[number], []).append(number)
        return found

    @cached_property
    def events(self) -> list[tuple[int, int, int]]:
        """(place, 0 for an invocation or 1 for a return, operation) in order; equal places count as at the same time."""
        found = [(place, 0, number) for number, place in enumerate(self.invoked)]
        found += [(place, 1, number) for number, place in enumerate(self.returned) if place != NEVER]
        found.sort()
        return found

    def __len__(self) -> int:
        return len(self.operations)

    def keep(self, numbers: Sequence[int], returned: Sequence[int]) -> Problem:
        """The problem of some of the operations, with other places of return (`reductions.settle` has the reasons)."""
        part = Problem(self.model, (), self.meter)
        part.operations = [self.operations[number] for number in numbers]
        part.effects = [self.effects[number] for number in numbers]
        part.invoked = [self.invoked[number] for number in numbers]
        part.returned = [returned[number] for number in numbers]
        return part

    def named(self, numbers: Sequence[int]) -> tuple[Op, ...]:
        """The operations of these numbers."""
        return tuple(self.operations[number] for number in numbers)


def matters(model: Model, op: Op) -> bool:
    """Failed operations are in no order, unless the model says that they observed something.

    An operation that is read-only and never returned may be left out of every order: no answer, no change.
    """
    if op.type == FAIL:
        return model.observes(op)
    return op.type != INFO or not model.readonly(op)


def kind_of(model: Model, op: Op) -> Kind:
    """What an operation can do, by the declarations of its model."""
    if model.readonly(op):
        return Kind.READER
    return Kind.BLIND if model.blind(op) else Kind.OTHER
