"""Real nodes on loopback for the tests: start, ask, kill, and wait for what must come."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import httpx
import msgspec

T = TypeVar("T")
ROOT = Path(__file__).resolve().parents[2]
PATIENCE_SECONDS = 20.0
HTTP = httpx.Client(limits=httpx.Limits(max_keepalive_connections=0), timeout=5, trust_env=False)
"""One client for all requests of the tests (to make one is slow); a connection each, as nodes come and go."""
_PORTS = iter(range(12_000 + os.getpid() * 37 % 12_000, 32_000))


def free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago, from below those that the kernel gives to connections.

    One of the kernel's own could be taken by any connection while its node is down.
    """
    found: list[int] = []
    while len(found) < count:
        port = next(_PORTS)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            found.append(port)
    return found


def eventually(attempt: Callable[[], T | None], what: str) -> T:
    """The first result that is not None; fails the test when patience is over."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (result := attempt()) is None:
        assert time.monotonic() < deadline, f"never came: {what}"
        time.sleep(0.02)
    return result


class Node:
    """One node: its command line, its process while it runs, and its files."""

    def __init__(self, name: str, directory: Path, client: int, arguments: list[str]) -> None:
        self.name = name
        self.directory = directory
        self.url = f"http://127.0.0.1:{client}"
        self.address = ("127.0.0.1", client)
        self.arguments = arguments
        self.process: subprocess.Popen[bytes] | None = None
        self.events_path = directory / "events.jsonl"
        self.errors_path = directory / "stderr.log"

    def start(self, *more: str) -> Node:
        """Starts the process and waits for its ready line, or for its end."""
        before = len(self.events())
        with self.events_path.open("ab") as out, self.errors_path.open("ab") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "raftnode", *self.arguments, *more], stdout=out, stderr=errors, cwd=ROOT
            )
        eventually(lambda: True if self.ended() or len(self.events()) > before else None, f"{self.name} is ready")
        return self

    def ended(self) -> bool:
        return self.process is not None and self.process.poll() is not None

    def signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def wait(self) -> int:
        assert self.process is not None
        return self.process.wait(PATIENCE_SECONDS)

    def kill(self) -> None:
        """Ends it by kill -9, and waits until it is gone."""
        if self.process is not None and self.process.poll() is None:
            os.kill(self.process.pid, signal.SIGKILL)
        if self.process is not None:
            self.process.wait()

    def events(self) -> list[dict[str, Any]]:
        if not self.events_path.exists():
            return []
        return [
            msgspec.json.decode(line)
            for line in self.events_path.read_bytes().splitlines(keepends=True)
            if line.endswith(b"\n")
        ]

    def kinds(self) -> list[str]:
        return [event["kind"] for event in self.events()]

    def errors(self) -> str:
        return self.errors_path.read_text()

    def status(self) -> dict[str, Any] | None:
        """The status, None if the node does not answer."""
        try:
            body: dict[str, Any] = HTTP.get(self.url + "/status").json()
        except httpx.TransportError:
            return None
        return body

    def metric(self, line: str) -> float:
        """The value of one sample, 0 where it is not there yet."""
        text = HTTP.get(self.url + "/metrics").text
        return next((float(row.rpartition(" ")[2]) for row in text.splitlines() if row.rpartition(" ")[0] == line), 0.0)


class Nodes:
    """A cluster of real nodes."""

    def __init__(self, directory: Path, count: int, limits: str = "") -> None:
        names = [f"n{number}" for number in range(1, count + 1)]
        ports = free_ports(2 * count)
        client, peer = dict(zip(names, ports[:count], strict=True)), dict(zip(names, ports[count:], strict=True))
        self.peer_ports = peer
        self.nodes: dict[str, Node] = {}
        for name in names:
            home = directory / name
            home.mkdir(parents=True)
            arguments = [
                *("--id", name, "--data", str(home / "data"), "--cluster", "test", "--seed", "7"),
                *("--client", f"127.0.0.1:{client[name]}", "--peer", f"127.0.0.1:{peer[name]}"),
                *("--members", ",".join(names)),
                *("--peers", ",".join(f"{other}=127.0.0.1:{peer[other]}" for other in names if other != name)),
                *("--clients", ",".join(f"{other}=http://127.0.0.1:{client[other]}" for other in names)),
                *(("--limits", limits) if limits else ()),
            ]
            self.nodes[name] = Node(name, home, client[name], arguments)

    def __getitem__(self, name: str) -> Node:
        return self.nodes[name]

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes.values())

    def start(self) -> Nodes:
        for node in self:
            node.start()
        return self

    def close(self) -> None:
        for node in self:
            node.kill()

    def leader(self) -> Node:
        """The node that leads and is known to lead by a majority of all nodes, itself included."""
        return eventually(self._leader_now, "a leader")

    def _leader_now(self) -> Node | None:
        statuses = [status for node in self if not node.ended() and (status := node.status()) is not None]
        for status in statuses:
            followed = sum(other["leader"] == status["id"] and other["term"] == status["term"] for other in statuses)
            if status["role"] == "leader" and followed > len(self.nodes) // 2:
                return self[status["id"]]
        return None

    def followers(self) -> list[Node]:
        leader = self.leader()
        return [node for node in self if node is not leader]

    def ask(self, method: str, path: str, body: Any = None, key: str = "") -> httpx.Response:
        """Asks the leader, whoever it is, until the answer is neither a redirect nor "ask again later"."""

        def attempt() -> httpx.Response | None:
            leader = self._leader_now()
            if leader is None:
                return None
            headers = {"idempotency-key": key} if key else {}
            try:
                answer = HTTP.request(method, leader.url + path, json=body, headers=headers)
            except httpx.TransportError:
                return None
            return None if answer.status_code in {307, 503, 504} else answer

        return eventually(attempt, f"an answer to {method} {path}")
