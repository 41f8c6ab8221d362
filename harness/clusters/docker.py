"""A cluster of containers on a network of their own.

Every node has a fixed address there, every group of clients (those with the same home node) one of its own on the host's
side of the bridge, and so does the harness: whatever is cut is cut between addresses. Not here: how faults are done
(`agent.py`), what a container is (`containers.py`), where the image comes from (`image.py`).
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from docker.errors import APIError
from requests.exceptions import RequestException

from harness.builds import Build
from harness.clusters.agent import TROUBLE, Agent
from harness.clusters.bridge import FilterError
from harness.clusters.cluster import ClusterError, Fault, FaultProgress, NodeEvent, Refusal, Report, Request
from harness.clusters.containers import CLIENT_PORT, PEER_PORT, Container, ContainerSpec, LogPump
from harness.clusters.engine import (
    PREFIX,
    Engine,
    Network,
    connect,
    host_sees,
    in_parallel,
    make_network,
    remove_network,
    words_of,
)
from harness.clusters.helped_network import HelpedNetwork
from harness.clusters.host_network import HostNetwork, NetworkControl
from harness.clusters.http import HttpClients
from harness.clusters.image import ensure_image, has_image
from harness.clusters.leftovers import Ledger
from harness.clusters.namespaces import AgentError
from harness.clusters.reports import Reports
from harness.clusters.site import Site
from harness.clusters.sweeping import sweep_all, sweep_engine
from harness.clusters.thorough import Step, try_each
from harness.interrupts import held_back
from harness.nemesis import Leaders

FIRST_NODE = 11  # the last byte of the first node's address; below are the gateway and what else the engine wants
FIRST_HOME = 101  # of the clients of the first node
OBSERVER = 201  # of the harness itself
READY_SECONDS = 20.0


class DockerCluster:
    """See `Cluster`. Reports come from threads (logs, faults) and from the clients; `poll` hands them out in order."""

    def __init__(self, node_ids: tuple[str, ...], engine: Engine) -> None:
        """An empty cluster; `open_docker` fills it."""
        self.node_ids = node_ids
        self.engine = engine
        self.ledger: Ledger | None = None
        self.network: Network | None = None
        self.control: NetworkControl | None = None
        self.containers: dict[str, Container] = {}
        self.agent: Agent | None = None
        self.clients: HttpClients | None = None
        self.reports = Reports()
        self.pump = LogPump(self._on_event, self._on_end, self.reports.broken)
        self._leaders = Leaders()
        self._ready: set[str] = set()
        self._dead: dict[str, dict[str, Any]] = {}
        self._changed = threading.Condition()  # of the three above
        self._closed = False

    def now(self) -> int:
        return self.reports.now()

    def can(self, family: str) -> Refusal | None:
        assert self.agent is not None
        reason = self.agent.refusal(family)
        return Refusal(family, reason) if reason else None

    def submit(self, request: Request) -> None:
        assert self.clients is not None
        self.clients.submit(request)

    def inject(self, fault: Fault) -> None:
        assert self.agent is not None
        self.agent.inject(fault, self._leaders)

    def heal(self, fault: str) -> None:
        assert self.agent is not None
        self.agent.heal(fault)

    def poll(self, until: int) -> list[Report]:
        return self.reports.poll(until)

    def _tell(self, fault: str, phase: str, resolved: dict[str, Any], evidence: dict[str, Any]) -> None:
        self.reports.add([FaultProgress(fault=fault, phase=phase, at=self.now(), resolved=resolved, evidence=evidence)])

    def _on_event(self, node: str, event: dict[str, Any]) -> None:
        kind = str(event.get("kind", ""))
        fields = {name: value for name, value in event.items() if name not in {"v", "t", "node", "kind"}}
        with self._changed:
            if kind == "leader-elected":
                self._leaders = self._leaders.elected(int(fields["term"]), node)
            if kind == "ready":
                self._ready.add(node)
                self._changed.notify_all()
        self.reports.add([NodeEvent(node=node, kind=kind, at=int(event["t"]) - self.reports.start, fields=fields)])

    def _on_end(self, node: str) -> None:
        """A node's streams ended: it was killed, or it died."""
        container = self.containers[node]
        if not container.down and not self._closed:
            threading.Thread(target=self._died, args=(container,), name=f"died-{node}", daemon=True).start()

    def _died(self, container: Container) -> None:
        try:
            state = container.state()
        except TROUBLE as error:
            state = {"ExitCode": words_of(error)}
        if state.get("Running"):
            state = {"ExitCode": "unknown: its streams ended, though it runs"}
        lines = self.pump.last_lines(container.node)
        if state.get("OOMKilled"):
            lines.append("the kernel killed it for want of memory")
        fields = {"code": state.get("ExitCode"), "last_lines": lines}
        self.reports.add([NodeEvent(node=container.node, kind="process-exited", at=self.now(), fields=fields)])
        with self._changed:
            self._dead[container.node] = fields
            self._changed.notify_all()

    def serve(self, site: Site, workers: int) -> None:
        """Takes on an agent for faults, while nothing is cut, and clients. Raises `ClusterError`."""
        self.agent = Agent(site, self._tell, self._died, self.reports.broken)
        self.clients = HttpClients(
            endpoints={
                (home, node): (site.containers[node].address, CLIENT_PORT)
                for home in self.node_ids
                for node in self.node_ids
            },
            local_addresses=site.homes if site.network else {},
            node_ids=self.node_ids,
            workers=workers,
            deliver=lambda completion: self.reports.add([completion]),
            broken=self.reports.broken,
        )
        self.clients.prepare()

    def await_ready(self) -> None:
        """Waits until every node listens. Raises `ClusterError` if one dies or takes too long."""
        end = time.monotonic() + READY_SECONDS
        with self._changed:
            while missing := [node for node in self.node_ids if node not in self._ready]:
                if self._dead or time.monotonic() > end:
                    node = next(iter(self._dead), missing[0])
                    lines = self.pump.last_lines(node)
                    code = self._dead.get(node, {}).get("code")
                    what = f"exited with {code}" if self._dead else f"was not ready in {READY_SECONDS:g} s"
                    raise ClusterError(f"{node} {what}: {' / '.join(lines[-3:]) or 'it wrote nothing'}")
                self._changed.wait(0.1)

    def close(self) -> None:
        """Ends every part, whatever becomes of the others. Raises `ClusterError` if one could not be ended."""
        if self._closed:
            return
        self._closed = True
        for container in self.containers.values():
            container.down = True
        try_each(_ends(self))


def _ends(cluster: DockerCluster) -> Iterator[Step]:
    """What is done at the end, in this order; nothing of it depends on whether the rest succeeds."""
    if cluster.clients:
        yield "ending the clients", cluster.clients.close
    if cluster.agent:
        yield "abandoning the faults", cluster.agent.abandon
    yield "removing the containers", partial(in_parallel, Container.remove, list(cluster.containers.values()))
    if cluster.network:
        yield "removing the run's network", partial(_remove_network, cluster)
    yield "ending the reading of logs", cluster.pump.close
    if cluster.control:
        yield "giving back the network", partial(_close_control, cluster)
    if cluster.ledger and not _left_in_engine(cluster):  # else a later start must look for what is left
        yield "removing the run's note", cluster.ledger.remove
    yield "leaving the engine", cluster.engine.close


def _remove_network(cluster: DockerCluster) -> None:
    assert cluster.network is not None
    try:
        remove_network(cluster.engine, cluster.network.id)
    except (APIError, RequestException) as error:
        raise ClusterError(words_of(error)) from error
    cluster.network = None


def _close_control(cluster: DockerCluster) -> None:
    assert cluster.control is not None
    cluster.control.close()
    cluster.control = None


def _left_in_engine(cluster: DockerCluster) -> bool:
    return bool(cluster.network or cluster.control) or any(each.made for each in cluster.containers.values())


def open_docker(
    *, node_ids: tuple[str, ...], build: Build, folder: Path, seed: int, workers: int, say: Callable[[str], None]
) -> DockerCluster:
    """Brings up a cluster whose nodes all listen.

    Raises `ClusterError`, with everything removed again, where there is no engine, it refuses, or a node does not start.
    """
    engine = connect()
    for gone in [*sweep_all(), *sweep_engine(engine)]:
        say(f"removed {gone}, left behind by a run that is gone")
    if build.image and not has_image(engine, build.image):
        raise ClusterError(f"the Docker engine has no image {build.image}: pull or build it first")
    image = build.image or ensure_image(build.source or Path(), say, engine)
    cluster = DockerCluster(node_ids, engine)
    try:
        _bring_up(cluster, build, image, folder, seed, workers)
    except TROUBLE as error:
        with held_back():
            cluster.close()
        raise ClusterError(words_of(error)) from error
    except BaseException:
        with held_back():
            cluster.close()
        raise
    return cluster


def _bring_up(cluster: DockerCluster, build: Build, image: str, folder: Path, seed: int, workers: int) -> None:
    with held_back():  # what the engine was asked for is known here before anybody may want it removed
        site = _make(cluster, build, image, folder, seed)
    cluster.await_ready()
    if cluster.control:
        for container in cluster.containers.values():
            cluster.control.place(container.address, container.pid)
    cluster.serve(site, workers)


def _make(cluster: DockerCluster, build: Build, image: str, folder: Path, seed: int) -> Site:
    """Makes the network and starts the containers; they may not listen yet."""
    run = secrets.token_hex(4)
    cluster.ledger = Ledger(run, in_engine=True)
    network = cluster.network = make_network(cluster.engine, run)
    if not host_sees(network):
        raise ClusterError(
            "the Docker engine's networks are not on this machine (it serves another machine, or a virtual one); "
            "a local Linux engine is needed, or --cluster local"
        )
    addresses = {node: network.address(FIRST_NODE + place) for place, node in enumerate(cluster.node_ids)}
    homes = {node: network.address(FIRST_HOME + place) for place, node in enumerate(cluster.node_ids)}
    observer = network.address(OBSERVER)
    refusal = _take_control(cluster, image, run, [*homes.values(), observer])
    for node, address in addresses.items():
        spec = ContainerSpec(
            run=run,
            node=node,
            image=image,
            network=network,
            address=address,
            folder=folder / "nodes" / node,
            command=_command(node, addresses, run, seed, build),
        )
        cluster.pump.add(node, spec.folder)
        cluster.containers[node] = Container(cluster.engine, spec, cluster.pump)
    in_parallel(_launch, list(cluster.containers.values()))
    return Site(cluster.containers, homes, observer, cluster.control, refusal)


def _take_control(cluster: DockerCluster, image: str, run: str, addresses: list[str]) -> str:
    """Takes control of the network, by the first way that works; returns why not, "" if one did."""
    assert cluster.network is not None
    interface = cluster.network.interface
    try:
        cluster.control = HostNetwork(f"{PREFIX}{run}", interface, addresses)
    except (FilterError, AgentError) as here:
        try:
            cluster.control = HelpedNetwork(cluster.engine, image, run, interface, addresses, cluster.reports.broken)
        except FilterError as by_helper:
            return f"by this process: {here}; by a helper container: {by_helper}"
    return ""


def _launch(container: Container) -> None:
    container.create()
    container.start()


def _command(node: str, addresses: dict[str, str], run: str, seed: int, build: Build) -> tuple[str, ...]:
    """A node's command line inside its container."""
    others = [name for name in addresses if name != node]
    options = {
        "--id": node,
        "--data": "/data",
        "--client": f"{addresses[node]}:{CLIENT_PORT}",
        "--peer": f"{addresses[node]}:{PEER_PORT}",
        "--members": ",".join(addresses),
        "--peers": ",".join(f"{name}={addresses[name]}:{PEER_PORT}" for name in others),
        "--clients": ",".join(f"{name}=http://{addresses[name]}:{CLIENT_PORT}" for name in addresses),
        "--cluster": run,
        "--seed": str(seed),
    }
    return (*build.node_options, *(word for option in options.items() for word in option))
