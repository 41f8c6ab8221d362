"""Where faults on containers happen: the nodes, the network, and the addresses of those who stand beside the nodes.

Not here: faults.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from harness.clusters.bridge import Pair
from harness.clusters.containers import CLIENT_PORT, Container
from harness.clusters.fault_life import status_at
from harness.clusters.host_network import NetworkControl
from harness.nemesis import Edge


class Site(msgspec.Struct, frozen=True):
    """One cluster of containers, as faults see it."""

    containers: dict[str, Container]
    homes: dict[str, str]  # node -> the address of the clients whose home it is
    observer: str  # the address from which the harness itself looks; never cut off
    network: NetworkControl | None  # None: nobody here may touch the network
    refusal: str  # why not

    def pairs_of(self, edges: Iterable[Edge]) -> list[Pair]:
        """The addresses between which nothing passes when edges between nodes are cut.

        Clients stand beside their home node and are cut off with it: from a node `b` that their home cannot reach, in
        that direction. Their home itself they always reach.
        """
        found = []
        for a, b in edges:
            node_a, node_b = self.containers[a].address, self.containers[b].address
            found += [(node_a, node_b), (self.homes[a], node_b), (node_a, self.homes[b])]
        return found

    def status_of(self, node: str) -> dict[str, Any] | None:
        """The node's answer to `GET /status`, None if it gives none in time."""
        return status_at(self.containers[node].address, CLIENT_PORT, self.observer if self.network else "")
