"""What clients' connections may hold: bodies that wait are counted, bounded per connection and over all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftnode import connections
from raftnode.answers import Asked, HttpAnswer
from raftnode.connections import ClientConnection, ConnectionTable, Door, RequestReader
from raftnode.http_api import BODY_LIMIT, HEADER_LIMIT, Call


def put(size: int, sent: int | None = None) -> bytes:
    """A PUT with a body of `size` bytes, of which the first `sent` are there."""
    body = b'{"value":"' + b"x" * (size - 12) + b'"}'
    return b"PUT /kv/k HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % size + body[:sent]


@given(st.lists(st.integers(12, 400), min_size=1, max_size=6), st.integers(0, 400), st.integers(1, 97))
def test_what_a_reader_holds_is_the_bodies_that_are_here(sizes: list[int], rest: int, chunk: int) -> None:
    reader = RequestReader()
    stream = b"".join(put(size) for size in sizes) + put(401, rest)
    for start in range(0, len(stream), chunk):
        reader.feed(stream[start : start + chunk])
    assert reader.held == sum(sizes) + rest
    for size in sizes:
        call, _ = reader.take()
        assert isinstance(call, Call)
        assert len(call.body) == size
    assert reader.held == rest


def test_pipelined_heads_that_are_cut_by_both_ends_of_a_chunk_are_no_big_head() -> None:
    """The bytes between belong to requests that were complete: only a head that goes on through whole chunks is big."""
    get = b"GET /kv/a HTTP/1.1\r\nhost: x\r\n\r\n"
    count = 2 * HEADER_LIMIT // len(get)
    stream = get * count
    reader = RequestReader()
    for part in (stream[:10], stream[10 : -len(get) - 10], stream[-len(get) - 10 :]):
        reader.feed(part)
    assert not reader.ended
    assert [type(call) for call, _ in reader.ready] == [Call] * count


def test_a_body_that_is_refused_is_not_held() -> None:
    reader = RequestReader()
    body = b"x" * (BODY_LIMIT + 1)
    reader.feed(b"PUT /kv/k HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n%x\r\n" % len(body) + body)
    assert reader.held == 0
    assert isinstance(reader.take()[0], HttpAnswer)


class Wire:
    """A transport that notes what is done to it."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self.reading = True
        self.aborted = False
        self.written = b""

    def write(self, data: bytes) -> None:
        self.written += data

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def abort(self) -> None:
        if not self.aborted:
            self.aborted = True
            self.connection.connection_lost(None)


class Room:
    """A table, and a node behind the door that answers when it is told to."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.table = ConnectionTable(100)
        self.asked: list[tuple[Asked, ClientConnection]] = []
        self.door = Door(ask=self.ask, forget=lambda _: None, page=self.page, count=lambda _route, _status: None)

    def ask(self, asked: Asked, connection: ClientConnection) -> int:
        self.asked.append((asked, connection))
        return len(self.asked)

    def page(self, page: Any) -> HttpAnswer:
        raise AssertionError(f"nobody asks for {page}")

    def connect(self) -> tuple[ClientConnection, Wire]:
        connection = ClientConnection(self.door, self.table, self.loop)
        wire = Wire(connection)
        connection.connection_made(cast("asyncio.Transport", wire))
        return connection, wire


@pytest.fixture
def room() -> Iterator[Room]:
    loop = asyncio.new_event_loop()
    yield Room(loop)
    loop.close()


def test_a_connection_whose_requests_wait_is_not_read_beyond_one_body(room: Room) -> None:
    """Thirty-two pipelined bodies of the largest size on each of thousands of connections would fill any memory."""
    connection, wire = room.connect()
    connection.data_received(put(BODY_LIMIT))
    assert wire.reading
    connection.data_received(put(BODY_LIMIT))
    assert wire.reading
    connection.data_received(put(BODY_LIMIT, 30))
    assert not wire.reading
    assert room.table.buffered == BODY_LIMIT + 30
    connection.answered(HttpAnswer(200, b"{}"))
    assert wire.reading
    assert len(room.asked) == 2
    assert room.table.buffered == 30
    connection.connection_lost(None)
    assert room.table.buffered == 0


def test_when_all_bodies_are_too_much_who_holds_most_must_go(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    """The issue: "a million connections' worth of slow bodies: [...] a closed connection, and the node keeps serving"."""
    monkeypatch.setattr(connections, "BUFFERED_LIMIT", 10_000)
    slow = [room.connect() for _ in range(5)]
    for number, (connection, _) in enumerate(slow):
        connection.data_received(put(5_000, 1_800 + number))
    assert not any(wire.aborted for _, wire in slow)
    honest, wire = room.connect()
    honest.data_received(put(1_500))
    assert [wire.aborted for _, wire in slow] == [False, False, False, False, True]
    assert room.table.evicted == 1
    assert len(room.asked) == 1
    assert not wire.aborted
    assert room.table.buffered == sum(1_800 + number for number in range(4))
