"""What the timeline of a page draws, as compact columns: operations, faults, leaders and nodes on one axis.

Everything is computed here and only drawn in `page/drawing.js`. Times are whole microseconds from the start of the run.
Of a long history the operations nearest to the point of interest are sent, with those of the key that is in question;
the rest is there as counts per slice of time. Each operation is sent either whole or not at all.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from harness.reading import FaultSpan, Operation, RunFiles, Span, elections, leaderships, outages, shorten

MOST_OPERATIONS = 20_000
MOST_CHARACTERS = 2_000  # of one value in a note
SLICES = 600
MICROSECOND = 1_000
LATEST = 2**52  # the greatest number of microseconds that JavaScript counts one by one, and more than any run has
LEAST_VIEW = 60_000  # microseconds: a view opened on an operation shows at least this much
MOST_BEFORE = 3_000_000  # microseconds: what lies further back is told at the edge of its lane
TYPES = ("ok", "fail", "info")


class Columns(msgspec.Struct):
    """Operations as columns of equal length; `key` and `note` are places in lists of their own."""

    start: list[int] = []
    length: list[int] = []  # microseconds until the completion was recorded; -1: it never was
    index: list[int] = []
    process: list[int | str] = []
    worker: list[int] = []
    type: list[int] = []  # a place in TYPES
    key: list[int] = []
    label: list[str] = []
    note: list[int] = []


class Dictionary:
    """Strings that occur often, each sent once."""

    def __init__(self) -> None:
        self.places: dict[str, int] = {}

    def place(self, text: str) -> int:
        return self.places.setdefault(text, len(self.places))


def timeline(run: RunFiles, most: int = MOST_OPERATIONS, *, core_only: bool = False) -> dict[str, Any]:
    """The data of the timeline.

    It opens at the first impossible operation where there is one, else on the whole run. With `core_only` nothing but
    the operations of the counterexample is sent.
    """
    verdict = run.violated or {}
    first = (verdict.get("first_impossible") or {}).get("invoke_index")
    core = {op.get("invoke_index") for op in verdict.get("core") or []} | ({first} - {None})
    key = verdict.get("key") if verdict else None
    focus = next((operation for operation in run.operations if operation.asked.i == first), None)
    wanted = [operation for operation in run.operations if operation.asked.i in core] if core_only else run.operations
    chosen, window = choose(wanted, focus, key, core, most)
    notes, keys = Dictionary(), Dictionary()
    columns = Columns()
    for operation in chosen:
        add(columns, operation, keys, notes, long=operation.asked.i in core)
    return {
        "end": run.end // MICROSECOND,
        "whole": len(chosen) == len(wanted),
        "window": window,
        "open": opening(run, focus, chosen if core_only else _of(chosen, core)),
        "first": _place(columns, first),
        "core": [place for place, index in enumerate(columns.index) if index in core],
        "key": keys.places.get(_text(key), -1) if verdict else -1,
        "keys": list(keys.places),
        "notes": list(notes.places),
        "operations": columns,
        "density": density(run.operations, run.end),
        **lanes(run),
    }


def _of(operations: Iterable[Operation], core: set[Any]) -> list[Operation]:
    return [operation for operation in operations if operation.asked.i in core]


def _place(columns: Columns, index: int | None) -> int:
    return columns.index.index(index) if index in columns.index else -1


def choose(
    operations: list[Operation], focus: Operation | None, key: Any, core: set[Any], most: int
) -> tuple[list[Operation], list[int]]:
    """At most `most` operations (those of the counterexample always), and the stretch of time that they cover whole."""
    if len(operations) <= most:
        return operations, [0, LATEST]
    moment = focus.start if focus else 0
    told = [operation for operation in operations if operation.asked.i in core]
    on_key = [operation for operation in operations if focus and operation.asked.key == key]
    near = sorted(operations, key=lambda operation: abs(operation.start - moment))
    nearest = near[: max(0, most - len(on_key))]
    reach = max((abs(operation.start - moment) for operation in nearest), default=0)
    taken = {id(operation) for group in (told, on_key[:most], nearest) for operation in group}
    window = [max(0, moment - reach) // MICROSECOND, (moment + reach) // MICROSECOND]
    return [operation for operation in operations if id(operation) in taken], window


def add(columns: Columns, operation: Operation, keys: Dictionary, notes: Dictionary, *, long: bool) -> None:
    """Appends one operation to the columns; with `long` its note has its values in full."""
    asked = operation.asked
    columns.start.append(asked.t // MICROSECOND)
    columns.length.append(-1 if operation.end is None else max(1, (operation.end - asked.t) // MICROSECOND))
    columns.index.append(asked.i)
    columns.process.append(asked.process)
    columns.worker.append(asked.worker)
    columns.type.append(TYPES.index(operation.type) if operation.type in TYPES else 2)
    columns.key.append(keys.place(_text(asked.key)))
    columns.label.append(label(operation))
    columns.note.append(
        notes.place("\n".join(part for part in (full(operation) if long else "", note(operation)) if part))
    )


def _text(key: Any) -> str:
    return key if isinstance(key, str) else msgspec.json.encode(key).decode()


def full(operation: Operation) -> str:
    """What a label had to leave out; empty where it left out nothing."""
    told = label(operation, MOST_CHARACTERS)
    return told if told != label(operation) else ""


def label(operation: Operation, most: int = 48) -> str:
    """An operation in a few words: what was asked, and what came back."""
    asked, done = operation.asked, operation.done
    told = question(asked.f, asked.value, most)
    if done and done.type == "ok" and asked.f == "read":
        told += f" \N{RIGHTWARDS ARROW} {answer(done.value, most)}"
    return told


def question(f: str, value: Any, most: int = 48) -> str:
    """What was asked: `read`, `write 3`, `cas 3 \N{RIGHTWARDS ARROW} 4`."""
    if f == "cas" and isinstance(value, list) and len(value) == 2:
        return f"cas {shorten(value[0], most)} \N{RIGHTWARDS ARROW} {shorten(value[1], most)}"
    return f if value is None or f == "read" else f"{f} {shorten(value, most)}"


def answer(value: Any, most: int = 48) -> str:
    """What a read returned, where null stands for a key that is absent."""
    return "nothing" if value is None else shorten(value, most)


def note(operation: Operation) -> str:
    """Where it was answered, what went wrong, and the attempts, for those who point at an operation."""
    done = operation.done
    if done is None:
        return "no completion was recorded"
    lines = [f"answered by {done.node}" if done.type == "ok" else f"last asked: {done.node}"] if done.node else []
    if done.error is not None:
        error = done.error if isinstance(done.error, list) else [done.error]
        lines.append(": ".join(str(part) for part in error))
    if done.attempts:
        lines.append(
            "attempts: " + ", ".join(f"{each.get('node')} {each.get('error') or 'ok'}" for each in done.attempts)
        )
    return "\n".join(lines)


def opening(run: RunFiles, focus: Operation | None, core: list[Operation]) -> list[int]:
    """The stretch of time that is seen first: the counterexample with room about it, else the whole run.

    Of a counterexample whose operations lie far apart the end is shown, where the impossible one is.
    """
    if focus is None:
        return [0, run.end // MICROSECOND]
    end = (focus.end or focus.start) // MICROSECOND
    start = min(operation.start for operation in [focus, *core]) // MICROSECOND
    start = max(start, end - MOST_BEFORE)
    room = max(LEAST_VIEW, end - start)
    return [max(0, start - room // 6), end + room // 4]


def density(operations: list[Operation], end: int) -> dict[str, Any]:
    """How many operations ended in each slice of the run, by type."""
    width = max(1, -(-(end + 1) // SLICES))
    counts = {type_: [0] * SLICES for type_ in TYPES}
    for operation in operations:
        moment = operation.start if operation.end is None else operation.end
        counts.get(operation.type, counts["info"])[min(SLICES - 1, max(0, moment // width))] += 1
    return {"width": width // MICROSECOND, **counts}


def lanes(run: RunFiles) -> dict[str, Any]:
    """Faults, leaders and nodes; a missing end is null."""
    return {
        "nodes": run.nodes,
        "faults": [_fault(fault) for fault in run.faults],
        "outages": [
            {"node": span.node, "family": family, "start": _micro(span.start), "end": _micro(span.end)}
            for family in ("kill", "pause")
            for span in outages(run, family)
        ],
        "leaders": [
            {"node": span.node, "term": span.term, "start": _micro(span.start), "end": _micro(span.end)}
            for span in leaderships(run)
        ],
        "elected": [
            {"node": span.node, "term": span.term, "start": _micro(span.start), "end": _micro(span.end)}
            for span in reigns(run)
        ],
    }


def reigns(run: RunFiles) -> list[Span]:
    """Who led the latest term, with gaps where nobody did: from an election to the next one or to the leader's end."""
    lost = {(span.node, span.term): span.end for span in leaderships(run)}
    found = []
    for span in elections(run):
        ends = [end for end in (span.end, lost.get((span.node, span.term))) if end is not None]
        found.append(Span(span.node, span.start, min(ends, default=None), span.term))
    return found


def _fault(fault: FaultSpan) -> dict[str, Any]:
    return {
        "id": fault.id,
        "family": fault.family,
        "says": fault.says,
        "who": who(fault),
        "start": _micro(fault.start),
        "end": _micro(fault.end),
        "bit": fault.bit,
        "healed": fault.healed,
    }


def _micro(moment: int | None) -> int | None:
    return None if moment is None else moment // MICROSECOND


def who(fault: FaultSpan) -> str:
    """What a fault acted on, in a few words: nodes, or the two sides of a cut."""
    edges = {(str(a), str(b)) for a, b in fault.resolved.get("edges") or []}
    if not edges:
        return ", ".join(fault.nodes)
    nodes = sorted({node for edge in edges for node in edge})
    for node in nodes:
        # A clean cut: everybody whom the first node does not hear stands on the other side, in both directions.
        far = {other for other in nodes if (other, node) in edges and (node, other) in edges}
        near = [other for other in nodes if other not in far]
        if far and edges == {(a, b) for a in near for b in far} | {(b, a) for a in near for b in far}:
            return " | ".join(sorted((" ".join(near), " ".join(sorted(far))), key=len))
    heard: dict[str, list[str]] = {}
    for a, b in sorted(edges):
        heard.setdefault(b, []).append(a)
    senders = {tuple(sources) for sources in heard.values()}
    if len(senders) == 1:
        return f"{' '.join(senders.pop())} \N{RIGHTWARDS ARROW WITH STROKE} {' '.join(heard)}"
    return "; ".join(f"{' '.join(sources)} \N{RIGHTWARDS ARROW WITH STROKE} {node}" for node, sources in heard.items())
