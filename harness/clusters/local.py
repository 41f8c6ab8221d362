"""A cluster of processes of this machine, whose nodes and clients reach each other over links that can be cut.

Each group of clients (those with the same home node) has a way of its own to every node: directly to its home, over a
link to the others. Not here: how faults are done (`local_faults.py`), processes (`processes.py`), links (`links.py`).
"""

from __future__ import annotations

import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from harness.builds import Build
from harness.clusters.cluster import ClusterError, Fault, FaultProgress, NodeEvent, Refusal, Report, Request
from harness.clusters.http import HttpClients
from harness.clusters.leftovers import Ledger, cache_folder
from harness.clusters.link_control import Links
from harness.clusters.local_faults import LocalFaults, LocalSite
from harness.clusters.ports import HOST, PortReservation
from harness.clusters.processes import EventTail, NodeProcess, NodeSpec
from harness.clusters.reports import Reports
from harness.clusters.sweeping import sweep_all
from harness.clusters.thorough import Step, try_each
from harness.interrupts import held_back
from harness.nemesis import Edge, Leaders

READY_SECONDS = 20.0
STOP_SECONDS = 1.0  # for nodes to stop in order, before they are killed
UNTOLD_FIELDS = frozenset({"v", "t", "node", "kind"})


class LocalCluster:
    """See `Cluster`. Reports come from threads (events, faults) and from the clients; `poll` hands them out in order."""

    def __init__(self, node_ids: tuple[str, ...], run: str) -> None:
        """An empty cluster; `open_local` fills it."""
        self.node_ids = node_ids
        self.run = run
        self.reports = Reports()
        self.starter = ThreadPoolExecutor(1, thread_name_prefix="starter")
        self.nodes: dict[str, NodeProcess] = {}
        self.ports: dict[str, tuple[PortReservation, PortReservation]] = {}  # for clients, for peers
        self.ledger: Ledger | None = None
        self.links: Links | None = None
        self.tail: EventTail | None = None
        self.faults: LocalFaults | None = None
        self.clients: HttpClients | None = None
        self._leaders = Leaders()
        self._ready: set[str] = set()
        self._dead: dict[str, dict[str, Any]] = {}
        self._changed = threading.Condition()
        self._closed = False

    def now(self) -> int:
        return self.reports.now()

    def can(self, family: str) -> Refusal | None:
        assert self.faults is not None
        reason = self.faults.refusal(family)
        return Refusal(family, reason) if reason else None

    def submit(self, request: Request) -> None:
        assert self.clients is not None
        self.clients.submit(request)

    def inject(self, fault: Fault) -> None:
        assert self.faults is not None
        self.faults.inject(fault, self._leaders)

    def heal(self, fault: str) -> None:
        assert self.faults is not None
        self.faults.heal(fault)

    def poll(self, until: int) -> list[Report]:
        return self.reports.poll(until)

    def watch(self) -> None:
        """Begins to read what the nodes write, and to see them end; before their first start."""
        self.tail = EventTail(self.nodes.values(), self._on_events, self._died, self.reports.broken)
        self.tail.start()

    def take_faults(self, links: Links) -> None:
        """From now on faults can be done."""
        self.faults = LocalFaults(LocalSite(self.nodes, links), self._tell, self._died, self.reports.broken)

    def _tell(self, fault: str, phase: str, resolved: dict[str, Any], evidence: dict[str, Any]) -> None:
        self.reports.add([FaultProgress(fault=fault, phase=phase, at=self.now(), resolved=resolved, evidence=evidence)])

    def _on_events(self, found: list[tuple[str, dict[str, Any]]]) -> None:
        told: list[Report] = []
        for node, event in found:
            kind = event.get("kind", "")
            fields = {name: value for name, value in event.items() if name not in UNTOLD_FIELDS}
            if kind == "leader-elected":
                self._leaders = self._leaders.elected(int(event["term"]), node)
            elif kind == "ready":
                self.nodes[node].is_ready(int(event["pid"]))
                with self._changed:
                    self._ready.add(node)
                    self._changed.notify_all()
            told.append(NodeEvent(node=node, kind=kind, at=int(event["t"]) - self.reports.start, fields=fields))
        self.reports.add(told)

    def _died(self, node: NodeProcess) -> None:
        if self._closed:
            return
        fields = {"code": node.ended(), "last_lines": node.last_lines()}
        self.reports.add([NodeEvent(node=node.node, kind="process-exited", at=self.now(), fields=fields)])
        with self._changed:
            self._dead[node.node] = fields
            self._changed.notify_all()

    def await_ready(self) -> None:
        """Waits until every node listens. Raises `ClusterError` if one dies or takes too long."""
        end = time.monotonic() + READY_SECONDS
        with self._changed:
            while missing := [node for node in self.node_ids if node not in self._ready]:
                if self._dead or time.monotonic() > end:
                    node = next(iter(self._dead), missing[0])
                    lines = self.nodes[node].last_lines()
                    code = self._dead.get(node, {}).get("code")
                    what = f"exited with {code}" if self._dead else f"was not ready in {READY_SECONDS:g} s"
                    raise ClusterError(f"{node} {what}: {' / '.join(lines[-3:]) or 'it wrote nothing'}")
                self._changed.wait(0.1)

    def close(self) -> None:
        """Ends every part, whatever becomes of the others. Raises `ClusterError` if one could not be ended."""
        if self._closed:
            return
        self._closed = True
        try_each(_ends(self))


def _await_until(node: NodeProcess, end: float) -> None:
    node.await_exit(max(0.0, end - time.monotonic()))


def _ends(cluster: LocalCluster) -> Iterator[Step]:
    """What is done at the end, in this order; nothing of it depends on whether the rest succeeds."""
    nodes = list(cluster.nodes.values())
    yield from ((f"stopping {each.node}", each.terminate) for each in nodes)
    if cluster.clients:
        yield "ending the clients", cluster.clients.close
    if cluster.faults:
        yield "abandoning the faults", cluster.faults.abandon
    end = time.monotonic() + STOP_SECONDS
    yield from ((f"awaiting {each.node}", partial(_await_until, each, end)) for each in nodes)
    yield from ((f"killing {each.node}", each.kill) for each in nodes)
    yield from ((f"awaiting {each.node}", each.await_exit) for each in nodes)
    yield "ending the starter", cluster.starter.shutdown
    if cluster.tail:
        yield "ending the reading of events", cluster.tail.close
    if cluster.links:
        yield "ending the links", cluster.links.close
    yield from (("giving back a port", each.close) for pair in cluster.ports.values() for each in pair)
    left = [each.node for each in nodes if each.pid and each.ended() is None]
    if cluster.ledger and not left:  # else a later start must look for what is left
        yield "removing the run's note", cluster.ledger.remove


def open_local(
    *, node_ids: tuple[str, ...], build: Build, folder: Path, seed: int, workers: int, say: Callable[[str], None]
) -> LocalCluster:
    """Brings up a cluster whose nodes all listen and whose clients have their sessions.

    Raises `ClusterError`, with everything ended again, where a node does not start or no leader gives out sessions.
    """
    for gone in sweep_all():
        say(f"removed {gone}, left behind by a run that is gone")
    cluster = LocalCluster(node_ids, secrets.token_hex(4))
    try:
        _bring_up(cluster, build, folder, seed, workers)
    except OSError as error:
        with held_back():
            cluster.close()
        raise ClusterError(f"the cluster could not be started: {error}") from error
    except BaseException:
        with held_back():
            cluster.close()
        raise
    return cluster


def _bring_up(cluster: LocalCluster, build: Build, folder: Path, seed: int, workers: int) -> None:
    cluster.ledger = Ledger(cluster.run)
    for node in cluster.node_ids:
        cluster.ports[node] = (PortReservation(), PortReservation())
    with (folder / "links.log").open("ab") as log:
        cluster.links = Links(log, cluster.reports.broken)
    cluster.ledger.add(cluster.links.pid, "links")
    backends = {node: (client.port, peer.port) for node, (client, peer) in cluster.ports.items()}
    to_peers, to_nodes = cluster.links.open(cluster.run, backends)
    env = {**os.environ, **build.env, "SPLITBRAIN_RUN": cluster.run}
    if env.pop("PYTHONDONTWRITEBYTECODE", ""):  # nodes start often: compile them once, and leave the tree as it is
        env["PYTHONPYCACHEPREFIX"] = str(cache_folder() / "bytecode")
    for node in cluster.node_ids:
        spec = NodeSpec(
            node=node,
            command=(*build.argv, *_options(node, backends, to_peers, folder, cluster.run, seed)),
            env=env,
            folder=folder / "nodes" / node,
            client_port=backends[node][0],
        )
        spec.folder.mkdir(parents=True, exist_ok=True)
        cluster.nodes[node] = NodeProcess(spec, cluster.starter, cluster.ledger, cluster.links.listening)
    cluster.watch()
    for process in cluster.nodes.values():
        process.start()
    cluster.take_faults(cluster.links)
    cluster.await_ready()
    endpoints = {(node, node): (HOST, backends[node][0]) for node in cluster.node_ids}
    endpoints |= {edge: (HOST, port) for edge, port in to_nodes.items()}
    cluster.clients = HttpClients(
        endpoints,
        {},
        cluster.node_ids,
        workers,
        lambda completion: cluster.reports.add([completion]),
        cluster.reports.broken,
    )
    cluster.clients.prepare()


def _options(
    node: str, backends: dict[str, tuple[int, int]], to_peers: dict[Edge, int], folder: Path, run: str, seed: int
) -> list[str]:
    """A node's options on the command line: it dials its peers over the links, and sends clients to nodes directly."""
    client, peer = backends[node]
    options = {
        "--id": node,
        "--data": str((folder / "nodes" / node / "data").absolute()),
        "--client": f"{HOST}:{client}",
        "--peer": f"{HOST}:{peer}",
        "--members": ",".join(backends),
        "--peers": ",".join(f"{other}={HOST}:{to_peers[node, other]}" for other in backends if other != node),
        "--clients": ",".join(f"{each}=http://{HOST}:{port}" for each, (port, _) in backends.items()),
        "--cluster": run,
        "--seed": str(seed),
    }
    return [word for option in options.items() for word in option]
