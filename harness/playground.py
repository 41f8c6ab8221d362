"""A cluster to play with: nodes as processes of this machine, without faults, until it is closed.

Its addresses are written to a file, so that `splitbrain kv` finds it without being told.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from harness.builds import Build
from harness.clusters.cluster import ClusterError
from harness.clusters.leftovers import Ledger, cache_folder
from harness.clusters.ports import HOST, PortReservation
from harness.clusters.processes import NodeProcess, NodeSpec
from harness.clusters.sweeping import sweep_all
from harness.interrupts import held_back

READY_SECONDS = 10.0
STOP_SECONDS = 2.0


def address_file() -> Path:
    """Where the addresses of the running playground stand: a JSON object from node id to URL."""
    return cache_folder() / "playground.json"


def known_endpoints() -> dict[str, str]:
    """The addresses of the running playground; empty if none runs."""
    try:
        return msgspec.json.decode(address_file().read_bytes(), type=dict[str, str])
    except (FileNotFoundError, msgspec.DecodeError):
        return {}


@contextlib.contextmanager
def playground(nodes: int, build: Build, folder: Path, first_port: int) -> Iterator[dict[str, str]]:
    """Runs a cluster whose data is kept below `folder`; gives node id -> URL. Raises ClusterError if it does not start."""
    sweep_all()
    ids = [f"n{number + 1}" for number in range(nodes)]
    ports = dict(zip(ids, _free_ports(nodes, first_port), strict=True))
    peers = {node: PortReservation() for node in ids}
    urls = {node: f"http://{HOST}:{ports[node]}" for node in ids}
    ledger = Ledger(f"playground-{os.getpid()}")
    with ThreadPoolExecutor(1) as starter, contextlib.ExitStack() as stack:
        stack.callback(ledger.remove)
        processes = []
        for node in ids:
            command = _command(node, build, ids, folder, ports, peers, urls)
            spec = NodeSpec(node, command, {**os.environ, **build.env}, folder / node, ports[node])
            processes.append(NodeProcess(spec, starter, ledger, lambda _node, _listens: None))
        stack.callback(_stop, processes)
        for each in processes:
            each.start()
        for each in processes:
            _await(each, ports[each.node])
        file = address_file()
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(msgspec.json.encode(urls))
        stack.callback(_forget, urls)
        yield urls


def _command(
    node: str,
    build: Build,
    ids: list[str],
    folder: Path,
    ports: dict[str, int],
    peers: dict[str, PortReservation],
    urls: dict[str, str],
) -> tuple[str, ...]:
    options = {
        "--id": node,
        "--data": str(folder / node / "data"),
        "--client": f"{HOST}:{ports[node]}",
        "--peer": f"{HOST}:{peers[node].port}",
        "--members": ",".join(ids),
        "--peers": ",".join(f"{other}={HOST}:{peers[other].port}" for other in ids if other != node),
        "--clients": ",".join(f"{name}={url}" for name, url in urls.items()),
        "--cluster": "playground",
    }
    return (*build.argv, *(word for option in options.items() for word in option))


def _free_ports(count: int, first: int) -> list[int]:
    """The first free ports from `first` on: one that is in use is passed over."""
    found: list[int] = []
    for port in range(first, min(first + 1000, 65536)):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
        found.append(port)
        if len(found) == count:
            return found
    raise ClusterError(f"there are no {count} free ports from {first} on; choose another place with --port")


def _await(process: NodeProcess, port: int) -> None:
    """Waits until a node's client port can be connected to."""
    end = time.monotonic() + READY_SECONDS
    while time.monotonic() < end and process.ended() is None:
        with contextlib.suppress(OSError), socket.create_connection((HOST, port), timeout=0.2):
            return
        time.sleep(0.02)
    lines = " / ".join(process.last_lines()[-3:]) or "it wrote nothing"
    raise ClusterError(f"{process.node} did not start: {lines}")


def _stop(processes: list[NodeProcess]) -> None:
    with held_back():
        for each in processes:
            each.terminate()
        for each in processes:
            if each.await_exit(STOP_SECONDS) is None:
                each.kill()


def _forget(urls: dict[str, str]) -> None:
    """Removes the address file, unless another playground has written it since."""
    if known_endpoints() == urls:
        address_file().unlink(missing_ok=True)
