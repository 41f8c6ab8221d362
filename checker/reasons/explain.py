"""Says why a history is invalid: the first impossible event, what was possible, a small core, and a sentence.

Where it breaks is found in `breaks.py`, what was possible in `states.py`, cores in `cores.py`; arguments that need no search
are in `registers.py` and `lists.py`. Whatever goes wrong in here, the verdict stands.
"""

from __future__ import annotations

import importlib
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

from checker import promises, ways
from checker.budget import Budget, Meter
from checker.history import FAIL, OK, Op
from checker.models.base import NOTHING, Model, State
from checker.models.lists import AppendList
from checker.models.locks import FencingLock, Mutex, OwnerLock
from checker.models.registers import Register
from checker.reasons import cores, phrases, types
from checker.reasons import families as family_reasons
from checker.reasons import lists as list_reasons
from checker.reasons import registers as register_reasons
from checker.reasons.breaks import Break, break_at, first_break
from checker.reasons.cores import Core
from checker.reasons.memory import remembering
from checker.reasons.states import Possible, of_blocks, possible_states
from checker.reasons.stories import story
from checker.verdict import UNKNOWN, Valid, Verdict

_KEYS = 16
"""How many broken objects are looked at to find the earliest violation."""
_SHOWN = 200
"""How many operations of the linearizable prefix and of a core a verdict holds at most."""
_NAMED = 4
"""More states than that which only unanswered updates may have brought are counted, not named."""
_FEW = 12
"""Evidence of more operations, with all their sources, is no core to begin with."""
_TIMES = 9
"""Explaining may take so many times what the check took."""
_SECONDS = 2.0
"""What it may take in any case that the budget allows."""
_LATE = 0.1
"""A violation that was proved at the end of the budget is explained all the same, for this part of its seconds."""
_DISAGREEMENT = (
    "The ways disagree: one of them calls these operations impossible, but the independent search found an order for all of them."
    " That is a mistake of the checker, not of the store: please report it with the history."
)
"""Said instead of a reason: no core of an object that has an order can be right."""


class Broken(NamedTuple):
    """An object that is not linearizable: its operations, and the evidence of the way that found out (none: it gave none)."""

    operations: Sequence[Op]
    evidence: Sequence[Op] = ()


def explain(verdict: Verdict, model: Model, broken: Mapping[Hashable, Broken], meter: Meter) -> None:
    """Fills the verdict with the evidence on the broken object whose violation came first.

    The proof that a history is invalid must outlive any mistake in its explanation: an exception becomes a warning.
    """
    budget = meter.budget
    seconds = None
    if budget.seconds is not None:
        left = max(budget.seconds - meter.elapsed(), _LATE * budget.seconds)
        seconds = min(left, max(_SECONDS, _TIMES * meter.elapsed()))
    own = Meter(Budget(steps=budget.steps, seconds=seconds, bytes=budget.bytes))
    try:
        known = remembering(model)
        _explain(verdict, known, broken, own)
        _place(verdict, known, broken)
    except Exception as error:  # noqa: BLE001 - any mistake of ours, or of a model that is not ours
        what = f"{type(error).__name__}: {error}"
        verdict.key = verdict.key if verdict.key is not None else next(iter(broken))
        verdict.warnings = [*verdict.warnings, f"the violation is proved, but explaining it failed with {what}"]
        verdict.explanation = verdict.explanation or f"It is not linearizable; no explanation: {what}."
    verdict.reason = verdict.explanation


def _explain(verdict: Verdict, model: Model, broken: Mapping[Hashable, Broken], meter: Meter) -> None:
    smallest = sorted(broken, key=lambda key: len(broken[key].operations))[:_KEYS]
    first = min((_located(model, key, broken[key], meter) for key in smallest), key=lambda found: found.end)
    everything = first.operations
    verdict.key = first.key
    verdict.first_impossible = first.impossible.as_dict()
    verdict.explanation = f"{phrases.answered(first.impossible)}, but no order of the operations explains that."
    if first.cut is None or not _explain_quickly(verdict, model, first, everything, meter):
        everything = list(everything)
        found = first.found or break_at(model, first.key, everything, first.end, meter)
        _explain_at_length(verdict, model, found, everything, meter)
    if len(broken) > 1:
        of = "" if len(broken) <= _KEYS else f" of the {_KEYS} smallest"
        verdict.explanation += f" ({len(broken)} keys are not linearizable; this is the one{of} that broke first.)"


class _Located(NamedTuple):
    """Where an object breaks: found on arrays (`cut`, see `columnar.py`) or on operations."""

    key: Hashable
    operations: Sequence[Op]
    impossible: Op
    cut: Any
    found: Break | None

    @property
    def end(self) -> int:
        """The place of the impossible event."""
        return self.impossible.returned or 0


def _located(model: Model, key: Hashable, broken: Broken, meter: Meter) -> _Located:
    columnar = _columnar(model, broken.operations)
    cut = None if columnar is None else columnar.first_break(model, broken.operations, broken.evidence)
    if cut is not None:
        return _Located(key, broken.operations, cut.op, cut, None)
    operations = list(broken.operations)
    found = first_break(model, key, operations, broken.evidence, meter)
    return _Located(key, operations, found.impossible, None, found)


def _columnar(model: Model, operations: Sequence[Op]) -> Any:
    """The module `columnar`, where it pays and can be had."""
    if len(operations) < ways.COMPILED_FROM or not isinstance(model, Register):
        return None
    try:
        # By name and only now, as in `ways.py`: numba may be missing, and takes a second.
        return importlib.import_module("checker.reasons.columnar")
    except ImportError:
        return None


def _explain_quickly(verdict: Verdict, model: Model, first: _Located, everything: Sequence[Op], meter: Meter) -> bool:
    """Explains a register of unique values by the few operations that matter; False if that takes more of them."""
    telling = _columnar(model, everything).telling(first.cut, _SHOWN)
    if telling is None:
        return False
    finding = register_reasons.find(first.impossible, telling.told, telling.recorded)
    cut = Break(first.key, telling.recorded, first.impossible, telling.prefix, (), Valid(()))
    core = cores.argued(model, cut, finding.core, meter, anywhere=finding.anywhere) if finding is not None else None
    if finding is None or core is None:
        return False
    before = telling.before
    _fill_prefix(verdict, model, before.length, before.last, before.last, before.state)
    possible = of_blocks(*telling.states)
    _tell(verdict, model, cut, _Reason(possible, finding.because, core, telling.recorded), everything, meter)
    return True


def _explain_at_length(verdict: Verdict, model: Model, first: Break, everything: Sequence[Op], meter: Meter) -> None:
    """Explains whatever it is by all operations of the object."""
    if isinstance(first.before, Valid):
        order = first.before.witness
        state: State | None = model.init
        for op in order[:-_SHOWN]:
            state = model.step(state, op)
        _fill_prefix(verdict, model, len(order), order[-_SHOWN:], first.relevant, state)
    left = meter.seconds_left()
    possible = possible_states(model, first, meter.within(seconds=None if left is None else left / 3))
    because, core = _finding(model, first, everything, meter)
    _tell(verdict, model, first, _Reason(possible, because, core, everything), everything, meter)
    if core is None and cores.contradicts(model, everything):
        verdict.explanation = _DISAGREEMENT
        verdict.warnings = [*verdict.warnings, _DISAGREEMENT]
    elif not first.certain:
        verdict.explanation += " (Whether an earlier operation is impossible was not decided within the budget.)"


class _Reason(NamedTuple):
    """What was possible, why, what shows it, and at least the operations of the core as they were recorded."""

    possible: Possible
    because: str
    core: Core | None
    recorded: Sequence[Op]


def _tell(
    verdict: Verdict, model: Model, first: Break, reason: _Reason, everything: Sequence[Op], meter: Meter
) -> None:
    """Puts the reason in the verdict, and in words."""
    possible, because, core, recorded = reason
    verdict.possible_states = [_clipped(model, state) for state in possible.states]
    verdict.possible_states_complete = possible.complete
    if core is not None:
        verdict.core = _core_rows(core, recorded)
        verdict.core_from = "any state" if core.anywhere else "the initial state"
    mixed = types.says(model, first.impossible, everything, meter)
    because = "; ".join(text for text in (because, mixed) if text)
    verdict.explanation = _sentence(model, first, possible, because, core)


def _place(verdict: Verdict, model: Model, broken: Mapping[Hashable, Broken]) -> None:
    """Says which weaker promises were kept."""
    undecided = sum(1 for row in verdict.per_key if row["verdict"] == UNKNOWN)
    operations = {key: each.operations for key, each in broken.items()}
    verdict.promises = promises.judge(model, operations, undecided_keys=undecided)
    if verdict.promises["sentence"]:
        verdict.explanation += f" {verdict.promises['sentence']}"


def _fill_prefix(
    verdict: Verdict, model: Model, length: int, last: Sequence[Op], recorded: Sequence[Op], state: State | None
) -> None:
    """The longest linearizable prefix: its last operations as an order, with the state after each; `state` is that before them."""
    verdict.prefix_length = length
    originals = _originals(last, recorded)
    for op in last:
        state = model.step(state, op)
        verdict.prefix.append({"op": originals[op.invoked].as_dict(), "state": _clipped(model, state)})


def _originals(operations: Sequence[Op], recorded: Sequence[Op]) -> dict[int, Op]:
    """The operations as they were recorded, by place of invocation."""
    wanted = {op.invoked for op in operations}
    return {op.invoked: op for op in recorded if op.invoked in wanted}


def _clipped(model: Model, state: State) -> str:
    text = model.describe(state)
    return text if len(text) <= _SHOWN else f"{text[:90]} ... {text[-90:]}"


def _finding(model: Model, first: Break, everything: Sequence[Op], meter: Meter) -> tuple[str, Core | None]:
    """Why, and the operations that show it: by an argument where the values allow one, else by a search."""
    found: register_reasons.Finding | None = None
    if isinstance(model, Register) and not any(op.f == "append" for op in first.prefix):
        found = register_reasons.find(first.impossible, story(model, first.prefix), everything)
    elif isinstance(model, AppendList):
        found = list_reasons.find(model, first.impossible, first.prefix, everything)
    else:
        found = family_reasons.find(model, first.impossible, first.prefix, everything)
    core = None
    if found is not None and found.core:
        core = cores.argued(model, first, found.core, meter, anywhere=found.anywhere)
    # Without knowing what the evidence asks for nobody can add what brought that.
    if core is None and first.evidence and all(model.effect(op) is not None for op in first.prefix):
        evidence = cores.with_sources(model, first, first.evidence)
        core = cores.argued(model, first, evidence, meter) if len(evidence) <= _FEW else None
    return found.because if found else "", core or cores.searched(model, first, meter)


def _core_rows(core: Core, everything: Sequence[Op]) -> list[dict[str, Any]]:
    """The operations of a core as they were recorded, each with what it is taken as.

    ok, info (its answer is not needed) or fail; write: a cas, of which the new value is needed alone; part: a read, of
    which only the elements that the core appends are needed.
    """
    originals = _originals(core.operations, everything)
    rows = []
    for op in core.operations[-_SHOWN:]:
        recorded = originals[op.invoked]
        taken = op.f if op.f != recorded.f else "part" if op.type == OK and op.result != recorded.result else op.type
        rows.append({**recorded.as_dict(), "taken_as": taken})
    return rows


def _sentence(model: Model, first: Break, possible: Possible, because: str, core: Core | None) -> str:
    """One or two sentences: what was answered, what was possible, why."""
    answered = phrases.answered(first.impossible)
    if isinstance(model, AppendList):
        return f"{answered}, but no order of the operations leaves that list: {because or _count(core)}."
    if because and not isinstance(model, Register):
        return f"{answered}, but {because}."
    middle = f"{answered}, but {_left(model, first.impossible, possible)}"
    if because:
        return f"{middle}: {because}."
    count = _count(core)
    return f"{middle}. {count[0].upper()}{count[1:]}."


def _left(model: Model, impossible: Op, possible: Possible) -> str:
    """What the orders of the other operations leave, unless that is what the operation asked for.

    A cas can meet what it expects and be impossible all the same: for what it does to the operations after it.
    """
    effect = model.effect(impossible)
    refused = effect is None and impossible.type == FAIL
    asked = effect is not None and effect.requires is not NOTHING
    if refused or (asked and effect is not None and effect.requires in possible.states):
        return "no order of the operations allows that"
    if not possible.states:
        return "no order of the operations explains that"
    what = "the lock " if isinstance(model, Mutex | OwnerLock | FencingLock) else ""
    return f"{'every order of the operations leaves' if possible.complete else 'the orders that were tried leave'} {what}{_states(model, possible)}"


def _states(model: Model, possible: Possible) -> str:
    """The states in words; those that only unanswered updates may have brought are counted where they are many."""
    texts = [phrases.clip(model.describe(state)) for state in possible.states]
    sure = len(texts) - possible.unanswered
    if possible.unanswered > _NAMED and sure:
        return phrases.one_of([*texts[:sure], f"what one of {possible.unanswered} unanswered updates would leave"])
    return phrases.one_of(texts)


def _count(core: Core | None) -> str:
    if core is None:
        return "which operations show it was not found within the budget"
    if len(core.operations) == 1:
        return "this operation is impossible by itself"
    those = f"these {len(core.operations)} operations alone are impossible together"
    return f"{those}, whatever the state was before them" if core.anywhere else those
