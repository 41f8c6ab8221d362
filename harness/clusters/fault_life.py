"""The life of a fault: whom it tells, how long it looks for its bite and its heal, what becomes of it when something fails.

Not here: what a partition, a kill or a pause does (`local_faults.py` on processes; `cuts.py`, `outages.py` on containers).
"""

from __future__ import annotations

import contextlib
import http.client
import threading
import time
from collections.abc import Callable, Iterator
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
        self._trouble_is = "failed"  # the phase that an exception means now

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

    @contextlib.contextmanager
    def undone_by(self, heal: Callable[[], object]) -> Iterator[None]:
        """Heals at the end, however it comes: also where something failed. Only what is abandoned stays as it is."""
        try:
            yield
        except Abandoned:
            raise
        except BaseException as error:
            self._trouble_is = "heal-failed"
            try:
                heal()
            except Exception as second:
                second.add_note(f"it was to be healed because of: {error}")
                raise
            self._trouble_is = "failed"
            raise
        self._trouble_is = "heal-failed"
        heal()
        self._trouble_is = "heal-not-shown"

    def live(
        self,
        act: Callable[[], None],
        trouble: tuple[type[Exception], ...],
        words_of: Callable[[Exception], str],
        broken: Callable[[BaseException], None],
    ) -> None:
        """The fault from its start to its end: what `trouble` names is told; `broken` hears of mistakes of our own."""
        try:
            act()
        except Abandoned:
            return
        except trouble as error:
            reason = "; ".join([words_of(error), *getattr(error, "__notes__", ())])
            self.tell(self._trouble_is, reason=reason)
        except BaseException as error:  # noqa: BLE001 - handed on to the run loop, which raises it
            broken(error)

    def until_healed(
        self,
        shown: Callable[[], Evidence | None],
        missing: Callable[[], Evidence],
        at_last: Callable[[], Evidence | None] = lambda: None,
    ) -> None:
        """Looks until the heal shows, but not for ever: `at_last` may be content with less. Raises `Abandoned`."""
        end = time.monotonic() + HEAL_SECONDS
        while (evidence := shown()) is None:
            if time.monotonic() > end:
                if (evidence := at_last()) is not None:
                    break
                self.tell("heal-not-shown", waited_seconds=HEAL_SECONDS, **missing())
                return
            time.sleep(AGAIN_SECONDS)
            self.wait_for_end(0)
        self.tell("heal-shown", **evidence)
