"""The container engine: a connection to it, and what a run leaves in it, found again by labels.

Everything that a run makes carries three labels: the run, the process that owns it, and the machine (boot and process
namespace) on which that process number means something. What an owner that is gone left behind is swept by whoever starts
next. Nothing without these labels is ever touched. Not here: faults (`agent.py`), the image (`image.py`).
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
from docker.client import DockerClient
from docker.errors import APIError, DockerException, NotFound
from docker.types import IPAMConfig, IPAMPool
from requests.exceptions import RequestException

from harness.clusters.cluster import ClusterError
from harness.clusters.leftovers import began, machine

LABEL_RUN = "splitbrain.run"
LABEL_OWNER = "splitbrain.owner"
LABEL_MACHINE = "splitbrain.machine"
PREFIX = "splitbrain-"
CALL_SECONDS = 60

SUBNETS = ipaddress.IPv4Network("10.213.0.0/16")
"""Where a run looks for a /24 of its own; the engine refuses one that overlaps with another network."""

IN_USE = ("overlap", "already in use", "conflicts")

Engine = Any
"""A `docker.DockerClient`; the SDK carries no types."""


class Network(msgspec.Struct, frozen=True):
    """The network of one run: its name, the engine's id, the /24, and the host's interface on it."""

    name: str
    id: str
    subnet: str
    interface: str

    def address(self, last: int) -> str:
        """The address of the subnet that ends in `last`."""
        return str(ipaddress.IPv4Network(self.subnet)[last])


def connect() -> Engine:
    """A connection to the engine that the environment names. Raises `ClusterError` where there is none."""
    try:
        engine = DockerClient.from_env(timeout=CALL_SECONDS)
    except DockerException as error:
        raise ClusterError(_unreachable(error)) from error
    try:
        engine.ping()
    except (DockerException, RequestException) as error:
        engine.close()
        raise ClusterError(_unreachable(error)) from error
    return engine


def _unreachable(error: Exception) -> str:
    words = str(error)
    if "Permission denied" in words or "PermissionError" in words:
        return (
            "the Docker engine refuses this user: add the user to the group docker or run as root, "
            "or use --cluster local, which needs neither"
        )
    address = os.environ.get("DOCKER_HOST", "its usual socket")
    return f"no Docker engine answers at {address}: start it, or use --cluster local, which needs none"


def words_of(error: Exception) -> str:
    """What the engine said, without the SDK's preamble."""
    said = getattr(error, "explanation", None) or str(error)
    return str(said).strip().splitlines()[-1] if str(said).strip() else type(error).__name__


def labels_of(run: str) -> dict[str, str]:
    """The labels of everything that this process makes for `run`."""
    return {LABEL_RUN: run, LABEL_OWNER: owner_of(os.getpid()), LABEL_MACHINE: machine()}


def owner_of(pid: int) -> str:
    """`<pid>:<start time in clock ticks since boot>`, which names a process for good; "" if none can be seen."""
    try:
        since = began(pid)
    except PermissionError:  # a machine that hides other users' processes
        return ""
    return f"{pid}:{since}" if since else ""


def _abandoned(labels: dict[str, str]) -> bool:
    """Whether what carries these labels has lost its owner. An owner on another machine cannot be asked: it is left alone."""
    if LABEL_RUN not in labels or labels.get(LABEL_MACHINE) != machine():
        return False
    owner = labels.get(LABEL_OWNER, "")
    pid = owner.partition(":")[0]
    if not pid.isdigit() or owner_of(int(pid)) == owner:
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return bool(owner_of(int(pid)))  # another user's; machines may hide those, and then the owner may well be alive
    return True


def sweep(engine: Engine) -> list[str]:
    """Removes the containers, volumes and networks of runs whose owner is gone; says what went."""
    gone: list[str] = []
    containers = [
        each
        for each in engine.containers.list(all=True, filters={"label": LABEL_RUN}, ignore_removed=True)
        if _abandoned(each.labels)
    ]
    in_parallel(remove_container, containers)
    gone += [f"container {each.name}" for each in containers]
    for network in engine.networks.list(filters={"label": LABEL_RUN}):
        if _abandoned(network.attrs.get("Labels") or {}):
            remove_network(engine, network.id)
            gone.append(f"network {network.name}")
    return gone


def remove_container(container: Any) -> None:
    """Kills and removes a container with its anonymous volumes; it may be gone already."""
    try:
        container.remove(force=True, v=True)
    except NotFound:
        return
    except APIError as error:
        if "already in progress" not in str(error):
            raise


def remove_network(engine: Engine, network_id: str) -> None:
    """Removes a network; it may be gone already."""
    try:
        engine.api.remove_network(network_id)
    except NotFound:
        return


def make_network(engine: Engine, run: str) -> Network:
    """A bridge network on the first /24 that nobody uses. Raises `ClusterError` if all are taken, or the engine refuses."""
    name = f"{PREFIX}{run}"
    taken = _networks_here()
    subnets = list(SUBNETS.subnets(new_prefix=24))
    # Runs that start at once look in different places first.
    first = int.from_bytes(run.encode()[-2:]) % len(subnets)
    for subnet in subnets[first:] + subnets[:first]:
        if any(subnet.overlaps(other) for other in taken):
            continue
        pool = IPAMPool(subnet=str(subnet), gateway=str(subnet[1]))
        try:
            made = engine.networks.create(
                name,
                driver="bridge",
                ipam=IPAMConfig(pool_configs=[pool]),
                labels=labels_of(run),
                check_duplicate=True,
            )
        except APIError as error:
            if any(word in str(error).lower() for word in IN_USE) and "with name" not in str(error):
                continue
            raise ClusterError(f"the Docker engine made no network: {words_of(error)}") from error
        return Network(name=name, id=made.id, subnet=str(subnet), interface=f"br-{made.id[:12]}")
    raise ClusterError(f"every /24 of {SUBNETS} is in use; remove networks that nobody needs (docker network prune)")


def _networks_here() -> list[ipaddress.IPv4Network]:
    """The networks that this machine has routes to; the engine itself compares with its own networks only."""
    try:
        lines = Path("/proc/net/route").read_text(encoding="utf-8").splitlines()[1:]
    except OSError:
        return []
    found = []
    for line in lines:
        fields = line.split()
        address = int.from_bytes(bytes.fromhex(fields[1]), "little")
        mask = int.from_bytes(bytes.fromhex(fields[7]), "little")
        if mask:
            found.append(ipaddress.IPv4Network((address, mask.bit_count())))
    return found


def in_parallel(function: Callable[[Any], Any], items: list[Any]) -> list[Any]:
    """`function` of every item, each in a thread of its own; the first exception is raised after all have ended."""
    if not items:
        return []
    with ThreadPoolExecutor(max_workers=len(items)) as threads:
        return [future.result() for future in [threads.submit(function, item) for item in items]]


def host_sees(network: Network) -> bool:
    """Whether a network's bridge stands on this machine; the engine may serve another one, or a virtual one."""
    return Path("/sys/class/net", network.interface).exists()


def runs_alive(engine: Engine) -> set[str]:
    """The runs that have a network in the engine now."""
    return {network.name.removeprefix(PREFIX) for network in engine.networks.list(filters={"label": LABEL_RUN})}
