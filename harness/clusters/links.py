"""The links between nodes, and from clients to nodes, as one process that forwards bytes and can drop them.

`python -m harness.clusters.links`; commands come in as JSON lines, answers go out as such (`link_control.py`). Every
directed edge between nodes has a port of its own: peers' connections are forwarded frame by frame, clients' bytes as
they come. An edge is cut by so many faults as say so, and silent from the first to the last: nothing is refused, nothing
arrives. The rule is asked for every frame, so that connections stand through a cut, as they do in a network. Where
nothing is cut, a link to a node that does not listen refuses connections as the node's own port would: a client may then
conclude that its request was never received.

What is cut is what the dialling side of a link says: of what comes back over a peer's connection (one Welcome) nothing is
dropped, since it is no message and a cut of one direction must leave the other one whole. Not here: who cuts what, when.
"""

from __future__ import annotations

import asyncio
import resource
import sys
from collections import Counter, deque
from collections.abc import Callable
from typing import Any, cast

import msgspec
import uvloop

from harness.clusters.file_limit import raise_file_limit
from harness.clusters.ports import HOST, PortReservation
from raftnode.wire import FRAME_LIMIT, LENGTH_BYTES, VERSION, Hello, encode

BACKLOG = 256

Edge = tuple[str, str]  # (from, to): nodes, or the home node of a group of clients and a node


class Junction:
    """What all links share: where nodes listen, what is cut, and what was dropped because of it."""

    def __init__(self) -> None:
        self.cluster = ""
        self.backends: dict[tuple[str, str], int] = {}  # (kind, node) -> port; kind: peer | client
        self.frames_dropped: Counter[Edge] = Counter()
        self.probes_dropped: Counter[Edge] = Counter()
        self.bytes_dropped: Counter[Edge] = Counter()  # of clients, in the direction in which they went
        self.listening: set[str] = set()  # the nodes that accept connections
        self.fronts: set[Front] = set()
        self._cuts: Counter[Edge] = Counter()

    def cut(self, edges: list[Edge]) -> None:
        self._cuts.update(edges)

    def heal(self, edges: list[Edge]) -> None:
        """Ends one cut of each edge; connections that a cut has torn are closed once nothing stands in their way."""
        self._cuts.subtract(edges)
        self._cuts = +self._cuts
        for front in [front for front in self.fronts if front.torn]:
            if not front.hindered():
                front.abort()

    def is_cut(self, edge: Edge) -> bool:
        return edge in self._cuts

    def everything_cut(self) -> list[Edge]:
        return list(self._cuts.elements())


class Front(asyncio.Protocol):
    """A connection to a link, and the one behind it that is dialled as soon as something may pass."""

    kind = ""

    def __init__(self, junction: Junction, edge: Edge) -> None:
        self.edge = edge
        self.torn = False  # something is missing from its stream: it cannot be used after the cut
        self._junction = junction
        self._transport: asyncio.Transport | None = None
        self._back: Back | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._junction.fronts.add(self)

    def connection_lost(self, _error: Exception | None) -> None:
        self._transport = None
        self._junction.fronts.discard(self)
        if self._back is not None:
            self._back.close()

    def pause_writing(self) -> None:
        if self._back is not None:
            self._back.pause_reading()

    def resume_writing(self) -> None:
        if self._back is not None:
            self._back.resume_reading()

    def pause_reading(self) -> None:
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        if self._transport is not None:
            self._transport.resume_reading()

    def hindered(self) -> bool:
        """Whether a cut stands in the way of this connection."""
        return self._junction.is_cut(self.edge)

    def forward(self, data: bytes) -> None:
        """Sends to the node behind the link; dials it first, if need be."""
        if self._back is None:
            self._back = Back(self)
            self._back.dial(self._junction.backends[self.kind, self.edge[1]])
        self._back.write(data)

    def received_back(self, data: bytes) -> None:
        """The node behind the link has said something."""
        if self._transport is not None:
            self._transport.write(data)

    def back_ended(self, *, answered: bool) -> None:
        """The connection to the node behind the link broke, or was `answered` by nobody at all."""
        if self.hindered():
            self.torn = True  # that the node hung up does not get through either
            self._back = None
        elif self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()


class Back(asyncio.Protocol):
    """The connection from a link to its node."""

    def __init__(self, front: Front) -> None:
        self._front = front
        self._transport: asyncio.Transport | None = None
        self._waiting: list[bytes] = []  # until the connection stands
        self._closed = False
        self._dialling: asyncio.Task[None] | None = None

    def dial(self, port: int) -> None:
        self._dialling = asyncio.get_running_loop().create_task(self._dial(port))

    async def _dial(self, port: int) -> None:
        try:
            await asyncio.get_running_loop().create_connection(lambda: self, HOST, port)
        except OSError:
            if not self._closed:
                self._front.back_ended(answered=False)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        if self._closed:
            self._transport.abort()
            return
        if self._waiting:
            self._transport.write(b"".join(self._waiting))
            self._waiting.clear()

    def data_received(self, data: bytes) -> None:
        if not self._closed:
            self._front.received_back(data)

    def connection_lost(self, _error: Exception | None) -> None:
        self._transport = None
        if not self._closed:
            self._closed = True
            self._front.back_ended(answered=True)

    def pause_writing(self) -> None:
        self._front.pause_reading()

    def resume_writing(self) -> None:
        self._front.resume_reading()

    def pause_reading(self) -> None:
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        if self._transport is not None:
            self._transport.resume_reading()

    def write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)
        else:
            self._waiting.append(data)

    def close(self) -> None:
        """Hangs up; what was written still leaves."""
        self._closed = True
        if self._transport is not None:
            self._transport.close()


class PeerFront(Front):
    """A peer's connection: whole frames pass, or whole frames are dropped."""

    kind = "peer"

    def __init__(self, junction: Junction, edge: Edge) -> None:
        super().__init__(junction, edge)
        self._chunks: list[bytes] = []  # of an incomplete frame
        self._length = 0  # of these together
        self._wanted = LENGTH_BYTES  # with fewer bytes than these no frame is complete
        self.greeted = False  # its first frame, the Hello, has passed

    def data_received(self, data: bytes) -> None:
        if self._length:
            self._chunks.append(data)
            self._length += len(data)
            if self._length < self._wanted:
                return
            data = b"".join(self._chunks)
            self._chunks.clear()
        whole, count = self._measure(data)
        if whole < len(data):
            self._chunks.append(data[whole:])
        self._length = len(data) - whole
        if count:
            self._pass(data[:whole], count)

    def _measure(self, data: bytes) -> tuple[int, int]:
        """How many bytes of `data` are whole frames, and how many frames they are."""
        place = count = 0
        while len(data) - place >= LENGTH_BYTES:
            length = int.from_bytes(data[place : place + LENGTH_BYTES], "big")
            if length > FRAME_LIMIT:
                self.abort()  # no frame: the node would hang up, too
                break
            if place + LENGTH_BYTES + length > len(data):
                self._wanted = LENGTH_BYTES + length
                return place, count
            place += LENGTH_BYTES + length
            count += 1
        self._wanted = LENGTH_BYTES
        return place, count

    def _pass(self, data: bytes, count: int) -> None:
        if self.hindered():
            self.count_dropped(count)
            self.torn = self.torn or not self.greeted
        elif not self.torn:
            self.greeted = True
            self.forward(data)

    def count_dropped(self, count: int) -> None:
        self._junction.frames_dropped[self.edge] += count


class ClientFront(Front):
    """A client's connection: bytes pass in a direction until the first one is lost, from then on none do."""

    kind = "client"

    def __init__(self, junction: Junction, edge: Edge) -> None:
        super().__init__(junction, edge)
        self._way_back = (edge[1], edge[0])
        self._torn_there = False
        self._torn_back = False

    def hindered(self) -> bool:
        return self._junction.is_cut(self.edge) or self._junction.is_cut(self._way_back)

    def data_received(self, data: bytes) -> None:
        if self._torn_there or self._junction.is_cut(self.edge):
            self.torn = self._torn_there = True
            self._junction.bytes_dropped[self.edge] += len(data)
        else:
            self.forward(data)

    def received_back(self, data: bytes) -> None:
        if self._torn_back or self._junction.is_cut(self._way_back):
            self.torn = self._torn_back = True
            self._junction.bytes_dropped[self._way_back] += len(data)
        else:
            super().received_back(data)

    def back_ended(self, *, answered: bool) -> None:
        super().back_ended(answered=answered)
        self._torn_there = self.torn  # what comes now is the middle of a stream: no other connection may carry it


class Probe(PeerFront):
    """A frame that the harness sends over a peer's link, by the same rule as all others.

    It names a sender that no node knows, so that the node turns it away at once and nothing else changes: a Hello of the
    peer itself would take the place of the connection that the peer has.
    """

    def __init__(self, junction: Junction, edge: Edge) -> None:
        super().__init__(junction, edge)
        self.answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def count_dropped(self, count: int) -> None:
        self._junction.probes_dropped[self.edge] += count

    def received_back(self, data: bytes) -> None:
        self._tell("answers")

    def back_ended(self, *, answered: bool) -> None:
        self._tell("answers" if answered else "refused")

    def _tell(self, answer: str) -> None:
        if not self.answer.done():
            self.answer.set_result(answer)

    async def ask(self, seconds: float) -> str:
        """`answers`, `refused` (nobody listens), or `silent`: no answer within so many seconds."""
        sender, to = self.edge
        self.data_received(encode(Hello(VERSION, self._junction.cluster, f"probe for {sender}", to)))
        try:
            return await asyncio.wait_for(self.answer, seconds)
        except TimeoutError:
            return "silent"
        finally:
            self.connection_lost(None)


class Link:
    """The port of one directed edge, and whether it listens."""

    def __init__(self, junction: Junction, make: type[Front], edge: Edge) -> None:
        self.edge = edge
        self._junction = junction
        self._make = make
        self._reservation = PortReservation()  # the port stays ours while nobody listens on it
        self.port = self._reservation.port
        self._server: asyncio.Server | None = None

    async def settle(self) -> None:
        """Listens if the node does, or if nobody could tell that it does not."""
        front = self._make(self._junction, self.edge)
        if self.edge[1] in self._junction.listening or front.hindered():
            if self._server is None:
                self._server = await asyncio.get_running_loop().create_server(
                    lambda: self._make(self._junction, self.edge), HOST, self.port, backlog=BACKLOG, reuse_address=True
                )
        elif self._server is not None:
            self._server.close()
            self._server = None


class Switchboard:
    """The commands: each takes the fields of a request and returns those of its answer."""

    def __init__(self) -> None:
        self.junction = Junction()
        self._links: list[Link] = []
        self._order = asyncio.Lock()  # what is decided first is done first

    async def open(self, cluster: str, backends: list[tuple[str, int, int]]) -> dict[str, Any]:
        """Links between nodes (id, client port, peer port), and to each from the clients at home beside the others."""
        self.junction.cluster = cluster
        nodes = [node for node, _, _ in backends]
        for node, client, peer in backends:
            self.junction.backends["client", node] = client
            self.junction.backends["peer", node] = peer
        edges = [(a, b) for a in nodes for b in nodes if a != b]
        peers = [Link(self.junction, PeerFront, edge) for edge in edges]
        clients = [Link(self.junction, ClientFront, edge) for edge in edges]
        self._links = peers + clients
        return {
            "peers": [(*link.edge, link.port) for link in peers],
            "clients": [(*link.edge, link.port) for link in clients],
        }

    async def listening(self, node: str, *, yes: bool) -> dict[str, Any]:
        """A node accepts connections from now on, or it does so no longer."""
        async with self._order:
            (self.junction.listening.add if yes else self.junction.listening.discard)(node)
            await self._settle()
        return {}

    async def cut(self, edges: list[Edge]) -> dict[str, Any]:
        self.junction.cut(edges)
        async with self._order:
            await self._settle()
        return {}

    async def heal(self, edges: list[Edge]) -> dict[str, Any]:
        self.junction.heal(edges)
        async with self._order:
            await self._settle()
        return {}

    async def _settle(self) -> None:
        for link in self._links:
            await link.settle()

    async def probe(self, edges: list[Edge], seconds: float) -> dict[str, Any]:
        """What a frame sent over each of the edges met."""
        answers = await asyncio.gather(*(Probe(self.junction, edge).ask(seconds) for edge in edges))
        return {"answers": [(a, b, answer) for (a, b), answer in zip(edges, answers, strict=True)]}

    async def counters(self) -> dict[str, Any]:
        """What was dropped and what is cut, once everything decided before is done."""
        async with self._order:
            junction = self.junction
        counted = {
            "frames": junction.frames_dropped,
            "probes": junction.probes_dropped,
            "bytes": junction.bytes_dropped,
        }
        found = {name: [(a, b, count) for (a, b), count in counter.items()] for name, counter in counted.items()}
        return {**found, "cut": junction.everything_cut()}

    async def answer(self, line: bytes) -> bytes:
        """The line that answers a command's line."""
        request = msgspec.json.decode(line, type=dict[str, Any])
        number, command = request.pop("id"), _COMMANDS[request.pop("do")]
        for name in ("edges", "backends"):
            if name in request:
                request[name] = [tuple(each) for each in request[name]]
        try:
            answered = await command(self, **request)
        except OSError as error:
            answered = {"error": f"{error.strerror or error}"}
        return msgspec.json.encode({"id": number, **answered}) + b"\n"


_COMMANDS: dict[str, Callable[..., Any]] = {
    "open": Switchboard.open,
    "listening": Switchboard.listening,
    "cut": Switchboard.cut,
    "heal": Switchboard.heal,
    "probe": Switchboard.probe,
    "counters": Switchboard.counters,
}


class _Commands(asyncio.Protocol):
    """Standard input: a line is a command; its end is the end of this process."""

    def __init__(self, board: Switchboard, ended: asyncio.Event) -> None:
        self._board = board
        self._ended = ended
        self._rest = b""
        self._tasks: deque[asyncio.Task[None]] = deque()

    def data_received(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._tasks.append(asyncio.get_running_loop().create_task(self._answer(line)))
        while self._tasks and self._tasks[0].done():
            self._tasks.popleft().result()

    async def _answer(self, line: bytes) -> None:
        answer = await self._board.answer(line)
        sys.stdout.buffer.write(answer)
        sys.stdout.buffer.flush()

    def connection_lost(self, _error: Exception | None) -> None:
        self._ended.set()


async def serve() -> None:
    """Obeys until standard input ends: then whoever started this process is gone, or wants it gone."""
    ended = asyncio.Event()
    commands = _Commands(Switchboard(), ended)
    await asyncio.get_running_loop().connect_read_pipe(lambda: commands, sys.stdin.buffer)
    await ended.wait()


def main() -> None:
    """Runs the links, with as many open files as this machine allows: each client has two sockets here for each node."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    raise_file_limit()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve())


if __name__ == "__main__":
    main()
