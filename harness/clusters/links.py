"""The links between nodes, and from clients to nodes, as one process that forwards bytes and can drop or delay them.

`python -m harness.clusters.links`; commands come in as JSON lines, answers go out as such (`link_control.py`). Every
directed edge between nodes has a port of its own: peers' connections are forwarded frame by frame, clients' bytes as
they come. An edge is cut by so many faults as say so, and silent from the first to the last: nothing is refused, nothing
arrives. The rule is asked for every frame, so that connections stand through a cut, as they do in a network. Where
nothing is cut, a link to a node that does not listen refuses connections as the node's own port would: a client may then
conclude that its request was never received.

What is cut is what the dialling side of a link says: of what comes back over a peer's connection (one Welcome) nothing is
dropped, since it is no message and a cut of one direction must leave the other one whole. The same holds for delays: over
an edge that is slow everything said waits, each connection by itself and in its order, while connecting takes no longer.
Cuts are asked for when a delay is over, so that nothing passes during a cut that was on its way before. Not here: who cuts
or slows what, when.
"""

from __future__ import annotations

import asyncio
import functools
import resource
import sys
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from random import Random
from typing import Any, cast

import msgspec
import uvloop

from harness.clusters.file_limit import raise_file_limit
from harness.clusters.ports import HOST, PortReservation
from raftnode.wire import FRAME_LIMIT, LENGTH_BYTES, VERSION, Hello, encode

BACKLOG = 256
HELD_BYTES = 1 << 20  # of one connection in one direction may wait: beyond that its sender is not read from

Edge = tuple[str, str]  # (from, to): nodes, or the home node of a group of clients and a node


class Junction:
    """What all links share: where nodes listen, what is cut or slow, and what was dropped or held because of it."""

    def __init__(self) -> None:
        self.cluster = ""
        self.backends: dict[tuple[str, str], int] = {}  # (kind, node) -> port; kind: peer | client
        self.frames_dropped: Counter[Edge] = Counter()
        self.probes_dropped: Counter[Edge] = Counter()
        self.bytes_dropped: Counter[Edge] = Counter()  # of clients, in the direction in which they went
        self.held: Counter[Edge] = Counter()  # pieces of streams that had to wait, in the direction in which they went
        self.listening: set[str] = set()  # the nodes that accept connections
        self.fronts: set[Front] = set()
        self._cuts: Counter[Edge] = Counter()
        self._delays: defaultdict[Edge, list[tuple[float, float]]] = defaultdict(
            list
        )  # (seconds, jitter) of each fault
        self._draw = Random("jitter")  # noqa: S311 - no secret

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

    def slow(self, edges: list[Edge], seconds: float, jitter: float) -> None:
        for edge in edges:
            self._delays[edge].append((seconds, jitter))

    def quicken(self, edges: list[Edge], seconds: float, jitter: float) -> None:
        """Ends one delay of each edge; what waits already waits to its end, since it must not overtake or be overtaken."""
        for edge in edges:
            self._delays[edge].remove((seconds, jitter))

    def delay(self, edge: Edge) -> float:
        """Seconds that what is said now has to wait: the delays of all faults together."""
        return sum(seconds + self._draw.uniform(0.0, jitter) for seconds, jitter in self._delays.get(edge, ()))


class Line:
    """What one connection says in one direction, on its way; on a slow edge it waits, and order is kept whatever the jitter."""

    def __init__(self, junction: Junction, edge: Edge, hold: Callable[[bool], None]) -> None:
        """`hold` hears when its sender should no longer be read from, and when it should again."""
        self._junction = junction
        self._edge = edge
        self._hold = hold
        self._waiting: deque[tuple[float, int, Callable[[], None]]] = deque()  # (when due, bytes, what then happens)
        self._bytes = 0
        self._last_due = 0.0
        self._armed = False

    def carry(self, arrive: Callable[[], None], size: int = 0) -> None:
        """Lets something of so many bytes arrive in its time: at once where nothing is slow."""
        delay = self._junction.delay(self._edge)
        if not delay and not self._armed:
            arrive()
            return
        self._last_due = max(self._last_due, time.monotonic() + delay)
        self._waiting.append((self._last_due, size, arrive))
        self._junction.held[self._edge] += 1
        self._bytes += size
        if self._bytes > HELD_BYTES:
            self._hold(True)
        if not self._armed:
            self._arm(delay)

    def _arm(self, delay: float) -> None:
        self._armed = True
        asyncio.get_running_loop().call_later(delay, self._release)

    def _release(self) -> None:
        # The loop's timers count from when its turn began, and come a little early: nothing leaves before it is due.
        while self._waiting and self._waiting[0][0] <= time.monotonic():
            _, size, arrive = self._waiting.popleft()
            self._bytes -= size
            arrive()
        if self._bytes <= HELD_BYTES:
            self._hold(False)
        if self._waiting:
            self._arm(max(0.001, self._waiting[0][0] - time.monotonic()))
        else:
            self._armed = False


class Front(asyncio.Protocol):
    """A connection to a link, and the one behind it that is dialled as soon as something may pass."""

    kind = ""

    def __init__(self, junction: Junction, edge: Edge) -> None:
        self.edge = edge
        self.torn = False  # something is missing from its stream: it cannot be used after the cut
        self._junction = junction
        self._transport: asyncio.Transport | None = None
        self._back: Back | None = None
        self._there = Line(junction, edge, functools.partial(self.hold, "delay"))
        self._reasons: set[str] = set()  # for which nothing is read

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._junction.fronts.add(self)

    def data_received(self, data: bytes) -> None:
        self._there.carry(functools.partial(self.arrived, data), len(data))

    def arrived(self, data: bytes) -> None:
        """What the dialling side said has come to where it may be dropped."""
        raise NotImplementedError

    def connection_lost(self, _error: Exception | None) -> None:
        self._transport = None
        self._junction.fronts.discard(self)
        self._there.carry(self._hang_up)

    def _hang_up(self) -> None:
        if self._back is not None:
            self._back.close()

    def pause_writing(self) -> None:
        self.hold_back("full", True)

    def resume_writing(self) -> None:
        self.hold_back("full", False)

    def hold(self, reason: str, yes: bool) -> None:  # noqa: FBT001 - a callback that hears a value
        """Stops reading from the dialling side, or goes on once no reason is left."""
        (self._reasons.add if yes else self._reasons.discard)(reason)
        if self._transport is not None:
            (self._transport.pause_reading if self._reasons else self._transport.resume_reading)()

    def hold_back(self, reason: str, yes: bool) -> None:  # noqa: FBT001 - a callback that hears a value
        """The same for the node behind the link."""
        if self._back is not None:
            self._back.hold(reason, yes)

    def hindered(self) -> bool:
        """Whether a cut stands in the way of this connection."""
        return self._junction.is_cut(self.edge)

    def forward(self, data: bytes) -> None:
        """Sends to the node behind the link; dials it first, if need be."""
        if self._back is None:
            self._back = Back(self)
            self._back.dial(self._junction.backends[self.kind, self.edge[1]])
        self._back.write(data)

    def said_back(self, data: bytes) -> None:
        """The node behind the link says something."""
        self.received_back(data)

    def hung_up_back(self, *, answered: bool) -> None:
        """The node behind the link hangs up."""
        self.back_ended(answered=answered)

    def received_back(self, data: bytes) -> None:
        """What the node behind the link said has come back to where it may be dropped."""
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
        self._reasons: set[str] = set()  # for which nothing is read
        self._dialling: asyncio.Task[None] | None = None

    def dial(self, port: int) -> None:
        self._dialling = asyncio.get_running_loop().create_task(self._dial(port))

    async def _dial(self, port: int) -> None:
        try:
            await asyncio.get_running_loop().create_connection(lambda: self, HOST, port)
        except OSError:
            if not self._closed:
                self._front.hung_up_back(answered=False)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        if self._closed:
            self._transport.abort()
            return
        if self._waiting:
            self._transport.write(b"".join(self._waiting))
            self._waiting.clear()
        if self._reasons:
            self._transport.pause_reading()

    def data_received(self, data: bytes) -> None:
        if not self._closed:
            self._front.said_back(data)

    def connection_lost(self, _error: Exception | None) -> None:
        self._transport = None
        if not self._closed:
            self._closed = True
            self._front.hung_up_back(answered=True)

    def pause_writing(self) -> None:
        self._front.hold("full", True)

    def resume_writing(self) -> None:
        self._front.hold("full", False)

    def hold(self, reason: str, yes: bool) -> None:  # noqa: FBT001 - a callback that hears a value
        (self._reasons.add if yes else self._reasons.discard)(reason)
        if self._transport is not None:
            (self._transport.pause_reading if self._reasons else self._transport.resume_reading)()

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

    def arrived(self, data: bytes) -> None:
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
        self._home = Line(junction, self._way_back, functools.partial(self.hold_back, "delay"))

    def said_back(self, data: bytes) -> None:
        self._home.carry(functools.partial(self.received_back, data), len(data))

    def hung_up_back(self, *, answered: bool) -> None:
        self._home.carry(functools.partial(self.back_ended, answered=answered))

    def hindered(self) -> bool:
        return self._junction.is_cut(self.edge) or self._junction.is_cut(self._way_back)

    def arrived(self, data: bytes) -> None:
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

    async def ask(self, seconds: float) -> tuple[str, float]:
        """What it met, and after how many milliseconds.

        `answers`, `refused` (nobody listens), or `silent`: no answer within so many seconds.
        """
        began = time.monotonic()
        answer = await self._answer(seconds)
        return answer, round((time.monotonic() - began) * 1000, 3)

    async def _answer(self, seconds: float) -> str:
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

    async def slow(self, edges: list[Edge], seconds: float, jitter: float) -> dict[str, Any]:
        self.junction.slow(edges, seconds, jitter)
        return {}

    async def quicken(self, edges: list[Edge], seconds: float, jitter: float) -> dict[str, Any]:
        self.junction.quicken(edges, seconds, jitter)
        return {}

    async def _settle(self) -> None:
        for link in self._links:
            await link.settle()

    async def probe(self, edges: list[Edge], seconds: float) -> dict[str, Any]:
        """What a frame sent over each of the edges met."""
        asked = await asyncio.gather(*(Probe(self.junction, edge).ask(seconds) for edge in edges))
        found = [(a, b, answer, ms) for (a, b), (answer, ms) in zip(edges, asked, strict=True)]
        return {
            "answers": [(a, b, answer) for a, b, answer, _ in found],
            "times": [(a, b, ms) for a, b, answer, ms in found if answer == "answers"],
        }

    async def counters(self) -> dict[str, Any]:
        """What was dropped, what had to wait and what is cut, once everything decided before is done."""
        async with self._order:
            junction = self.junction
        counted = {
            "frames": junction.frames_dropped,
            "probes": junction.probes_dropped,
            "bytes": junction.bytes_dropped,
            "held": junction.held,
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
    "slow": Switchboard.slow,
    "quicken": Switchboard.quicken,
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
