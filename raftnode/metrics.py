"""The node's counters, and how they read as a Prometheus page.

Counted where it happens, by plain dictionaries: the page is a dozen lines of text, and the client library for it would
cost more per request than the request does.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

PREFIX = "raft_"


@dataclass(slots=True)
class Metrics:
    """What only ever grows."""

    requests: Counter[tuple[str, int]] = field(default_factory=Counter)  # (route, status)
    frames_dropped: Counter[str] = field(
        default_factory=Counter
    )  # by reason: wire.py, and "not-connected", "buffer-full"
    frames_sent: int = 0
    frames_received: int = 0
    steps: int = 0  # of the core
    turns: int = 0  # of the loop
    internal_errors: int = 0


@dataclass(frozen=True, slots=True)
class Sample:
    """A value of this moment (or, as `kind` "counter", one that grows), with its labels."""

    name: str
    help: str
    value: float
    labels: tuple[tuple[str, str], ...] = ()
    kind: str = "gauge"


def render(metrics: Metrics, gauges: list[Sample]) -> bytes:
    """The text exposition format, version 0.0.4: each name once, with its help and type before its samples."""
    samples = [
        *gauges,
        *(
            Sample(
                "requests_total", "Answers to clients.", count, (("route", route), ("status", str(status))), "counter"
            )
            for (route, status), count in sorted(metrics.requests.items())
        ),
        *(
            Sample(
                "frames_dropped_total", "Frames of peers not sent or not taken.", count, (("reason", why),), "counter"
            )
            for why, count in sorted(metrics.frames_dropped.items())
        ),
        Sample("frames_sent_total", "Frames handed to the connections of peers.", metrics.frames_sent, (), "counter"),
        Sample("frames_received_total", "Messages of peers taken in.", metrics.frames_received, (), "counter"),
        Sample("steps_total", "Steps of the core.", metrics.steps, (), "counter"),
        Sample("turns_total", "Turns of the loop that had something to do.", metrics.turns, (), "counter"),
        Sample(
            "internal_errors_total",
            "Mistakes of the node that cost a connection.",
            metrics.internal_errors,
            (),
            "counter",
        ),
    ]
    lines: list[str] = []
    described: set[str] = set()
    for sample in samples:
        name = PREFIX + sample.name
        if name not in described:
            described.add(name)
            lines += [f"# HELP {name} {sample.help}", f"# TYPE {name} {sample.kind}"]
        labels = ",".join(f'{label}="{_escaped(text)}"' for label, text in sample.labels)
        lines.append(f"{name}{{{labels}}} {sample.value}" if labels else f"{name} {sample.value}")
    return ("\n".join(lines) + "\n").encode()


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
