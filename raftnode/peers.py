"""Connections between nodes: one that this node dials to each peer, and those that peers dial to it.

Messages flow from the dialling side only. A message to a peer that is not connected is dropped: Raft sends again. What
a frame is lives in `wire.py`; what a message means is the core's business.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

from raftnode.messages import Message
from raftnode.metrics import Metrics
from raftnode.wire import (
    FRAME_LIMIT,
    GREETING_LIMIT,
    VERSION,
    FrameError,
    FrameReader,
    Hello,
    Welcome,
    decode_hello,
    decode_message,
    decode_welcome,
    encode,
    frames,
)

CONNECT_SECONDS = 1.0  # for a connection and the Welcome on it
BACKOFF_SECONDS = (0.02, 0.2)  # the first pause before dialling again, and the longest
BUFFER_LIMIT = 32 * 1024 * 1024  # bytes that wait for one peer; what comes on top is dropped
UNACKNOWLEDGED_MS = 1_000
"""After so long without an acknowledgement by the peer's host the connection is given up.

TCP would go on for minutes and, once a cut is healed, wait out a pause that has grown with every repeat.
"""
GREETING_SECONDS = 5.0
ACCEPTED_LIMIT = 256


@dataclass(frozen=True, slots=True)
class Company:
    """Who this node is among its peers, and whom to tell what comes from them."""

    id: str
    cluster: str
    members: frozenset[str]
    metrics: Metrics
    receive: Callable[[Message], None]
    lost: Callable[[str], None]  # what was sent to this peer since its last reply may be lost
    say: Callable[[str], None]  # a line for people


def _set_options(transport: asyncio.BaseTransport) -> None:
    plain = transport.get_extra_info("socket")
    if plain is not None:
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(AttributeError, OSError):  # a convenience of Linux
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNACKNOWLEDGED_MS)
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 2)
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 1)
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)


def _drop(company: Company, error: FrameError) -> None:
    company.metrics.frames_dropped[error.reason] += 1
    if company.metrics.frames_dropped[error.reason] == 1:
        company.say(f"dropped a peer's connection ({error.reason}): {error}; further ones are only counted")


# --- the connection that this node dials ---------------------------------------------------------------------------------


class _Dialled(asyncio.Protocol):
    """One connection to a peer: Hello out, Welcome in, then messages out."""

    def __init__(self, company: Company, peer: str) -> None:
        loop = asyncio.get_running_loop()
        self.transport: asyncio.Transport | None = None
        self.greeted: asyncio.Future[bool] = loop.create_future()
        self.closed: asyncio.Future[None] = loop.create_future()
        self._company = company
        self._peer = peer
        self._reader = FrameReader(GREETING_LIMIT)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        _set_options(transport)
        company = self._company
        self.transport.write(encode(Hello(VERSION, company.cluster, company.id, self._peer)))

    def data_received(self, data: bytes) -> None:
        try:
            for payload in self._reader.feed(data):
                if self.greeted.done():
                    raise FrameError("malformed", f"{self._peer} sent more than a Welcome")
                decode_welcome(payload, self._company.cluster, self._peer)
                self.greeted.set_result(True)
        except FrameError as error:
            _drop(self._company, error)
            if self.transport is not None:
                self.transport.abort()

    def connection_lost(self, _error: Exception | None) -> None:
        self.transport = None
        if not self.greeted.done():
            self.greeted.set_result(False)
        if not self.closed.done():
            self.closed.set_result(None)


@dataclass(slots=True)
class Peer:
    """One peer as seen from here: the frames of this turn, and the connection that will carry them, if there is one."""

    company: Company
    id: str
    host: str
    port: int
    _connection: _Dialled | None = None
    _frames: list[bytes] = field(default_factory=list)
    _gathered: int = 0  # their bytes

    @property
    def connected(self) -> bool:
        return self._connection is not None

    def send(self, message: Message) -> None:
        """Puts a message behind the others of this turn; drops it if the peer is not connected or takes nothing."""
        transport = self._connection.transport if self._connection is not None else None
        if transport is None or transport.is_closing():
            self.company.metrics.frames_dropped["not-connected"] += 1
        elif self._gathered + transport.get_write_buffer_size() > BUFFER_LIMIT:
            self.company.metrics.frames_dropped["buffer-full"] += 1
        else:
            for frame in frames(message):
                self._frames.append(frame)
                self._gathered += len(frame)

    def flush(self) -> None:
        """Hands this turn's frames to the connection in one write."""
        gathered = self._frames
        if not gathered:
            return
        self._frames, self._gathered = [], 0
        transport = self._connection.transport if self._connection is not None else None
        if transport is None or transport.is_closing():
            self.company.metrics.frames_dropped["not-connected"] += len(gathered)
        else:
            self.company.metrics.frames_sent += len(gathered)
            transport.write(gathered[0] if len(gathered) == 1 else b"".join(gathered))

    async def keep_connected(self) -> None:
        """Dials for ever, with a short pause after each failure; reports each loss of a connection that stood."""
        pause, longest = BACKOFF_SECONDS
        while True:
            connection = await self._dial()
            if connection is not None:
                pause = BACKOFF_SECONDS[0]
                self._connection = connection
                await connection.closed
                self._connection = None
                self._frames, self._gathered = [], 0
                self.company.lost(self.id)
            await asyncio.sleep(pause)
            pause = min(pause * 2, longest)

    async def _dial(self) -> _Dialled | None:
        connection = _Dialled(self.company, self.id)
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await asyncio.get_running_loop().create_connection(lambda: connection, self.host, self.port)
                if await connection.greeted:
                    return connection
        except (OSError, TimeoutError):
            pass
        if connection.transport is not None:
            connection.transport.abort()
        return None


# --- the connections that peers dial ---------------------------------------------------------------------------------------


class AcceptedTable:
    """The connections that peers have dialled: at most one each, and a bounded number that have not said who they are."""

    def __init__(self) -> None:
        self.anonymous: dict[Accepted, None] = {}
        self.by_peer: dict[str, Accepted] = {}

    def abort_all(self) -> None:
        for connection in [*self.anonymous, *self.by_peer.values()]:
            connection.abort()


class Accepted(asyncio.Protocol):
    """One connection from a peer: Hello in, Welcome out, then messages in."""

    def __init__(self, company: Company, table: AcceptedTable) -> None:
        self._company = company
        self._table = table
        self._reader = FrameReader(GREETING_LIMIT)
        self._transport: asyncio.Transport | None = None
        self._peer = ""  # "" until it has said Hello
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        _set_options(transport)
        self._table.anonymous[self] = None
        self._timer = asyncio.get_running_loop().call_later(GREETING_SECONDS, self._too_slow)
        if len(self._table.anonymous) > ACCEPTED_LIMIT:
            next(iter(self._table.anonymous)).abort()

    def connection_lost(self, _error: Exception | None) -> None:
        self._transport = None
        if self._timer is not None:
            self._timer.cancel()
        self._table.anonymous.pop(self, None)
        if self._table.by_peer.get(self._peer) is self:
            del self._table.by_peer[self._peer]
        if self._reader.in_the_middle:
            _drop(
                self._company,
                FrameError("truncated", f"the connection of {self._peer or 'a stranger'} ended in a frame"),
            )

    def data_received(self, data: bytes) -> None:
        if self._transport is None:
            return
        try:
            for payload in self._reader.feed(data):
                if self._peer:
                    message = decode_message(payload, self._peer)
                    self._company.metrics.frames_received += 1
                    self._company.receive(message)
                else:
                    self._greet(payload)
        except FrameError as error:
            self._reader = FrameReader()  # what it holds is counted once, under the reason at hand
            _drop(self._company, error)
            self.abort()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _greet(self, payload: bytes) -> None:
        company = self._company
        hello = decode_hello(payload, company.cluster, company.id, company.members)
        self._peer = hello.sender
        self._reader.limit = FRAME_LIMIT
        self._table.anonymous.pop(self, None)
        if self._timer is not None:
            self._timer.cancel()
        older = self._table.by_peer.get(self._peer)
        self._table.by_peer[self._peer] = self
        if older is not None:
            older.abort()
        if self._transport is not None:
            self._transport.write(encode(Welcome(VERSION, company.cluster, company.id)))

    def _too_slow(self) -> None:
        _drop(self._company, FrameError("no-hello", f"a stranger said nothing for {GREETING_SECONDS:.0f} s"))
        self.abort()
