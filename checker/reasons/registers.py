"""Why a register can't have answered so: the other operations that rule it out, and the sentence that says it.

Rests on values that one operation alone produced: such a value is there for one unbroken while, so two values that each
must have been there before the other are a contradiction (the argument of `fast/zones.py`, value by value). Where values
repeat there is no finding, and `explain.py` searches for a core.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from checker.history import FAIL, OK, Op, freeze
from checker.models.base import NOTHING, Model, show
from checker.reasons import phrases

_FROM_THE_START = -1


class Finding(NamedTuple):
    """A sentence's second half, and the operations that it rests on (none: they have yet to be searched for)."""

    because: str
    core: list[Op]


class _While(msgspec.Struct):
    """One value: who brought it (nobody: it was there at first), and who saw it or took it away."""

    producers: list[Op]
    witnesses: list[Op]

    @property
    def producer(self) -> Op | None:
        return self.producers[0] if self.producers else None

    def all(self) -> list[Op]:
        return self.producers + self.witnesses


def find(model: Model, impossible: Op, prefix: Sequence[Op], everything: Sequence[Op]) -> Finding | None:
    """Why `impossible`, the last event of `prefix`, fits no order; None if it takes more than values produced once.

    `everything` are all operations of the object, those of later and failed ones included.
    """
    effect = model.effect(impossible)
    if effect is None and impossible.type == FAIL:
        return Finding("a cas that meets the value it expects is not refused", [impossible])
    if effect is None or effect.requires is NOTHING:
        return None
    wanted = effect.requires
    values = _values(model, prefix)
    mine = values.get(wanted, _While([], []))
    if not mine.producers and wanted != model.init:
        return _never(model, impossible, wanted, everything)
    if len(mine.producers) + (wanted == model.init) > 1:
        return _outlived(model, impossible, prefix, mine.producers)
    others = [op for op in mine.witnesses if op is not impossible and _takes(model, op) and _takes(model, impossible)]
    if others:
        took = f"{model.describe(wanted)} was taken away by {phrases.named(others[0])}, and nothing brought it back"
        return Finding(took, _distinct([mine.producer, others[0], impossible]))
    return _overwritten(model, impossible, values, everything)


def _values(model: Model, operations: Sequence[Op]) -> dict[Any, _While]:
    """Every value with those that brought it and those that show that it was there."""
    values: dict[Any, _While] = {}
    for op in operations:
        effect = model.effect(op)
        if effect is None:
            continue
        if effect.produces not in (NOTHING, effect.requires):
            values.setdefault(effect.produces, _While([], [])).producers.append(op)
        if effect.requires is not NOTHING and op.returned is not None:
            values.setdefault(effect.requires, _While([], [])).witnesses.append(op)
    return values


def _outlived(model: Model, impossible: Op, prefix: Sequence[Op], producers: Sequence[Op]) -> Finding | None:
    """A value that several operations brought, all of which were over before an update that was over before this began."""
    if any(op.returned is None or op.returned > impossible.invoked for op in producers):
        return None
    last = max(producers, key=lambda op: op.returned or 0)
    for op in prefix:
        effect = model.effect(op)
        replaced = effect is not None and effect.produces not in (NOTHING, *(_states(model, producers)))
        if (
            replaced
            and op.returned is not None
            and op.invoked > (last.returned or 0)
            and op.returned < impossible.invoked
        ):
            text = show(_states(model, producers)[0][0])
            because = f"nothing brought {text} after {phrases.named(last)}, and {phrases.named(op)} replaced it before "
            return Finding(f"{because}{_what(impossible)} began", [])
    return None


def _states(model: Model, producers: Sequence[Op]) -> list[Any]:
    """What these operations bring about."""
    return [effect.produces for op in producers if (effect := model.effect(op)) is not None]


def _takes(model: Model, op: Op) -> bool:
    """A cas that changed the value."""
    effect = model.effect(op)
    return effect is not None and effect.produces not in (NOTHING, effect.requires) and effect.requires is not NOTHING


def _never(model: Model, impossible: Op, wanted: Any, everything: Sequence[Op]) -> Finding:
    """The value came from nowhere, from a failed operation, or from the future."""
    text = model.describe(wanted)
    failed = [op for op in everything if op.type == FAIL and op is not impossible and text in _written(op)]
    later = _values(model, [op for op in everything if op.type != FAIL]).get(wanted, _While([], [])).producers
    if failed:
        because = (
            f"{text} could only come from {phrases.named(failed[0])}, whose answer was that it failed and did nothing"
        )
        return Finding(because, [failed[0], impossible])
    if later:
        because = f"{text} was written only later, by {phrases.begun(later[0])}"
        return Finding(because, [impossible, later[0]])
    return Finding(f"no operation ever wrote {text}" + _other_type(model, impossible, everything), [impossible])


def _written(op: Op) -> list[str]:
    """What a failed write or cas would have written, in words."""
    if op.f == "write":
        return [show(freeze(op.value))]
    changes = op.f == "cas" and freeze(op.value[0]) != freeze(op.value[1])
    return [show(freeze(op.value[1]))] if changes else []


def _other_type(model: Model, impossible: Op, everything: Sequence[Op]) -> str:
    """Says so where the value was written as a number and came back as a string, or the other way round."""
    got = impossible.result
    for op in everything:
        effect = model.effect(op)
        if effect is None or effect.produces is NOTHING or op.type == FAIL:
            continue
        wrote = op.value[1] if op.f == "cas" else op.value
        if type(wrote) is not type(got) and wrote is not None and str(wrote) == str(got):
            kinds = f"{phrases.value(wrote)} was written as {_type(wrote)} and read back as {_type(got)}"
            return f"; {kinds}, which are different values: values are never converted here"
    return ""


def _type(thing: Any) -> str:
    return "a string" if isinstance(thing, str) else "a truth value" if isinstance(thing, bool) else "a number"


def _overwritten(model: Model, impossible: Op, values: dict[Any, _While], everything: Sequence[Op]) -> Finding | None:
    """Another value that came after this one was there, and was there before the impossible operation began.

    Of several the one that needs the fewest operations is named, and of these the latest.
    """
    effect = model.effect(impossible)
    assert effect is not None
    wanted, mine = effect.requires, values[effect.requires]
    settled = _first_end(mine, but=impossible)
    if settled is None and mine.producers:
        return None
    there_at = settled.returned if settled is not None and mine.producers else _FROM_THE_START
    found: list[tuple[int, int, Any, Op, Op]] = []
    for state, other in values.items():
        if state in (wanted, model.init) or len(other.producers) != 1:
            continue
        ends, starts = _least(other, impossible.invoked), _greatest(other, there_at or 0)
        if ends is not None and starts is not None:
            core = _distinct([mine.producer, settled, *other.producers, starts, ends, impossible])
            found.append((len(core), -ends.invoked, state, ends, starts))
    if not found:
        return None
    _, _, state, ends, starts = min(found, key=lambda each: each[:2])
    other = values[state]
    why = _sentence(_Pair(model.describe(wanted), model.describe(state), mine, other), impossible, ends, starts)
    core = _distinct([mine.producer, settled, *other.producers, starts, ends, impossible])
    return Finding(why + _fate(model, impossible, state, other, everything), core)


class _Pair(NamedTuple):
    """The value that was seen and the one that should have been, in words, and what is known of each."""

    old: str
    new: str
    mine: _While
    other: _While


def _first_end(mine: _While, but: Op) -> Op | None:
    """The operation whose return first shows that the value was there; the producer itself if that is early enough."""
    done = [op for op in mine.all() if op is not but and op.returned is not None]
    return min(done, key=lambda op: op.returned or 0, default=None)


def _least(other: _While, before: int) -> Op | None:
    """One that shows that the other value was there before this place; the producer itself where it does."""
    shows = [op for op in other.all() if op.returned is not None and op.returned < before]
    return shows[0] if shows else None


def _greatest(other: _While, after: int) -> Op | None:
    """One that shows that the other value was there after this place; the producer itself where it does."""
    shows = [op for op in other.all() if op.invoked > after]
    return shows[0] if shows else None


def _sentence(pair: _Pair, impossible: Op, ends: Op, starts: Op) -> str:
    what = _what(impossible)
    if ends is starts is pair.other.producer:
        return f"{pair.old} was overwritten by {phrases.named(ends)} before {what} began"
    when = f"was there before {phrases.begun(starts)}" if pair.mine.producers else "was there from the start"
    new = pair.new
    return f"{new} came after {pair.old}, which {when}, and {new} was there before {what} began: {phrases.named(ends)}"


def _what(impossible: Op) -> str:
    return "the read" if impossible.f == "read" else "it"


def _fate(model: Model, impossible: Op, state: Any, other: _While, everything: Sequence[Op]) -> str:
    """Whether the value that should have been there was ever seen: lost, or only not seen by this one."""
    saw = [op for op in everything if op.returned is not None and (e := model.effect(op)) and e.requires == state]
    new = model.describe(state)
    if not saw and other.producers[0].type == OK:
        return f"; no operation ever saw {new}, so an acknowledged write may have been lost"
    earlier = [op for op in saw if op.returned is not None and op.returned < impossible.invoked and op.f == "read"]
    return f"; process {earlier[0].process} had already read {new}" if earlier else ""


def _distinct(operations: Sequence[Op | None]) -> list[Op]:
    """The operations without repetition, in the order of their invocations."""
    found = {op.invoked: op for op in operations if op is not None}
    return [found[place] for place in sorted(found)]
