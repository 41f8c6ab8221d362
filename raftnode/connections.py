"""Clients' connections: bytes in, parsed calls to the node, answers out, and the limits that keep the node serving.

One protocol object per connection, and no task per request: the object itself is what waits for the answer. What a call
means is in `http_api.py`, what an answer says in `answers.py`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import cast

import httptools

from raftnode.answers import Asked, HttpAnswer, refusal
from raftnode.http_api import BODY_LIMIT, HEADER_LIMIT, Call, Page, read_call

SLOW_SECONDS = 10.0  # for a whole request to arrive from its first byte on, and for an answer to be taken
IDLE_SECONDS = 75.0  # a connection without a request
LINGER_SECONDS = 2.0  # after an error that closes: the rest of what the client sends is read and thrown away so long
PIPELINE_LIMIT = (
    32  # more requests than this waiting on one connection, or bodies of more than BODY_LIMIT: it is not read
)
BUFFERED_LIMIT = 256 * 1024 * 1024  # bytes of bodies that wait on all connections together, whole or not

_HEADS = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode()
    for status in HTTPStatus
    if status.value >= 200
}
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def response(answer: HttpAnswer, *, keep_alive: bool) -> bytes:
    """The bytes of an answer."""
    headers = "".join(f"{name}: {value}\r\n" for name, value in answer.headers) if answer.headers else ""
    ending = "\r\n" if keep_alive else "connection: close\r\n\r\n"
    head = f"content-type: {answer.content_type}\r\ncontent-length: {len(answer.body)}\r\n{headers}{ending}"
    return _HEADS[answer.status] + head.encode("latin-1") + answer.body


class RequestReader:
    """Cuts a stream of bytes into calls, by httptools, and enforces the limits of size.

    `ready` fills with complete calls, each with whether the connection may go on after it, in order. What is no HTTP or
    over a limit becomes an answer in that queue, the last one: `ended` is true from then on and more bytes are ignored.
    """

    def __init__(self) -> None:
        self._parser = httptools.HttpRequestParser(self)
        self.ready: deque[tuple[Call | HttpAnswer, bool]] = deque()
        self.held = 0  # bytes of bodies that are here, whole or not
        self.begun = False  # a request has begun and is not complete
        self.in_head = False  # ... and its headers are not complete
        self.ended = False
        self.wants_continue = False  # the client waits for our consent before it sends the body
        self.on_message_begin()
        self.begun = self.in_head = False

    def feed(self, data: bytes) -> None:
        if self.ended:
            return
        self._goes_on = self.in_head  # the head that is incomplete now began before this chunk
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # The request itself was complete and is answered; what follows would be another protocol.
            self.ended = True
        except httptools.HttpParserError as error:
            self._refuse(400, "bad-http", f"this is not HTTP/1.1: {error}")
        if self.in_head and self._goes_on:
            # A single header that never ends is seen by no callback.
            self._head_fed += len(data)
            self._check_head()

    def take(self) -> tuple[Call | HttpAnswer, bool]:
        """The first of `ready`, which must not be empty."""
        call, keep_alive = self.ready.popleft()
        if isinstance(call, Call):
            self.held -= len(call.body)
        return call, keep_alive

    def _refuse(self, status: int, code: str, message: str) -> None:
        if not self.ended:
            self.ended = True
            self.ready.append((refusal(status, code, message, definite=True), False))

    def _check_head(self) -> None:
        if max(self._head_size, self._head_fed) > HEADER_LIMIT:
            self._refuse(431, "headers-too-large", f"path and headers may have {HEADER_LIMIT} bytes together")

    # What httptools calls, in this order; after a refusal it goes on to the end of its chunk, in vain.

    def on_message_begin(self) -> None:
        self.begun = self.in_head = True
        self._goes_on = False
        self._target = b""
        self._body: list[bytes] = []
        self._size = 0
        self._head_size = 0  # what the callbacks have seen of path and headers, in bytes
        self._head_fed = 0  # what came in whole chunks while they were incomplete
        self._idempotency_key: bytes | None = None
        self._expects = False

    def on_url(self, part: bytes) -> None:
        self._target += part
        self._head_size += len(part)
        self._check_head()

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head_size += len(name) + len(value)
        self._check_head()
        lowered = name.lower()
        if lowered == b"idempotency-key":
            self._idempotency_key = value
        elif lowered == b"content-length" and value.isdigit() and int(value[:20]) > BODY_LIMIT:
            self._refuse_body()
        elif lowered == b"expect" and value.lower() == b"100-continue":
            self._expects = True

    def on_headers_complete(self) -> None:
        self.in_head = False
        self.wants_continue = self._expects and not self.ended

    def on_body(self, part: bytes) -> None:
        self._size += len(part)
        if self._size > BODY_LIMIT:
            self._refuse_body()
        else:
            self.held += len(part)
            self._body.append(part)

    def _refuse_body(self) -> None:
        self.held -= sum(map(len, self._body))
        self._body.clear()
        self._refuse(413, "too-large", f"a body may have {BODY_LIMIT} bytes")

    def on_message_complete(self) -> None:
        self.begun = self.wants_continue = False
        if self.ended:
            return
        method = self._parser.get_method().decode()
        # No answer to a HEAD has a body, but ours would: the client must not take it for the next answer.
        keep_alive = self._parser.should_keep_alive() and method != "HEAD"
        call = Call(method, self._target, b"".join(self._body), self._idempotency_key)
        self.ready.append((call, keep_alive))
        self.ended = not keep_alive


@dataclass(frozen=True, slots=True)
class Door:
    """What connections may ask of their node."""

    ask: Callable[[Asked, ClientConnection], int]  # takes a question in; the token that names it
    forget: Callable[[int], None]  # nobody waits behind this token any more
    page: Callable[[Page], HttpAnswer]
    count: Callable[[str, int], None]  # (route, status) of an answer


class ConnectionTable:
    """All open connections of clients, oldest first, and the limits of time and number."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.evicted = 0  # closed to make room
        self.buffered = 0  # bytes of bodies on all open connections
        self._open: dict[ClientConnection, None] = {}

    def __len__(self) -> int:
        return len(self._open)

    def add(self, connection: ClientConnection) -> None:
        """Makes room by closing the oldest connection that nobody waits on; the newcomer goes if there is none."""
        self._open[connection] = None
        if len(self._open) > self.limit:
            self.evicted += 1
            victim = next((one for one in self._open if one.may_be_closed()), connection)
            self.remove(victim)
            victim.abort()

    def remove(self, connection: ClientConnection) -> None:
        if connection in self._open:
            del self._open[connection]
            self.buffered -= connection.held

    def hold(self, connection: ClientConnection, change: int) -> None:
        """So many more bytes wait on this connection. Where all together are too many, whoever has the most must go."""
        if connection not in self._open:
            return
        self.buffered += change
        if change > 0 and self.buffered > BUFFERED_LIMIT:
            self.evicted += 1
            victim = max(self._open, key=lambda one: one.held)
            self.remove(victim)
            victim.abort()

    def sweep(self, now: float) -> None:
        """Closes whoever is too slow; `now` by the loop's clock, in seconds."""
        for connection in [one for one in self._open if one.overdue(now)]:
            connection.abort()

    def abort_all(self) -> None:
        for connection in list(self._open):
            connection.abort()


class ClientConnection(asyncio.Protocol):
    """One connection. Requests on it are answered one after the other, in their order."""

    def __init__(self, door: Door, table: ConnectionTable, loop: asyncio.AbstractEventLoop) -> None:
        self._door = door
        self._table = table
        self._loop = loop
        self._reader = RequestReader()
        self.held = 0  # bytes of bodies here, as the table counts them
        self._transport: asyncio.Transport | None = None  # None before the connection is made and after it is lost
        self._token = 0  # of the question under way; 0 = none
        self._asked: Asked | None = None
        self._keep_alive = True  # after the question under way
        self._no_more = False  # the client has closed its side
        self._draining = False  # our side is closed; the rest of the other's is thrown away
        self._write_blocked = False
        self._paused = False  # too much is waiting here: reading stops until some of it is answered
        self._since = loop.time()  # when the present wait began: for a request, for its rest, or for a reader

    # --- what the loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._table.add(self)

    def connection_lost(self, _error: Exception | None) -> None:
        self._transport = None
        self._table.remove(self)
        if self._token:
            self._door.forget(self._token)
            self._token = 0

    def data_received(self, data: bytes) -> None:
        if self._draining or self._transport is None:
            return
        reader = self._reader
        if not reader.begun:
            self._since = self._loop.time()
        reader.feed(data)
        self._count_held()
        if reader.wants_continue and not self._token and not reader.ready:
            reader.wants_continue = False
            self._transport.write(_CONTINUE)
        if reader.ready and not self._token:
            self._go_on()
        if self._holds_too_much():
            self._pause()

    def eof_received(self) -> bool:
        self._no_more = True
        return bool(self._token or self._reader.ready)  # True: our side stays open until these are answered

    def pause_writing(self) -> None:
        self._write_blocked = True
        self._since = self._loop.time()

    def resume_writing(self) -> None:
        self._write_blocked = False
        self._since = self._loop.time()
        self._go_on()

    # --- what the node and the table call

    def answered(self, answer: HttpAnswer) -> None:
        """The answer to the question under way."""
        asked = self._asked
        assert asked is not None, "an answer without a question"
        self._token = 0
        self._asked = None
        self._door.count(asked.route, answer.status)
        self._write(answer, keep_alive=self._keep_alive)
        if self._transport is not None and (self._reader.ready or self._reader.ended or self._no_more):
            self._go_on()

    def question(self) -> Asked | None:
        return self._asked

    def may_be_closed(self) -> bool:
        return not self._token

    def overdue(self, now: float) -> bool:
        waited = now - self._since
        if self._draining:
            return waited > LINGER_SECONDS
        if self._write_blocked:
            return waited > SLOW_SECONDS
        if self._token:
            return False
        return waited > (SLOW_SECONDS if self._reader.begun else IDLE_SECONDS)

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    # --- one call after the other

    def _count_held(self) -> None:
        change, self.held = self._reader.held - self.held, self._reader.held
        self._table.hold(self, change)

    def _holds_too_much(self) -> bool:
        return len(self._reader.ready) > PIPELINE_LIMIT or self._reader.held > BODY_LIMIT

    def _pause(self) -> None:
        if self._transport is not None and not self._draining:
            self._paused = True
            self._transport.pause_reading()

    def _go_on(self) -> None:
        ready = self._reader.ready
        while ready and not self._token and not self._write_blocked and self._transport is not None:
            call, self._keep_alive = self._reader.take()
            result = read_call(call) if isinstance(call, Call) else call
            if isinstance(result, Asked):
                self._asked = result
                self._token = self._door.ask(result, self)
                break
            route = result.name if isinstance(result, Page) else "refused"
            answer = self._door.page(result) if isinstance(result, Page) else result
            self._door.count(route, answer.status)
            self._write(answer, keep_alive=self._keep_alive)
        self._count_held()
        if self._transport is None or self._draining:
            return
        if not ready and not self._token and (self._no_more or self._reader.ended):
            self._transport.close()
        elif self._paused and not self._holds_too_much():
            self._paused = False
            self._transport.resume_reading()

    def _write(self, answer: HttpAnswer, *, keep_alive: bool) -> None:
        if self._transport is None:
            return
        self._transport.write(response(answer, keep_alive=keep_alive))
        self._since = self._loop.time()
        if not keep_alive:
            # Closing with bytes unread would reset the connection, and the answer with it: only our side ends here.
            self._draining = True
            self._reader.ready.clear()
            self._transport.write_eof()
            if self._paused:
                self._transport.resume_reading()
