"""Control of a run's network through a helper container, for a harness that may use Docker but is not root.

The container has the host's network and processes, and the few capabilities that cuts and probes need. It ends with its
standard input, and so with this process. The other end is `helper.py`.
"""

from __future__ import annotations

import queue
import socket
import threading
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import msgspec
from docker.errors import APIError
from requests.exceptions import RequestException

from harness.clusters.bridge import FilterError, Pair
from harness.clusters.cluster import ClusterError
from harness.clusters.containers import STDOUT, Stream
from harness.clusters.engine import PREFIX, Engine, labels_of, words_of
from harness.clusters.helper import Call, Reply

PACKAGE = Path(__file__).resolve().parents[1]
CAPABILITIES = ["NET_ADMIN", "NET_RAW", "SYS_ADMIN", "SYS_PTRACE"]
ANSWER_SECONDS = 10.0


class HelpedNetwork:
    """See `NetworkControl`."""

    def __init__(
        self,
        engine: Engine,
        image: str,
        run: str,
        interface: str,
        addresses: Sequence[str],
        broken: Callable[[BaseException], None],
    ) -> None:
        """Starts the helper, from the image of a node: it holds a Python and msgspec.

        `broken` hears if it ends later, before it was closed: what is cut then may stay cut, through no fault of the nodes.
        Raises `FilterError`, in the words of whoever refused.
        """
        self._broken = broken
        self.mechanism = ""
        self._engine = engine
        self._id = ""
        self._calls = 0
        self._waiting: dict[int, queue.SimpleQueue[Reply]] = {0: queue.SimpleQueue()}
        self._lock = threading.Lock()
        self._ended = False
        self._socket = socket.socket(socket.AF_UNIX)  # replaced by the attached one
        try:
            self._start(image, run, [f"{PREFIX}{run}", interface, *addresses])
            self.mechanism = f"{self._await(0)}, by a helper container"
        except (APIError, RequestException) as error:
            self.close()
            raise FilterError(f"no helper container could be started: {words_of(error)}") from error
        except FilterError:
            self.close()
            raise

    def _start(self, image: str, run: str, arguments: list[str]) -> None:
        api = self._engine.api
        made = api.create_container(
            image=image,
            entrypoint=["python3", "-m", "harness.clusters.helper"],
            command=arguments,
            name=f"{PREFIX}{run}-helper",
            labels=labels_of(run),
            user="0:0",
            stdin_open=True,
            environment={"PYTHONPATH": "/splitbrain/libraries:/splitbrain"},
            host_config=api.create_host_config(
                network_mode="host",
                pid_mode="host",
                cap_drop=["ALL"],
                cap_add=CAPABILITIES,
                security_opt=["apparmor=unconfined", "label=disable"],
                binds={str(PACKAGE): {"bind": "/splitbrain/harness", "mode": "ro"}},
                log_config={"type": "none"},
            ),
        )
        self._id = made["Id"]
        parameters = {"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1, "logs": 0}
        stream = Stream("helper", api.attach_socket(self._id, params=parameters))
        # The SDK hands out a file for reading; what is to be written needs the socket below it.
        self._socket.close()
        self._socket = socket.socket(fileno=socket.dup(stream.attached.fileno()))
        self._socket.settimeout(None)
        self._reader = threading.Thread(target=self._read, args=(stream,), name="network-helper", daemon=True)
        self._reader.start()
        api.start(self._id)

    def _read(self, stream: Stream) -> None:
        """Hands replies to those who wait, until the helper ends; then whoever waits, or asks later, is told so."""
        said = ""
        while read := self._received():
            for kind, content in stream.frames(read):
                if kind != STDOUT:
                    said = content.decode(errors="replace").strip().splitlines()[-1]
                    continue
                for line in stream.lines(content):
                    reply = msgspec.json.decode(line, type=Reply)
                    if waiting := self._waiting.get(reply.number):
                        waiting.put(reply)
        stream.close()
        words = f"the helper container has ended: {said or 'it wrote nothing'}"
        if self.mechanism and self._id:  # it had begun, and nobody has closed it
            self._broken(ClusterError(words))
        with self._lock:
            self._ended = True
            for number, waiting in list(self._waiting.items()):
                waiting.put(Reply(number, refusal=words))

    def _received(self) -> bytes:
        try:
            return self._socket.recv(1 << 16)
        except OSError:
            return b""

    def _call(self, method: str, *arguments: Any) -> Any:
        with self._lock:
            if self._ended:
                raise FilterError("the helper container has ended")
            self._calls += 1
            number = self._calls
            self._waiting[number] = queue.SimpleQueue()
            self._socket.sendall(msgspec.json.encode(Call(number, method, list(arguments))) + b"\n")
        return self._await(number)

    def _await(self, number: int) -> Any:
        try:
            reply = self._waiting[number].get(timeout=ANSWER_SECONDS)
        except queue.Empty:
            raise FilterError(f"the helper container did not answer in {ANSWER_SECONDS:g} s") from None
        finally:
            self._waiting.pop(number, None)
        if reply.refusal:
            raise FilterError(reply.refusal)
        return reply.result

    def cut(self, pairs: Collection[Pair]) -> None:
        self._call("cut", list(pairs))

    def heal(self, pairs: Collection[Pair]) -> None:
        self._call("heal", list(pairs))

    def dropped(self) -> dict[Pair, int]:
        return {(a, b): packets for a, b, packets in self._call("dropped")}

    def place(self, address: str, pid: int) -> None:
        self._call("place", address, pid)

    def remove(self, address: str) -> None:
        self._call("remove", address)

    def passing(self, pairs: Collection[Pair]) -> dict[Pair, bool]:
        return {(a, b): passes for a, b, passes in self._call("passing", list(pairs))}

    def connects(self, source: str, target: str, port: int) -> bool | None:
        answer: bool | None = self._call("connects", source, target, port)
        return answer

    def close(self) -> None:
        if self._id:
            container_id, self._id = self._id, ""
            try:
                self._engine.api.remove_container(container_id, force=True, v=True)
            except (APIError, RequestException) as error:
                raise FilterError(f"the helper container could not be removed: {words_of(error)}") from error
            finally:
                self._socket.close()
