"""Why a register can't have answered so: the other operations that rule it out, and the sentence that says it.

Rests on values that one operation alone produced: such a value is there for one unbroken while, so two values that each
must have been there before the other are a contradiction (the argument of `fast/zones.py`, value by value). Where values
repeat there is no finding, and `cores.py` searches.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from checker.history import FAIL, OK, Op, freeze
from checker.models.base import NOTHING, Model, State
from checker.reasons import phrases
from checker.reasons.stories import Story, While, story

_FROM_THE_START = -1
_NEVER = 1 << 62


class Finding(NamedTuple):
    """A sentence's second half, and the operations that it rests on (none: they have yet to be searched for).

    `anywhere`: they are impossible whatever the state was before them.
    """

    because: str
    core: list[Op]
    anywhere: bool = False


def find(impossible: Op, told: Story, everything: Sequence[Op]) -> Finding | None:
    """Why `impossible`, the last event of what is `told`, fits no order; None if it takes more than values produced once.

    `everything` are all operations of the object, those of later and failed ones included.
    """
    model = told.model
    effect = model.effect(impossible)
    if effect is None and impossible.type == FAIL:
        return Finding("a cas that meets the value it expects is not refused", [impossible])
    if effect is None or effect.requires is NOTHING:
        return None
    wanted = effect.requires
    mine = told.of(wanted)
    if not mine.producers and wanted != model.init:
        return _never(model, impossible, wanted, everything)
    if len(mine.producers) + (wanted == model.init) > 1:
        return _outlived(told, impossible, mine.producers)
    others = [op for op in mine.witnesses if op is not impossible and told.takes(op)]
    if others and told.takes(impossible):
        took = f"{model.describe(wanted)} was taken away by {phrases.named(others[0])}, and nothing brought it back"
        return Finding(took, _distinct([mine.producer, others[0], impossible]))
    return _overwritten(told, impossible, wanted, everything) or _outlived(told, impossible, mine.producers)


def _outlived(told: Story, impossible: Op, producers: Sequence[Op]) -> Finding | None:
    """A value that several operations brought, all of which were over before an update that was over before this began."""
    if not producers:
        return None
    last = max(op.returned or _NEVER for op in producers)
    mine = {op.invoked for op in producers}
    for known in told.values.values():
        for op in known.producers:
            if (
                op.invoked not in mine
                and op.returned is not None
                and last < op.invoked
                and op.returned < impossible.invoked
            ):
                text = told.model.describe(told.effects[impossible.invoked].requires)
                newest = max(producers, key=lambda each: each.returned or 0)
                because = (
                    f"nothing brought {text} after {phrases.named(newest)}, and {phrases.named(op)} replaced it before "
                    f"{_what(impossible)} began"
                )
                return Finding(because, _distinct([newest, op, impossible]), anywhere=True)
    return None


def _never(model: Model, impossible: Op, wanted: State, everything: Sequence[Op]) -> Finding:
    """The value came from nowhere, from a failed operation, or from the future."""
    text = model.describe(wanted)
    failed = [op for op in everything if op.type == FAIL and op is not impossible and wanted in written(op)]
    later = story(model, (op for op in everything if op.type != FAIL)).of(wanted).producers
    if failed:
        because = (
            f"{text} could only come from {phrases.named(failed[0])}, whose answer was that it failed and did nothing"
        )
        return Finding(because, [failed[0], impossible])
    if later:
        because = f"{text} was written only later, by {phrases.begun(later[0])}"
        return Finding(because, [impossible, later[0]])
    return Finding(f"no operation ever wrote {text}", [impossible])


def written(op: Op) -> list[State]:
    """The state that a failed write or cas would have left."""
    if op.f == "write":
        return [(freeze(op.value),)]
    changes = op.f == "cas" and freeze(op.value[0]) != freeze(op.value[1])
    return [(freeze(op.value[1]),)] if changes else []


def _overwritten(told: Story, impossible: Op, wanted: State, everything: Sequence[Op]) -> Finding | None:
    """Another value that came after this one was there, and was there before the impossible operation began.

    Of several the one that needs the fewest operations is named, and of these the latest.
    """
    mine = told.of(wanted)
    settled = _first_end(mine, but=impossible)
    if settled is None and mine.producers:
        return None
    there_at = settled.returned if settled is not None and mine.producers else _FROM_THE_START
    found: list[tuple[int, int, State, Op, Op]] = []
    for state, other in told.values.items():
        if len(other.producers) != 1 or state in (wanted, told.model.init):
            continue
        ends = _least(other, impossible.invoked)
        starts = None if ends is None else _greatest(other, there_at or 0)
        if ends is not None and starts is not None:
            core = _distinct([mine.producer, settled, *other.producers, starts, ends, impossible])
            found.append((len(core), -ends.invoked, state, ends, starts))
    if not found:
        return None
    _, _, state, ends, starts = min(found, key=lambda each: each[:2])
    other = told.values[state]
    describe = told.model.describe
    why = _sentence(_Pair(describe(wanted), describe(state), mine, other), impossible, ends, starts)
    core = _distinct([mine.producer, settled, *other.producers, starts, ends, impossible])
    return Finding(why + _fate(told.model, impossible, state, other, everything), core)


class _Pair(NamedTuple):
    """The value that was seen and the one that should have been, in words, and what is known of each."""

    old: str
    new: str
    mine: While
    other: While


def _first_end(mine: While, but: Op) -> Op | None:
    """The operation whose return first shows that the value was there; the producer itself if that is early enough."""
    done = [op for op in mine.all() if op is not but and op.returned is not None]
    return min(done, key=lambda op: op.returned or 0, default=None)


def _least(other: While, before: int) -> Op | None:
    """One that shows that the other value was there before this place; the producer itself where it does."""
    return next((op for op in _each(other) if op.returned is not None and op.returned < before), None)


def _greatest(other: While, after: int) -> Op | None:
    """One that shows that the other value was there after this place; the producer itself where it does."""
    return next((op for op in _each(other) if op.invoked > after), None)


def _each(known: While) -> Iterable[Op]:
    yield from known.producers
    yield from known.witnesses


def _sentence(pair: _Pair, impossible: Op, ends: Op, starts: Op) -> str:
    what = _what(impossible)
    if ends is starts is pair.other.producer:
        return f"{pair.old} was overwritten by {phrases.named(ends)} before {what} began"
    when = f"was there before {phrases.begun(starts)}" if pair.mine.producers else "was there from the start"
    new = pair.new
    return f"{new} came after {pair.old}, which {when}, and {new} was there before {what} began: {phrases.named(ends)}"


def _what(impossible: Op) -> str:
    return "the read" if impossible.f == "read" else "it"


def _fate(model: Model, impossible: Op, state: State, other: While, everything: Sequence[Op]) -> str:
    """Whether the value that should have been there was ever seen: lost, or only not seen by this one."""
    new = model.describe(state)
    for op in other.witnesses:
        if op.f == "read" and op.returned is not None and op.returned < impossible.invoked:
            return f"; process {op.process} had already read {new}"
    lost = (
        other.producers[0].type == OK and not other.witnesses and not any(_saw(model, op, state) for op in everything)
    )
    if lost:
        return f"; no operation ever saw {new}, so an acknowledged write may have been lost"
    return ""


def _saw(model: Model, op: Op, state: State) -> bool:
    """Whether an answered operation met the state."""
    if op.returned is None:
        return False
    effect = model.effect(op)
    return effect is not None and effect.requires == state


def _distinct(operations: Sequence[Op | None]) -> list[Op]:
    """The operations without repetition, in the order of their invocations."""
    found = {op.invoked: op for op in operations if op is not None}
    return [found[place] for place in sorted(found)]
