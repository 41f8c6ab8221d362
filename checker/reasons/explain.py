"""Says why a history is invalid: the first impossible event, what was possible, a small core, and a sentence.

The first impossible event is found on prefixes, since a way to a verdict may notice a contradiction earlier (it looks at
what is to come) or later. A core is made only by steps that keep every valid history valid, or it would accuse the
innocent: reads are dropped, answered updates become unanswered ones, and unanswered ones that nobody can see are
dropped (`reductions.settle` has the proof). Updates are never simply deleted.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from checker import ways
from checker.budget import Budget, Meter, OutOfBudgetError
from checker.history import FAIL, INFO, OK, Op
from checker.models.base import NOTHING, Effect, Model, State
from checker.models.lists import AppendList
from checker.models.registers import Register
from checker.reasons import lists as list_reasons
from checker.reasons import phrases
from checker.reasons import registers as register_reasons
from checker.search import sweep
from checker.search.problem import Problem
from checker.search.reductions import has_assignment_form, settle
from checker.verdict import GaveUp, Invalid, Outcome, Valid, Verdict

_KEYS = 16
"""How many broken objects are looked at to find the earliest violation."""
_SHOWN = 200
"""How many operations of the linearizable prefix and of a core a verdict holds at most."""
_PROBES = 200
"""How many states are tried to tell which ones were possible."""
_PROBE_SECONDS = 2.0
"""How long finding them may take, and again how long trying them may take."""
_LOOK = "\0look"
"""The function of an operation that no history can hold: it looks at the state."""
_NOWHERE = object()
"""A state that no model has."""
_TRIAL_STEPS = 2_000
"""How long one trial may search when a core is made smaller: what is not decided by then stays in the core."""
_SEARCH_SECONDS = 2.0
_SECONDS = 5.0
"""What explaining may take beside the check, however little of the budget is left."""


class _Break(NamedTuple):
    """An object that is not linearizable, cut at the first event that nothing explains.

    `certain`: what came before it is known to be linearizable, so no earlier event is impossible.
    """

    key: Hashable
    relevant: list[Op]
    impossible: Op
    prefix: list[Op]
    before: Outcome

    @property
    def certain(self) -> bool:
        return isinstance(self.before, Valid)


class _Possible(NamedTuple):
    """The states that an operation could have met, in words; `complete`: no other one was possible."""

    states: list[str]
    complete: bool


def explain(verdict: Verdict, model: Model, broken: Mapping[Hashable, Sequence[Op]], meter: Meter) -> None:
    """Fills the verdict with the evidence on the broken object whose violation came first."""
    budget = meter.budget
    seconds = None if budget.seconds is None else max(_SECONDS, budget.seconds - meter.elapsed())
    own = Meter(Budget(steps=budget.steps, seconds=seconds, bytes=budget.bytes))
    smallest = sorted(broken, key=lambda key: len(broken[key]))[:_KEYS]
    first = min(
        (_first_break(model, key, broken[key], own) for key in smallest),
        key=lambda found: found.impossible.returned or 0,
    )
    verdict.key = first.key
    verdict.first_impossible = first.impossible.as_dict()
    _fill_prefix(verdict, model, first)
    possible = _possible_states(model, first, own)
    verdict.possible_states, verdict.possible_states_complete = possible
    finding = _finding(model, first, broken[first.key], own)
    verdict.core = [op.as_dict() for op in finding.core[-_SHOWN:]]
    verdict.explanation = _sentence(model, first, possible, finding)
    if not first.certain:
        verdict.explanation += " (Whether an earlier operation is impossible was not decided within the budget.)"
    if len(broken) > 1:
        of = "" if len(broken) <= _KEYS else f" of the {_KEYS} smallest"
        verdict.explanation += f" ({len(broken)} keys are not linearizable; this is the one{of} that broke first.)"
    verdict.reason = verdict.explanation


def cut(model: Model, operations: Sequence[Op], end: int) -> list[Op]:
    """What is known of some operations when the event at `end` has just happened.

    Open updates have no answer yet. Open reads say nothing. What failed in the end is left out from the beginning.
    """
    kept = []
    for op in operations:
        if op.invoked > end:
            continue
        if op.returned is None or op.returned <= end:
            kept.append(op)
        elif not model.readonly(op):
            kept.append(msgspec.structs.replace(op, type=INFO, result=None, error=None, returned=None))
    return kept


def _first_break(model: Model, key: Hashable, operations: Sequence[Op], meter: Meter) -> _Break:
    """Bisects the returns: linearizability is prefix-closed (Herlihy & Wing 1990), so there is one first bad prefix."""
    relevant = Problem(model, operations).operations
    returns = sorted((op for op in relevant if op.returned is not None), key=lambda op: op.returned or 0)
    low, high = 0, len(returns) - 1
    while low < high:
        middle = (low + high) // 2
        outcome = ways.decide(model, cut(model, relevant, returns[middle].returned or 0), meter)
        if isinstance(outcome, Invalid):
            high = middle
        else:
            low = middle + 1
    impossible = returns[high]
    end = impossible.returned or 0
    before = ways.decide(model, cut(model, relevant, end - 1), meter)
    return _Break(key, relevant, impossible, cut(model, relevant, end), before)


def _fill_prefix(verdict: Verdict, model: Model, first: _Break) -> None:
    """The longest linearizable prefix as an order with the state after each operation."""
    if not isinstance(first.before, Valid):
        return
    originals = {op.invoked: op for op in first.relevant}
    state: State | None = model.init
    rows = []
    for op in first.before.witness:
        state = model.step(state, op)
        rows.append({"op": originals[op.invoked].as_dict(), "state": _clipped(model, state)})
    verdict.prefix_length = len(rows)
    verdict.prefix = rows[-_SHOWN:]


def _clipped(model: Model, state: State) -> str:
    text = model.describe(state)
    return text if len(text) <= _SHOWN else f"{text[:90]} ... {text[-90:]}"


def _possible_states(model: Model, first: _Break, meter: Meter) -> _Possible:
    """The states that the impossible operation could have met, whatever order the others were in.

    Each candidate is tried: with an operation in the place of the impossible one that only looks whether this is the
    state, do the operations have an order? A question that can't be decided within the budget leaves the answer incomplete.
    """
    candidates, complete = _candidates(model, first, meter)
    watched = _Watched(model)
    others = [op for op in first.prefix if op is not first.impossible]
    possible: list[State] = []
    within = meter.within(seconds=_PROBE_SECONDS)
    for tried, state in enumerate(candidates):
        if tried == _PROBES or within.is_used_up():
            complete = False
            break
        outcome = ways.decide(watched, [*others, _look(first.impossible, state)], within)
        if isinstance(outcome, Valid):
            possible.append(state)
        complete = complete and not isinstance(outcome, GaveUp)
    texts = [_clipped(model, state) for state in sorted(possible, key=_rank)]
    return _Possible(texts, complete=complete)


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

    def observes(self, op: Op) -> bool:
        """As the model says."""
        return self.model.observes(op)


def _look(impossible: Op, state: State) -> Op:
    """An operation with the interval of the impossible one that is legal in this state alone."""
    return msgspec.structs.replace(impossible, f=_LOOK, value=state, type=OK, result=None, error=None)


def _candidates(model: Model, first: _Break, meter: Meter) -> tuple[list[State], bool]:
    """States that include all possible ones, the likeliest first; False: some may be missing.

    In assignment form the state while an operation ran was possible when it began, or was brought by an update that had not
    returned by then. Else every state is taken that a sweep passes through while the operation runs; hidden writes
    have to be tried one by one there, since they pass through states that the reduction leaves out.
    """
    impossible = first.impossible
    within = meter.within(seconds=_PROBE_SECONDS)
    if has_assignment_form(Problem(model, first.prefix)):
        begun = _when_it_began(model, first, within)
        answered = [op for op in first.prefix if op.returned is not None]
        late = [op for op in answered if begun is None or (op.returned or 0) > impossible.invoked]
        late.sort(key=lambda op: -(op.returned or 0))
        unanswered = [op for op in reversed(first.prefix) if op.returned is None]
        effects = [effect for op in [*late, *unanswered] if (effect := model.effect(op)) is not None]
        produced = [effect.produces for effect in effects if effect.produces is not NOTHING]
        return list(dict.fromkeys([*(begun or ()), *produced])), begun is not None
    nowhere = [op if op is not impossible else _look(op, _NOWHERE) for op in first.prefix]
    problem = Problem(_Watched(model), nowhere)
    reductions = sweep.Reductions(hidden_writes=False)
    try:
        stopped = sweep.Sweep(problem, within, 1 << 10, reductions=reductions, watched_from=impossible.invoked).run()
    except OutOfBudgetError:
        return [], False
    states = [problem.transitions.states[state] for state in stopped.closure]
    return states, not stopped.reason and stopped.impossible is not None


def _when_it_began(model: Model, first: _Break, within: Meter) -> list[State] | None:
    """The states that were possible when the impossible operation began, but for those of updates still open; None: unknown.

    Unanswered updates that nobody can see are dropped first: an order without them ends in the same state, unless it ended
    in theirs, and these are known without a search.
    """
    before = settle(Problem(model, cut(model, first.relevant, first.impossible.invoked - 1)))
    if isinstance(before, Invalid):
        return None
    try:
        stopped = sweep.Sweep(before, within, 1 << 12).run()
    except OutOfBudgetError:
        return None
    if stopped.reason or stopped.impossible is not None:
        return None
    return [before.transitions.states[configuration[0]] for configuration in stopped.frontier]


def _rank(state: State) -> tuple[float, str]:
    """Numbers by size, then everything else by its text."""
    value = state[0] if isinstance(state, tuple) and len(state) == 1 else state
    return (float(value), "") if isinstance(value, int | float) else (math.inf, repr(value))


def _finding(model: Model, first: _Break, everything: Sequence[Op], meter: Meter) -> register_reasons.Finding:
    """Why, and the operations that show it: by an argument where the values allow one, else by a search."""
    found = None
    if isinstance(model, Register):
        found = register_reasons.find(model, first.impossible, first.prefix, everything)
    elif isinstance(model, AppendList):
        found = list_reasons.find(model, first.impossible, first.prefix, everything)
    if found is not None and found.core:
        return found
    return register_reasons.Finding(found.because if found else "", _searched(model, first, meter))


def _searched(model: Model, first: _Break, meter: Meter) -> list[Op]:
    """A core found by leaving out what is not needed, in ever smaller pieces; sound steps only."""
    kept = first.prefix
    size = len(kept)
    started = meter.elapsed()
    while size >= 1:
        begin = 0
        while begin < len(kept) and meter.elapsed() < started + _SEARCH_SECONDS:
            trial = _weakened(model, kept, begin, begin + size, first.impossible)
            steps = Meter(Budget(steps=_TRIAL_STEPS, seconds=None, bytes=meter.budget.bytes))
            if trial != kept and ways.refuted(model, trial, steps):
                begin += size - (len(kept) - len(trial))
                kept = trial
            else:
                begin += size
        size //= 2
    return _visible(model, kept, first.prefix)


def _weakened(model: Model, operations: Sequence[Op], begin: int, end: int, impossible: Op) -> list[Op]:
    """Without the reads from `begin` to `end`, and with the updates there unanswered."""
    kept = []
    for place, op in enumerate(operations):
        if not begin <= place < end or op is impossible:
            kept.append(op)
        elif not model.readonly(op):
            kept.append(op if op.type == INFO else msgspec.structs.replace(op, type=INFO, result=None, returned=None))
    return kept


def _visible(model: Model, kept: Sequence[Op], prefix: Sequence[Op]) -> list[Op]:
    """The operations as they were, without unanswered ones that nobody can see."""
    problem = Problem(model, kept)
    settled = settle(problem) if has_assignment_form(problem) else problem
    visible = {op.invoked for op in (settled.operations if isinstance(settled, Problem) else kept)}
    return [op for op in prefix if op.invoked in visible]


def _sentence(model: Model, first: _Break, possible: _Possible, finding: register_reasons.Finding) -> str:
    """One or two sentences: what was answered, what was possible, why."""
    answered = phrases.answered(first.impossible)
    if isinstance(model, AppendList):
        return f"{answered}, but no order of the operations leaves that list: {finding.because or _count(finding)}."
    middle = f"{answered}, but {_left(model, first.impossible, possible)}"
    if finding.because:
        return f"{middle}: {finding.because}."
    return f"{middle}. {_count(finding)[0].upper()}{_count(finding)[1:]}."


def _left(model: Model, impossible: Op, possible: _Possible) -> str:
    """What the orders of the other operations leave, unless that is what the operation asked for.

    A cas can meet what it expects and be impossible all the same: for what it does to the operations after it.
    """
    effect = model.effect(impossible)
    refused = effect is None and impossible.type == FAIL
    asked = effect is not None and effect.requires is not NOTHING
    if refused or (asked and effect is not None and model.describe(effect.requires) in possible.states):
        return "no order of the operations allows that"
    if not possible.states:
        return "no order of the operations explains that"
    states = phrases.one_of([phrases.clip(text) for text in possible.states])
    if possible.complete:
        return f"every order of the operations leaves {states}"
    return f"the orders that were tried leave {states}"


def _count(finding: register_reasons.Finding) -> str:
    if len(finding.core) == 1:
        return "this operation is impossible by itself"
    return f"these {len(finding.core)} operations alone are impossible together"
