"""Speaking to the kernel over netlink: messages of attributes out, answers in.

Only what `bridge.py` needs of it. It is written here because the library for packet filters, libnftables, was seen to
corrupt the memory of its process when another process changed a table meanwhile (version 1.0.6), as container engines do.
Formats: linux/netlink.h, linux/netfilter/nfnetlink.h. Not here: what a table, a rule or an address is.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator, Sequence

import msgspec

NETLINK_ROUTE, NETLINK_NETFILTER = 0, 12
REQUEST, ACK, DUMP, CREATE, EXCLUSIVE = 0x1, 0x4, 0x300, 0x400, 0x200
INTERRUPTED = 0x10  # a dump whose subject changed while it was read
ERROR, DONE = 2, 3
NESTED = 0x8000
HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port
TRIES = 10
ANSWER_SECONDS = 5.0


class NetlinkError(Exception):
    """The kernel refused; the words are its own."""

    def __init__(self, code: int) -> None:
        super().__init__(os.strerror(code))
        self.code = code


class Message(msgspec.Struct, frozen=True):
    """One message: its type, flags on top of `REQUEST`, and everything behind the header."""

    kind: int
    flags: int
    body: bytes


def attribute(number: int, content: bytes) -> bytes:
    """One attribute, padded to four bytes."""
    return struct.pack("=HH", 4 + len(content), number) + content + bytes(-len(content) % 4)


def nested(number: int, *attributes: bytes) -> bytes:
    """An attribute that holds attributes."""
    return attribute(number | NESTED, b"".join(attributes))


def text(number: int, content: str) -> bytes:
    """An attribute that holds a name."""
    return attribute(number, content.encode() + b"\0")


def integer(number: int, value: int) -> bytes:
    """An attribute that holds 32 bits in network order, as packet filters want them."""
    return attribute(number, struct.pack("!I", value & 0xFFFFFFFF))


def attributes_in(content: bytes) -> Iterator[tuple[int, bytes]]:
    """The attributes that follow one another in `content`, by number."""
    at = 0
    while at + 4 <= len(content):
        length, number = struct.unpack_from("=HH", content, at)
        yield number & ~NESTED & 0x7FFF, content[at + 4 : at + length]
        at += (length + 3) & ~3


class Netlink:
    """A socket to one part of the kernel. What belongs to it, as a table may, goes when it is closed."""

    def __init__(self, part: int) -> None:
        """Raises `NetlinkError` where this process may not."""
        try:
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, part)
            self._socket.bind((0, 0))
        except OSError as error:
            raise NetlinkError(error.errno or errno.EIO) from error
        self._socket.settimeout(ANSWER_SECONDS)
        self._sequence = 0

    def send(self, messages: Sequence[Message], begin: Message | None = None, end: Message | None = None) -> None:
        """Sends messages and waits until each is acknowledged. Between `begin` and `end` they are one transaction.

        Raises `NetlinkError` for the first that the kernel refuses.
        """
        packed = b""
        waiting = set()
        for message in [*([begin] if begin else []), *messages, *([end] if end else [])]:
            self._sequence += 1
            acknowledged = ACK if message in messages else 0
            if acknowledged:
                waiting.add(self._sequence)
            packed += self._pack(message, acknowledged)
        self._sent(packed)
        while waiting:
            for kind, _, sequence, body in self._received():
                if kind == ERROR:
                    (code,) = struct.unpack_from("=i", body)
                    if code:
                        self._forget()
                        raise NetlinkError(-code)
                    waiting.discard(sequence)

    def dump(self, message: Message) -> list[bytes]:
        """The bodies of all answers to a request to list something. Raises `NetlinkError`."""
        for _ in range(TRIES):
            self._sequence += 1
            self._sent(self._pack(message, DUMP))
            found = self._dumped()
            if found is not None:
                return found
        raise NetlinkError(errno.EINTR)

    def _dumped(self) -> list[bytes] | None:
        """The answers to the last request; None if what was listed changed meanwhile."""
        found: list[bytes] = []
        whole = True
        while True:
            for kind, flags, sequence, body in self._received():
                if sequence != self._sequence:
                    continue
                whole = whole and not flags & INTERRUPTED
                if kind == ERROR:
                    (code,) = struct.unpack_from("=i", body)
                    raise NetlinkError(-code)
                if kind == DONE:
                    return found if whole else None
                found.append(body)

    def _pack(self, message: Message, flags: int) -> bytes:
        length = HEADER.size + len(message.body)
        return HEADER.pack(length, message.kind, REQUEST | message.flags | flags, self._sequence, 0) + message.body

    def _sent(self, packed: bytes) -> None:
        try:
            self._socket.send(packed)
        except OSError as error:
            raise NetlinkError(error.errno or errno.EIO) from error

    def _received(self) -> Iterator[tuple[int, int, int, bytes]]:
        """The messages of one datagram: type, flags, sequence, body."""
        try:
            datagram = self._socket.recv(1 << 18)
        except TimeoutError as error:
            raise NetlinkError(errno.ETIMEDOUT) from error
        except OSError as error:
            raise NetlinkError(error.errno or errno.EIO) from error
        at = 0
        while at + HEADER.size <= len(datagram):
            length, kind, flags, sequence, _ = HEADER.unpack_from(datagram, at)
            yield kind, flags, sequence, datagram[at + HEADER.size : at + length]
            at += (length + 3) & ~3

    def _forget(self) -> None:
        """Reads what else the kernel has to say about a transaction that it refused."""
        self._socket.setblocking(False)
        try:
            while self._socket.recv(1 << 18):
                continue
        except BlockingIOError:
            return
        finally:
            self._socket.settimeout(ANSWER_SECONDS)

    def close(self) -> None:
        """May be called twice."""
        self._socket.close()
