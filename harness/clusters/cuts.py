"""Partitions of containers: installed in the packet filter, shown by probes that no longer arrive and by the kernel's counters.

Not here: which edges a partition cuts (`harness/nemesis.py`).
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterable, Sequence

from harness.clusters.bridge import Pair
from harness.clusters.containers import PEER_PORT
from harness.clusters.fault_life import HOLD_SECONDS, Evidence, FaultLife
from harness.clusters.host_network import NetworkControl
from harness.clusters.site import Site
from harness.nemesis import Edge

CONTROL_TRIES = 3  # a loaded machine may lose a probe to time


class Cuts:
    """What is cut in one network, by how many faults, and what can be shown of it."""

    def __init__(self, site: Site, network: NetworkControl) -> None:
        """Probes everything once while nothing is cut: only what passes now can show later that it does not.

        A firewall of this machine may keep nodes from speaking to clients first, which they never need to.
        """
        self.site = site
        self.network = network
        self._count: Counter[Pair] = Counter()
        self._lock = threading.Lock()
        nodes = list(site.containers)
        pairs = set(site.pairs_of((a, b) for a in nodes for b in nodes if a != b))
        found: set[Pair] = set()
        for _ in range(CONTROL_TRIES):
            found |= {pair for pair, passes in network.passing(pairs - found).items() if passes}
        self.probeable = frozenset(found)

    def add(self, pairs: Sequence[Pair]) -> None:
        """Cuts pairs. Raises `FilterError`."""
        with self._lock:
            self.network.cut([pair for pair in pairs if not self._count[pair]])
            self._count.update(pairs)

    def take(self, pairs: Sequence[Pair]) -> None:
        """Ends one fault's cut of pairs; those that no other fault cuts pass again. Raises `FilterError`."""
        with self._lock:
            self.network.heal([pair for pair in pairs if self._count[pair] == 1])
            self._count.subtract(pairs)

    def free(self, pairs: Iterable[Pair]) -> list[Pair]:
        """Those of the pairs that are not cut."""
        with self._lock:
            return [pair for pair in pairs if not self._count[pair]]

    def try_out(self) -> str:
        """Cuts the harness off from one node for a moment, then that node from another; "" or what went wrong.

        Raises `FilterError` or `AgentError`, with nothing left cut unless the heal itself was refused.
        """
        first, *others = (container.address for container in self.site.containers.values())
        for pair in [(self.site.observer, first), *((first, other) for other in others[:1])]:
            self.add([pair])
            try:
                passed = self.network.passing([pair]).get(pair)
            finally:
                self.take([pair])
            where = f"packets from {pair[0]} to {pair[1]}"
            if passed is not False:
                return f"{where} still pass after: {self.network.mechanism}"
            if not any(self.network.passing([pair]).get(pair) for _ in range(CONTROL_TRIES)):
                return f"{where} do not pass again after the end of: {self.network.mechanism}"
        return ""


def partition(life: FaultLife, cuts: Cuts, edges: Sequence[Edge]) -> None:
    """The whole life of a partition. Raises `FilterError` or `Abandoned`."""
    pairs = cuts.site.pairs_of(edges)
    probed = [pair for pair in pairs if pair in cuts.probeable]
    began = time.monotonic()
    cuts.add(pairs)
    with life.undone_by(lambda: cuts.take(pairs)):
        life.tell("installed", mechanism=cuts.network.mechanism, took_ms=_ms_since(began), pairs=len(pairs))
        life.until_ended(lambda: _bite(cuts, edges, probed), HOLD_SECONDS)
        dropped = cuts.network.dropped()
        began = time.monotonic()
    life.tell("healed", took_ms=_ms_since(began), packets_dropped=sum(dropped.get(pair, 0) for pair in pairs))
    _show_passing_again(life, cuts, probed)


def _show_passing_again(life: FaultLife, cuts: Cuts, probed: Sequence[Pair]) -> None:
    """Every pair that no other fault cuts must pass; those with an end that stays down are left out at last, and named."""
    passed: set[Pair] = set()
    blocked: set[Pair] = set()  # though both ends exist

    def missing() -> list[Pair]:
        return sorted(set(cuts.free(probed)) - passed)

    def passes_again() -> Evidence | None:
        passing = cuts.network.passing(missing())
        passed.update(pair for pair, passes in passing.items() if passes)
        blocked.clear()
        blocked.update(passing.keys() - passed)
        return {"probes_passed": len(passed)} if passed and not missing() else None

    def but_for_ends_down() -> Evidence | None:
        if not passed or blocked:
            return None
        return {"probes_passed": len(passed), "left_out_with_an_end_down": missing()}

    life.until_healed(
        passes_again, lambda: {"still_blocked": missing(), "probes_passed": len(passed)}, but_for_ends_down
    )


def _bite(cuts: Cuts, edges: Sequence[Edge], probed: Sequence[Pair]) -> Evidence | None:
    """Evidence that no probe arrives over any pair that can be probed now, and that the kernel drops packets.

    The other way of a one-way cut is probed too, as a control.
    """
    other_way = cuts.free({(b, a) for a, b in probed} & cuts.probeable)
    passing = cuts.network.passing([*probed, *other_way])
    over_cut = [passing[pair] for pair in probed if pair in passing]
    dropped = cuts.network.dropped()
    by_edge = {f"{a}>{b}": sum(dropped.get(pair, 0) for pair in cuts.site.pairs_of([(a, b)])) for a, b in edges}
    if not over_cut or any(over_cut) or not any(by_edge.values()):
        return None
    evidence: Evidence = {"probes_blocked": len(over_cut), "packets_dropped": by_edge}
    if other_way:
        evidence["probes_passed_the_other_way"] = sum(passing.get(pair, False) for pair in other_way)
    a, b = edges[0]
    if cuts.network.connects(cuts.site.containers[a].address, cuts.site.containers[b].address, PEER_PORT) is False:
        evidence["connect"] = f"{a} could not connect to {b}'s peer port"
    return evidence


def _ms_since(began: float) -> float:
    return round((time.monotonic() - began) * 1000, 3)
