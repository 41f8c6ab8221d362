"""A partition over whose edges the nodes have nothing to say to each other, which must be shown to bite all the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.builds import resolve_build
from harness.clusters.cluster import NANOSECONDS, Fault, FaultProgress, NodeEvent
from harness.clusters.local import LocalCluster, open_local

NODES = ("n1", "n2", "n3", "n4", "n5")
PATIENCE = 20 * NANOSECONDS


@pytest.mark.slow
def test_a_bridge_that_leads_is_shown_to_bite(tmp_path: Path) -> None:
    """DESIGN: "each fault requested must have been shown to bite"; here both halves hear their leader, and are content."""
    cluster = open_local(
        node_ids=NODES, build=resolve_build("current", "local"), folder=tmp_path, seed=1, workers=5, say=print
    )
    try:
        leader = first_leader(cluster)
        others = [node for node in NODES if node != leader]
        order = [*others[:2], leader, *others[2:]]
        cluster.inject(Fault("f1", "partition", "bridge", (), {"order": order}, 0, 0))
        bite = step_of(cluster, "bitten")
        assert bite.evidence["probes_dropped"] == bite.evidence["probes_silent"] == 8
        cluster.heal("f1")
        assert step_of(cluster, "heal-shown").evidence == {"probes_answered": 8}
    finally:
        cluster.close()


def first_leader(cluster: LocalCluster) -> str:
    while cluster.now() < PATIENCE:
        for report in cluster.poll(PATIENCE):
            if isinstance(report, NodeEvent) and report.kind == "leader-elected":
                return report.node
    raise AssertionError("no leader")


def step_of(cluster: LocalCluster, phase: str) -> FaultProgress:
    end = cluster.now() + PATIENCE
    while cluster.now() < end:
        for report in cluster.poll(end):
            if isinstance(report, FaultProgress) and report.phase == phase:
                return report
    raise AssertionError(f"never {phase}")
