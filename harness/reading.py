"""The files of a run, read back: operations, faults, leaders and verdicts, for tables and pages.

Whatever is missing, empty or torn (a harness that was killed in the middle of a line) is left out and named in
`warnings`; a page can be drawn of any folder that has a `run.json`. Nothing is judged or drawn here.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

NEVER = 2**63 - 1
UPDATES = frozenset({"write", "cas", "append", "delete"})
ENDS_OF_LEADERSHIP = frozenset({"resigned", "process-exited", "started", "ready"})


class Event(msgspec.Struct):
    """One line of history.jsonl."""

    type: str
    process: int | str
    f: str = ""
    i: int = -1
    t: int = 0
    worker: int = -1
    workload: str = ""
    key: Any = None
    value: Any = None
    op: str = ""
    node: str = ""
    error: Any = None
    attempts: list[dict[str, Any]] = []


class Operation(msgspec.Struct):
    """An invocation with its completion; times in nanoseconds from the start of the run.

    `end` is None where no completion was recorded. `type` is `info` then. An operation of type `info` may have taken
    effect at any time after `start`, also long after `end`.
    """

    asked: Event
    done: Event | None = None

    @property
    def type(self) -> str:
        return self.done.type if self.done else "info"

    @property
    def start(self) -> int:
        return self.asked.t

    @property
    def end(self) -> int | None:
        return self.done.t if self.done else None

    @property
    def node(self) -> str:
        return self.done.node if self.done else ""

    @property
    def attempts(self) -> int:
        return max(1, len(self.done.attempts)) if self.done else 1

    @property
    def error(self) -> str:
        """The code of the error, empty for an ok."""
        error = self.done.error if self.done else "no completion was recorded"
        return str(error[0] if isinstance(error, list) and error else error or "")


class Step(msgspec.Struct, frozen=True):
    """One step of a fault's life with what was seen."""

    phase: str
    t: int
    evidence: dict[str, Any]


class FaultSpan(msgspec.Struct):
    """A fault from request to shown heal, as far as it came."""

    id: str
    family: str
    kind: str
    says: str
    steps: list[Step] = []
    resolved: dict[str, Any] = {}

    def at(self, *phases: str) -> int | None:
        """When the first of these phases that was reached was reached."""
        return next((step.t for phase in phases for step in self.steps if step.phase == phase), None)

    @property
    def start(self) -> int:
        return self.at("installed", "requested") or 0

    @property
    def end(self) -> int | None:
        """None: the run ended before the fault did."""
        return self.at("healed", "heal-failed", "refused", "failed", "heal-shown")

    @property
    def bit(self) -> bool:
        return self.at("bitten") is not None

    @property
    def healed(self) -> bool:
        return self.at("heal-shown") is not None

    @property
    def nodes(self) -> list[str]:
        """The nodes that the fault acted on; for a cut: those that it touches."""
        for name in ("nodes", "targets", "node"):
            found = self.resolved.get(name)
            if found:
                return [found] if isinstance(found, str) else [str(node) for node in found]
        return sorted({str(node) for edge in self.resolved.get("edges") or [] for node in edge})


class Span(msgspec.Struct, frozen=True):
    """A stretch of time of one node; `end` is None where it lasted to the end of the run."""

    node: str
    start: int
    end: int | None
    term: int = 0


class RunFiles(msgspec.Struct):
    """Everything that a page shows of one run."""

    folder: Path
    run: dict[str, Any]
    events: list[Event]
    operations: list[Operation]
    faults: list[FaultSpan]
    cluster: list[dict[str, Any]]
    checks: list[dict[str, Any]]
    warnings: list[str]

    @property
    def end(self) -> int:
        """The last moment that anything was recorded, in nanoseconds."""
        ends = [event.t for event in self.events[-1:]]
        ends += [step.t for fault in self.faults for step in fault.steps]
        return max([*ends, 1])

    @property
    def nodes(self) -> list[str]:
        """The ids of all nodes, in their natural order."""
        count = (self.run.get("plan") or {}).get("nodes") or 0
        named = {f"n{number + 1}" for number in range(count)}
        named |= {str(line["node"]) for line in self.cluster if line.get("node")}
        return sorted(named, key=lambda node: (len(node), node))

    @property
    def violated(self) -> dict[str, Any] | None:
        """The verdict on a history that convicts the store, if a checker gave one; of several the one that the run tells about."""
        invalid = [check for check in self.checks if check.get("verdict") == "invalid" and "broken" not in check]
        told = [check for check in invalid if check.get("explanation") == self.run.get("explanation")]
        return next(iter(told or invalid), None)


def read_run(folder: Path) -> RunFiles:
    """Reads a run folder.

    Raises:
        FileNotFoundError: there is no run.json.
        msgspec.DecodeError: run.json is not JSON (it is written whole, so something else damaged it).
    """
    warnings: list[str] = []
    run = msgspec.json.decode((folder / "run.json").read_bytes(), type=dict[str, Any])
    events = _events(folder / "history.jsonl", warnings)
    return RunFiles(
        folder=folder,
        run=run,
        events=events,
        operations=paired(events),
        faults=_faults(_dicts(folder / "faults.jsonl", warnings)),
        cluster=[line for line in _dicts(folder / "cluster.jsonl", warnings) if isinstance(line.get("t"), int)],
        checks=_checks(folder / "checks", warnings),
        warnings=warnings,
    )


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    if path.is_file():
        yield from enumerate(path.read_bytes().split(b"\n"), start=1)


def _events(path: Path, warnings: list[str]) -> list[Event]:
    decoder = msgspec.json.Decoder(Event)
    events = []
    for number, line in _lines(path):
        if not line:
            continue
        try:
            events.append(decoder.decode(line))
        except msgspec.DecodeError:
            warnings.append(f"{path.name}, line {number} is torn or no event, and was left out")
    return events


def _dicts(path: Path, warnings: list[str]) -> list[dict[str, Any]]:
    decoder = msgspec.json.Decoder(dict[str, Any])
    found = []
    for number, line in _lines(path):
        if not line:
            continue
        try:
            found.append(decoder.decode(line))
        except msgspec.DecodeError:
            warnings.append(f"{path.name}, line {number} is torn, and was left out")
    return found


def _checks(folder: Path, warnings: list[str]) -> list[dict[str, Any]]:
    found = []
    for path in sorted(folder.glob("*.json")):
        try:
            check = msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
        except msgspec.DecodeError:
            warnings.append(f"checks/{path.name} is torn, and was left out")
            continue
        found.append({"workload": path.stem, **check})
    return found


def paired(events: Iterable[Event]) -> list[Operation]:
    """Operations in the order of their invocations. A completion without an invocation is passed over."""
    operations = []
    open_ones: dict[int | str, Operation] = {}
    for event in events:
        if event.type == "invoke":
            operation = open_ones[event.process] = Operation(event)
            operations.append(operation)
        elif event.process in open_ones:
            open_ones.pop(event.process).done = event
    return operations


def _faults(lines: Iterable[dict[str, Any]]) -> list[FaultSpan]:
    spans: dict[str, FaultSpan] = {}
    for line in lines:
        name = str(line.get("fault", "?"))
        family, kind = str(line.get("family", "")), str(line.get("kind", ""))
        span = spans.setdefault(name, FaultSpan(name, family, kind, str(line.get("says") or kind)))
        span.resolved = {**span.resolved, **(line.get("resolved") or {})}
        span.steps.append(Step(str(line.get("phase", "")), int(line.get("t", 0)), line.get("evidence") or {}))
    return sorted(spans.values(), key=lambda span: span.start)


def elections(run: RunFiles) -> list[Span]:
    """Who won which term and when; each lasts until the next one was won. Sorted by time."""
    won = [line for line in run.cluster if line.get("kind") == "leader-elected"]
    won.sort(key=lambda line: (line["t"], line.get("term", 0)))
    ends = [line["t"] for line in won[1:]] + [None]
    return [Span(str(line["node"]), line["t"], end, line.get("term", 0)) for line, end in zip(won, ends, strict=False)]


def leaderships(run: RunFiles) -> list[Span]:
    """How long each node took itself for the leader: a deposed leader that does not know it yet is still there."""
    spans: list[Span] = []
    deaths = [Span(span.node, span.start, span.end) for span in outages(run, "kill")]
    for elected in elections(run):
        later = [line["t"] for line in run.cluster if _ends(line, elected)]
        later += [death.start for death in deaths if death.node == elected.node and death.start >= elected.start]
        spans.append(Span(elected.node, elected.start, min(later, default=None), elected.term))
    return spans


def _ends(line: dict[str, Any], elected: Span) -> bool:
    if line.get("node") != elected.node or line["t"] < elected.start:
        return False
    if line.get("kind") == "role":
        return line.get("role") != "leader"
    return line.get("kind") in ENDS_OF_LEADERSHIP and line["t"] > elected.start


def outages(run: RunFiles, family: str) -> list[Span]:
    """When nodes were down (`kill`) or stood still (`pause`), and nodes that died by themselves."""
    spans = [
        Span(node, fault.start, fault.end)
        for fault in run.faults
        if fault.family == family and fault.at("installed") is not None
        for node in fault.nodes
    ]
    if family == "kill":
        spans += [
            Span(str(line["node"]), line["t"], None) for line in run.cluster if line.get("kind") == "process-exited"
        ]
    return spans


def leader_at(run: RunFiles, moment: int) -> Span | None:
    """The winner of the latest term known at a moment."""
    won = elections(run)
    place = bisect_right([span.start for span in won], moment)
    return max(won[:place], key=lambda span: span.term, default=None)


def shorten(value: Any, most: int = 72) -> str:
    """A value for people: JSON, but lists with blanks between their elements, so that lines can be broken there.

    Of a long list the end is kept: what differs is mostly there.
    """
    if not isinstance(value, list):
        text = msgspec.json.encode(value).decode()
        return text if len(text) <= most else text[: most - 1] + "\N{HORIZONTAL ELLIPSIS}"
    items = [shorten(item, most) for item in value]
    text = f"[{' '.join(items)}]"
    if len(text) <= most:
        return text
    head = f"[{len(items)} elements \N{HORIZONTAL ELLIPSIS}"
    tail = ""
    for item in reversed(items):
        if len(head) + len(tail) + len(item) + 2 > most:
            break
        tail = f" {item}{tail}"
    return f"{head}{tail}]"
