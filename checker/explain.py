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

from checker import list_reasons, phrases, register_reasons, sweep, ways
from checker.budget import Budget, Meter, OutOfBudgetError
from checker.history import INFO, OK, Op
from checker.models import AppendList, Model, Register, State
from checker.problem import Problem
from checker.reductions import has_assignment_form, settle
from checker.verdict import Invalid, Valid, Verdict

_KEYS = 16
"""How many broken objects are looked at to find the earliest violation."""
_SHOWN = 200
"""How many operations of the linearizable prefix and of a core a verdict holds at most."""
_PROBES = 40
"""How many answers are tried to tell which ones were possible."""
_TRIAL_STEPS = 2_000
"""How long one trial may search when a core is made smaller: what is not decided by then stays in the core."""
_SEARCH_SECONDS = 2.0
_SECONDS = 5.0
"""What explaining may take beside the check, however little of the budget is left."""


class _Break(NamedTuple):
    """An object that is not linearizable, cut at the first event that nothing explains."""

    key: Hashable
    relevant: list[Op]
    impossible: Op
    prefix: list[Op]


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
    _fill_prefix(verdict, model, first, own)
    verdict.possible_states = possible = _possible_states(verdict, model, first, own)
    finding = _finding(model, first, broken[first.key], own)
    verdict.core = [op.as_dict() for op in finding.core[-_SHOWN:]]
    verdict.explanation = _sentence(model, first, possible, finding)
    if len(broken) > 1:
        verdict.explanation += f" ({len(broken)} keys are not linearizable; this is the one that broke first.)"
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
    return _Break(key, relevant, impossible, cut(model, relevant, impossible.returned or 0))


def _fill_prefix(verdict: Verdict, model: Model, first: _Break, meter: Meter) -> None:
    """The longest linearizable prefix as an order with the state after each operation."""
    before = cut(model, first.relevant, (first.impossible.returned or 0) - 1)
    outcome = ways.decide(model, before, meter)
    if not isinstance(outcome, Valid):
        return
    originals = {op.invoked: op for op in first.relevant}
    state: State | None = model.init
    rows = []
    for op in outcome.witness:
        state = model.step(state, op)
        rows.append({"op": originals[op.invoked].as_dict(), "state": _clipped(model, state)})
    verdict.prefix_length = len(rows)
    verdict.prefix = rows[-_SHOWN:]


def _clipped(model: Model, state: State) -> str:
    text = model.describe(state)
    return text if len(text) <= _SHOWN else f"{text[:90]} ... {text[-90:]}"


def _possible_states(verdict: Verdict, model: Model, first: _Break, meter: Meter) -> list[str]:
    """The states that the impossible operation could have met, whatever order the others were in.

    For registers each candidate is tried as the answer of a read in its place. Else the states of the sweep's last
    frontier are taken; where that is too large, the one state that the linearizable prefix leaves.
    """
    try:
        if isinstance(model, Register):
            return [model.describe(state) for state in _probed(model, first, meter)]
        if not isinstance(model, AppendList):
            problem = Problem(model, first.prefix)
            states = problem.transitions.states
            stopped = sweep.Sweep(problem, Meter(Budget(seconds=1.0)), 1 << 10).run()
            if stopped.impossible is not None:
                return sorted({_clipped(model, states[state]) for state in stopped.closure})
    except OutOfBudgetError:
        pass
    return [verdict.prefix[-1]["state"]] if verdict.prefix else [_clipped(model, model.init)]


def _probed(model: Register, first: _Break, meter: Meter) -> list[State]:
    """Register states that a read with the interval of the impossible operation could have returned.

    Candidates are the states that were possible when it began and the values of all updates that had not returned by
    then: no other value can have been there while it ran.
    """
    impossible = first.impossible
    before = Problem(model, cut(model, first.relevant, impossible.invoked - 1))
    stopped = sweep.Sweep(before, Meter(Budget(seconds=1.0)), 1 << 12).run()
    candidates = {before.transitions.states[configuration[0]]: None for configuration in stopped.frontier}
    for op in reversed(first.prefix):
        effect = model.effect(op)
        if (
            effect is not None
            and isinstance(effect.produces, tuple)
            and (op.returned is None or op.returned > impossible.invoked)
        ):
            candidates[effect.produces] = None
    others = [op for op in first.prefix if op is not impossible]
    possible: list[State] = []
    for state in list(candidates)[:_PROBES]:
        assert isinstance(state, tuple)
        probe = msgspec.structs.replace(impossible, f="read", value=None, type=OK, result=state[0], error=None)
        if isinstance(ways.decide(model, [*others, probe], meter), Valid):
            possible.append(state)
    return sorted(possible, key=_rank)


def _rank(state: State) -> tuple[float, str]:
    """Numbers by size, then everything else by its text."""
    assert isinstance(state, tuple)
    value = state[0]
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


def _sentence(model: Model, first: _Break, possible: list[str], finding: register_reasons.Finding) -> str:
    """One or two sentences: what was answered, what was possible, why."""
    answered = phrases.answered(first.impossible)
    if isinstance(model, AppendList):
        return f"{answered}, but no order of the operations leaves that list: {finding.because or _count(finding)}."
    if possible:
        middle = f"but every order of the operations leaves {phrases.one_of([phrases.clip(text) for text in possible])}"
    else:
        middle = "but no order of the operations explains that"
    if finding.because:
        return f"{answered}, {middle}: {finding.because}."
    return f"{answered}, {middle}. {_count(finding)[0].upper()}{_count(finding)[1:]}."


def _count(finding: register_reasons.Finding) -> str:
    if len(finding.core) == 1:
        return "this operation is impossible by itself"
    return f"these {len(finding.core)} operations alone are impossible together"
