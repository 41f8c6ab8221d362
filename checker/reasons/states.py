"""Which states the impossible operation could have met, whatever order the other operations were in.

Where values are unique they follow from the blocks of `stories.py`. Else each candidate is tried: with an operation in
the place of the impossible one that only looks whether this is the state, do the operations have an order?
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable
from typing import NamedTuple

import msgspec

from checker import ways
from checker.budget import Meter, OutOfBudgetError
from checker.history import OK, Op
from checker.models.base import NOTHING, Effect, Model, State
from checker.reasons.breaks import Break
from checker.reasons.stories import BEFORE_ALL, Story, blocks, possible, story
from checker.search import sweep
from checker.search.problem import Problem
from checker.verdict import GaveUp, Valid

_PROBES = 100
"""How many states are tried."""
_LOOK = "\\0look"
"""The function of an operation that no history can hold: it looks at the state."""
_NOWHERE = object()
"""A state that no model has."""


class Possible(NamedTuple):
    """The states that an operation could have met; `complete`: no other one was possible.

    `unanswered` is how many of them, the last ones, only an update that was never answered may have brought.
    """

    states: list[State]
    complete: bool
    unanswered: int = 0


def possible_states(model: Model, first: Break, meter: Meter) -> Possible:
    """The states that the impossible operation could have met."""
    others = [op for op in first.prefix if op is not first.impossible]
    told = story(model, others)
    begin = first.impossible.invoked
    if not told.assignment:
        return _tried(model, first, *_passed_through(model, first, meter), meter)
    found = blocks(told) if first.certain else None
    if found is not None:
        return of_blocks(*possible(told, found, begin))
    tried = _tried(model, first, _not_outlived(told, begin), True, meter)
    answered = {state for state, known in told.values.items() if any(op.returned is not None for op in known.producers)}
    early = [state for state in tried.states if state in answered or state == model.init]
    late = [state for state in tried.states if state not in early]
    return Possible([*early, *late], tried.complete, len(late))


def of_blocks(sure: Iterable[State], late: Iterable[State]) -> Possible:
    """What `stories.possible` says, in order: all states that were possible."""
    unseen = sorted(late, key=_rank)
    return Possible([*sorted(sure, key=_rank), *unseen], complete=True, unanswered=len(unseen))


def _not_outlived(told: Story, begin: int) -> list[State]:
    """States that include all possible ones, in assignment form; those of the latest updates first.

    When an update u began after all that bring v had returned, and returned before `begin`, the state was its own after it
    took effect, and v never came back.
    """
    updates = [(op, state) for state, known in told.values.items() for op in known.producers]
    last: dict[State, float] = {told.model.init: BEFORE_ALL}
    for op, state in updates:
        last[state] = max(last.get(state, BEFORE_ALL), math.inf if op.returned is None else op.returned)
    done = (op.invoked for op, _ in updates if op.returned is not None and op.returned < begin)
    newest = max(done, default=BEFORE_ALL)
    left = [state for state, end in last.items() if end >= newest]
    return sorted(left, key=lambda state: -last[state])


def _tried(model: Model, first: Break, candidates: Iterable[State], complete: bool, meter: Meter) -> Possible:  # noqa: FBT001
    """Those of the candidates that are possible; a question that can't be decided leaves the answer incomplete."""
    watched = _Watched(model)
    others = [op for op in first.prefix if op is not first.impossible]
    found: list[State] = []
    for tried, state in enumerate(candidates):
        if tried == _PROBES or meter.is_used_up():
            complete = False
            break
        outcome = ways.decide(watched, [*others, _look(first.impossible, state)], meter)
        if isinstance(outcome, Valid):
            found.append(state)
        complete = complete and not isinstance(outcome, GaveUp)
    return Possible(sorted(found, key=_rank), complete)


class _Watched(Model):
    """A model with one more operation, which looks whether the state is a certain one and changes nothing."""

    def __init__(self, model: Model) -> None:
        self.model, self.init, self.name = model, model.init, model.name

    def step(self, state: State, op: Op) -> State | None:
        """A look at the wrong state is impossible; everything else is the model's own."""
        if op.f == _LOOK:
            return state if state == op.value else None
        return self.model.step(state, op)

    def readonly(self, op: Op) -> bool:
        """Looks change nothing."""
        return op.f == _LOOK or self.model.readonly(op)

    def blind(self, op: Op) -> bool:
        """As the model says."""
        return op.f != _LOOK and self.model.blind(op)

    def effect(self, op: Op) -> Effect | None:
        """A look requires its state."""
        return Effect(op.value, NOTHING) if op.f == _LOOK else self.model.effect(op)

    def identity(self, op: Op) -> Hashable:
        """As the model says."""
        return self.model.identity(op)

    def observes(self, op: Op) -> bool:
        """As the model says."""
        return self.model.observes(op)


def _look(impossible: Op, state: State) -> Op:
    """An operation with the interval of the impossible one that is legal in this state alone."""
    return msgspec.structs.replace(impossible, f=_LOOK, value=state, type=OK, result=None, error=None)


def _passed_through(model: Model, first: Break, meter: Meter) -> tuple[list[State], bool]:
    """Every state that a sweep passes through while the operation runs; False: some may be missing.

    Hidden writes have to be tried one by one, since they pass through states that the reduction leaves out.
    """
    nowhere = [op if op is not first.impossible else _look(op, _NOWHERE) for op in first.prefix]
    problem = Problem(_Watched(model), nowhere)
    reductions = sweep.Reductions(hidden_writes=False)
    begin = first.impossible.invoked
    try:
        stopped = sweep.Sweep(problem, meter, 1 << 10, reductions=reductions, watched_from=begin).run()
    except OutOfBudgetError:
        return [], False
    states = [problem.transitions.states[state] for state in stopped.closure]
    return states, not stopped.reason and stopped.impossible is not None


def _rank(state: State) -> tuple[float, str]:
    """Numbers by size, then everything else by its text."""
    value = state[0] if isinstance(state, tuple) and len(state) == 1 else state
    return (float(value), "") if isinstance(value, int | float) else (math.inf, repr(value))
