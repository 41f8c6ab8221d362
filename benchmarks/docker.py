"""The cluster of containers: how long its image, its start, a partition and its end take.

Removes every image of the node and of the base that was made here, so that the first of them is made from nothing; the
next run finds the one that is made again.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from docker.client import DockerClient

from benchmarks.figures import ROOT, Figure, heading, scratch, table
from harness.builds import resolve_build
from harness.clusters.cluster import NANOSECONDS, Cluster, Fault, FaultProgress, NodeEvent
from harness.clusters.docker import open_docker
from harness.clusters.engine import in_parallel, labels_of, remove_container
from harness.clusters.image import BASE_REPOSITORY, NODE_REPOSITORY, ensure_image
from harness.nemesis import PARTITIONS
from harness.plan import Plan

NODES = Plan().node_ids
COLD_SECONDS, UNCHANGED_SECONDS, READY_SECONDS, CLOSE_SECONDS = 30.0, 1.0, 4.0, 2.0
INSTALL_MILLISECONDS = 20.0
HOLD = NANOSECONDS // 5
PATIENCE = 20 * NANOSECONDS  # for a fault to bite, and to heal


def main() -> None:
    """Measures and prints the table."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--clusters", type=int, default=3)
    options.add_argument("--partitions", type=int, default=6, help="on each of the clusters")
    chosen = options.parse_args()
    print(heading("docker"))
    engine = DockerClient.from_env()
    removed = remove_images(engine)
    engine.close()
    print(f"{removed} images were removed first.\n")
    began = time.monotonic()
    image = ensure_image(ROOT, _say)
    cold = time.monotonic() - began
    unchanged = seconds_of(lambda: ensure_image(ROOT, _say))
    opened, listening, closed, idle = [], [], [], []
    progress: list[dict[str, FaultProgress]] = []
    with scratch() as folder:
        for number in range(chosen.clusters):
            began = time.monotonic()
            cluster = open_cluster(folder / f"cluster-{number}", number)
            opened.append(time.monotonic() - began)
            try:
                listening.append(all_listen(cluster))
                progress += [partition(cluster, place) for place in range(chosen.partitions)]
            finally:
                closed.append(seconds_of(cluster.close))
            idle.append(idle_containers(image))
    _print([cold, unchanged], opened, listening, closed, idle, progress)


def _print(
    image: Sequence[float],
    opened: Sequence[float],
    listening: Sequence[float],
    closed: Sequence[float],
    idle: Sequence[tuple[float, float]],
    progress: Sequence[dict[str, FaultProgress]],
) -> None:
    install = [milliseconds(each, "requested", "installed") for each in progress]
    filtered = [float(each["installed"].evidence["took_ms"]) for each in progress]
    bite = [milliseconds(each, "requested", "bitten") for each in progress if "bitten" in each]
    start = f"of {len(opened)} clusters of {len(NODES)} nodes"
    cut = f"of {len(install)} partitions"
    ready, end, limit = statistics.median(listening), statistics.median(closed), INSTALL_MILLISECONDS
    started, removed = (statistics.median(column) for column in zip(*idle, strict=True))
    print()
    print(
        table(
            [
                Figure("image without a registry, cold", image[0], "s", COLD_SECONDS, "the limit", "<= 1"),
                Figure("image, nothing changed", image[1], "s", UNCHANGED_SECONDS, "the limit", "<= 1"),
                Figure(f"all nodes answer, median {start}", ready, "s", READY_SECONDS, "the limit", "<= 1"),
                Figure("the same against the engine", ready, "s", started, "as many idle containers start"),
                Figure(
                    "and every client has a session, median", statistics.median(opened), "s", READY_SECONDS, "the limit"
                ),
                Figure(
                    f"partition installed, median {cut}", statistics.median(install), "ms", limit, "the limit", "<= 1"
                ),
                Figure("partition installed, longest", max(install), "ms", limit, "the limit", "<= 1"),
                Figure("of that in the packet filter, median", statistics.median(filtered), "ms"),
                Figure("partitions shown to bite", len(bite), "of them", len(progress), "all", ">= 1"),
                Figure("partition shown to bite, median", statistics.median(bite), "ms"),
                Figure("teardown, median", end, "s", CLOSE_SECONDS, "the limit", "<= 1"),
                Figure("the same against the engine", end, "s", removed, "as many idle containers go"),
                Figure("teardown, longest", max(closed), "s", CLOSE_SECONDS, "the limit", "<= 1"),
            ]
        )
    )


def _say(line: str) -> None:
    print(f"- {line}")


def seconds_of(work: Callable[[], object]) -> float:
    """How long a piece of work takes."""
    began = time.monotonic()
    work()
    return time.monotonic() - began


def remove_images(engine: Any) -> int:
    """Removes the images of nodes first, then those that they were made on; says how many."""
    tags = [
        tag
        for repository in (NODE_REPOSITORY, BASE_REPOSITORY)
        for image in engine.images.list(name=repository)
        for tag in image.tags
    ]
    for tag in tags:
        engine.images.remove(tag)
    return len(tags)


def open_cluster(folder: Path, seed: int) -> Cluster:
    """A cluster as a run opens it."""
    folder.mkdir()
    return open_docker(
        node_ids=NODES,
        build=resolve_build("current", "docker"),
        folder=folder,
        seed=seed,
        workers=Plan().concurrency,
        say=_say,
    )


def idle_containers(image: str) -> tuple[float, float]:
    """Seconds that the engine takes for as many containers that only sleep: to start them all at once, to remove them."""
    engine = DockerClient.from_env()

    def start(_node: str) -> Any:
        return engine.containers.run(image, ["60"], entrypoint="sleep", detach=True, labels=labels_of("benchmark"))

    began = time.monotonic()
    containers = in_parallel(start, list(NODES))
    started = time.monotonic() - began
    removed = seconds_of(lambda: in_parallel(remove_container, containers))
    engine.close()
    return started, removed


def all_listen(cluster: Cluster) -> float:
    """Seconds from the first call for a network until the last node listened, by the nodes' own events."""
    ready: dict[str, int] = {}
    while len(ready) < len(NODES):
        for report in cluster.poll(cluster.now() + NANOSECONDS):
            if isinstance(report, NodeEvent) and report.kind == "ready":
                ready.setdefault(report.node, report.at)
    return max(ready.values()) / NANOSECONDS


def partition(cluster: Cluster, place: int) -> dict[str, FaultProgress]:
    """One partition from its request to its shown heal: phase -> progress."""
    at = cluster.now()
    kind = PARTITIONS[place % len(PARTITIONS)]
    targets = ("leader",) if kind in {"isolate-leader", "one-way"} else ()
    parameters = {"order": NODES, "direction": "deaf"}
    fault = Fault(f"partition-{place}", "partition", kind, targets, parameters, at, at + HOLD)
    cluster.inject(fault)
    found = follow(cluster, fault.id, "bitten")
    cluster.heal(fault.id)
    return found | follow(cluster, fault.id, "heal-shown")


def follow(cluster: Cluster, fault: str, last: str) -> dict[str, FaultProgress]:
    """What is told of a fault until a phase is reached, or for as long as patience lasts."""
    found: dict[str, FaultProgress] = {}
    end = cluster.now() + PATIENCE
    while last not in found and cluster.now() < end:
        for report in cluster.poll(end):
            if isinstance(report, FaultProgress) and report.fault == fault:
                found[report.phase] = report
    return found


def milliseconds(progress: dict[str, FaultProgress], begin: str, end: str) -> float:
    """From one phase to another."""
    return (progress[end].at - progress[begin].at) / 1_000_000


if __name__ == "__main__":
    main()
