"""Why a list can't have been read so: lost, repeated, reordered or unexplained elements, and the sentence that says it.

Rests on elements that were appended once; where they repeat there is no finding.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence

import msgspec

from checker.history import FAIL, OK, Op, freeze
from checker.models.base import Model
from checker.reasons import phrases
from checker.reasons.registers import Finding

_List = tuple[Hashable, ...]


def find(model: Model, impossible: Op, prefix: Sequence[Op], everything: Sequence[Op]) -> Finding | None:
    """Why `impossible`, a read and the last event of `prefix`, fits no order; None if it takes a search to see."""
    if impossible.f != "read":
        return None
    got = _read(impossible)
    appends = _appends(everything)
    reads = [op for op in prefix if op.f == "read" and op.returned is not None and op is not impossible]
    assert isinstance(model.init, tuple)
    return (
        _strange(got, model.init, impossible, appends)
        or _diverging(got, impossible, reads, appends, everything)
        or _lost(got, impossible, appends, everything)
        or _wrong_order(got, impossible, appends)
    )


def projected(model: Model, core: Sequence[Op], prefix: Sequence[Op]) -> list[Op]:
    """The core with reads of which only those elements are left whose appends stand in it, or which nobody had appended.

    Valid histories stay valid: leave an element's appends out of an order, and it out of every list, and all reads are right.
    """
    assert isinstance(model.init, tuple)
    inside = {freeze(op.value) for op in core if op.f == "append"}
    other = {freeze(op.value) for op in prefix if op.f == "append"} - inside - set(model.init)
    appends = [op for op in prefix if op.f == "append" and freeze(op.value) in inside]
    reads = []
    for op in core:
        if op.f == "read":
            left = [item for item in op.result or () if freeze(item) not in other]
            reads.append(op if left == op.result else msgspec.structs.replace(op, result=left))
    return sorted(appends + reads, key=lambda op: op.invoked)


def _read(op: Op) -> _List:
    return tuple(freeze(item) for item in op.result or ())


def _appends(everything: Sequence[Op]) -> dict[Hashable, list[Op]]:
    found: dict[Hashable, list[Op]] = {}
    for op in everything:
        if op.f == "append":
            found.setdefault(freeze(op.value), []).append(op)
    return found


def _strange(got: _List, initial: _List, impossible: Op, appends: dict[Hashable, list[Op]]) -> Finding | None:
    """Elements that nobody had appended when the read returned, or more often than they were appended."""
    for element, times in Counter(got).items():
        possible = [op for op in appends.get(element, []) if op.type != FAIL]
        in_time = [op for op in possible if op.invoked < (impossible.returned or 0)]
        name = phrases.value(element)
        if times <= len(in_time) + initial.count(element):
            continue
        if len(in_time) + initial.count(element):
            places = " and ".join(str(place + 1) for place, item in enumerate(got) if item == element)
            because = f"it holds {name} {times} times (at {places}), and {name} was appended {_times(len(in_time))}"
            return Finding(because, [*in_time, impossible])
        failed = [op for op in appends.get(element, []) if op.type == FAIL]
        if failed:
            because = (
                f"it holds {name} from {phrases.named(failed[0])}, whose answer was that it failed and did nothing"
            )
            return Finding(because, [failed[0], impossible])
        if possible:
            return Finding(
                f"it holds {name}, which was appended only later, by {phrases.begun(possible[0])}",
                [impossible, possible[0]],
            )
        return Finding(f"it holds {name}, which nobody ever appended", [impossible])
    return None


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _diverging(
    got: _List, impossible: Op, reads: Sequence[Op], appends: dict[Hashable, list[Op]], everything: Sequence[Op]
) -> Finding | None:
    """Another read that is no prefix of this one, nor this one of it; or a longer one that was over before this began."""
    for other in sorted(reads, key=lambda op: -len(op.result or ())):
        theirs = _read(other)
        same = next((place for place, (a, b) in enumerate(zip(got, theirs, strict=False)) if a != b), None)
        who = f"the read by process {other.process} ({phrases.end(other)})"
        if same is not None:
            core = _with_appends([other, impossible], appends, [theirs[same], got[same]])
            if theirs[same] in got:
                before, after = phrases.value(got[same]), phrases.value(theirs[same])
                return Finding(
                    f"it has {before} before {after}, where {who} has them the other way round or only {after}", core
                )
            return Finding(
                f"it does not hold {phrases.value(theirs[same])}, which {who} saw at place {same + 1} where this one has "
                f"{phrases.value(got[same])}" + _fate(theirs[same], other, everything),
                core,
            )
        if len(theirs) > len(got) and other.returned is not None and other.returned < impossible.invoked:
            lost = theirs[len(got) :]
            core = _with_appends([other, impossible], appends, lost[:1])
            return Finding(
                f"it lacks {_some(lost)}, which {who} had seen before it began" + _fate(lost[0], other, everything),
                core,
            )
    return None


def _lost(got: _List, impossible: Op, appends: dict[Hashable, list[Op]], everything: Sequence[Op]) -> Finding | None:
    """Elements whose append was acknowledged before the read began."""
    seen = set(got)
    lost = [
        op
        for element, operations in appends.items()
        if element not in seen
        for op in operations
        if op.type == OK and op.returned is not None and op.returned < impossible.invoked
    ]
    if not lost:
        return None
    first = min(lost, key=lambda op: op.returned or 0)
    because = f"it lacks {phrases.value(first.value)} although {phrases.named(first)} was acknowledged before it began"
    more = f", and {len(lost) - 1} more acknowledged elements" if len(lost) > 1 else ""
    return Finding(because + more + _fate(freeze(first.value), impossible, everything), [first, impossible])


def _wrong_order(got: _List, impossible: Op, appends: dict[Hashable, list[Op]]) -> Finding | None:
    """Elements that stand before others whose append was over when theirs began."""
    latest: Op | None = None
    for element in got:
        for op in appends.get(element, ())[:1]:
            if latest is not None and op.returned is not None and op.returned < latest.invoked:
                because = (
                    f"it has {phrases.value(latest.value)} before {phrases.value(op.value)}, although {phrases.named(op)} was over "
                    f"before {phrases.begun(latest)} began"
                )
                return Finding(because, [op, latest, impossible])
            if latest is None or op.invoked > latest.invoked:
                latest = op
    return None


def _fate(element: Hashable, since: Op, everything: Sequence[Op]) -> str:
    """Whether the element that is missing was seen by a read that began later."""
    later = [op for op in everything if op.f == "read" and op.type == OK and op.invoked > since.invoked]
    if later and not any(element in _read(op) for op in later):
        return f"; none of the {len(later)} later reads holds {phrases.value(element)}: an acknowledged append was lost"
    return ""


def _some(elements: Sequence[Hashable]) -> str:
    shown = ", ".join(phrases.value(element) for element in elements[:3])
    return shown if len(elements) <= 3 else f"{shown} and {len(elements) - 3} more"


def _with_appends(operations: list[Op], appends: dict[Hashable, list[Op]], elements: Sequence[Hashable]) -> list[Op]:
    """The operations and the appends of these elements, in the order of their invocations."""
    found = {op.invoked: op for op in operations}
    for element in elements:
        for op in appends.get(element, ())[:1]:
            found[op.invoked] = op
    return [found[place] for place in sorted(found)]
