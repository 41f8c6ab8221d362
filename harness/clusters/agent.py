"""Faults on containers: each is installed, shown to bite, healed and shown to have healed, with evidence.

A fault lives in a thread of its own, because the engine takes its time (a restart about half a second); what it comes to
is told step by step. Evidence never rests on the word of what did the fault: a cut is shown by datagrams that no longer
arrive *and* by packets that the kernel counted as dropped, a kill by the exit status and another process afterwards, a
pause by the kernel's state of the process and an unanswered request. Not here: what kinds of faults there are and whom
they hit (`harness/nemesis.py`).
"""

from __future__ import annotations

import http.client
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
from docker.errors import APIError
from requests.exceptions import RequestException

from harness.clusters.bridge import FilterError, Pair
from harness.clusters.cluster import ClusterError, Fault
from harness.clusters.containers import CLIENT_PORT, PEER_PORT, Container
from harness.clusters.engine import words_of
from harness.clusters.host_network import HostNetwork
from harness.clusters.namespaces import AgentError
from harness.nemesis import Edge, edges_of, targets_of

STATUS_SECONDS = 0.25
AGAIN_SECONDS = 0.05  # between two looks at whether a fault bites, or has healed
HEAL_SECONDS = 10.0  # for a heal to show: a restarted node takes about a second, more on a loaded machine
KILLED = 128 + 9  # the exit status of a process that SIGKILL ended

TROUBLE = (APIError, RequestException, AgentError, FilterError, ClusterError)

Tell = Callable[[str, str, dict[str, Any], dict[str, Any]], None]
"""Told (fault id, phase, resolved, evidence) from whichever thread it happens in."""


class Site(msgspec.Struct, frozen=True):
    """Where faults happen: the nodes, the network, and the addresses of those who stand beside the nodes."""

    containers: dict[str, Container]
    homes: dict[str, str]  # node -> the address of the clients whose home it is
    observer: str  # the address from which the harness itself looks; never cut off
    network: HostNetwork | None  # None: nobody here may touch the network
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
        connection = http.client.HTTPConnection(
            self.containers[node].address,
            CLIENT_PORT,
            timeout=STATUS_SECONDS,
            source_address=(self.observer, 0) if self.network else None,
        )
        try:
            connection.request("GET", "/status")
            answer = msgspec.json.decode(connection.getresponse().read())
        except (OSError, http.client.HTTPException, msgspec.DecodeError):
            return None
        finally:
            connection.close()
        return answer if isinstance(answer, dict) else None


class _Life:
    """One fault from its start to its end."""

    def __init__(self, site: Site, fault: Fault, tell: Tell, *, leader: str) -> None:
        self.site = site
        self.fault = fault
        self.ended = threading.Event()
        self.resolved: dict[str, Any] = {"leader": leader}
        self._tell = tell

    def tell(self, phase: str, **evidence: Any) -> None:
        self._tell(self.fault.id, phase, self.resolved, evidence)

    def until_ended(self, bites: Callable[[], dict[str, Any] | None]) -> None:
        """Looks until the fault bites, at most until it ends; says so; then waits for its end."""
        while True:
            evidence = bites()
            if evidence is not None:
                self.tell("bitten", **evidence)
                break
            if self.ended.wait(AGAIN_SECONDS):
                self.tell("not-bitten")
                break
        self.ended.wait()

    def until_healed(self, shown: Callable[[], dict[str, Any] | None], missing: Callable[[], dict[str, Any]]) -> None:
        """Looks until the heal shows, but not for ever."""
        end = time.monotonic() + HEAL_SECONDS
        while (evidence := shown()) is None:
            if time.monotonic() > end:
                self.tell("heal-not-shown", waited_seconds=HEAL_SECONDS, **missing())
                return
            time.sleep(AGAIN_SECONDS)
        self.tell("heal-shown", **evidence)


class Cuts:
    """Which pairs are cut by how many faults; a pair passes again when the last of them has healed."""

    def __init__(self, network: HostNetwork) -> None:
        self.network = network
        self._count: Counter[Pair] = Counter()
        self._lock = threading.Lock()

    def add(self, pairs: Sequence[Pair]) -> None:
        """Cuts pairs. Raises `FilterError`."""
        with self._lock:
            self.network.cut([pair for pair in pairs if not self._count[pair]])
            self._count.update(pairs)

    def take(self, pairs: Sequence[Pair]) -> None:
        """Ends one fault's cut of pairs. Raises `FilterError`."""
        with self._lock:
            self.network.heal([pair for pair in pairs if self._count[pair] == 1])
            self._count.subtract(pairs)

    def any_of(self, pairs: Iterable[Pair]) -> bool:
        """Whether another fault still cuts one of these pairs."""
        with self._lock:
            return any(self._count[pair] for pair in pairs)


class Agent:
    """Does faults: `inject` and `heal` return at once, the rest happens in threads and is told."""

    def __init__(self, site: Site, tell: Tell, broken: Callable[[BaseException], None]) -> None:
        """`broken` is given an exception that is a mistake of our own; it ends the fault that raised it."""
        self.site = site
        self._tell = tell
        self._broken = broken
        self._cuts = Cuts(site.network) if site.network else None
        self._lives: dict[str, _Life] = {}
        self._threads: list[threading.Thread] = []
        self._controls: frozenset[Pair] = frozenset()

    def take_controls(self) -> None:
        """Probes everything once while nothing is cut. Only what passes now can show later that it is cut.

        A firewall of this machine may keep nodes from speaking to clients first, which they never need to.
        """
        nodes = list(self.site.containers)
        pairs = self.site.pairs_of((a, b) for a in nodes for b in nodes if a != b)
        if self.site.network:
            self._controls = frozenset(pair for pair, passes in self.site.network.passing(pairs).items() if passes)

    def refusal(self, family: str) -> str:
        """Why faults of a family cannot be done here, found by trying; "" if they can."""
        if family in {"kill", "pause"}:
            return ""  # the engine itself can do both
        if family != "partition":
            return "containers have no such faults"
        if self._cuts is None:
            return self.site.refusal
        return self._try_cut(self._cuts)

    def _try_cut(self, cuts: Cuts) -> str:
        """Cuts the harness' own address off from one node for a moment, then one node from another."""
        first, *others = (container.address for container in self.site.containers.values())
        for pair in [(self.site.observer, first), *((first, other) for other in others[:1])]:
            try:
                cuts.add([pair])
                passed_cut = cuts.network.passing([pair]).get(pair)
                cuts.take([pair])
            except FilterError as error:
                return str(error)
            if passed_cut is not False:
                return f"{cuts.network.mechanism} was made, but packets from {pair[0]} to {pair[1]} still pass"
        return ""

    def inject(self, fault: Fault, leader: str) -> None:
        """Starts a fault. Never raises for what the engine or the kernel refuse: that is told."""
        life = _Life(self.site, fault, self._tell, leader=leader)
        node_ids = tuple(self.site.containers)
        self._lives[fault.id] = life
        match fault.family:
            case "partition":
                edges = edges_of(fault, leader, node_ids)
                life.resolved["edges"] = edges
                life.tell("requested")
                self._spawn(life, lambda: self._partition(life, edges))
            case "kill" | "pause":
                targets = [self.site.containers[node] for node in targets_of(fault, leader, node_ids)]
                life.resolved["nodes"] = [each.node for each in targets]
                life.tell("requested")
                run = _kill if fault.family == "kill" else _pause
                self._spawn(life, lambda: run(life, targets))
            case _:
                life.tell("requested")
                life.tell("refused", reason=self.refusal(fault.family))

    def heal(self, fault_id: str) -> None:
        """Ends a fault that was injected."""
        self._lives[fault_id].ended.set()

    def _spawn(self, life: _Life, run: Callable[[], None]) -> None:
        def guarded() -> None:
            try:
                run()
            except TROUBLE as error:
                life.tell("heal-failed" if life.ended.is_set() else "failed", reason=words_of(error))
            except BaseException as error:  # noqa: BLE001 - handed on to the run loop, which raises it
                self._broken(error)

        thread = threading.Thread(target=guarded, name=f"fault-{life.fault.id}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _partition(self, life: _Life, edges: Sequence[Edge]) -> None:
        cuts = self._cuts
        if cuts is None:
            life.tell("refused", reason=self.site.refusal)
            return
        pairs = self.site.pairs_of(edges)
        began = time.monotonic()
        cuts.add(pairs)
        life.tell("installed", mechanism=cuts.network.mechanism, took_ms=_ms_since(began), pairs=len(pairs))
        watched = [pair for pair in pairs if pair in self._controls]
        life.until_ended(lambda: self._cut_bites(cuts.network, edges, pairs, watched))
        dropped = cuts.network.dropped()
        began = time.monotonic()
        cuts.take(pairs)
        life.tell("healed", took_ms=_ms_since(began), packets_dropped=sum(dropped.get(pair, 0) for pair in pairs))
        self._show_passing(life, cuts, watched)

    def _cut_bites(
        self, network: HostNetwork, edges: Sequence[Edge], pairs: Sequence[Pair], watched: Sequence[Pair]
    ) -> dict[str, Any] | None:
        """Evidence that no probe arrives over any edge that can be probed now, and that the kernel drops packets."""
        probed = network.passing(watched)
        if not probed or any(probed.values()):
            return None
        dropped = network.dropped()
        counted = sum(dropped.get(pair, 0) for pair in pairs)
        if not counted:
            return None
        by_edge = {f"{a}>{b}": sum(dropped.get(pair, 0) for pair in self.site.pairs_of([(a, b)])) for a, b in edges}
        evidence = {"probes_blocked": len(probed), "probes_passed": 0, "packets_dropped": counted, "by_edge": by_edge}
        a, b = edges[0]
        source, target = self.site.containers[a].address, self.site.containers[b].address
        if network.connects(source, target, PEER_PORT) is False:
            evidence["connect"] = f"{a} could not connect to {b}'s peer port"
        return evidence

    def _show_passing(self, life: _Life, cuts: Cuts, watched: Sequence[Pair]) -> None:
        blocked: list[Pair] = []

        def shown() -> dict[str, Any] | None:
            free = [pair for pair in watched if not cuts.any_of([pair])]
            probed = cuts.network.passing(free)
            blocked[:] = [pair for pair, passes in probed.items() if not passes]
            return None if blocked or (free and not probed) else {"probes_passed": len(probed)}

        life.until_healed(shown, lambda: {"still_blocked": list(blocked)})

    def end_all(self) -> None:
        """Ends every fault and waits for their threads, but not long: what they act on is about to be removed."""
        for life in self._lives.values():
            life.ended.set()
        for thread in self._threads:
            thread.join(timeout=1)


def _kill(life: _Life, targets: Sequence[Container]) -> None:
    """SIGKILL, one node after the other; after the end of the fault they start again on their data."""
    before = {each.node: each.pid for each in targets}
    ways = {}
    for number, each in enumerate(targets):
        if number:
            time.sleep(life.fault.parameters.get("stagger_ns", 0) / 1_000_000_000)
        ways[each.node] = each.kill()
        if life.site.network:
            life.site.network.remove(each.address)
    life.tell("installed", mechanism=ways, pids=before)
    codes = dict(zip(before, _each(Container.await_exit, targets), strict=True))
    if all(code == KILLED for code in codes.values()):
        life.tell("bitten", exit_status=codes, pids=before)
    else:
        life.tell("not-bitten", exit_status=codes)
    life.ended.wait()
    _each(Container.start, targets)
    after = {each.node: each.pid for each in targets}
    for each in targets:
        if life.site.network and each.pid:
            life.site.network.place(each.address, each.pid)
    life.tell("healed", pids=after)

    def shown() -> dict[str, Any] | None:
        answers = {each.node: life.site.status_of(each.node) for each in targets}
        if any(answer is None for answer in answers.values()):
            return None
        fresh = all(after[node] and after[node] != before[node] for node in after)
        return {"pids_before": before, "pids_after": after, "answering": sorted(answers)} if fresh else None

    life.until_healed(shown, lambda: {"pids_before": before, "pids_after": after})


def _pause(life: _Life, targets: Sequence[Container]) -> None:
    """SIGSTOP until the end of the fault, then SIGCONT. A node that a kill holds down is paused when it is up again."""
    ways: dict[str, str] = {}
    for each in targets:
        while each.down:
            if life.ended.wait(AGAIN_SECONDS):
                break
        else:
            ways[each.node] = each.pause()
    stopped = [each for each in targets if each.node in ways]
    life.tell("installed", mechanism=ways, pids={each.node: each.pid for each in stopped})

    def bites() -> dict[str, Any] | None:
        silent = all(each.stopped() and life.site.status_of(each.node) is None for each in stopped)
        return {"stopped": sorted(ways), "unanswered": sorted(ways)} if silent and stopped else None

    life.until_ended(bites)
    for each in stopped:
        if not each.down:
            each.resume()
    life.tell("healed")

    def shown() -> dict[str, Any] | None:
        answering = [each.node for each in stopped if not each.down and life.site.status_of(each.node) is not None]
        return {"answering": answering} if answering else None

    life.until_healed(shown, lambda: {"silent": sorted(ways)})


def _each(function: Callable[[Container], Any], targets: Sequence[Container]) -> list[Any]:
    """`function` of every target, all at once."""
    with ThreadPoolExecutor(max_workers=len(targets)) as threads:
        return list(threads.map(function, targets))


def _ms_since(began: float) -> float:
    return round((time.monotonic() - began) * 1000, 3)
