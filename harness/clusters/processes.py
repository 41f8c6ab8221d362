"""Nodes as processes of this machine: their start, their signals, and what they write.

Not here: what is done to nodes and when (`local_faults.py`), what the cluster makes of their events (`local.py`).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec

from harness.clusters.cluster import ClusterError
from harness.clusters.leftovers import STATE, Ledger, stat_of

LAST_LINES = 20
EXIT_SECONDS = 10.0  # for the kernel to end a process that was killed
TAIL_SECONDS = 0.005  # between two looks at what nodes have written
LOOKS_PER_EXIT_CHECK = 4
READ_BYTES = 1 << 18
UNTOLD = b'"kind":"appended"'  # there are as many of these as of all others together, and nobody listens to them
LEASH = Path(__file__).with_name("leash.py")


class NodeSpec(msgspec.Struct, frozen=True):
    """All that a node is started from."""

    node: str
    command: tuple[str, ...]
    env: Mapping[str, str]
    folder: Path  # data/, events.jsonl, stderr.log
    client_port: int


class NodeProcess:
    """One node. Methods may be called from any thread; what one of them does is done before the next begins."""

    def __init__(
        self,
        spec: NodeSpec,
        starter: ThreadPoolExecutor,
        ledger: Ledger,
        listening: Callable[[str, bool], None],
    ) -> None:
        """`starter` has one thread, which outlives the node: the kernel kills the node with the thread that started it.

        `listening` hears (node, whether it accepts connections) at each change.
        """
        self.spec = spec
        self.node = spec.node
        self.down = True  # on purpose, or known to have died: killed and not yet started again, or being closed
        self._process: subprocess.Popen[bytes] | None = None
        self._ready = 0  # the process that has said that it listens
        self._paused = 0  # the process that is stopped
        self._closing = False
        self._starter = starter
        self._ledger = ledger
        self._listening = listening
        self._lock = threading.RLock()

    @property
    def pid(self) -> int:
        """The process that runs or has run last; 0 = none yet."""
        return self._process.pid if self._process else 0

    def start(self) -> None:
        """Starts it, for the first time or again; does nothing if it runs. Raises `ClusterError`."""
        with self._lock:
            if self._closing:
                raise ClusterError(f"{self.node} is not started: the cluster is being closed")
            if not self.down:
                return
            folder = self.spec.folder
            try:
                (folder / "data").mkdir(parents=True, exist_ok=True)
                _end_line(folder / "events.jsonl")
                self._process = self._starter.submit(self._spawn).result()
            except OSError as error:
                raise ClusterError(f"{self.node} could not be started: {error}") from error
            self.down = False
            self._ledger.add(self.pid, self.node)

    def _spawn(self) -> subprocess.Popen[bytes]:
        folder = self.spec.folder
        with (folder / "events.jsonl").open("ab") as events, (folder / "stderr.log").open("ab") as errors:
            return subprocess.Popen(
                [sys.executable, "-I", "-S", str(LEASH), str(os.getpid()), *self.spec.command],
                env=dict(self.spec.env),
                stdin=subprocess.DEVNULL,
                stdout=events,
                stderr=errors,
                start_new_session=True,  # Ctrl-C at a terminal is for the harness alone
            )

    def kill(self) -> None:
        """SIGKILL; a stopped process dies of it, too."""
        with self._lock:
            self.go_down()
            self._send(signal.SIGKILL)

    def kill_running(self) -> int:
        """SIGKILL to the process that runs; which one that was, 0 if none runs: only the living can be killed."""
        with self._lock:
            if self.down or self.ended() is not None:
                return 0
            self.kill()
            return self.pid

    def terminate(self) -> None:
        """Asks it to stop in order, for good."""
        with self._lock:
            self._closing = True
            self.go_down()
            self._send(signal.SIGTERM)
            self._send(signal.SIGCONT)

    def go_down(self) -> None:
        """It is about to end, or was found to have ended."""
        with self._lock:
            self.down = True
            self._listening(self.node, False)

    def is_ready(self, pid: int) -> None:
        """A process of this node has said that it listens."""
        with self._lock:
            if pid == self.pid and not self.down:
                self._ready = pid
                self._listening(self.node, True)

    def pause(self) -> bool:
        """SIGSTOP; returns whether there was a node to stop that served its clients."""
        with self._lock:
            if not self.serving:
                return False
            self._paused = self.pid
            self._send(signal.SIGSTOP)
            return True

    def resume(self) -> bool:
        """SIGCONT; returns whether the process that was stopped is still the one that runs."""
        with self._lock:
            same = bool(self._paused) and self._paused == self.pid and not self.down
            self._paused = 0
            if same:
                self._send(signal.SIGCONT)
            return same

    def _send(self, number: signal.Signals) -> None:
        if self._process:
            self._process.send_signal(number)  # does nothing if the process has ended

    @property
    def serving(self) -> bool:
        """Whether it runs and listens; it may be stopped."""
        return not self.down and self._ready == self.pid

    @property
    def up(self) -> bool:
        """Whether it serves and is not stopped."""
        return self.serving and self._paused != self.pid

    def stopped(self) -> bool:
        """Whether the kernel says that the process is stopped."""
        return stat_of(self.pid)[STATE : STATE + 1] == ["T"]

    def ended(self) -> int | None:
        """The status with which the process exited (-9: killed by signal 9); None while it runs, or was never started."""
        return self._process.poll() if self._process else None

    def await_exit(self, seconds: float = EXIT_SECONDS) -> int | None:
        """The status with which it exited, once it has; None if it has not after so many seconds."""
        try:
            return self._process.wait(seconds) if self._process else None
        except subprocess.TimeoutExpired:
            return None

    def last_lines(self) -> list[str]:
        """The end of what it wrote to its standard error."""
        try:
            text = (self.spec.folder / "stderr.log").read_bytes()[-8192:]
        except FileNotFoundError:
            return []
        return text.decode(errors="replace").splitlines()[-LAST_LINES:]


def _end_line(path: Path) -> None:
    """Ends the line that a kill may have torn, so that the next process's first event is not glued to it."""
    with path.open("a+b") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                file.write(b"\n")


class EventTail:
    """A thread that reads what all nodes write, and sees when one of them ends by itself.

    They write to files, not to pipes: no node ever waits for the harness. The thread looks a few hundred times a second.
    """

    def __init__(
        self,
        nodes: Iterable[NodeProcess],
        deliver: Callable[[list[tuple[str, dict[str, Any]]]], None],
        died: Callable[[NodeProcess], None],
        broken: Callable[[BaseException], None],
    ) -> None:
        """`died` is called once for each end that nobody asked for, after the events before it."""
        self._nodes = list(nodes)
        self._deliver = deliver
        self._died = died
        self._broken = broken
        self._decoder = msgspec.json.Decoder(dict[str, Any])
        self._rest = dict.fromkeys((each.node for each in self._nodes), b"")
        self._files: dict[str, int] = {}
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="node-events", daemon=True)

    def start(self) -> None:
        """Begins; the nodes' folders must be there."""
        for each in self._nodes:
            self._files[each.node] = os.open(each.spec.folder / "events.jsonl", os.O_RDONLY | os.O_CREAT, 0o644)
        self._thread.start()

    def _run(self) -> None:
        looks = 0
        try:
            while not self._closing.wait(TAIL_SECONDS):
                looks += 1
                dead: list[NodeProcess] = []
                if looks % LOOKS_PER_EXIT_CHECK == 0:
                    dead = [each for each in self._nodes if not each.down and each.ended() is not None]
                self._look()
                for each in dead:
                    if not each.down:  # no kill came in between, which would have found it dead
                        each.go_down()
                        self._died(each)
        except BaseException as error:  # noqa: BLE001 - handed on to the run loop, which raises it
            self._broken(error)

    def _look(self) -> None:
        found: list[tuple[str, dict[str, Any]]] = []
        for node, file in self._files.items():
            while read := os.read(file, READ_BYTES):
                *lines, self._rest[node] = (self._rest[node] + read).split(b"\n")
                found += [(node, event) for line in lines if UNTOLD not in line and (event := self._event(line))]
        if found:
            self._deliver(found)

    def _event(self, line: bytes) -> dict[str, Any] | None:
        try:
            event = self._decoder.decode(line)
        except msgspec.DecodeError:
            return None  # empty, or torn by a kill
        return event if "t" in event and "kind" in event else None  # else somebody printed

    def close(self) -> None:
        """Stops reading. May be called twice."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join()
        for file in self._files.values():
            os.close(file)
        self._files.clear()
