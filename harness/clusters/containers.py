"""Nodes as containers: made, started, killed and started again, with what they print followed all the while.

A container keeps its address and its data through a restart. What it prints is read through streams attached before each
start, so that nothing is missed or seen twice. Not here: what is done to nodes and when (`agent.py`, `docker.py`).
"""

from __future__ import annotations

import os
import selectors
import signal
import struct
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import msgspec
from docker.errors import APIError
from requests.exceptions import RequestException

from harness.clusters.cluster import ClusterError
from harness.clusters.engine import PREFIX, Engine, Network, labels_of, words_of
from harness.clusters.namespaces import AgentError, NodeProcess

CLIENT_PORT = 7001
PEER_PORT = 7002
STDOUT = 1
LAST_LINES = 20
EXIT_SECONDS = 10


class ContainerSpec(msgspec.Struct, frozen=True):
    """All that a node's container is made from."""

    run: str
    node: str
    image: str
    network: Network
    address: str
    folder: Path  # of the node, on this machine: data/, events.jsonl, stderr.log
    command: tuple[str, ...]


class Container:
    """One node's container. Methods block for as long as the engine takes; `down` is read by other threads."""

    def __init__(self, engine: Engine, spec: ContainerSpec, pump: LogPump) -> None:
        self.spec = spec
        self.node = spec.node
        self.address = spec.address
        self.process: NodeProcess | None = None  # None: not running, or out of this machine's sight
        self.pid = 0  # on the engine's machine; 0: not running
        self.turn = threading.Lock()  # one kill or pause at a time
        self.down = True  # on purpose: killed and not yet started again, or being removed
        self._engine = engine
        self._pump = pump
        self._stream: Stream | None = None
        self._id = ""

    def create(self) -> None:
        """Makes the container. Raises `APIError`."""
        spec = self.spec
        data = spec.folder / "data"
        data.mkdir(parents=True, exist_ok=True)
        api = self._engine.api
        made = api.create_container(
            image=spec.image,
            command=list(spec.command),
            name=f"{PREFIX}{spec.run}-{spec.node}",
            hostname=spec.node,
            user=f"{os.getuid()}:{os.getgid()}",  # what a node writes belongs to whoever runs the harness
            labels=labels_of(spec.run),
            host_config=api.create_host_config(
                network_mode=spec.network.name,
                binds={str(data.absolute()): {"bind": "/data", "mode": "rw,z"}},
                log_config={"type": "none"},  # the streams are read here; the engine need not keep them too
                cap_drop=["ALL"],
            ),
            networking_config=api.create_networking_config(
                {spec.network.name: api.create_endpoint_config(ipv4_address=spec.address)}
            ),
        )
        self._id = made["Id"]

    def start(self) -> None:
        """Starts it, for the first time or again. Raises `APIError` or `ClusterError`."""
        parameters = {"stdin": 0, "stdout": 1, "stderr": 1, "stream": 1, "logs": 0}
        self._stream = self._pump.follow(self.node, self._engine.api.attach_socket(self._id, params=parameters))
        self.down = False
        self._engine.api.start(self._id)
        self._look()

    def _look(self) -> None:
        state = self._engine.api.inspect_container(self._id)["State"]
        self.pid = int(state["Pid"])
        self._let_go()
        if self.pid:
            try:
                self.process = NodeProcess(self.pid)
            except AgentError:
                self.process = None

    def _let_go(self) -> None:
        if self.process:
            self.process.close()
        self.process = None

    def kill(self) -> str:
        """SIGKILL; returns by which way. Raises `APIError`."""
        self.down = True
        return self._signal(signal.SIGKILL, self._kill_by_engine)

    def pause(self) -> str:
        """Stops the process in its tracks; returns by which way. Raises `APIError`."""
        return self._signal(signal.SIGSTOP, self._engine.api.pause)

    def resume(self) -> str:
        """Lets it go on; returns by which way. Raises `APIError`."""
        return self._signal(signal.SIGCONT, self._engine.api.unpause)

    def _signal(self, number: signal.Signals, by_engine: Callable[[str], Any]) -> str:
        if self.process:
            try:
                self.process.send(number)
            except AgentError:
                self._let_go()  # this user may not: the engine can
            else:
                return f"{number.name} to process {self.pid}"
        by_engine(self._id)
        return f"{number.name} by the Docker engine"

    def _kill_by_engine(self, container_id: str) -> None:
        self._engine.api.kill(container_id, "SIGKILL")

    def stopped(self) -> bool:
        """Whether the process is stopped: by the kernel's word, or the engine's where this machine cannot see it.

        Raises `APIError` or `RequestException`.
        """
        return self.process.state() == "T" if self.process else bool(self.state()["Paused"])

    def runs(self) -> bool:
        """Whether the process that was started last still runs. Raises `APIError` or `RequestException`."""
        state = self.state()
        return bool(state["Running"]) and int(state["Pid"]) == self.pid

    def await_exit(self) -> int:
        """The status with which it exited, once it has. Raises `APIError` or `RequestException`."""
        code = int(self._engine.api.wait(self._id, timeout=EXIT_SECONDS)["StatusCode"])
        if self._stream:
            self._stream.ended.wait(EXIT_SECONDS)  # all that it printed is read before it may print again
        self._let_go()
        return code

    def state(self) -> dict[str, Any]:
        """What the engine says of it: Running, ExitCode, OOMKilled, and so on. Raises `APIError`."""
        found: dict[str, Any] = self._engine.api.inspect_container(self._id)["State"]
        return found

    def remove(self) -> None:
        """Kills and removes it. May be called twice, and before it was made."""
        self.down = True
        if self._id:
            try:
                self._engine.api.remove_container(self._id, force=True, v=True)
            except (APIError, RequestException) as error:
                raise ClusterError(f"{self.node}'s container could not be removed: {words_of(error)}") from error
            finally:
                self._let_go()
            self._id = ""

    @property
    def made(self) -> bool:
        """Whether the engine has it."""
        return bool(self._id)


class LogPump:
    """A thread that reads what all nodes print: protocol events to `on_event`, everything to files.

    It is a thread because a stream that nobody reads would in the end stop the node that writes to it.
    """

    def __init__(
        self,
        on_event: Callable[[str, dict[str, Any]], None],
        on_end: Callable[[str], None],
        broken: Callable[[BaseException], None],
    ) -> None:
        """`on_end` hears of a node whose streams ended, `broken` of what ended this thread before its time."""
        self._on_event = on_event
        self._on_end = on_end
        self._broken = broken
        self._selector = selectors.DefaultSelector()
        self._files: dict[str, tuple[IO[bytes], IO[bytes]]] = {}
        self._tails: dict[str, deque[str]] = {}
        self._joining: deque[Stream] = deque()
        self._closing = False
        self._wake, self._woken = os.pipe()
        self._selector.register(self._wake, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._run, name="node-logs", daemon=True)
        self._thread.start()

    def add(self, node: str, folder: Path) -> None:
        """Opens a node's files; before its first start."""
        folder.mkdir(parents=True, exist_ok=True)
        self._files[node] = ((folder / "events.jsonl").open("ab", 0), (folder / "stderr.log").open("ab", 0))
        self._tails[node] = deque(maxlen=LAST_LINES)

    def follow(self, node: str, attached: Any) -> Stream:
        """Reads an attached stream of a node until it ends."""
        stream = Stream(node, attached)
        self._joining.append(stream)
        os.write(self._woken, b"+")
        return stream

    def last_lines(self, node: str) -> list[str]:
        """The end of what a node wrote to its standard error."""
        return list(self._tails[node])

    def _run(self) -> None:
        try:
            self._follow()
        except OSError as error:
            self._broken(ClusterError(f"what the nodes print cannot be kept: {error}"))
        except BaseException as error:  # noqa: BLE001 - handed on to the run loop, which raises it
            self._broken(error)

    def _follow(self) -> None:
        while not self._closing:
            for key, _ in self._selector.select():
                if key.data is None:
                    os.read(self._wake, 4096)
                    while self._joining:
                        stream = self._joining.popleft()
                        self._selector.register(stream.attached, selectors.EVENT_READ, stream)
                else:
                    self._read(key.data)

    def _read(self, stream: Stream) -> None:
        try:
            read = os.read(stream.attached.fileno(), 1 << 16)
        except BlockingIOError:
            return
        except OSError:
            read = b""
        if not read:
            self._selector.unregister(stream.attached)
            stream.close()
            self._on_end(stream.node)
            stream.ended.set()
            return
        for kind, content in stream.frames(read):
            events, errors = self._files[stream.node]
            if kind == STDOUT:
                events.write(content)
                for line in stream.lines(content):
                    self._event(stream.node, line)
            else:
                errors.write(content)
                self._tails[stream.node].extend(content.decode(errors="replace").splitlines())

    def _event(self, node: str, line: bytes) -> None:
        try:
            event = msgspec.json.decode(line, type=dict[str, Any])
        except msgspec.DecodeError:
            self._tails[node].append(line.decode(errors="replace"))  # not an event: somebody printed
        else:
            self._on_event(node, event)

    def close(self) -> None:
        """Stops reading. May be called twice."""
        if self._closing:
            return
        self._closing = True
        os.write(self._woken, b"!")
        self._thread.join()
        for key in list(self._selector.get_map().values()):
            if key.data is not None:
                key.data.close()
        self._selector.close()
        os.close(self._wake)
        os.close(self._woken)
        for files in self._files.values():
            for file in files:
                file.close()


class Stream:
    """An attached stream: the engine's frames (one byte of kind, three of nothing, four of length), cut apart."""

    def __init__(self, node: str, attached: Any) -> None:
        self.node = node
        self.attached = attached
        self.ended = threading.Event()
        self._bytes = b""
        self._line = b""

    def frames(self, read: bytes) -> list[tuple[int, bytes]]:
        """The frames that are complete now."""
        self._bytes += read
        found = []
        while len(self._bytes) >= 8:
            kind, length = struct.unpack(">BxxxL", self._bytes[:8])
            if len(self._bytes) < 8 + length:
                break
            found.append((kind, self._bytes[8 : 8 + length]))
            self._bytes = self._bytes[8 + length :]
        return found

    def lines(self, content: bytes) -> list[bytes]:
        """The lines that are complete now."""
        *complete, self._line = (self._line + content).split(b"\n")
        return [line for line in complete if line]

    def close(self) -> None:
        # The SDK hands out a file over the socket of a connection of its own; closing the file alone keeps the socket.
        below = getattr(self.attached, "_sock", None)
        self.attached.close()
        if below is not None:
            below.close()
