"""The life of a fault on containers: where it happens, whom it tells, how long it looks for its bite and its heal.

Not here: what a partition, a kill or a pause does (`cuts.py`, `outages.py`).
"""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Callable
from typing import Any

import msgspec

from harness.clusters.cluster import Fault

STATUS_SECONDS = 0.25
AGAIN_SECONDS = 0.05  # between two looks at whether a fault bites, or has healed
HOLD_SECONDS = 4.0  # how much longer a fault lasts that could not bite before its end: others held its nodes down
HEAL_SECONDS = 10.0  # for a heal to show: a restarted node takes about a second, more on a loaded machine

Evidence = dict[str, Any]

Tell = Callable[[str, str, dict[str, Any], Evidence], None]
"""Told (fault id, phase, resolved, evidence), from whichever thread it happens in."""


def status_at(host: str, port: int, source: str = "") -> dict[str, Any] | None:
    """The answer to `GET /status` there, asked from the address `source`; None if there is none in time."""
    where = (source, 0) if source else None
    connection = http.client.HTTPConnection(host, port, timeout=STATUS_SECONDS, source_address=where)
    try:
        connection.request("GET", "/status")
        answer = msgspec.json.decode(connection.getresponse().read())
    except (OSError, http.client.HTTPException, msgspec.DecodeError):
        return None
    finally:
        connection.close()
    return answer if isinstance(answer, dict) else None


class Abandoned(Exception):
    """The cluster is being closed: what a fault acts on is removed, and nobody listens any more."""


class FaultLife:
    """One fault from its start to its end."""

    def __init__(self, fault: Fault, tell: Tell, *, leader: str) -> None:
        self.fault = fault
        self.resolved: dict[str, Any] = {"leader": leader}
        self._ended = threading.Event()
        self._abandoned = False
        self._tell = tell

    def end(self, *, abandon: bool = False) -> None:
        """Asks the fault to heal; or, if it is abandoned, to stop where it is."""
        self._abandoned = abandon
        self._ended.set()

    @property
    def ended(self) -> bool:
        """Whether the fault was asked to heal."""
        return self._ended.is_set()

    def tell(self, phase: str, **evidence: Any) -> None:
        """A step of this fault."""
        self._tell(self.fault.id, phase, self.resolved, evidence)

    def wait_for_end(self, seconds: float | None = None) -> bool:
        """Whether the fault was asked to heal; waits for it, at most so long. Raises `Abandoned`."""
        ended = self._ended.wait(seconds)
        if self._abandoned:
            raise Abandoned
        return ended

    def until_ended(self, bites: Callable[[], Evidence | None], hold_seconds: float = 0.0) -> None:
        """Looks until the fault bites, at most until it ends; says so; then waits for its end. Raises `Abandoned`.

        A fault that is asked to end before it could bite may hold on for so many seconds more: what it acts on may be
        held down by a fault of another family.
        """
        end = 0.0
        while (evidence := bites()) is None:
            if self.wait_for_end(AGAIN_SECONDS):
                end = end or time.monotonic() + hold_seconds
                if time.monotonic() >= end:
                    self.tell("not-bitten")
                    return
                time.sleep(AGAIN_SECONDS)
        self.tell("bitten", **evidence)
        self.wait_for_end()

    def until_healed(self, shown: Callable[[], Evidence | None], missing: Callable[[], Evidence]) -> None:
        """Looks until the heal shows, but not for ever. Raises `Abandoned`."""
        end = time.monotonic() + HEAL_SECONDS
        while (evidence := shown()) is None:
            if time.monotonic() > end:
                self.tell("heal-not-shown", waited_seconds=HEAL_SECONDS, **missing())
                return
            time.sleep(AGAIN_SECONDS)
            self.wait_for_end(0)
        self.tell("heal-shown", **evidence)
