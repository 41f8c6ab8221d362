"""The counterexample of a violation, as data: the operations that matter, what was going on, and Porcupine's picture of it.

The verdict says which operations those are; what the cluster and the faults did then is looked up here. Pages are
drawn elsewhere (`report.py`).
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Any

import msgspec

from checker.formats.porcupine import Mark, Partition, Shown, visualisation
from harness.charts import FAMILY_COLOURS, OTHER_FAMILY
from harness.reading import (
    NEVER,
    FaultSpan,
    Operation,
    RunFiles,
    Span,
    elections,
    leader_at,
    leaderships,
    outages,
    shorten,
)
from harness.timeline import answer, label, question, who

MILLISECOND = 1_000_000
SECOND = 1_000_000_000


class Row(msgspec.Struct, frozen=True):
    """One operation of the counterexample, as a table shows it."""

    index: int
    process: str
    operation: str
    result: str
    type: str
    start: float  # milliseconds from the start of the run
    end: float | None
    node: str
    states: str  # the state that it left in the longest order that fits; of the impossible one, the states that were possible
    impossible: bool
    tried: str = ""  # whom it asked and what came of it, where one attempt was not enough


class Fact(msgspec.Struct, frozen=True):
    """Something that was going on at the time, in a sentence; `tone` is a colour's name."""

    name: str
    says: str
    tone: str = ""


def rows(run: RunFiles) -> list[Row]:
    """The operations of the core in the order of their invocations, and the first impossible one.

    They are shown as they were recorded: a core may have forgotten answers that it does not need.
    """
    verdict = run.violated or {}
    first = verdict.get("first_impossible") or {}
    states = {
        (step.get("op") or {}).get("invoke_index"): str(step.get("state")) for step in verdict.get("prefix") or []
    }
    indices = {op.get("invoke_index") for op in [*(verdict.get("core") or []), first]}
    possible = " or ".join(shorten_state(str(state)) for state in verdict.get("possible_states") or [])
    if possible and not verdict.get("possible_states_complete", True):
        possible += ", among others"
    return [
        _row(operation, possible, impossible=True)
        if operation.asked.i == first.get("invoke_index")
        else _row(operation, shorten_state(states.get(operation.asked.i, "")), impossible=False)
        for operation in run.operations
        if operation.asked.i in indices
    ]


def _row(operation: Operation, states: str, *, impossible: bool) -> Row:
    return Row(
        index=operation.asked.i,
        process=str(operation.asked.process),
        operation=question(operation.asked.f, operation.asked.value, 90),
        result=_result(operation),
        type=operation.type,
        start=operation.start / MILLISECOND,
        end=None if operation.end is None else operation.end / MILLISECOND,
        node=operation.node,
        states=states,
        impossible=impossible,
        tried=_tried(operation),
    )


def _tried(operation: Operation) -> str:
    if operation.done is None or operation.attempts < 2:
        return ""
    return "asked " + ", ".join(f"{each.get('node')}: {each.get('error') or 'ok'}" for each in operation.done.attempts)


def shorten_state(text: str, most: int = 90) -> str:
    """A state in words, with its middle left out where it is long: what differs is mostly at the end."""
    return text if len(text) <= most else f"{text[: most // 3]} \N{HORIZONTAL ELLIPSIS} {text[-most // 2 :]}"


def _result(operation: Operation) -> str:
    done = operation.done
    if done is None:
        return "no completion was recorded"
    if done.type == "ok":
        return answer(done.value, 110) if operation.asked.f in {"read", "get"} else "ok"
    if operation.error == "cas-mismatch" and isinstance(done.error, list) and len(done.error) > 1:
        return f"refused: it holds {shorten(done.error[1])}"
    word = "failed" if done.type == "fail" else "unknown"
    return f"{word} ({operation.error})" if operation.error else word


def impossible_operation(run: RunFiles) -> Operation | None:
    """The first impossible operation as it was recorded."""
    first = ((run.violated or {}).get("first_impossible") or {}).get("invoke_index")
    return next((operation for operation in run.operations if operation.asked.i == first), None)


def surroundings(run: RunFiles) -> list[Fact]:
    """What an engineer asks next: who answered, which faults were under way, who led, who was down."""
    operation = impossible_operation(run)
    if operation is None:
        return []
    start, end = operation.start, operation.end or operation.start
    facts = [Fact("Answered by", _answered(operation))] if operation.node else []
    facts += _faults(run, start, end)
    facts += _leaders(run, start, end)
    for family, word in (("kill", "down"), ("pause", "paused")):
        facts += _outages(run, family, word, start, end)
    return facts


def _outages(run: RunFiles, family: str, word: str, start: int, end: int) -> list[Fact]:
    """Nodes that were out at the same time, in one sentence: a fault of many nodes hits them within milliseconds."""
    nodes: dict[int | None, list[Span]] = {}
    for span in outages(run, family):
        if span.start <= end and (span.end is None or span.end >= start):
            nodes.setdefault(span.end, []).append(span)
    facts = []
    for until, spans in nodes.items():
        names = ", ".join(sorted(span.node for span in spans))
        since = min(span.start for span in spans) / SECOND
        ended = "to the end" if until is None else f"to {until / SECOND:.3f} s"
        facts.append(Fact(f"{word.capitalize()} then", f"{names}, from {since:.3f} s {ended}", family))
    return facts


def _answered(operation: Operation) -> str:
    length = "" if operation.end is None else f" after {(operation.end - operation.start) / MILLISECOND:.1f} ms"
    tried = f", attempt {operation.attempts}" if operation.attempts > 1 else ""
    return f"{operation.node}{length}{tried}"


def _faults(run: RunFiles, start: int, end: int) -> list[Fact]:
    active = [fault for fault in run.faults if fault.start <= end and (fault.end is None or fault.end >= start)]
    if active:
        return [Fact("Fault under way", _fault(fault), fault.family) for fault in active]
    before = [fault for fault in run.faults if fault.end is not None and fault.end < start]
    if not before:
        return [Fact("Fault under way", "none, and none had been before")]
    last = max(before, key=lambda fault: fault.end or 0)
    ago = (start - (last.end or 0)) / SECOND
    return [Fact("Fault under way", f"none; the last one, {last.says} ({who(last)}), had healed {ago:.2f} s before")]


def _fault(fault: FaultSpan) -> str:
    shown = "shown to bite" if fault.bit else "never shown to bite"
    until = f" to {fault.end / SECOND:.3f}" if fault.end is not None else ""
    return f"{fault.says}: {who(fault)}, {fault.start / SECOND:.3f}{until} s, {shown}"


def _leaders(run: RunFiles, start: int, end: int) -> list[Fact]:
    newest = leader_at(run, end)
    if newest is None:
        return []
    facts = [Fact("Leader", f"{newest.node}, elected at {newest.start / SECOND:.3f} s in term {newest.term}")]
    for span in leaderships(run):
        overlaps = span.start <= end and (span.end is None or span.end >= start)
        if overlaps and span.term < newest.term and span.node != newest.node:
            says = f"{span.node} still took itself for the leader of term {span.term}"
            facts.append(Fact("Deposed leader", says, "warning"))
    return facts


def porcupine(run: RunFiles) -> dict[str, Any]:
    """The key in question in the format of Porcupine's visualiser (visualization.go), with faults and elections noted.

    The order of events decides, not their times (peers: Porcupine's own rules): ranks are places in the order of events,
    and annotations stand between those. Operations that certainly did nothing are left out, reads without an answer too.
    """
    verdict = run.violated or {}
    known = _known(verdict)
    shown = [
        operation
        for operation in run.operations
        if operation.asked.i in known or _counts(operation, verdict.get("key"))
    ]
    marks = _annotations(run)
    moments = [event.t for event in run.events]
    places = {event.i: 2 * place + 1 for place, event in enumerate(run.events)}
    operations = [
        Shown(
            client=int(each.asked.process) if str(each.asked.process).lstrip("-").isdigit() else 0,
            start=places[each.asked.i],
            end=_returned(each, places),
            original_start=each.start,
            original_end=NEVER if _returned(each, places) == NEVER else each.end,
            description=label(each, 160),
            metadata=f"key {each.asked.key}, {each.node or 'no node'}",
        )
        for each in shown
    ]
    between = [
        Mark(2 * bisect_right(moments, start), 2 * bisect_right(moments, end), more) for start, end, more in marks
    ]
    partial = _partial(verdict, shown)
    return visualisation([Partition(operations, [partial] if partial else [])], between)


def _known(verdict: dict[str, Any]) -> set[Any]:
    """The events' numbers of the operations that the verdict itself names."""
    ops = [*(verdict.get("core") or []), *((step.get("op") or {}) for step in verdict.get("prefix") or [])]
    ops.append(verdict.get("first_impossible") or {})
    return {op.get("invoke_index") for op in ops}


def _counts(operation: Operation, key: Any) -> bool:
    if operation.asked.key != key or operation.type == "fail":
        return False
    return operation.type == "ok" or operation.asked.f not in {"read", "get"}


def _returned(operation: Operation, places: dict[int, int]) -> int:
    unknown = operation.done is None or operation.type == "info"
    return NEVER if unknown or operation.done is None else places[operation.done.i]


def _partial(verdict: dict[str, Any], shown: list[Operation]) -> list[dict[str, Any]]:
    places = {operation.asked.i: place for place, operation in enumerate(shown)}
    steps = [((step.get("op") or {}).get("invoke_index"), step.get("state")) for step in verdict.get("prefix") or []]
    return [{"Index": places[index], "StateDescription": str(state)} for index, state in steps if index in places]


def _annotations(run: RunFiles) -> list[tuple[int, int, dict[str, Any]]]:
    found = [
        (
            fault.start,
            run.end if fault.end is None else max(fault.end, fault.start),
            _annotation(
                "nemesis", fault.says, f"{fault.id}: {who(fault)}", FAMILY_COLOURS.get(fault.family, OTHER_FAMILY)
            ),
        )
        for fault in run.faults
    ]
    found += [
        (max(0, span.start), max(0, span.start), _annotation(span.node, f"leader of term {span.term}", "", ""))
        for span in elections(run)
    ]
    return found


def _annotation(tag: str, says: str, details: str, colour: str) -> dict[str, Any]:
    return {
        "ClientId": 0,
        "Tag": tag,
        "Description": says,
        "Details": details,
        "Annotation": True,
        "TextColor": "",
        "BackgroundColor": colour,
    }
