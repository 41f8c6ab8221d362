"""Cores joined by a network in memory, each with a disk that forgets what was not synced; for scenarios and properties.

The driver here is a third one beside the server and the simulator to come, and two functions long: `deliver` and
`perform`. It decides nothing about Raft.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from random import Random

from raftnode.build import CURRENT, Build
from raftnode.core import recover, step
from raftnode.log import Log
from raftnode.messages import (
    Arrived,
    Entry,
    Event,
    Forgotten,
    HardState,
    Message,
    Note,
    Outcome,
    Persist,
    Persisted,
    Reply,
    Request,
    Send,
    Ticked,
)
from raftnode.replica import Core

MILLISECOND = 1_000_000


@dataclass
class Disk:
    """What survives a crash, and the records that are written but not yet synced."""

    hard_state: HardState = field(default_factory=lambda: HardState(0, ""))
    entries: list[Entry] = field(default_factory=list)
    unsynced: list[Persist] = field(default_factory=list)

    def sync(self, count: int) -> int:
        """Makes the oldest `count` records durable; returns the number of the last one (0: none)."""
        done, self.unsynced = self.unsynced[:count], self.unsynced[count:]
        for record in done:
            self.hard_state = record.hard_state
            if record.first:
                self.entries[record.first - 1 :] = record.entries
        return done[-1].number if done else 0


@dataclass
class Host:
    """One node with its disk and what waits for the disk."""

    core: Core
    disk: Disk
    starts: int = 1
    persisted: int = 0
    held: list[Send | Reply] = field(default_factory=list)
    up: bool = True


class Network:
    """Every message between hosts is in `wires` until it is delivered, lost or doubled; time stands still by itself."""

    def __init__(self, nodes: int, *, build: Build = CURRENT, seed: int = 0, sync_at_once: bool = False) -> None:
        self.build = build
        self.seed = seed
        self.sync_at_once = sync_at_once
        self.now = 0
        self.ids = tuple(f"n{number + 1}" for number in range(nodes))
        self.wires: list[tuple[str, str, Message]] = []
        self.replies: dict[int, Outcome] = {}
        self.notes: list[tuple[str, Note]] = []
        self.released: list[tuple[str, Send | Reply]] = []
        self.tokens = 0
        self.hosts = {node: Host(self._boot(node, Disk(), 1), Disk()) for node in self.ids}

    def _boot(self, node: str, disk: Disk, starts: int) -> Core:
        def draw(term: int, attempt: int) -> int:
            low, high = self.build.limits.election_min, self.build.limits.election_max
            return Random(f"{self.seed}/{node}/{starts}/{term}/{attempt}").randint(low, high)

        return recover(
            id=node,
            members=self.ids,
            limits=self.build.limits,
            rules=self.build.rules,
            machine=self.build.machine,
            draw_timeout=draw,
            hard_state=self.build.storage.hard_state(disk.hard_state),
            entries=disk.entries,
        )

    # --- the driver ---------------------------------------------------------------------------------------------------

    def event(self, node: str, event: Event) -> None:
        host = self.hosts[node]
        if host.up:
            self.perform(node, step(host.core, event, self.now))

    def perform(self, node: str, effects: list[Persist | Send | Reply | Note]) -> None:
        host = self.hosts[node]
        for effect in effects:
            match effect:
                case Persist():
                    host.disk.unsynced.append(effect)
                case Note():
                    self.notes.append((node, effect))
                case _:
                    host.held.append(effect)
        self._release(node)
        if self.sync_at_once and host.disk.unsynced:
            self.sync(node)

    def _release(self, node: str) -> None:
        host = self.hosts[node]
        ready = [effect for effect in host.held if effect.after <= host.persisted]
        host.held = [effect for effect in host.held if effect.after > host.persisted]
        for effect in ready:
            self.released.append((node, effect))
            if isinstance(effect, Send):
                self.wires.append((node, effect.to, effect.message))
            else:
                self.replies[effect.token] = effect.outcome

    # --- what a test does ---------------------------------------------------------------------------------------------

    def sync(self, node: str, count: int = 1_000_000) -> None:
        """The disk of a node makes its oldest `count` records durable."""
        host = self.hosts[node]
        number = host.disk.sync(count)
        if number:
            host.persisted = number
            self._release(node)
            self.event(node, Persisted(number))

    def deliver(self, place: int = 0) -> None:
        """The message at a place of the wires arrives."""
        _, to, message = self.wires.pop(place)
        self.event(to, Arrived((message,)))

    def settle(self, cut: frozenset[tuple[str, str]] = frozenset(), rounds: int = 10_000) -> None:
        """Delivers everything, and what that causes, until nothing is on the way; what crosses a cut is lost."""
        for _ in range(rounds):
            for node in self.ids:
                self.sync(node)
            if not self.wires:
                return
            if self.wires[0][:2] in cut:
                self.wires.pop(0)
            else:
                self.deliver()
        raise AssertionError("messages go on for ever at one instant")

    def advance(self, milliseconds: float) -> None:
        """Time passes; whoever's deadline has come is told."""
        self.now += round(milliseconds * MILLISECOND)
        for node in self.ids:
            if self.hosts[node].up and self.now >= self.hosts[node].core.deadline:
                self.event(node, Ticked())

    def run(self, milliseconds: int, cut: frozenset[tuple[str, str]] = frozenset()) -> None:
        """Lets time pass in steps of ten milliseconds with everything delivered at once."""
        for _ in range(milliseconds // 10):
            self.advance(10)
            self.settle(cut)

    def elect(self, node: str) -> None:
        """Makes a node's election timeout come at once, and lets it win."""
        self.hosts[node].core.heard_at = -(1 << 62)
        for other in self.ids:
            self.hosts[other].core.heard_at = -(1 << 62)
        self.now = max(self.now, self.hosts[node].core.deadline)
        self.event(node, Ticked())
        if self.hosts[node].core.role == "follower":  # it only began to count its time
            self.now = self.hosts[node].core.deadline
            self.event(node, Ticked())

    def ask(self, node: str, ask: object, identity: object = None) -> int:
        """A client asks a node; returns the token under which `replies` will have the outcome."""
        self.tokens += 1
        self.event(node, Arrived((), (Request(self.tokens, ask, identity),)))  # type: ignore[arg-type]
        return self.tokens

    def forget(self, node: str, token: int) -> None:
        self.event(node, Forgotten((token,)))

    def crash(self, node: str, synced: int = 0) -> None:
        """A node loses everything but its disk, of whose unsynced records the oldest `synced` survive."""
        host = self.hosts[node]
        host.disk.sync(synced)
        host.disk.unsynced.clear()
        host.held.clear()
        host.up = False

    def restart(self, node: str) -> None:
        host = self.hosts[node]
        starts = host.starts + 1
        self.hosts[node] = Host(self._boot(node, host.disk, starts), host.disk, starts)

    def core(self, node: str) -> Core:
        return self.hosts[node].core

    def leader(self) -> str:
        """The leader of the highest term among those that are up; "" if there is none."""
        leading = [
            (host.core.term, node) for node, host in self.hosts.items() if host.up and host.core.role == "leader"
        ]
        return max(leading, default=(0, ""))[1]

    def log(self, node: str) -> Log:
        return self.hosts[node].core.log


def with_limits(build: Build, **limits: int | bool) -> Build:
    """A build with some limits changed."""
    return replace(
        build,
        limits=type(build.limits)(
            **{name: getattr(build.limits, name) for name in build.limits.__struct_fields__} | limits
        ),
    )
