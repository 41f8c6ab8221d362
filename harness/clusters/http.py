"""Clients over HTTP for clusters whose nodes are processes: operations are handed to client processes, completions come back.

httpx takes more than half a millisecond of a core for a request, so the workers are spread over processes of their own.
What an error means is not decided here, nor which operation comes next.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO

import msgspec

from harness.clusters.client_process import LENGTH, Do, Done, Ready, Start, frame
from harness.clusters.cluster import ClusterError, Completion, Request

PROCESSES = 2
END_SECONDS = 1.0  # for a process to end once its standard input has, or its output
PREPARE_SECONDS = 15.0
ROOT = Path(__file__).resolve().parents[2]

Address = tuple[str, int]


class HttpClients:
    """The client processes of one run.

    `deliver` is called with each completion and `broken` with what ended a client process before its time, both from
    threads of this object.
    """

    def __init__(
        self,
        endpoints: Mapping[tuple[str, str], Address],  # (home node of the client, node) -> where it reaches that node
        local_addresses: Mapping[str, str],  # home node -> the address its clients connect from, where it matters
        node_ids: tuple[str, ...],
        workers: int,
        deliver: Callable[[Completion], None],
        broken: Callable[[BaseException], None],
    ) -> None:
        self._deliver = deliver
        self._broken = broken
        self._closed = False
        self._trouble: list[str] = []
        self._ready = threading.Semaphore(0)
        addresses = {home: {node: endpoints[home, node] for node in node_ids} for home in node_ids}
        self._children = [_spawn() for _ in range(min(PROCESSES, workers))]
        for number, child in enumerate(self._children):
            mine = tuple(range(number, workers, len(self._children)))
            start = Start(node_ids, mine, addresses, dict(local_addresses), PREPARE_SECONDS)
            _pipe(child.stdin).write(frame(start))
            _pipe(child.stdin).flush()
            threading.Thread(target=self._read, args=(child,), name=f"clients-{number}", daemon=True).start()

    def prepare(self) -> None:
        """Waits until every worker has a session. Raises `ClusterError` if that takes too long."""
        for _ in self._children:
            if not self._ready.acquire(timeout=PREPARE_SECONDS + 5):
                raise ClusterError(f"the clients were not ready after {PREPARE_SECONDS:g} s")
        if self._trouble:
            raise ClusterError(f"the clients could not begin: {self._trouble[0]}")

    def submit(self, request: Request) -> None:
        """Starts an operation; its completion is delivered later."""
        child = self._children[request.worker % len(self._children)]
        try:
            _pipe(child.stdin).write(frame(Do(request)))
            _pipe(child.stdin).flush()
        except BrokenPipeError as error:
            raise ClusterError(_gone(child)) from error

    def close(self) -> None:
        """Ends the client processes; operations under way are not completed."""
        self._closed = True
        for child in self._children:
            try:
                _pipe(child.stdin).close()
            except BrokenPipeError:
                continue  # it is gone already
        for child in self._children:
            try:
                child.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()

    def _read(self, child: subprocess.Popen[bytes]) -> None:
        decoder = msgspec.msgpack.Decoder(Ready | Done)
        stream = _pipe(child.stdout)
        try:
            while len(head := stream.read(LENGTH.size)) == LENGTH.size:
                message = decoder.decode(stream.read(LENGTH.unpack(head)[0]))
                if isinstance(message, Done):
                    self._deliver(message.completion)
                else:
                    if message.trouble:
                        self._trouble.append(message.trouble)
                    self._ready.release()
        finally:
            stream.close()
        if not self._closed:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(END_SECONDS)  # what it wrote to is closed before it has ended: let both be true at once
            self._trouble.append(_gone(child))
            self._ready.release()
            self._broken(ClusterError(_gone(child)))


def _spawn() -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "harness.clusters.client_process"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,  # the terminal's Ctrl-C is for the harness alone
    )


def _gone(child: subprocess.Popen[bytes]) -> str:
    return f"a client process ended by itself (exit {child.poll()}); see its words on standard error"


def _pipe(stream: BinaryIO | object) -> BinaryIO:
    assert stream is not None, "both ends are pipes"
    return stream  # type: ignore[return-value]
