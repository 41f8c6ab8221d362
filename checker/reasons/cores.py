"""Minimal cores: few operations that are impossible by themselves, found by steps that keep every valid history valid.

The steps: a read is dropped; an answered update is taken as unanswered; an unanswered one that nobody can see is dropped;
a cas is taken as the write of its new value; all that was over before some moment is replaced by an unknown state at that
moment. Updates are never simply deleted: without its source a read is impossible for a silly reason, and the core would
accuse the innocent. A core is 1-minimal: with any one more of the first three steps it would be possible, or nobody could tell.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec

from checker import ways
from checker.budget import Budget, Meter
from checker.history import FAIL, OK, Op
from checker.models.base import NOTHING, Model, State
from checker.models.lists import AppendList
from checker.models.registers import Register
from checker.reasons import lists
from checker.reasons.breaks import Break, unanswered
from checker.reasons.exhaustive import has_order
from checker.reasons.stories import brings, story

_TRIAL_STEPS = 2_000
"""How long one trial may search: what is not decided by then stays in the core."""
_WINDOW = 8
"""How many returns before the impossible one the first window has; each further one has twice as many."""
_WHOLE = 48
"""So few operations are looked at from the beginning, without a window."""
_ALL = 500
"""So many operations of an object without a core the independent search looks at: each of its nodes costs a look at all of them."""
_ELSEWHERE = object()
"""A state that no operation requires: all of these are as one (reduction 8, checker.md section 3)."""

Trial = Callable[[Sequence[Op]], bool]


class Core(NamedTuple):
    """Operations that are impossible together, as they are taken.

    `anywhere`: whatever the state was before them; else they begin as the model does. `checked`: the independent search found
    no order either.
    """

    operations: list[Op]
    anywhere: bool = False
    checked: bool = False


def starting(model: Model, state: State) -> Model:
    """The model with another initial state."""
    other = copy.copy(model)
    other.init = state
    return other


def required(model: Model, operations: Sequence[Op]) -> list[State]:
    """The states that the operations ask for, and one more that none of them does."""
    effects = [effect for op in operations if (effect := model.effect(op)) is not None]
    return [*dict.fromkeys(effect.requires for effect in effects if effect.requires is not NOTHING), _ELSEWHERE]


def argued(
    model: Model, first: Break, operations: Sequence[Op], meter: Meter, *, anywhere: bool = False
) -> Core | None:
    """A core from operations that an argument names; None if they are not impossible by themselves.

    Of operations that are not in the prefix, failed ones only show where a value did not come from; others began too late.
    """
    named = {op.invoked for op in operations}
    prefix = [op for op in first.prefix if op.invoked in named]
    known = {op.invoked for op in prefix}
    outside = [op for op in operations if op.invoked not in known]
    late = [unanswered(op) for op in outside if op.type != FAIL]
    failed = [op for op in outside if op.type == FAIL]
    if isinstance(model, AppendList):
        taken = lists.projected(model, prefix, first.prefix)
    else:
        taken = _trusting(model, first, prefix)
    trial = _from_anywhere(model, meter) if anywhere else _from_the_start(model, meter)
    if not taken or not trial(taken + late):
        return None
    kept = _minimal(model, taken + late, first.impossible, trial, meter)
    return _checked(model, Core(sorted(kept + failed, key=lambda op: op.invoked), anywhere=anywhere))


def with_sources(model: Model, first: Break, evidence: Sequence[Op]) -> list[Op]:
    """The evidence and all that brought what it asks for, and so on: why a way leaves these out is in its own theorem."""
    told = story(model, first.prefix)
    named = {op.invoked for op in evidence}
    left = [op for op in first.prefix if op.invoked in named]
    while left:
        asked = told.effects[left.pop().invoked].requires
        for op in told.of(asked).producers:
            if op.invoked not in named:
                named.add(op.invoked)
                left.append(op)
    return [op for op in first.prefix if op.invoked in named]


def searched(model: Model, first: Break, meter: Meter) -> Core | None:
    """A core found by leaving out what is not needed, in ever smaller pieces; None if not even the whole was refuted in time."""
    assignment = all(model.effect(op) is not None for op in first.prefix[-2 * _WHOLE :])
    if assignment and len(first.prefix) > _WHOLE:
        found = _windowed(model, first, meter)
        if found is not None:
            return _checked(model, found)
    trial = _from_the_start(model, meter)
    if not trial(first.prefix):
        return None
    return _checked(model, Core(_minimal(model, first.prefix, first.impossible, trial, meter)))


def _checked(model: Model, core: Core) -> Core | None:
    """The core, if the independent search agrees or is not done in time; a core that has an order is none."""
    answers = [
        has_order(model, core.operations, state)
        for state in (required(model, core.operations) if core.anywhere else [model.init])
    ]
    if True in answers:
        return None
    return core._replace(checked=None not in answers)


def contradicts(model: Model, operations: Sequence[Op]) -> bool:
    """Whether the independent search finds an order for a whole object: then no way that refuted it is right."""
    return len(operations) <= _ALL and has_order(model, operations, model.init) is True


def _from_the_start(model: Model, meter: Meter) -> Trial:
    return lambda operations: ways.refuted(model, operations, _trial_meter(meter))


def _from_anywhere(model: Model, meter: Meter) -> Trial:
    def trial(operations: Sequence[Op]) -> bool:
        states = required(model, operations)
        return all(ways.refuted(starting(model, state), operations, _trial_meter(meter)) for state in states)

    return trial


def _trial_meter(meter: Meter) -> Meter:
    return Meter(Budget(steps=_TRIAL_STEPS, seconds=None, bytes=meter.budget.bytes))


def _windowed(model: Model, first: Break, meter: Meter) -> Core | None:
    """A core from the last operations before the break, whatever the state was before them (assignment form).

    In any linearization let s be the state at the moment `since`. From s there is an order of what was invoked later, of
    updates that were open then or never answered, each of which may have happened already. So if there is none from any s
    the whole has none. A read that was open then may have read already: it is left out.
    """
    trial = _from_anywhere(model, meter)
    returns = sorted(op.returned for op in first.prefix if op.returned is not None)
    width = _WINDOW
    while width < len(returns) and not meter.is_used_up():
        since = returns[-width]
        window = _visible(model, _since(model, first.prefix, since))
        if all(model.effect(op) is not None for op in window) and trial(window):
            return Core(_minimal(model, window, first.impossible, trial, meter), anywhere=True)
        width *= 2
    return None


def _since(model: Model, prefix: Sequence[Op], since: int) -> list[Op]:
    """What may still happen after a moment."""
    kept = []
    for op in prefix:
        if op.invoked > since or op.returned is None:
            kept.append(op)
        elif op.returned > since and not model.readonly(op):
            kept.append(unanswered(op))
    return kept


def _minimal(model: Model, operations: Sequence[Op], impossible: Op, trial: Trial, meter: Meter) -> list[Op]:
    """Weakens pieces while the rest stays impossible, half as large pieces each time, then one by one until nothing gives."""
    kept = _visible(model, operations)
    size = max(1, len(kept) // 2)
    while not meter.is_used_up():
        begin, before = 0, kept
        while begin < len(kept) and not meter.is_used_up():
            weaker = _visible(model, _weakened(model, kept, begin, begin + size, impossible))
            if weaker != kept and trial(weaker):
                begin = max(0, begin - (len(kept) - len(weaker)) + size)
                kept = weaker
            else:
                begin += size
        if size == 1 and kept == before:
            break
        size = max(1, size // 2)
    return kept


def _weakened(model: Model, operations: Sequence[Op], begin: int, end: int, impossible: Op) -> list[Op]:
    """Without the reads from `begin` to `end`, and with the updates there unanswered."""
    kept = []
    for place, op in enumerate(operations):
        if not begin <= place < end or op.invoked == impossible.invoked:
            kept.append(op)
        elif not model.readonly(op):
            kept.append(op if op.returned is None else unanswered(op))
    return kept


def _visible(model: Model, operations: Sequence[Op]) -> list[Op]:
    """Without unanswered operations that nobody can see, in assignment form (reduction 5; `search/reductions.py` has the proof)."""
    told = story(model, operations)
    if not told.assignment:
        return list(operations)
    wanted = told.wanted()
    return [op for op in operations if op.returned is not None or brings(told.effects[op.invoked]) in wanted]


def _trusting(model: Model, first: Break, operations: Sequence[Op]) -> list[Op]:
    """The operations without what they require, where that was there but none of them brings it.

    A cas counts as the write of its new value then: the write is legal wherever the cas was, and leaves the same state. A
    read is left out.
    """
    told, all_told = story(model, operations), story(model, first.prefix)
    taken = []
    for op in operations:
        effect = told.effects.get(op.invoked)
        asked = NOTHING if effect is None or op.returned is None else effect.requires
        certain = asked in (NOTHING, model.init) or op.invoked == first.impossible.invoked
        if certain or told.of(asked).producers or not all_told.of(asked).producers:
            taken.append(op)
        elif isinstance(model, Register) and effect is not None and brings(effect) is not NOTHING:
            taken.append(msgspec.structs.replace(op, f="write", value=op.value[1], type=OK))
    return taken
