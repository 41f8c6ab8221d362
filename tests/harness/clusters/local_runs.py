"""Clusters of real node processes for the tests, and what to wait for in them."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.builds import Build, resolve_build
from harness.clusters.cluster import NANOSECONDS, Completion, Fault, FaultProgress, NodeEvent, Report, Request
from harness.clusters.local import LocalCluster, open_local

NODES = ("n1", "n2", "n3")
PATIENCE = 30.0
ON_THE_WAY = {"requested", "installed", "bitten", "healed"}


def open_in(folder: Path, build: Build | None = None) -> LocalCluster:
    """Three nodes and a worker beside each."""
    return open_local(
        node_ids=NODES, build=build or resolve_build("current", "local"), folder=folder, seed=1, workers=3, say=print
    )


def statuses(cluster: LocalCluster) -> dict[str, dict[str, Any] | None]:
    """What every node says of itself now, asked directly; None where one does not answer."""
    assert cluster.faults is not None
    return cluster.faults.site.statuses(cluster.node_ids)


def fault(family: str, kind: str, *targets: str, **parameters: Any) -> Fault:
    order = {"order": NODES, **parameters}
    return Fault(
        id=f"{kind}-{time.monotonic_ns()}", family=family, kind=kind, targets=targets, parameters=order, at=0, until=0
    )


def write(worker: int, prefer: str, value: int, seconds: float) -> Request:
    """An operation that may make attempts for so long, each at most half a second."""
    deadline = round(seconds * NANOSECONDS)
    return Request(
        worker=worker,
        op=f"op-{time.monotonic_ns()}",
        f="write",
        key="k",
        value=value,
        prefer=prefer,
        deadline=deadline,
        attempt_timeout=min(deadline, NANOSECONDS // 2),
    )


def processes_of(folder: Path) -> list[int]:
    """The processes of this machine that name a folder on their command line."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if str(folder).encode() in path.read_bytes():
                found.append(int(path.parent.name))
        except (FileNotFoundError, ProcessLookupError):
            pass  # it has just ended
    return found


def eventually(holds: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < end, f"never came: {what}"
        time.sleep(0.02)


class Watched:
    """A cluster and all that it has reported."""

    def __init__(self, cluster: LocalCluster) -> None:
        self.cluster = cluster
        self.seen: list[Report] = []
        self._under_way: list[Fault] = []

    def inject(self, of: Fault) -> None:
        self._under_way.append(of)
        self.cluster.inject(of)

    def heal(self, of: Fault) -> None:
        self._under_way.remove(of)
        self.cluster.heal(of.id)

    def heal_all(self) -> None:
        """What a test that failed has left under way."""
        for each in list(self._under_way):
            self.heal(each)

    def until(self, wanted: Callable[[Report], bool], since: int = 0) -> Report:
        """The first report from `since` on that is wanted."""
        end = self.cluster.now() + round(PATIENCE * NANOSECONDS)
        place = since
        while True:
            for report in self.seen[place:]:
                if wanted(report):
                    return report
            place = len(self.seen)
            assert self.cluster.now() < end, f"not seen in time; seen were {self.seen[-5:]}"
            self.seen += self.cluster.poll(end)

    def phase(self, of: Fault, name: str) -> FaultProgress:
        """The step of a fault that has this name; any step after which it can no longer come is a failure."""

        def wanted(report: Report) -> bool:
            if not isinstance(report, FaultProgress) or report.fault != of.id:
                return False
            assert report.phase == name or report.phase in ON_THE_WAY, report
            return report.phase == name

        found = self.until(wanted)
        assert isinstance(found, FaultProgress)
        return found

    def phases(self, of: Fault) -> list[str]:
        return [each.phase for each in self.seen if isinstance(each, FaultProgress) and each.fault == of.id]

    def do(self, request: Request) -> Completion:
        """An operation and what became of it."""
        self.cluster.submit(request)
        found = self.until(lambda report: isinstance(report, Completion) and report.op == request.op)
        assert isinstance(found, Completion)
        return found

    def event(self, kind: str, since: int = 0, node: str = "") -> NodeEvent:
        found = self.until(
            lambda each: isinstance(each, NodeEvent) and each.kind == kind and node in {"", each.node}, since
        )
        assert isinstance(found, NodeEvent)
        return found

    def leader(self) -> str:
        """The node that all agree on."""
        agreed: list[str] = []

        def settled() -> bool:
            found = [status["leader"] for status in statuses(self.cluster).values() if status]
            agreed[:] = found
            return len(found) == len(NODES) and len(set(found)) == 1 and bool(found[0])

        eventually(settled, "a leader that all nodes know")
        self.seen += self.cluster.poll(0)
        return agreed[0]
