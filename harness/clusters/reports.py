"""What happens in a cluster, gathered from many threads for the one that polls.

Also the cluster's clock, by which reports are stamped. Not here: what is reported.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable

from harness.clusters.cluster import NANOSECONDS, Report


class Reports:
    """A queue of reports; everything but `poll` may be called from any thread."""

    def __init__(self) -> None:
        self.start = time.monotonic_ns()  # by the host's monotonic clock, which nodes stamp their events by
        self._reports: deque[Report] = deque()
        self._mistakes: deque[BaseException] = deque()
        self._arrived = threading.Condition()

    def now(self) -> int:
        """Nanoseconds since the start."""
        return time.monotonic_ns() - self.start

    def add(self, reports: Iterable[Report]) -> None:
        """Something happened."""
        with self._arrived:
            self._reports.extend(reports)
            self._arrived.notify_all()

    def broken(self, error: BaseException) -> None:
        """A mistake of our own ended a thread: whoever polls raises it."""
        with self._arrived:
            self._mistakes.append(error)
            self._arrived.notify_all()

    def poll(self, until: int) -> list[Report]:
        """Waits for a report, or until the clock shows `until`; all reports so far."""
        with self._arrived:
            while not self._reports and not self._mistakes and (left := until - self.now()) > 0:
                self._arrived.wait(left / NANOSECONDS)
            if self._mistakes:
                raise self._mistakes.popleft()
            found = list(self._reports)
            self._reports.clear()
        return found
