"""The core under a hostile network and forgetful disks: the properties of figure 3, and that promises survive.

Messages are lost, doubled, delayed and reordered; nodes crash at any effect boundary and come back with what their disks had
synced. The right core keeps every property over every seed; planted bugs break them, so the checks can fail.
"""

from __future__ import annotations

from random import Random

import pytest
from network import Network, with_limits

from raftnode.bugs import BUGS
from raftnode.build import CURRENT, Build
from raftnode.messages import (
    Answer,
    Append,
    AppendReply,
    Identity,
    Put,
    Read,
    Register,
    Reply,
    Send,
    VoteReply,
)

SEEDS = 150
STEPS = 700


class Broken(AssertionError):
    """A property does not hold."""


class Watch:
    """What must hold of all nodes at once, checked after every step."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.leaders: dict[int, str] = {}
        self.committed: dict[int, str] = {}
        self.digests: dict[tuple[int, int], str] = {}
        self.commit = 0
        self.votes: dict[tuple[str, int], str] = {}
        self.seen_notes = 0
        self.seen_released = 0

    def check(self) -> None:
        for node, note in self.network.notes[self.seen_notes :]:
            if note.kind == "leader-elected":
                self.one_leader(note.fields["term"], node)
                self.leader_completeness(node, note.fields["index"])
        self.seen_notes = len(self.network.notes)
        for node, host in self.network.hosts.items():
            if host.up:
                self.state_machine_safety(node)
        for node, effect in self.network.released[self.seen_released :]:
            self.promise(node, effect)
        self.seen_released = len(self.network.released)

    def one_leader(self, term: int, node: str) -> None:
        """Election Safety: at most one leader can be elected in a given term."""
        if self.leaders.setdefault(term, node) != node:
            raise Broken(f"{node} and {self.leaders[term]} both lead term {term}")

    def leader_completeness(self, node: str, first: int) -> None:
        """If an entry is committed in a term, it is in the logs of the leaders of all higher terms."""
        highest = max((index for index in self.committed), default=0)
        if highest and (first <= highest or self.network.log(node).digest_at(highest) != self.committed[highest]):
            raise Broken(f"{node} leads without the entry committed at {highest}")

    def state_machine_safety(self, node: str) -> None:
        """What is committed at an index is the same everywhere, for ever (with the chain digest: so is all before it)."""
        core = self.network.core(node)
        log = core.log
        if core.commit > log.last_index:
            raise Broken(f"{node} lost committed entries: commit {core.commit}, last {log.last_index}")
        if core.commit:
            digest = log.digest_at(core.commit)
            if self.committed.setdefault(core.commit, digest) != digest:
                raise Broken(f"{node} has something else committed at {core.commit}")
        if log.last_index:
            place = (log.last_index, log.last_term)
            if self.digests.setdefault(place, log.digest_at(log.last_index)) != log.digest_at(log.last_index):
                raise Broken(f"log matching: two logs differ up to {place}")
        if core.applied > core.commit:
            raise Broken(f"{node} applied {core.applied}, committed {core.commit}")

    def promise(self, node: str, effect: Send | Reply) -> None:
        """Whatever a node has promised is on its disk (I8), and it votes once in a term (I13)."""
        disk = self.network.hosts[node].disk
        if not isinstance(effect, Send):
            return
        message = effect.message
        term = getattr(message, "term", 0)
        pre = getattr(message, "pre", False)
        if not pre and disk.hard_state.term < term:
            raise Broken(f"{node} spoke of term {term}, its disk knows {disk.hard_state.term}")
        if isinstance(message, VoteReply) and message.granted and not message.pre:
            given = self.votes.setdefault((node, message.term), effect.to)
            if given != effect.to:
                raise Broken(f"{node} voted twice in term {message.term}")
        if isinstance(message, AppendReply) and message.success:
            current = message.term == self.network.core(node).term
            if current and len(disk.entries) < message.match:
                raise Broken(f"{node} acknowledged {message.match}, its disk has {len(disk.entries)}")


def play(seed: int, build: Build, steps: int = STEPS) -> None:
    """One life of a cluster: everything that happens is drawn from the seed."""
    draw = Random(f"{seed}/play")
    limits = {
        "entries_per_message": draw.choice([1, 3, 256]),
        "window": draw.choice([1, 2, 8]),
        "pre_vote": draw.random() < 0.6 and build.limits.pre_vote,
        "sticky": draw.random() < 0.6 and build.limits.sticky,
    }
    network = Network(draw.choice([3, 3, 5]), build=with_limits(build, **limits), seed=seed)
    watch = Watch(network)
    loss, doubles = draw.choice([0.0, 0.05, 0.2]), draw.choice([0.0, 0.1])
    for _ in range(steps):
        node = draw.choice(network.ids)
        match draw.choices(("deliver", "sync", "time", "ask", "crash", "restart"), (60, 25, 12, 10, 0.7, 3))[0]:
            case "deliver" if network.wires:
                place = draw.randrange(min(len(network.wires), draw.choice([1, 4, 40])))
                if draw.random() < doubles:
                    network.wires.append(network.wires[place])
                if draw.random() < loss:
                    network.wires.pop(place)
                else:
                    network.deliver(place)
            case "sync":
                network.sync(node, draw.choice([1, 2, 100]))
            case "time":
                network.advance(draw.choice([1, 30, 200, 500]))
            case "ask":
                target = network.leader() or node
                network.ask(target, draw.choice([Put("k", draw.random()), Append("l", draw.random()), Read("k")]))
            case "crash":
                network.crash(node, draw.choice([0, 1, 100]))
            case "restart":
                for each in network.ids:
                    if not network.hosts[each].up:
                        network.restart(each)
            case _:
                continue
        watch.check()
    recovers(network, watch)


def recovers(network: Network, watch: Watch) -> None:
    """Once nothing fails any more, somebody is elected, everybody has the same log, and a write is answered."""
    network.wires.clear()
    for node in network.ids:
        if not network.hosts[node].up:
            network.restart(node)
    network.run(4000)
    watch.check()
    leader = network.leader()
    if not leader:
        raise Broken("no leader within four seconds of quiet")
    token = network.ask(leader, Put("last", 1))
    network.run(200)
    watch.check()
    if not isinstance(network.replies.get(token), Answer):
        raise Broken(f"a write was not answered: {network.replies.get(token)}")
    lasts = {
        (network.log(node).last_index, network.log(node).digest_at(network.log(node).last_index))
        for node in network.ids
    }
    if len(lasts) != 1:
        raise Broken(f"logs differ after four seconds of quiet: {lasts}")
    states = {str(network.core(node).state.data) for node in network.ids}
    if len(states) != 1:
        raise Broken("states differ though the logs are the same")


@pytest.mark.parametrize("part", range(5))
def test_the_right_core_keeps_its_promises_under_a_hostile_network_and_forgetful_disks(part: int) -> None:
    for seed in range(part * SEEDS // 5, (part + 1) * SEEDS // 5):
        play(seed, CURRENT)


@pytest.mark.parametrize(
    "name",
    ["quorum-half", "term-not-persisted", "no-prev-check", "applies-on-append"],
)
def test_the_same_play_shows_planted_bugs(name: str) -> None:
    """A check that nothing can break proves nothing."""
    with pytest.raises(Broken):
        _play_many(BUGS[name].build)


def _play_many(build: Build) -> None:
    for seed in range(300):
        play(seed, build)


def test_a_retry_through_a_leader_change_is_applied_once_and_gets_the_first_answer() -> None:
    """Thesis 6.3: "if a client's request is retried ... it is executed only once"."""
    network = Network(3)
    network.elect("n1")
    network.settle()
    opened = network.ask("n1", Register())
    network.settle()
    session = network.replies[opened]
    assert isinstance(session, Answer)
    identity = Identity(session.value, 1)
    first = network.ask("n1", Append("l", "x"), identity)
    network.settle()
    network.crash("n1")
    network.elect("n2")
    network.settle()
    again = network.ask("n2", Append("l", "x"), identity)
    network.settle()
    assert network.replies[again] == network.replies[first]
    assert network.core("n2").state.data["l"] == ["x"]
