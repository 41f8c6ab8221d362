"""Cuts between addresses on a run's bridge: one packet filter table of the bridge family on the host.

Every cut is a set of ordered pairs (from, to) of addresses, so that every shape of partition, one-way ones too, is one
atomic change. The table sees frames between containers (hook forward) as well as those from and to the host (output and
input), where clients stand; it stops established connections at once; rules inside a node's own network namespace would
vanish with a restart and silently heal. The kernel counts what it drops, pair by pair. The table belongs to this process
(`flags owner`) and goes when the process dies, even by SIGKILL. Not here: which node has which address, and probes.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import shutil
import subprocess
import threading
from collections.abc import Collection, Iterable
from typing import Protocol

import msgspec

Pair = tuple[str, str]
"""Two addresses: from, to."""

PRIORITY = -300  # before connection tracking, which would let established connections pass
HOOKS = ("forward", "input", "output")


class FilterError(Exception):
    """The packet filter refused; the words are the kernel's or the tool's."""


class Filter(Protocol):
    """A way to speak to the kernel's packet filter."""

    name: str
    owns: bool  # whether a table can belong to this process and vanish with it

    def run(self, script: str) -> str:
        """Runs commands as one transaction and returns what they print (as JSON). Raises `FilterError`."""
        ...

    def close(self) -> None: ...


class Library:
    """libnftables, in this process: a fifth of a millisecond for a cut."""

    name = "libnftables"
    owns = True

    def __init__(self) -> None:
        path = ctypes.util.find_library("nftables") or "libnftables.so.1"
        try:
            self._library = ctypes.CDLL(path)
        except OSError as error:
            raise FilterError(f"libnftables cannot be loaded: {error}") from error
        library = self._library
        library.nft_ctx_new.restype = ctypes.c_void_p
        library.nft_ctx_new.argtypes = [ctypes.c_uint32]
        library.nft_ctx_get_output_buffer.restype = ctypes.c_char_p
        library.nft_ctx_get_error_buffer.restype = ctypes.c_char_p
        for function in ("nft_ctx_buffer_output", "nft_ctx_buffer_error", "nft_ctx_free"):
            getattr(library, function).argtypes = [ctypes.c_void_p]
        library.nft_ctx_get_output_buffer.argtypes = [ctypes.c_void_p]
        library.nft_ctx_get_error_buffer.argtypes = [ctypes.c_void_p]
        library.nft_ctx_output_set_flags.argtypes = [ctypes.c_void_p, ctypes.c_uint]
        library.nft_run_cmd_from_buffer.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
        self._context: int | None = library.nft_ctx_new(0)
        if not self._context:
            raise FilterError("libnftables cannot open a netlink socket")
        library.nft_ctx_buffer_output(self._context)
        library.nft_ctx_buffer_error(self._context)
        library.nft_ctx_output_set_flags(self._context, 1 << 4)  # NFT_CTX_OUTPUT_JSON

    def run(self, script: str) -> str:
        if self._context is None:
            raise FilterError("the packet filter is closed")
        failed = self._library.nft_run_cmd_from_buffer(self._context, script.encode())
        if failed:
            raise FilterError(_first_line(self._library.nft_ctx_get_error_buffer(self._context).decode()))
        printed: bytes = self._library.nft_ctx_get_output_buffer(self._context)
        return printed.decode()

    def close(self) -> None:
        if self._context is not None:
            self._library.nft_ctx_free(self._context)
            self._context = None


class Command:
    """The command `nft`, a process for each change: some tens of milliseconds."""

    name = "nft"
    owns = False

    def __init__(self) -> None:
        if shutil.which("nft") is None:
            raise FilterError("there is no command nft")

    def run(self, script: str) -> str:
        done = subprocess.run(["nft", "-j", script], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise FilterError(_first_line(done.stderr))
        return done.stdout

    def close(self) -> None:
        """Nothing is held open."""


def _first_line(words: str) -> str:
    """What was refused and why, without the echo of the script below it."""
    lines = [line.strip() for line in words.splitlines() if line.strip()]
    return lines[0].removeprefix("Error: ") if lines else "it failed without a word"


WAYS: tuple[type[Library | Command], ...] = (Library, Command)
"""In the order in which they are tried."""


def open_filter() -> Filter:
    """The first way that works here. Raises `FilterError` with what each of them said."""
    refusals = []
    for way in WAYS:
        try:
            opened: Filter = way()
            opened.run("list tables bridge")
        except FilterError as error:
            refusals.append(f"{way.name}: {error}")
        else:
            return opened
    raise FilterError("; ".join(refusals))


class BridgeTable:
    """The table of one run. Pairs that several faults cut stay cut until the last of them heals: the caller counts."""

    def __init__(self, name: str) -> None:
        """Makes the table. Raises `FilterError` where the kernel or this user's rights do not allow it."""
        self.name = name
        self._lock = threading.Lock()  # neither libnftables nor a transaction stands two threads
        self._filter = open_filter()
        try:
            self._make()
        except FilterError:
            self._filter.close()
            raise

    @property
    def mechanism(self) -> str:
        """How cuts are made, for evidence."""
        return f"drop in table bridge {self.name} ({self._filter.name})"

    def _make(self) -> None:
        try:
            self._filter.run(self._definition("{ flags owner; }" if self._filter.owns else ""))
        except FilterError:
            # Kernels before 5.12 know no owner. The table then stays after a SIGKILL, until the next start sweeps it.
            self._filter.run(self._definition(""))

    def _definition(self, flags: str) -> str:
        lines = [
            f"add table bridge {self.name} {flags}",
            f"add set bridge {self.name} cut {{ type ipv4_addr . ipv4_addr; counter; }}",
        ]
        for hook in HOOKS:
            lines.append(f"add chain bridge {self.name} {hook} {{ type filter hook {hook} priority {PRIORITY}; }}")
            lines.append(f"add rule bridge {self.name} {hook} ip saddr . ip daddr @cut drop")
        return "".join(f"{line}\n" for line in lines)

    def cut(self, pairs: Collection[Pair]) -> None:
        """From now on nothing passes over these pairs. Their counters start at 0."""
        self._change("add", pairs)

    def heal(self, pairs: Collection[Pair]) -> None:
        """These pairs, which must be cut now, pass again."""
        self._change("delete", pairs)

    def _change(self, verb: str, pairs: Collection[Pair]) -> None:
        elements = ", ".join(" . ".join(pair) for pair in sorted(pairs))
        if elements:
            with self._lock:
                self._filter.run(f"{verb} element bridge {self.name} cut {{ {elements} }}\n")

    def dropped(self) -> dict[Pair, int]:
        """Packets dropped so far, by pair that is cut now."""
        found = {}
        with self._lock:
            listed = msgspec.json.decode(self._filter.run(f"list set bridge {self.name} cut\n"))
        for entry in listed["nftables"]:
            for element in entry.get("set", {}).get("elem", []):
                found[tuple(element["elem"]["val"]["concat"])] = int(element["elem"]["counter"]["packets"])
        return found

    def close(self) -> None:
        """Removes the table. May be called twice."""
        with self._lock:
            _removed(self._filter, self.name)  # it may be gone: closed before, or removed by the kernel with its owner
            self._filter.close()


def sweep_tables(prefix: str, runs: Collection[str]) -> list[str]:
    """Removes the tables `<prefix><run>` of runs other than `runs`. Those of living owners refuse to go, and stay."""
    try:
        opened = open_filter()
    except FilterError:
        return []  # whoever cannot list tables made none
    gone = []
    try:
        for name in _tables(opened):
            if name.startswith(prefix) and name.removeprefix(prefix) not in runs and _removed(opened, name):
                gone.append(f"table bridge {name}")
    finally:
        opened.close()
    return gone


def _tables(opened: Filter) -> list[str]:
    listed = msgspec.json.decode(opened.run("list tables bridge\n") or '{"nftables": []}')
    return [entry["table"]["name"] for entry in listed["nftables"] if "table" in entry]


def _removed(opened: Filter, name: str) -> bool:
    try:
        opened.run(f"delete table bridge {name}\n")
    except FilterError:
        return False
    return True


def add_addresses(interface: str, addresses: Iterable[str]) -> None:
    """Gives the host more addresses on an interface; they go with the interface. Raises `FilterError`."""
    for address in addresses:
        command = ["ip", "address", "add", f"{address}/24", "dev", interface]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except OSError as error:
            raise FilterError(f"ip: {error.strerror}") from error
        if done.returncode != 0:
            raise FilterError(f"ip address add: {_first_line(done.stderr).removeprefix('RTNETLINK answers: ')}")
