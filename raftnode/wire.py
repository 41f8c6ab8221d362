"""The bytes between peers: frames, their limits, and the greeting that opens a connection.

A frame is a length (4 bytes, big-endian) and a payload of MessagePack. The dialling side opens with one Hello, the
accepting side answers with one Welcome, and from then on messages flow from the dialling side only. Whatever does not
fit raises `FrameError`, whose `reason` is what the metrics count. No sockets live here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from raftnode.messages import (
    AppendEntries,
    AppendReply,
    Message,
    ReadIndex,
    ReadIndexReply,
    RequestVote,
    VoteReply,
)

VERSION = 1
LENGTH_BYTES = 4
FRAME_LIMIT = 8 * 1024 * 1024
"""The longest payload, in bytes. A length above it is taken for garbage: nothing that size is buffered."""
GREETING_LIMIT = 4096
"""The same before the other side has said who it is: strangers together must not fill the memory."""


class FrameError(Exception):
    """The other side sent what this side does not accept: the connection must go. `reason` is a short word to count."""

    def __init__(self, reason: str, sentence: str) -> None:
        super().__init__(sentence)
        self.reason = reason


class Hello(msgspec.Struct, frozen=True, tag="hello"):
    """The first frame of a connection: who dials whom. A map, not an array, so that other versions can still be read."""

    version: int
    cluster: str
    sender: str = msgspec.field(name="from")
    to: str


class Welcome(msgspec.Struct, frozen=True, tag="welcome"):
    """The one frame that the accepting side sends."""

    version: int
    cluster: str
    id: str


_encoder = msgspec.msgpack.Encoder()
_greeting_decoder: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(Hello | Welcome)
_message_decoder: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(Message)

_SENDER_FIELD: dict[type, str] = {
    RequestVote: "candidate",
    VoteReply: "voter",
    AppendEntries: "leader",
    AppendReply: "follower",
    ReadIndex: "follower",
}


def encode(thing: Message | Hello | Welcome) -> bytes:
    """One frame. Raises FrameError ("too-long") if the other side would have to refuse it."""
    payload = _encoder.encode(thing)
    if len(payload) > FRAME_LIMIT:
        raise FrameError("too-long", f"a frame of {len(payload)} bytes, at most {FRAME_LIMIT} are allowed")
    return len(payload).to_bytes(LENGTH_BYTES, "big") + payload


def frames(message: Message) -> Iterator[bytes]:
    """The frames that carry a message: one, unless its entries do not fit into one.

    An AppendEntries that is too long leaves as two that say the same one after the other (figure 2 lets a leader send
    any number of entries at a time). A single entry always fits: the HTTP side limits bodies to far less than a frame.
    """
    try:
        yield encode(message)
    except FrameError:
        if not isinstance(message, AppendEntries) or len(message.entries) < 2:
            raise
        half = len(message.entries) // 2
        head, tail = message.entries[:half], message.entries[half:]
        yield from frames(msgspec.structs.replace(message, entries=head))
        moved = message.prev_index + half
        yield from frames(
            msgspec.structs.replace(message, prev_index=moved, prev_term=head[-1].term, entries=tail),
        )


def decode_message(payload: bytes | memoryview, peer: str) -> Message:
    """A message that `peer` sent. Raises FrameError ("malformed", or "wrong-sender" if it names another node)."""
    try:
        message: Message = _message_decoder.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise FrameError("malformed", f"a frame of {peer} is not a message: {error}") from error
    if isinstance(message, ReadIndexReply):
        return message
    named = getattr(message, _SENDER_FIELD[type(message)])
    if named != peer:
        raise FrameError("wrong-sender", f"a message of {named!r} came over the connection of {peer}")
    return message


def _decode_greeting(payload: bytes | memoryview) -> Hello | Welcome:
    try:
        greeting: Hello | Welcome = _greeting_decoder.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise FrameError("malformed", f"the first frame is not a greeting: {error}") from error
    return greeting


def decode_hello(payload: bytes | memoryview, cluster: str, to: str, members: frozenset[str]) -> Hello:
    """The greeting of a dialling peer. Raises FrameError saying which of its fields does not fit this node."""
    hello = _decode_greeting(payload)
    if not isinstance(hello, Hello):
        raise FrameError("malformed", "the first frame is not a Hello")
    _check_greeting(hello.version, hello.cluster, cluster)
    if hello.to != to:
        raise FrameError("wrong-receiver", f"{hello.sender!r} dialled {hello.to!r}, but this is {to}")
    if hello.sender not in members or hello.sender == to:
        raise FrameError("unknown-peer", f"{hello.sender!r} is no peer of {to}")
    return hello


def decode_welcome(payload: bytes | memoryview, cluster: str, peer: str) -> Welcome:
    """The answer to our Hello. Raises FrameError saying which of its fields is not that of the peer we dialled."""
    welcome = _decode_greeting(payload)
    if not isinstance(welcome, Welcome):
        raise FrameError("malformed", "the answer to a Hello is not a Welcome")
    _check_greeting(welcome.version, welcome.cluster, cluster)
    if welcome.id != peer:
        raise FrameError("wrong-receiver", f"dialled {peer}, but {welcome.id!r} answered")
    return welcome


def _check_greeting(version: int, cluster: str, expected_cluster: str) -> None:
    if version != VERSION:
        raise FrameError("wrong-version", f"the other side speaks version {version} of the wire, this side {VERSION}")
    if cluster != expected_cluster:
        raise FrameError(
            "wrong-cluster", f"the other side is of cluster {cluster!r}, this side of {expected_cluster!r}"
        )


class FrameReader:
    """Cuts a stream of bytes into the payloads of frames, however the stream was chopped up."""

    __slots__ = ("_rest", "_wanted", "limit")

    def __init__(self, limit: int = FRAME_LIMIT) -> None:
        self.limit = limit  # of a payload, in bytes
        self._rest = bytearray()  # an incomplete frame, shorter than LENGTH_BYTES + limit, or nothing
        self._wanted = LENGTH_BYTES  # with fewer bytes than this in hand there is nothing new to find

    def feed(self, data: bytes) -> list[bytes]:
        """The payloads completed by `data`, in order. Raises FrameError ("too-long") at a length above the limit."""
        stream: bytes | bytearray = data
        if self._rest:
            self._rest += data
            stream = self._rest
        end = len(stream)
        start = 0
        payloads: list[bytes] = []
        while end - start >= self._wanted:
            body = start + LENGTH_BYTES
            length = int.from_bytes(stream[start:body], "big")
            if length > self.limit:
                raise FrameError("too-long", f"a frame of {length} bytes, at most {self.limit} are allowed")
            if body + length > end:
                self._wanted = LENGTH_BYTES + length
                break
            payloads.append(bytes(stream[body : body + length]))
            start = body + length
            self._wanted = LENGTH_BYTES
        if self._rest:
            del self._rest[:start]
        else:
            self._rest += stream[start:]
        return payloads

    @property
    def in_the_middle(self) -> bool:
        """Whether the stream, if it ended now, would end within a frame."""
        return bool(self._rest)
