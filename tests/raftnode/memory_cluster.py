"""Cores joined by a network and disks in memory, moved by hand: nothing happens that a test does not ask for.

A persist is durable when `sync` says so; a crash forgets the rest. A Send or Reply leaves once what it rests on is durable.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from raftnode.core import recover, step
from raftnode.machine import KEY_VALUE, Machine
from raftnode.messages import (
    Arrived,
    Command,
    Effect,
    Entry,
    Event,
    HardState,
    Identity,
    Limits,
    Message,
    Note,
    Outcome,
    Persist,
    Persisted,
    Put,
    Read,
    Reply,
    Request,
    Send,
    Ticked,
)
from raftnode.replica import LEADER, Core
from raftnode.rules import RAFT, Rules

MILLISECOND = 1_000_000


@dataclass(slots=True)
class Packet:
    source: str
    to: str
    message: Message


@dataclass(slots=True)
class Node:
    """One node: its core while it is up, and its disk."""

    id: str
    core: Core
    hard_state: HardState = field(default_factory=lambda: HardState(0, ""))
    entries: list[Entry] = field(default_factory=list)
    writing: deque[Persist] = field(default_factory=deque)
    held: list[Send | Reply] = field(default_factory=list)
    persisted: int = 0
    up: bool = True
    life: int = 1


class Watcher:
    """What is told of everything that happens; see `watch.py` for one that judges."""

    def before(self, node: Node, event: Event) -> None:
        """A step is about to begin."""

    def after(self, node: Node, event: Event, effects: list[Effect]) -> None:
        """A step has ended."""

    def durable(self, node: Node, record: Persist) -> None:
        """The disk has this record."""

    def left(self, node: Node, effect: Send | Reply) -> None:
        """A message or an answer has left the node."""


def even_timeouts(node: str, limits: Limits) -> Callable[[int, int], int]:
    """Timeouts that differ by node and attempt, and are the same in every run."""
    place = int(node[1:]) if node[1:].isdigit() else 0

    def draw(_term: int, attempt: int) -> int:
        return (
            limits.election_min + (place * 37 + attempt * 61) % 100 * (limits.election_max - limits.election_min) // 100
        )

    return draw


class MemoryNodes:
    """`ids` are the members; `network` is what is under way, in the order in which it left."""

    def __init__(
        self,
        ids: Iterable[str],
        limits: Limits,
        *,
        rules: Rules = RAFT,
        machine: Machine = KEY_VALUE,
        draw: Callable[[str, Limits], Callable[[int, int], int]] = even_timeouts,
        keep: Callable[[HardState], HardState] = lambda hard_state: hard_state,
        watcher: Watcher | None = None,
    ) -> None:
        self.ids = tuple(ids)
        self.limits, self.rules, self.machine = limits, rules, machine
        self.draw, self.keep = draw, keep
        self.watcher = watcher or Watcher()
        self.now = 1_000 * MILLISECOND
        self.network: list[Packet] = []
        self.blocked: set[tuple[str, str]] = set()  # directed links that lose everything
        self.replies: dict[int, Outcome] = {}
        self.notes: list[tuple[str, Note]] = []
        self.answered: list[tuple[str, Reply]] = []
        self.last_token = 0
        self.auto_sync = True  # every persist is durable at once,
        self.lagging: set[str] = set()  # but on these nodes
        self.nodes = {name: Node(name, self._core(name, HardState(0, ""), (), 1)) for name in self.ids}

    def _core(self, name: str, hard_state: HardState, entries: Iterable[Entry], life: int) -> Core:
        return recover(
            id=name,
            members=self.ids,
            limits=self.limits,
            rules=self.rules,
            machine=self.machine,
            draw_timeout=self.draw(name, self.limits),
            hard_state=hard_state,
            entries=tuple(entries),
            life=life,
        )

    # --- one node ---------------------------------------------------------------------------------------------------

    def step(self, name: str, event: Event) -> None:
        node = self.nodes[name]
        self.watcher.before(node, event)
        effects = step(node.core, event, self.now)
        for effect in effects:
            match effect:
                case Persist():
                    node.writing.append(effect)
                case Note():
                    self.notes.append((name, effect))
                case Send() | Reply():
                    if effect.after <= node.persisted:
                        self._leave(node, effect)
                    else:
                        node.held.append(effect)
        self.watcher.after(node, event, effects)
        if self.auto_sync and name not in self.lagging:
            self.sync(name)

    def _leave(self, node: Node, effect: Send | Reply) -> None:
        if isinstance(effect, Reply):
            assert effect.token not in self.replies, f"token {effect.token} is answered twice"
            self.replies[effect.token] = effect.outcome
            self.answered.append((node.id, effect))
        elif (node.id, effect.to) not in self.blocked:
            self.network.append(Packet(node.id, effect.to, effect.message))
        self.watcher.left(node, effect)

    def sync(self, name: str, count: int | None = None) -> None:
        """Makes the first `count` of the persists under way durable, or all."""
        node = self.nodes[name]
        if not node.writing or count == 0:
            return
        for _ in range(len(node.writing) if count is None else min(count, len(node.writing))):
            record = node.writing.popleft()
            node.hard_state = record.hard_state
            if record.first:
                node.entries[record.first - 1 :] = record.entries
            node.persisted = record.number
            self.watcher.durable(node, record)
        ready = [effect for effect in node.held if effect.after <= node.persisted]
        node.held = [effect for effect in node.held if effect.after > node.persisted]
        for effect in ready:
            self._leave(node, effect)
        self.step(name, Persisted(node.persisted))

    def tick(self, name: str) -> None:
        """Lets time pass until the node's deadline, and tells it."""
        node = self.nodes[name]
        self.now = max(self.now, node.core.deadline)
        self.step(name, Ticked())

    def crash(self, name: str) -> None:
        """Kills the node: what was not durable is forgotten, and so is who waited."""
        node = self.nodes[name]
        node.up = False
        node.writing.clear()
        node.held.clear()

    def restart(self, name: str) -> None:
        node = self.nodes[name]
        if node.up:
            self.crash(name)
        node.life += 1
        node.persisted = 0
        node.core = self._core(name, self.keep(node.hard_state), node.entries, node.life)
        node.up = True
        self.step(name, Ticked())

    # --- clients ----------------------------------------------------------------------------------------------------

    def ask(self, name: str, ask: Read | Command, identity: Identity | None = None) -> int:
        """Asks a node; returns the token under which `replies` will hold the outcome."""
        self.last_token += 1
        self.step(name, Arrived(requests=(Request(self.last_token, ask, identity),)))
        return self.last_token


class MemoryCluster(MemoryNodes):
    """Nodes and the network between them, with shortcuts for scenarios."""

    def deliver(self, packet: Packet) -> None:
        """Hands over a packet that was taken from the network."""
        if self.nodes[packet.to].up and (packet.source, packet.to) not in self.blocked:
            self.step(packet.to, Arrived(messages=(packet.message,)))

    def deliver_all(self, *, only_to: Iterable[str] | None = None, most: int = 10_000) -> None:
        """Delivers in order until nothing is under way (to these nodes)."""
        chosen = set(self.ids if only_to is None else only_to)
        for _ in range(most):
            place = next((place for place, packet in enumerate(self.network) if packet.to in chosen), None)
            if place is None:
                return
            self.deliver(self.network.pop(place))
        raise AssertionError("the network never falls silent")

    def isolate(self, *names: str) -> None:
        """Cuts these nodes off from all others, both ways; what is under way between them is lost."""
        for one in names:
            for other in self.ids:
                if other not in names:
                    self.cut(one, other)
                    self.cut(other, one)

    def cut(self, source: str, to: str) -> None:
        """Cuts one direction of a link."""
        self.blocked.add((source, to))
        self.drop(source, to)

    def drop(self, source: str, to: str) -> None:
        """Loses what is under way from one node to another."""
        self.network = [packet for packet in self.network if (packet.source, packet.to) != (source, to)]

    def preset(self, name: str, terms: Iterable[int], hard_state: HardState) -> None:
        """Gives a node a log by the terms of its entries, as the figures of the paper do, and starts it on that."""
        node = self.nodes[name]
        node.entries = [Entry(term, Put("x", f"{index}@{term}")) for index, term in enumerate(terms, 1)]
        node.hard_state = hard_state
        node.core = self._core(name, hard_state, node.entries, node.life)

    def heal(self) -> None:
        self.blocked.clear()

    # --- shortcuts --------------------------------------------------------------------------------------------------

    def elect(self, name: str) -> None:
        """Ticks a node until it leads; every message is delivered."""
        self.now += self.limits.election_max + self.limits.check_quorum  # nobody hears a leader any more
        for _ in range(20):
            if self.nodes[name].core.role == LEADER:
                return
            self.tick(name)
            self.deliver_all()
        raise AssertionError(f"{name} was not elected")

    def beat(self, name: str) -> None:
        """One heartbeat of a leader, and all that follows from it."""
        self.tick(name)
        self.deliver_all()
