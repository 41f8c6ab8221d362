"""The lines of the nodes' logs around a moment of the run.

Nodes stamp their protocol events with the clock of their host, the run counts from its own start. The two are brought
together by the elections, which both have recorded; where there are none, the ends of the logs are shown instead.
"""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import Any

import msgspec

from harness.reading import RunFiles

REACH = 2_000_000_000  # nanoseconds before and after the moment
MOST_LINES = 160  # of one node
LAST_LINES = 15
FREQUENT = frozenset({"appended", "committed", "vote-granted"})
UNTOLD = frozenset({"v", "t", "node", "kind"})


class Line(msgspec.Struct, frozen=True):
    """One protocol event; `offset` is in nanoseconds from the moment in question."""

    offset: int
    kind: str
    text: str


class Window(msgspec.Struct, frozen=True):
    """What one node wrote around the moment, and the last lines of its log for people."""

    node: str
    lines: list[Line]
    left_out: int
    placed: bool  # False: the node's clock could not be brought together with the run's, and these are its last events
    last_words: list[str]

    @property
    def before(self) -> int:
        """How many of the lines were written before the moment."""
        return sum(line.offset < 0 for line in self.lines)

    @property
    def after(self) -> int:
        """How many of the lines were written at the moment or after it."""
        return len(self.lines) - self.before


def windows(run: RunFiles, moment: int) -> list[Window]:
    """One window a node, in the order of the nodes."""
    logs = {node: _events(run.folder / "nodes" / node / "events.jsonl") for node in run.nodes}
    offset = clock_offset(run, logs)
    return [_window(node, events, moment, offset, run.folder) for node, events in logs.items()]


def clock_offset(run: RunFiles, logs: dict[str, list[dict[str, Any]]]) -> int | None:
    """Nanoseconds to take from a node's stamp to get the time of the run; None if no election tells.

    An event may reach the run a little after it was stamped, which makes the difference smaller: the greatest one is right.
    """
    seen = {
        (line.get("node"), line.get("term")): line["t"] for line in run.cluster if line.get("kind") == "leader-elected"
    }
    differences = [
        event["t"] - seen[node, event.get("term")]
        for node, events in logs.items()
        for event in events
        if event.get("kind") == "leader-elected" and (node, event.get("term")) in seen
    ]
    return max(differences, default=None)


def _events(path: Path) -> list[dict[str, Any]]:
    decoder = msgspec.json.Decoder(dict[str, Any])
    found = []
    if path.is_file():
        for line in path.read_bytes().split(b"\n"):
            try:
                event = decoder.decode(line)
            except msgspec.DecodeError:
                continue  # empty, or torn by the kill of its node: part of what a run is about
            if isinstance(event.get("t"), int):
                found.append(event)
    return found


def _window(node: str, events: list[dict[str, Any]], moment: int, offset: int | None, folder: Path) -> Window:
    words = _last_words(folder / "nodes" / node)
    if offset is None:
        ends = events[-LAST_LINES:]
        last = ends[-1]["t"] if ends else 0
        return Window(node, [_line(event, event["t"] - last) for event in ends], 0, placed=False, last_words=words)
    near = [(event["t"] - offset - moment, event) for event in events if abs(event["t"] - offset - moment) <= REACH]
    rare = [pair for pair in near if pair[1].get("kind") not in FREQUENT]
    frequent = sorted((pair for pair in near if pair[1].get("kind") in FREQUENT), key=lambda pair: abs(pair[0]))
    shown = rare[:MOST_LINES] + frequent[: max(0, MOST_LINES - len(rare))]
    lines = [_line(event, distance) for distance, event in sorted(shown, key=lambda pair: pair[0])]
    return Window(node, lines, len(near) - len(shown), placed=True, last_words=words)


def _line(event: dict[str, Any], distance: int) -> Line:
    told = {name: value for name, value in event.items() if name not in UNTOLD}
    text = "  ".join(
        f"{name} {value if isinstance(value, str) else msgspec.json.encode(value).decode()}"
        for name, value in told.items()
    )
    return Line(distance, str(event.get("kind", "?")), text)


def _last_words(folder: Path) -> list[str]:
    words: list[str] = []
    for path in sorted(folder.glob("*.log")):
        with path.open(encoding="utf-8", errors="replace") as file:
            words += [line.rstrip("\n") for line in deque(file, maxlen=LAST_LINES)]
    return words[-LAST_LINES:]
