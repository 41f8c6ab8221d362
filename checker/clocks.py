"""Times that contradict the order of the events: the order counts, but whoever trusts the times must be told."""

from __future__ import annotations

import numpy as np

from checker.columns import NEVER, UNKNOWN, Columns


class Clock:
    """Takes the times of events in their order; `warnings` holds a sentence from the first one that goes back on.

    One sentence is enough: clocks that differ from node to node, or a recorder that joined several files, go back often.
    """

    def __init__(self) -> None:
        self.warnings: list[str] = []
        self._latest: float | None = None

    def take(self, time: float | None, line: int | None) -> None:
        """The time of the next event, in nanoseconds; None: it has none."""
        if time is None or time == UNKNOWN or self.warnings:
            return
        if self._latest is not None and time < self._latest:
            self.warnings.append(_sentence("" if line is None else f" at line {line}", time, self._latest))
        self._latest = time


def warnings_of(columns: Columns) -> list[str]:
    """The same of a history as columns: at most one sentence.

    Completions that say "unknown" have no place in the order of the events, so their times are not looked at. The line of a
    completion is not kept; its operation is named by the line of the invocation.
    """
    ended = np.flatnonzero(columns.returned < NEVER)
    places = np.concatenate([columns.invoked, columns.returned[ended]])
    times = np.concatenate([columns.invoke_time, columns.return_time[ended]])
    rows = np.concatenate([np.arange(len(columns)), ended])
    known = np.flatnonzero(times != UNKNOWN)
    order = known[np.argsort(places[known], kind="stable")]
    back = np.flatnonzero(times[order][1:] < times[order][:-1])
    if not len(back):
        return []
    before, at = order[back[0]], order[back[0] + 1]
    line = int(columns.line[rows[at]])
    where = (
        ""
        if line == UNKNOWN
        else f" at line {line}"
        if at < len(columns)
        else f" at the end of line {line}'s operation"
    )
    return [_sentence(where, int(times[at]), int(times[before]))]


def _sentence(where: str, time: float, latest: float) -> str:
    return f"times go back{where} (t={time} after t={latest}): the order of the events counts, not their times"
