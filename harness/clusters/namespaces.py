"""Sockets inside the containers' network namespaces, and handles of their processes, on the host of the engine.

A probe is a datagram from one address to another, sent and received by this process through sockets that live where the
two stand. It needs no help of the nodes, tells the two directions of a link apart, and takes milliseconds, so that a cut
can be shown to bite and to heal. A node's process is held by a pidfd, which can never come to mean another process.
Not here: the packet filter (`bridge.py`), and what a fault does with all this (`agent.py`).
"""

from __future__ import annotations

import ctypes
import errno
import os
import secrets
import selectors
import signal
import socket
import threading
import time
from collections.abc import Collection
from pathlib import Path

from harness.clusters.bridge import Pair

HOST = 0
"""The process id that stands for this machine's own network namespace."""

CLONE_NEWNET = 0x40000000
PROBE_SECONDS = 0.06  # a datagram between containers takes well under a millisecond; a loaded machine needs the rest
PROBE_SENDS = 3
CONNECT_SECONDS = 0.2

_libc = ctypes.CDLL(None, use_errno=True)


class AgentError(Exception):
    """The kernel refused; the words are its own."""


def socket_in(pid: int, kind: socket.SocketKind) -> socket.socket:
    """A socket in the network namespace of a process. A socket stays in the namespace in which it was made.

    Raises `AgentError` where the process is gone, or this user may not enter.
    """
    if pid == HOST:
        return socket.socket(socket.AF_INET, kind)
    made: list[socket.socket] = []
    failed: list[OSError] = []

    def make() -> None:
        # A thread of its own, which ends here: only it has moved to the other namespace.
        try:
            namespace = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
            try:
                if _libc.setns(namespace, CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
            finally:
                os.close(namespace)
            made.append(socket.socket(socket.AF_INET, kind))
        except OSError as error:
            failed.append(error)

    thread = threading.Thread(target=make, name="in-namespace")
    thread.start()
    thread.join()
    if failed:
        raise AgentError(f"the network namespace of process {pid} cannot be entered: {failed[0].strerror}")
    return made[0]


class Prober:
    """One datagram socket per address, where that address lives. Methods may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pids: dict[str, int] = {}
        self._sockets: dict[str, socket.socket] = {}

    def place(self, address: str, pid: int) -> None:
        """Says where an address lives now. Raises `AgentError` if no socket can be opened there."""
        opened = socket_in(pid, socket.SOCK_DGRAM)
        try:
            opened.bind((address, 0))
        except OSError as error:
            opened.close()
            raise AgentError(f"{address} is no address of process {pid}: {error.strerror}") from error
        opened.setblocking(False)
        with self._lock:
            self._forget(address)
            self._sockets[address] = opened
            self._pids[address] = pid

    def remove(self, address: str) -> None:
        """The address is gone, for a while or for good; probes from and to it tell nothing."""
        with self._lock:
            self._forget(address)

    def _forget(self, address: str) -> None:
        self._pids.pop(address, None)
        if old := self._sockets.pop(address, None):
            old.close()

    def passing(self, pairs: Collection[Pair]) -> dict[Pair, bool]:
        """Whether a datagram came through, for each pair whose ends both exist; waits while one is missing, but not long."""
        with self._lock:
            sockets = self._sockets
            asked = {secrets.token_bytes(8): pair for pair in pairs if pair[0] in sockets and pair[1] in sockets}
            arrived: set[bytes] = set()
            with selectors.DefaultSelector() as selector:
                for address in {to for _, to in asked.values()}:
                    selector.register(sockets[address], selectors.EVENT_READ)
                for _ in range(PROBE_SENDS):
                    missing = {token: pair for token, pair in asked.items() if token not in arrived}
                    if not missing:
                        break
                    self._send(missing)
                    self._receive(selector, arrived, len(asked), PROBE_SECONDS / PROBE_SENDS)
        return {pair: token in arrived for token, pair in asked.items()}

    def _send(self, tokens: dict[bytes, Pair]) -> None:
        for token, (source, target) in tokens.items():
            try:
                self._sockets[source].sendto(token, self._sockets[target].getsockname())
            except OSError as error:
                # EPERM is a local drop, the others a namespace that is being torn down: either way it does not arrive.
                if error.errno not in {
                    errno.EPERM,
                    errno.ENETUNREACH,
                    errno.EHOSTUNREACH,
                    errno.ENETDOWN,
                    errno.ECONNREFUSED,
                }:
                    raise

    def _receive(self, selector: selectors.BaseSelector, arrived: set[bytes], wanted: int, seconds: float) -> None:
        end = time.monotonic() + seconds
        while len(arrived) < wanted and (left := end - time.monotonic()) > 0:
            for key, _ in selector.select(left):
                try:
                    arrived.add(self._sockets_of(key).recv(64))
                except OSError:
                    selector.unregister(key.fileobj)  # its namespace went away meanwhile

    @staticmethod
    def _sockets_of(key: selectors.SelectorKey) -> socket.socket:
        assert isinstance(key.fileobj, socket.socket)
        return key.fileobj

    def connects(self, source: str, target: str, port: int) -> bool | None:
        """Whether a TCP connection from one address to a port of the other opens at once; None if an end does not exist."""
        with self._lock:
            pid = self._pids.get(source)
            if pid is None or target not in self._pids:
                return None
        try:
            with socket_in(pid, socket.SOCK_STREAM) as connection:
                connection.bind((source, 0))
                connection.settimeout(CONNECT_SECONDS)
                connection.connect((target, port))
        except AgentError:
            return None
        except OSError:
            return False
        return True

    def close(self) -> None:
        """Closes every socket, which would keep a namespace alive. May be called twice."""
        with self._lock:
            for address in list(self._sockets):
                self._forget(address)


class NodeProcess:
    """The process of a running container, as this machine sees it."""

    def __init__(self, pid: int) -> None:
        """Takes hold of the process. Raises `AgentError` if it is gone or out of sight."""
        try:
            self._handle = os.pidfd_open(pid)
        except OSError as error:
            raise AgentError(f"process {pid} cannot be reached from here: {error.strerror}") from error
        self.pid = pid

    def send(self, number: signal.Signals) -> None:
        """Sends a signal. Raises `AgentError` if the kernel refuses; a process that has ended is no error."""
        try:
            signal.pidfd_send_signal(self._handle, number)
        except ProcessLookupError:
            return
        except OSError as error:
            raise AgentError(f"{number.name} to process {self.pid}: {error.strerror}") from error

    def state(self) -> str:
        """The kernel's letter for its state (R, S, D, T, Z), "" if there is no such process."""
        try:
            stat = Path(f"/proc/{self.pid}/stat").read_text(encoding="utf-8")
        except OSError:
            return ""
        return stat.rpartition(")")[2].split()[0]

    def close(self) -> None:
        """Lets go of the process. May be called twice."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1
