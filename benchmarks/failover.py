"""How long nobody's write is acknowledged after a leader was killed, on a local cluster of five nodes.

A kill comes at a random moment of a steady load of writes. The time runs from the signal to the first write that another
node acknowledged, as the clients see it: detection, election and the clients' own search for the new leader are all in it.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
from dataclasses import dataclass, field
from random import Random

from benchmarks.figures import Figure, heading, scratch, table
from harness.builds import resolve_build
from harness.clusters.cluster import NANOSECONDS, Cluster, Completion, Fault, FaultProgress, NodeEvent, Report, Request
from harness.clusters.local import open_local
from harness.plan import Plan
from raftnode.messages import Limits

NODES = Plan().node_ids
WORKERS = Plan().concurrency
WRITES_PER_SECOND = 200
DOWN_SECONDS = 1.0  # from a kill to the restart
CALM_SECONDS = 1.5  # from the restart to the next kill, and up to as much again
LIMIT = 2.0  # election timeouts


@dataclass
class Load:
    """Writes at a steady rate, and what came of the kill that is under way."""

    cluster: Cluster
    free: list[int]
    numbers: itertools.count[int] = field(default_factory=itertools.count)
    next_write: int = 0
    leader: str = ""
    killed: str = ""
    killed_at: int = 0
    elected_at: int = 0
    acknowledged_at: int = 0


def main() -> None:
    """Kills leaders and prints the table."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--kills", type=int, default=25)
    options.add_argument("--seed", type=int, default=1)
    chosen = options.parse_args()
    print(heading("failover"))
    with scratch() as folder:
        cluster = open_local(
            node_ids=NODES,
            build=resolve_build("current", "local"),
            folder=folder,
            seed=chosen.seed,
            workers=WORKERS,
            say=print,
        )
        try:
            load = Load(cluster, list(range(WORKERS)))
            draw = Random(chosen.seed)
            write_until(load, cluster.now() + 2 * NANOSECONDS)
            found = [kill_leader(load, number, draw) for number in range(chosen.kills)]
        finally:
            cluster.close()
    _print(found)


def _print(found: list[tuple[float, float]]) -> None:
    timeout = Limits().election_min / NANOSECONDS
    elected, acknowledged = (sorted(column) for column in zip(*found, strict=True))
    median = statistics.median(acknowledged)
    worst = acknowledged[-1]
    print(
        table(
            [
                Figure(
                    f"no acknowledged write after a killed leader, median of {len(found)} kills",
                    median,
                    "s",
                    timeout,
                    "the least election timeout",
                    f"<= {LIMIT:g}",
                ),
                Figure("the same, 90 % of the kills", quantile(acknowledged, 0.9), "s", timeout, "the same"),
                Figure("the same, the longest", worst, "s", timeout, "the same"),
                Figure("of that until there was a new leader, median", statistics.median(elected), "s", median, "all"),
            ]
        )
    )


def quantile(ordered: list[float], share: float) -> float:
    """The least value that so many of the ordered values do not exceed."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def kill_leader(load: Load, number: int, draw: Random) -> tuple[float, float]:
    """One kill and restart; seconds until another node led, and until another node had acknowledged a write."""
    cluster = load.cluster
    write_until(load, cluster.now() + round(draw.uniform(1, 2) * CALM_SECONDS * NANOSECONDS))
    load.killed, load.killed_at, load.elected_at, load.acknowledged_at = load.leader, 0, 0, 0
    at = cluster.now()
    fault = Fault(f"kill-{number}", "kill", "kill", ("leader",), {"order": NODES, "stagger_ns": 0}, at, at)
    cluster.inject(fault)
    write_until(load, at + round(DOWN_SECONDS * NANOSECONDS))
    while not load.acknowledged_at:
        write_until(load, cluster.now() + NANOSECONDS // 10)
    cluster.heal(fault.id)
    elected, acknowledged = load.elected_at - load.killed_at, load.acknowledged_at - load.killed_at
    return elected / NANOSECONDS, acknowledged / NANOSECONDS


def write_until(load: Load, end: int) -> None:
    """Keeps writing until the cluster's clock shows `end`."""
    cluster = load.cluster
    plan = Plan()
    while (now := cluster.now()) < end:
        while load.free and load.next_write <= now:
            number = next(load.numbers)
            request = Request(
                worker=load.free.pop(0),
                op=f"w{number}",
                f="write",
                key=f"k{number % 16}",
                value=number,
                prefer="",
                deadline=plan.operation_timeout_ms * 1_000_000,
                attempt_timeout=plan.attempt_timeout_ms * 1_000_000,
            )
            cluster.submit(request)
            load.next_write = max(load.next_write, now - NANOSECONDS // 10) + NANOSECONDS // WRITES_PER_SECOND
        for report in cluster.poll(min(end, load.next_write) if load.free else end):
            _take(load, report)


def _take(load: Load, report: Report) -> None:
    match report:
        case Completion(worker=worker, attempts=attempts):
            load.free.append(worker)
            last = attempts[-1] if attempts else None
            # What the dead leader had answered before the signal may still be on its way.
            if last and last.status == 200 and load.killed_at and last.node != load.killed:
                load.acknowledged_at = load.acknowledged_at or load.cluster.now()
        case NodeEvent(kind="leader-elected", node=node, at=at):
            load.leader = node
            if load.killed_at:
                load.elected_at = load.elected_at or at
        case FaultProgress(phase="installed", at=at, resolved=resolved):
            load.killed_at, load.killed = at, resolved["nodes"][0]
        case _:
            pass


if __name__ == "__main__":
    main()
