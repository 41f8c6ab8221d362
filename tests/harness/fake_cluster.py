"""A cluster in memory and virtual time that is right unless told otherwise, for tests of the run loop."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any

from harness.clusters.cluster import (
    Attempt,
    Completion,
    Fault,
    FaultProgress,
    NodeEvent,
    Refusal,
    Report,
    Request,
)

MILLISECOND = 1_000_000
LATENCY = 2 * MILLISECOND


class FakeCluster:
    """One map answers everything after two milliseconds; faults are shown to bite and to heal; killed leaders are replaced."""

    def __init__(self, node_ids: tuple[str, ...] = ("n1", "n2", "n3", "n4", "n5")) -> None:
        self.node_ids = node_ids
        self.closed = 0
        self.answers: Callable[[Request, dict[str, Any]], Attempt] = right_answer
        self.bites = True
        self.elects = True
        self.refuses: dict[str, str] = {}
        self.dies_at: int | None = None
        self.interrupt_at: int | None = None
        self._clock = 0
        self._state: dict[str, Any] = {}
        self._events: list[tuple[int, int, Report]] = []
        self._number = 0
        self._term = 0
        self._elect(0)

    def now(self) -> int:
        return self._clock

    def can(self, family: str) -> Refusal | None:
        return Refusal(family, self.refuses[family]) if family in self.refuses else None

    def submit(self, request: Request) -> None:
        attempt = self.answers(request, self._state)
        self._later(LATENCY, Completion(request.worker, request.op, (attempt,)))

    def inject(self, fault: Fault) -> None:
        resolved = {"leader": self._leader, "nodes": [self._leader]}
        for phase in ("requested", "installed", "bitten")[: 3 if self.bites else 1]:
            self._later(0, FaultProgress(fault.id, phase, self._clock, resolved))
        if fault.family == "kill" and self.elects:
            self._elect(300 * MILLISECOND)

    def heal(self, fault: str) -> None:
        for phase in ("healed", "heal-shown"):
            self._later(0, FaultProgress(fault, phase, self._clock))

    def poll(self, until: int) -> list[Report]:
        if self.interrupt_at is not None and self._clock >= self.interrupt_at:
            raise KeyboardInterrupt
        if self.dies_at is not None and self._clock >= self.dies_at:
            self._later(0, NodeEvent("n2", "process-exited", self._clock, {"code": 3, "last_lines": ["out of paper"]}))
            self.dies_at = None
        self._clock = max(self._clock, min(until, self._events[0][0] if self._events else until))
        due = []
        while self._events and self._events[0][0] <= self._clock:
            due.append(heapq.heappop(self._events)[2])
        return due

    def close(self) -> None:
        self.closed += 1

    def _later(self, delay: int, report: Report) -> None:
        self._number += 1
        heapq.heappush(self._events, (self._clock + delay, self._number, report))

    def _elect(self, delay: int) -> None:
        self._term += 1
        self._leader = self.node_ids[self._term % len(self.node_ids)]
        at = self._clock + delay
        self._later(delay, NodeEvent(self._leader, "leader-elected", at, {"term": self._term, "index": 0}))


def right_answer(request: Request, state: dict[str, Any]) -> Attempt:
    """What a correct store answers, at the node that was asked first."""
    node = request.prefer or "n1"
    match request.f:
        case "read" if request.key not in state:
            return Attempt(node, 404, "key-not-found", definite=True)
        case "read":
            return Attempt(node, 200, body={"value": state[request.key]})
        case "cas" if state.get(request.key) != request.value[0]:
            return Attempt(node, 409, "cas-mismatch", definite=True, body={"actual": state.get(request.key)})
        case "cas":
            state[request.key] = request.value[1]
        case "write":
            state[request.key] = request.value
        case "append":
            state[request.key] = [*state.get(request.key, []), request.value]
    return Attempt(node, 200, body={"index": 1})
