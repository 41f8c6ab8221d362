"""The harness's end of the links: starts their process, sends it commands, awaits its answers.

What a link does is in `links.py`; which edges a fault cuts is decided in `harness/nemesis.py`.
"""

from __future__ import annotations

import contextlib
import itertools
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from pathlib import Path
from typing import IO, Any

import msgspec

from harness.clusters.cluster import ClusterError
from harness.nemesis import Edge

ROOT = Path(__file__).resolve().parents[2]
ANSWER_SECONDS = 5.0  # for an answer, on top of what the command itself waits
PROBE_SECONDS = 0.25
END_SECONDS = 1.0


class Counters(msgspec.Struct, frozen=True):
    """What was dropped over each edge, or had to wait, since the start."""

    frames: dict[Edge, int]
    probes: dict[Edge, int]
    bytes: dict[Edge, int]  # of clients
    held: dict[Edge, int]  # pieces of streams that had to wait


class Links:
    """The process of one run's links. Methods may be called from any thread; those that ask raise `ClusterError` if it is gone."""

    def __init__(self, stderr: IO[bytes], broken: Callable[[BaseException], None]) -> None:
        """Starts the process; what it has to complain about goes to `stderr`.

        `broken` hears if it ends before it was closed: from then on no node reaches another, through no fault of theirs.
        """
        self._process = subprocess.Popen(
            [sys.executable, "-m", "harness.clusters.links"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            cwd=ROOT,
            start_new_session=True,  # Ctrl-C at a terminal is for the harness alone
        )
        self.pid = self._process.pid
        self._numbers = itertools.count(1)
        self._asked: dict[int, Future[dict[str, Any]]] = {}
        self._lock = threading.Lock()
        self._closed = False
        self._broken = broken
        self._reader = threading.Thread(target=self._read, name="links", daemon=True)
        self._reader.start()

    def open(self, cluster: str, backends: Mapping[str, tuple[int, int]]) -> tuple[dict[Edge, int], dict[Edge, int]]:
        """Opens all links to nodes (id -> client port, peer port); returns the ports for peers and for clients."""
        wanted = [(node, client, peer) for node, (client, peer) in backends.items()]
        answer = self._ask({"do": "open", "cluster": cluster, "backends": wanted}, 0.0)
        return _by_edge(answer["peers"]), _by_edge(answer["clients"])

    def listening(self, node: str, yes: bool) -> None:  # noqa: FBT001 - a callback that hears a value
        """A node accepts connections from now on, or no longer; links to it do as it does. Does not wait.

        Where the links are gone this does nothing: `broken` has heard of that, and a node must be able to end without them.
        """
        with self._lock, contextlib.suppress(ClusterError):
            self._send(msgspec.json.encode({"id": next(self._numbers), "do": "listening", "node": node, "yes": yes}))

    def cut(self, edges: Iterable[Edge]) -> None:
        """From now on nothing passes over the edges; clients beside a node share its edges."""
        self._ask({"do": "cut", "edges": list(edges)}, 0.0)

    def heal(self, edges: Iterable[Edge]) -> None:
        """Takes back one cut of each of the edges."""
        self._ask({"do": "heal", "edges": list(edges)}, 0.0)

    def probe(self, edges: Iterable[Edge], seconds: float = PROBE_SECONDS) -> dict[Edge, str]:
        """What a frame sent over each of the edges meets: `answers`, `refused`, or `silent` for so many seconds."""
        return _by_edge(self._ask({"do": "probe", "edges": list(edges), "seconds": seconds}, seconds)["answers"])

    def times(self, edges: Iterable[Edge], seconds: float) -> dict[Edge, float]:
        """The milliseconds that a frame over each of the edges takes to be answered; only those that are, in so many seconds."""
        return _by_edge(self._ask({"do": "probe", "edges": list(edges), "seconds": seconds}, seconds)["times"])

    def slow(self, edges: Iterable[Edge], delay_ms: float, jitter_ms: float) -> None:
        """From now on what is said over the edges waits, each piece by a jitter of its own longer, and keeps its order."""
        self._ask(_delay("slow", edges, delay_ms, jitter_ms), 0.0)

    def quicken(self, edges: Iterable[Edge], delay_ms: float, jitter_ms: float) -> None:
        """Takes back one delay of just that length of each of the edges."""
        self._ask(_delay("quicken", edges, delay_ms, jitter_ms), 0.0)

    def counters(self) -> Counters:
        """What was dropped, and what had to wait."""
        answer = self._ask({"do": "counters"}, 0.0)
        return Counters(*(_by_edge(answer[name]) for name in ("frames", "probes", "bytes", "held")))

    def cut_now(self) -> set[Edge]:
        """The edges that are cut, by however many faults."""
        return {(a, b) for a, b in self._ask({"do": "counters"}, 0.0)["cut"]}

    def _ask(self, command: dict[str, Any], takes: float) -> dict[str, Any]:
        future: Future[dict[str, Any]] = Future()
        with self._lock:
            number = next(self._numbers)
            self._asked[number] = future
            self._send(msgspec.json.encode({"id": number, **command}))
        try:
            answer = future.result(ANSWER_SECONDS + takes)
        except FutureTimeoutError as error:
            raise ClusterError(f"the links do not answer to {command['do']}; see links.log") from error
        if "error" in answer:
            raise ClusterError(f"the links could not {command['do']}: {answer['error']}")
        return answer

    def _send(self, line: bytes) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line + b"\n")
            self._process.stdin.flush()
        except (OSError, ValueError) as error:
            raise ClusterError(self._gone()) from error

    def _read(self) -> None:
        assert self._process.stdout is not None
        with contextlib.suppress(msgspec.DecodeError):  # the line in the middle of which it ended
            for line in self._process.stdout:
                answer = msgspec.json.decode(line, type=dict[str, Any])
                if future := self._asked.pop(answer.pop("id"), None):
                    future.set_result(answer)
        if not self._closed:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(END_SECONDS)  # its output is closed before it has ended: let both be true at once
            self._broken(ClusterError(self._gone()))
        with self._lock:
            waiting = list(self._asked.values())
            self._asked.clear()
        for future in waiting:
            future.set_exception(ClusterError(self._gone()))

    def _gone(self) -> str:
        return f"the process of the links is gone (exit {self._process.poll()}); see links.log"

    def close(self) -> None:
        """Ends the process. May be called twice."""
        if self._closed:
            return
        self._closed = True
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):  # it is gone already
            self._process.stdin.close()
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(END_SECONDS)
        assert self._process.stdout is not None
        self._process.stdout.close()


def _delay(do: str, edges: Iterable[Edge], delay_ms: float, jitter_ms: float) -> dict[str, Any]:
    return {"do": do, "edges": list(edges), "seconds": delay_ms / 1000, "jitter": jitter_ms / 1000}


def _by_edge(rows: Iterable[tuple[str, str, Any]]) -> dict[Edge, Any]:
    return {(a, b): value for a, b, value in rows}
