"""One seed, one schedule: lossy, reordering, duplicating links, disks that lag, crashes, and clients that try again.

The seed draws the limits, too: small messages and windows reach branches that the defaults hide.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from memory_cluster import MILLISECOND, MemoryCluster
from watch import Watch

from raftnode.machine import KEY_VALUE, Machine
from raftnode.messages import (
    Answer,
    Append,
    Busy,
    ConnectionLost,
    Forgotten,
    HardState,
    Identity,
    Limits,
    NotLeader,
    Overwritten,
    Read,
    Register,
)
from raftnode.replica import LEADER
from raftnode.rules import RAFT, Rules

KEYS = ("a", "b")


def draw_limits(random: Random) -> Limits:
    careful = random.random() < 0.7
    return Limits(
        election_min=150 * MILLISECOND,
        election_max=random.choice((200, 300)) * MILLISECOND,
        heartbeat=random.choice((20, 50)) * MILLISECOND,
        check_quorum=random.choice((0, 300, 2_000)) * MILLISECOND,
        pre_vote=careful,
        sticky=careful and random.random() < 0.8,
        entries_per_message=random.choice((1, 2, 256)),
        bytes_per_message=random.choice((1, 60, 1 << 20)),
        window=random.choice((1, 2, 8)),
        uncommitted_bytes=random.choice((200, 1 << 20)),
        sessions=random.choice((1, 2, 100)),
    )


def random_timeouts(seed: int) -> Callable[[str, Limits], Callable[[int, int], int]]:
    """Timeouts by seed, node, term and attempt."""

    def for_node(name: str, limits: Limits) -> Callable[[int, int], int]:
        def draw(term: int, attempt: int) -> int:
            return Random(f"{seed}/{name}/{term}/{attempt}").randint(limits.election_min, limits.election_max)

        return draw

    return for_node


@dataclass
class Client:
    """Appends numbers of its own to one list, one at a time, by a session; sends again until it knows what happened."""

    name: int
    key: str
    session: str = ""
    sequence: int = 0
    tokens: list[int] = field(default_factory=list)  # of the attempts of the request under way
    certain: set[int] = field(default_factory=set)  # elements that must be there exactly once
    impossible: set[int] = field(default_factory=set)  # elements that must not be there
    registering: bool = False

    @property
    def element(self) -> int:
        return self.name * 1_000 + self.sequence


@dataclass
class Schedule:
    """A cluster under a random schedule. Raises AssertionError at the first broken promise."""

    random: Random
    cluster: MemoryCluster
    watch: Watch
    clients: list[Client]
    loss: float
    doubled: float
    disorder: float

    def run(self, actions: int) -> None:
        choices = (
            (self.move_packet, 60),
            (self.pass_time, 12),
            (self.sync_some, 16),
            (self.client_acts, 8),
            (self.read_somewhere, 2),
            (self.crash_or_restart, 0.6),
            (self.cut_or_heal, 0.6),
            (self.lose_connection, 0.5),
            (self.forget_someone, 0.3),
        )
        functions, weights = zip(*choices, strict=True)
        for action in self.random.choices(functions, weights, k=actions):
            action()

    def up(self) -> list[str]:
        return [name for name, node in self.cluster.nodes.items() if node.up]

    def move_packet(self) -> None:
        network = self.cluster.network
        if not network:
            self.pass_time()
            return
        place = self.random.randrange(min(len(network), 12)) if self.random.random() < self.disorder else 0
        packet = network[place]
        if self.random.random() >= self.doubled:
            del network[place]
        if self.random.random() >= self.loss:
            self.cluster.deliver(packet)
        del network[400:]  # a queue that is full

    def pass_time(self) -> None:
        cluster = self.cluster
        cluster.now += self.random.randrange(10 * MILLISECOND)
        for name in self.up():
            if cluster.nodes[name].core.deadline <= cluster.now and self.random.random() < 0.9:
                cluster.tick(name)

    def sync_some(self) -> None:
        for name in self.up():
            if self.random.random() < 0.7:
                self.cluster.sync(name, self.random.choice((1, 2, None)))

    def client_acts(self) -> None:
        client = self.random.choice(self.clients)
        if client.registering:
            outcome = self.cluster.replies.get(client.tokens[-1])
            client.registering = False
            if isinstance(outcome, Answer):
                client.session, client.sequence, client.tokens = outcome.value, 1, []
        if not client.session:
            client.tokens = [self.cluster.ask(self.likely_leader(), Register())]
            client.registering = True
            return
        settle(client, self.cluster)
        if client.session:
            identity = Identity(client.session, client.sequence)
            ask = Append(client.key, client.element)
            client.tokens.append(self.cluster.ask(self.likely_leader(), ask, identity))

    def likely_leader(self) -> str:
        names = self.up() or [self.restart_one()]
        leaders = [name for name in names if self.cluster.nodes[name].core.role == LEADER]
        return self.random.choice(leaders if leaders and self.random.random() < 0.9 else names)

    def read_somewhere(self) -> None:
        for name in self.up():
            if self.random.random() < 0.5:
                self.cluster.ask(name, Read(self.random.choice(KEYS)))

    def restart_one(self) -> str:
        name = self.random.choice(self.cluster.ids)
        self.cluster.restart(name)
        return name

    def crash_or_restart(self) -> None:
        down = [name for name in self.cluster.ids if not self.cluster.nodes[name].up]
        if down and self.random.random() < 0.7:
            self.cluster.restart(self.random.choice(down))
        elif self.random.random() < 0.2:
            for name in self.cluster.ids:
                self.cluster.restart(name)
        else:
            leaders = [name for name in self.up() if self.cluster.nodes[name].core.role == LEADER]
            self.cluster.crash(self.random.choice(leaders or self.cluster.ids))

    def cut_or_heal(self) -> None:
        cluster = self.cluster
        if cluster.blocked:
            cluster.heal()
            return
        kind = self.random.choice(("isolate", "one-way", "halves"))
        names = list(cluster.ids)
        self.random.shuffle(names)
        if kind == "isolate":
            cluster.isolate(names[0])
        elif kind == "halves":
            cluster.isolate(*names[: len(names) // 2])
        else:
            cluster.blocked |= {(names[0], other) for other in names[1:] if self.random.random() < 0.7}

    def lose_connection(self) -> None:
        if len(self.cluster.ids) > 1:
            one, other = self.random.sample(self.cluster.ids, 2)
            network = self.cluster.network
            network[:] = [packet for packet in network if (packet.source, packet.to) != (one, other)]
            if self.cluster.nodes[one].up:
                self.cluster.step(one, ConnectionLost(other))

    def forget_someone(self) -> None:
        name = self.random.choice(self.cluster.ids)
        core = self.cluster.nodes[name].core
        if self.cluster.nodes[name].up:
            tokens = tuple(token for token in core.waiting_at if self.random.random() < 0.3)
            self.cluster.step(name, Forgotten(tokens))


def end(schedule: Schedule) -> None:
    """Heals everything; a leader must come, all must be known to all, and every client's promise be kept."""
    cluster = schedule.cluster
    cluster.heal()
    cluster.auto_sync = True
    for name in cluster.ids:
        if cluster.nodes[name].up:
            cluster.sync(name)
        else:
            cluster.restart(name)
    settle_down(cluster)
    cores = [node.core for node in cluster.nodes.values()]
    leaders = [core for core in cores if core.role == LEADER]
    assert len(leaders) == 1, "after the heal there is one leader"
    assert {core.leader for core in cores} == {leaders[0].id}, "all know it"
    last = leaders[0].log.last_index
    assert {core.applied for core in cores} == {last}, "everybody has everything"
    assert all(core.state == leaders[0].state for core in cores), "same index, same state"
    for client in schedule.clients:
        if not client.registering:
            settle(client, cluster)
    verify_lists(schedule.clients, leaders[0].state.data)
    token = cluster.ask(schedule.random.choice(cluster.ids), Read("a"))
    cluster.deliver_all()
    assert isinstance(cluster.replies[token], Answer), "a read on any node is answered"


def settle_down(cluster: MemoryCluster) -> None:
    """Six election timeouts without a fault; whoever is due first is told first."""
    until = cluster.now + 6 * cluster.limits.election_max
    cluster.deliver_all(most=200_000)
    while cluster.now < until:
        cluster.tick(min(cluster.ids, key=lambda name: cluster.nodes[name].core.deadline))
        cluster.deliver_all()


def settle(client: Client, cluster: MemoryCluster) -> None:
    """What the answers so far say of the request under way; once something is certain the next one is due."""
    outcomes = [cluster.replies.get(token) for token in client.tokens]
    codes = {outcome.code for outcome in outcomes if isinstance(outcome, Answer)}
    if "ok" in codes:
        client.certain.add(client.element)
    elif outcomes and all(isinstance(each, NotLeader | Busy | Overwritten) for each in outcomes):
        return  # nothing happened: the same request may go again
    elif "unknown-session" in codes:
        client.session = ""  # what became of the request is not known
        client.name += len(KEYS) * 10  # elements of the next session are told from those of this one
        client.tokens = []
        return
    else:
        assert "sequence-passed" not in codes, "a client that waits for its answers never falls behind itself"
        return
    client.sequence += 1
    client.tokens = []


def verify_lists(clients: list[Client], data: dict[str, list[int]]) -> None:
    for client in clients:
        found = data.get(client.key, [])
        for element in sorted(client.certain):
            assert found.count(element) == 1, f"exactly once: {element} stands {found.count(element)} times"
        assert len(found) == len(set(found)), f"a request applied twice: {found}"


def run_seed(
    seed: int,
    *,
    actions: int = 600,
    rules: Rules = RAFT,
    machine: Machine = KEY_VALUE,
    keep: Callable[[HardState], HardState] = lambda hard_state: hard_state,
) -> Schedule:
    """Runs one schedule to its end. Raises AssertionError at the first broken promise."""
    random = Random(seed)
    watch = Watch()
    ids = [f"n{number}" for number in range(1, random.choice((1, 2, 3, 3, 3, 4, 5, 5)) + 1)]
    cluster = MemoryCluster(
        ids,
        draw_limits(random),
        rules=rules,
        machine=machine,
        draw=random_timeouts(seed),
        keep=keep,
        watcher=watch,
    )
    watch.cluster = cluster
    cluster.auto_sync = False
    harsh = random.random()
    schedule = Schedule(
        random,
        cluster,
        watch,
        [Client(name, KEYS[name % len(KEYS)]) for name in range(1, 4)],
        loss=harsh * 0.2,
        doubled=harsh * 0.2,
        disorder=harsh,
    )
    schedule.run(actions)
    end(schedule)
    return schedule
