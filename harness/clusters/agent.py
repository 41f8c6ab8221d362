"""Faults on containers: each is requested, installed, shown to bite, healed and shown to have healed.

A fault lives in a thread of its own, because the engine takes its time (a restart about half a second); what becomes of
it is told step by step. Evidence never rests on the word of what did the fault. Not here: what kinds of faults there are
and whom they hit (`harness/nemesis.py`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from docker.errors import APIError
from requests.exceptions import RequestException

from harness.clusters.bridge import FilterError
from harness.clusters.cluster import ClusterError, Fault
from harness.clusters.containers import Container
from harness.clusters.cuts import Cuts, partition
from harness.clusters.engine import words_of
from harness.clusters.fault_life import FaultLife, Tell
from harness.clusters.namespaces import AgentError
from harness.clusters.outages import kill, pause
from harness.clusters.site import Site
from harness.nemesis import Leaders, edges_of, targets_of

TROUBLE = (APIError, RequestException, AgentError, FilterError, ClusterError)
"""What the engine, the kernel and the machine may refuse with."""

ABANDON_SECONDS = 1.0


class Agent:
    """Does faults: `inject` and `heal` return at once, the rest happens in threads and is told."""

    def __init__(
        self,
        site: Site,
        tell: Tell,
        died: Callable[[Container], None],
        broken: Callable[[BaseException], None],
    ) -> None:
        """`died` hears of a node that a kill found dead, `broken` of a mistake of our own that ended a fault."""
        self.site = site
        self._tell = tell
        self._died = died
        self._broken = broken
        self._cuts = Cuts(site, site.network) if site.network else None
        self._lives: dict[str, FaultLife] = {}
        self._threads: list[threading.Thread] = []

    def refusal(self, family: str) -> str:
        """Why faults of a family cannot be done here, found by trying; "" if they can."""
        if family in {"kill", "pause"}:
            return ""  # whoever may start containers may do both
        if family == "delay":
            return "nothing here delays packets between containers yet (no netem, no queue in user space); use --cluster local"
        if family != "partition":
            return "containers have no such faults"
        if not self._cuts:
            return self.site.refusal
        try:
            return self._cuts.try_out()
        except TROUBLE as error:
            return words_of(error)

    def inject(self, fault: Fault, leaders: Leaders) -> None:
        """Starts a fault. Never raises for what the engine or the kernel refuse: that is told."""
        life = self._lives[fault.id] = FaultLife(fault, self._tell, leader=leaders.now)
        node_ids = tuple(self.site.containers)
        cuts = self._cuts
        if fault.family == "partition" and cuts:
            edges = edges_of(fault, leaders.now, node_ids, leaders.before)
            life.resolved["edges"] = edges
            self._spawn(life, lambda: partition(life, cuts, edges))
        elif fault.family in {"kill", "pause"}:
            targets = [self.site.containers[node] for node in targets_of(fault, leaders.now, node_ids)]
            life.resolved["nodes"] = [each.node for each in targets]
            if fault.family == "kill":
                self._spawn(life, lambda: kill(life, self.site, targets, self._died))
            else:
                self._spawn(life, lambda: pause(life, self.site, targets))
        else:
            life.tell("requested")
            life.tell("refused", reason=self.refusal(fault.family))

    def _spawn(self, life: FaultLife, run: Callable[[], None]) -> None:
        def guarded() -> None:
            life.live(run, TROUBLE, words_of, self._broken)

        life.tell("requested")
        thread = threading.Thread(target=guarded, name=f"fault-{life.fault.id}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def heal(self, fault_id: str) -> None:
        """Ends a fault that was injected."""
        self._lives[fault_id].end()

    def abandon(self) -> None:
        """Stops every fault where it is: what they act on is about to be removed."""
        for life in self._lives.values():
            life.end(abandon=True)
        end = time.monotonic() + ABANDON_SECONDS
        for thread in self._threads:
            thread.join(timeout=max(0.0, end - time.monotonic()))
