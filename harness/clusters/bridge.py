"""Cuts between addresses on a run's bridge: one packet filter table of the bridge family on the host.

Every cut is a set of ordered pairs (from, to) of addresses, so that every shape of partition, one-way ones too, is one
atomic change. The table sees frames between containers (hook forward) as well as those from and to the host (output and
input), where clients stand; it stops established connections at once; rules inside a node's own network namespace would
vanish with a restart and silently heal. The kernel counts what it drops, pair by pair. The table belongs to this process
(its socket) and goes when the process dies, even by SIGKILL. As nft(8) shows it:

    table bridge NAME {
        flags owner
        set cut { type ipv4_addr . ipv4_addr; counter; }
        chain forward { type filter hook forward priority -300; ip saddr . ip daddr @cut drop }
        (the same for input and output)
    }

Formats: linux/netfilter/nf_tables.h, linux/rtnetlink.h. Not here: which node has which address, and probes.
"""

from __future__ import annotations

import errno
import socket
import struct
import threading
from collections.abc import Collection, Iterable

from harness.clusters.netlink import (
    CREATE,
    EXCLUSIVE,
    NETLINK_NETFILTER,
    NETLINK_ROUTE,
    Message,
    Netlink,
    NetlinkError,
    attribute,
    attributes_in,
    integer,
    nested,
    text,
)

Pair = tuple[str, str]
"""Two addresses: from, to."""

FAMILY = 7  # NFPROTO_BRIDGE
SUBSYSTEM = 10  # NFNL_SUBSYS_NFTABLES
BATCH_BEGIN, BATCH_END = 16, 17
NEW_TABLE, GET_TABLE, DELETE_TABLE, NEW_CHAIN, NEW_RULE, NEW_SET = 0, 1, 2, 3, 6, 9
NEW_ELEMENT, GET_ELEMENT, DELETE_ELEMENT = 12, 13, 14
TABLE_OWNER = 2  # NFT_TABLE_F_OWNER
HOOKS = {"input": 1, "forward": 2, "output": 3}
PRIORITY = -300  # before connection tracking, which would let established connections pass
SET = "cut"
SET_ID = 1
IPV4_PAIR = 7 << 6 | 7  # how nft(8) writes the type ipv4_addr . ipv4_addr
LIST_ELEMENT = 1  # of every list
NAME, DATA = 1, 2  # of every expression


class FilterError(Exception):
    """The packet filter refused; the words are the kernel's."""


def _message(kind: int, *attributes: bytes, flags: int = 0) -> Message:
    return Message(SUBSYSTEM << 8 | kind, flags, struct.pack("!BBH", FAMILY, 0, 0) + b"".join(attributes))


_BEGIN = Message(BATCH_BEGIN, 0, struct.pack("!BBH", 0, 0, SUBSYSTEM))
_END = Message(BATCH_END, 0, struct.pack("!BBH", 0, 0, SUBSYSTEM))


class BridgeTable:
    """The table of one run. Pairs that several faults cut stay cut until the last of them heals: the caller counts."""

    def __init__(self, name: str) -> None:
        """Makes the table. Raises `FilterError` where the kernel or this user's rights do not allow it."""
        self.name = name
        self._lock = threading.Lock()
        self._netlink = _opened()
        try:
            self._make()
        except NetlinkError as error:
            self._netlink.close()
            raise FilterError(f"no table of the bridge family can be made: {error}") from error

    @property
    def mechanism(self) -> str:
        """How cuts are made, for evidence."""
        return f"drop in table bridge {self.name} of the kernel's packet filter"

    def _make(self) -> None:
        try:
            self._transact(self._definition(TABLE_OWNER))
        except NetlinkError as error:
            if error.code not in {errno.EINVAL, errno.EOPNOTSUPP}:
                raise
            # Kernels before 5.12 know no owner. The table then stays after a SIGKILL, until the next start sweeps it.
            self._transact(self._definition(0))

    def _definition(self, flags: int) -> list[Message]:
        counter = nested(17, text(NAME, "counter"), nested(DATA))
        parts = [
            _message(NEW_TABLE, text(1, self.name), integer(2, flags), flags=CREATE | EXCLUSIVE),
            _message(
                NEW_SET,
                text(1, self.name),
                text(2, SET),
                integer(3, 0),
                integer(4, IPV4_PAIR),
                integer(5, 8),
                integer(10, SET_ID),
                counter,
                flags=CREATE,
            ),
        ]
        for hook, number in HOOKS.items():
            place = nested(4, integer(1, number), integer(2, PRIORITY))
            parts.append(_message(NEW_CHAIN, text(1, self.name), text(3, hook), text(7, "filter"), place, flags=CREATE))
            parts.append(_message(NEW_RULE, text(1, self.name), text(2, hook), nested(4, *_DROP_CUT), flags=CREATE))
        return parts

    def cut(self, pairs: Collection[Pair]) -> None:
        """From now on nothing passes over these pairs. Their counters start at 0."""
        self._change(NEW_ELEMENT, CREATE, pairs)

    def heal(self, pairs: Collection[Pair]) -> None:
        """These pairs, which must be cut now, pass again."""
        self._change(DELETE_ELEMENT, 0, pairs)

    def _change(self, kind: int, flags: int, pairs: Collection[Pair]) -> None:
        if not pairs:
            return
        elements = [nested(LIST_ELEMENT, nested(1, attribute(1, _packed(pair)))) for pair in sorted(pairs)]
        message = _message(kind, text(1, self.name), text(2, SET), nested(3, *elements), flags=flags)
        try:
            self._transact([message])
        except NetlinkError as error:
            raise FilterError(str(error)) from error

    def _transact(self, messages: list[Message]) -> None:
        with self._lock:
            self._netlink.send(messages, begin=_BEGIN, end=_END)

    def dropped(self) -> dict[Pair, int]:
        """Packets dropped so far, by pair that is cut now."""
        try:
            with self._lock:
                bodies = self._netlink.dump(_message(GET_ELEMENT, text(1, self.name), text(2, SET)))
        except NetlinkError as error:
            raise FilterError(str(error)) from error
        return dict(counted for body in bodies for counted in _counted(body))

    def close(self) -> None:
        """Removes the table. May be called twice."""
        with self._lock:
            _remove(self._netlink, self.name)  # it may be gone: closed before
            self._netlink.close()


def _expression(name: str, *attributes: bytes) -> bytes:
    return nested(LIST_ELEMENT, text(NAME, name), nested(DATA, *attributes))


_DROP_CUT = (
    _expression("meta", integer(1, 1), integer(2, 1)),  # the frame's protocol into register 1
    _expression("cmp", integer(1, 1), integer(2, 0), nested(3, attribute(1, b"\x08\x00"))),  # is IPv4
    _expression("payload", integer(1, 1), integer(2, 1), integer(3, 12), integer(4, 4)),  # its source into register 1
    _expression("payload", integer(1, 9), integer(2, 1), integer(3, 16), integer(4, 4)),  # its target into the next
    _expression("lookup", text(1, SET), integer(2, 1), integer(4, SET_ID)),
    _expression("immediate", integer(1, 0), nested(2, nested(2, integer(1, 0)))),  # the verdict: drop
)
"""`ip saddr . ip daddr @cut drop`, as the kernel wants it."""


def _packed(pair: Pair) -> bytes:
    return b"".join(socket.inet_aton(address) for address in pair)


def _counted(body: bytes) -> Iterable[tuple[Pair, int]]:
    """The pairs of one answer to `GET_ELEMENT` with their counters."""
    for number, elements in attributes_in(body[4:]):
        if number != 3:
            continue
        for _, element in attributes_in(elements):
            parts = dict(attributes_in(element))
            key = dict(attributes_in(parts[1]))[1]
            counter = dict(attributes_in(dict(attributes_in(parts[7]))[DATA])) if 7 in parts else {}
            packets = int.from_bytes(counter.get(2, b""))
            yield (socket.inet_ntoa(key[:4]), socket.inet_ntoa(key[4:])), packets


def sweep_tables(prefix: str, runs: Collection[str]) -> list[str]:
    """Removes the tables `<prefix><run>` of runs other than `runs`. Those of living owners refuse to go, and stay."""
    try:
        netlink = _opened()
    except FilterError:
        return []  # whoever cannot list tables made none
    try:
        bodies = netlink.dump(_message(GET_TABLE))
        names = [dict(attributes_in(body[4:]))[1].rstrip(b"\0").decode() for body in bodies]
        left = [name for name in names if name.startswith(prefix) and name.removeprefix(prefix) not in runs]
        return [f"table bridge {name}" for name in left if _remove(netlink, name)]
    except NetlinkError:
        return []
    finally:
        netlink.close()


def _opened() -> Netlink:
    try:
        return Netlink(NETLINK_NETFILTER)
    except NetlinkError as error:
        raise FilterError(f"the kernel's packet filter cannot be reached: {error}") from error


def _remove(netlink: Netlink, name: str) -> bool:
    try:
        netlink.send([_message(DELETE_TABLE, text(1, name))], begin=_BEGIN, end=_END)
    except NetlinkError:
        return False
    return True


def add_addresses(interface: str, addresses: Iterable[str]) -> None:
    """Gives the host more addresses, of a /24, on an interface; they go with the interface. Raises `FilterError`."""
    try:
        netlink = Netlink(NETLINK_ROUTE)
    except NetlinkError as error:
        raise FilterError(f"addresses cannot be changed: {error}") from error
    try:
        index = socket.if_nametoindex(interface)
        for address in addresses:
            packed = socket.inet_aton(address)
            body = struct.pack("=BBBBI", socket.AF_INET, 24, 0, 0, index) + attribute(2, packed) + attribute(1, packed)
            netlink.send([Message(20, CREATE | EXCLUSIVE, body)])
    except (NetlinkError, OSError) as error:
        words = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise FilterError(f"{interface} got no more addresses: {words}") from error
    finally:
        netlink.close()
