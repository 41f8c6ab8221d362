"""Processor time of a run by the part of it that took it: nodes, clients, links, the run loop; read from Linux's /proc."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
ROLES = {
    "raftnode": "nodes",
    "harness.clusters.client_process": "client processes",
    "harness.clusters.links": "links",
    "harness": "run loop",
}
STARTING = "nodes that start"
OTHERS = "everything else on this machine"


class Processors:
    """Seconds by role in `used`; a process that is killed loses what it took since the last look."""

    def __init__(self, run: int) -> None:
        """Of the run whose process has this number."""
        self.used: dict[str, float] = dict.fromkeys([*ROLES.values(), STARTING, OTHERS], 0.0)
        self._run = run
        self._seen: dict[int, float] = {}
        self._busy = _busy()

    def look(self, *, counts: bool) -> None:
        """Takes note of what was used since the last look, and adds it if it `counts`."""
        ours = 0.0
        for pid in [self._run, *_children(self._run)]:
            seconds = _seconds(pid)
            used = max(0.0, seconds - self._seen.get(pid, 0.0))
            self._seen[pid] = seconds
            if counts:
                self.used[_role(pid)] += used
                ours += used
        busy, before = _busy(), self._busy
        self._busy = busy
        if counts:
            self.used[OTHERS] += busy - before - ours


def _children(pid: int) -> list[int]:
    """The processes that any thread of a process has started."""
    found = []
    for tasks in Path(f"/proc/{pid}/task").glob("*/children"):
        found += [int(child) for child in _words(tasks, " ")]
    return found


def _words(path: Path, separator: str) -> list[str]:
    """The words of a file of /proc; none if its process or thread is gone."""
    try:
        return [word for word in path.read_text(encoding="utf-8").split(separator) if word.strip()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def _seconds(pid: int) -> float:
    """What a process has used; 0 if it is gone."""
    fields = _words(Path(f"/proc/{pid}/stat"), " ")
    return (int(fields[13]) + int(fields[14])) / TICKS if fields else 0.0


def _busy() -> float:
    """Seconds for which this machine's processors were not idle."""
    user, nice, system, _, _, irq, softirq = _words(Path("/proc/stat"), " ")[1:8]
    return sum(int(each) for each in (user, nice, system, irq, softirq)) / TICKS


def _role(pid: int) -> str:
    """By the module that a process runs; a node is held by a leash for its first moments."""
    words = _words(Path(f"/proc/{pid}/cmdline"), "\0")
    modules = [word for before, word in itertools.pairwise(words) if before == "-m"]
    if not words or "leash.py" in " ".join(words) or not modules:
        return STARTING
    return ROLES.get(modules[0], OTHERS)
