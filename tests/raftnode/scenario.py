"""Scenarios as text: a line that begins with `> ` is a command, what follows it is what the cores did.

A message is written as `prev 3@1` for the entry at index 3 of term 1, `[4@2 put x]` for an entry, `round +1` for the
how-manieth round since its sender came to life. All commands stand in `COMMANDS`, their arguments in the
functions' signatures; the names of nodes are those of `cluster`.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from typing import Any

import msgspec
from memory_cluster import MILLISECOND, MemoryCluster, Packet, Watcher
from watch import Watch

from raftnode.answers import Asked
from raftnode.build import CURRENT, Build
from raftnode.messages import (
    Answer,
    Append,
    AppendEntries,
    AppendReply,
    Cas,
    Command,
    ConnectionLost,
    Delete,
    Entry,
    Forgotten,
    HardState,
    Identity,
    Limits,
    Message,
    Noop,
    Note,
    NotLeader,
    Outcome,
    Put,
    Read,
    ReadIndex,
    ReadIndexReply,
    Register,
    RequestVote,
    Ticked,
    VoteReply,
)
from raftnode.replica import LIFE

NODE_ARGUMENTS = {"node", "peer", "nodes"}  # parameters of commands that must name a node of the cluster


class ScenarioError(Exception):
    """A line of a scenario that is no command, or one with wrong arguments."""


def run_scenario(text: str, build: Build = CURRENT) -> str:
    """The same text, with what the cores do now behind each command.

    A wrong build runs unwatched, and what it leaves nothing to do for is part of its text.
    """
    lines: list[str] = []
    scenario = Scenario(build)
    for place, line in enumerate(text.splitlines(), 1):
        if line.startswith(">"):
            try:
                lines += [line, *scenario.execute(line[1:].split())]
            except ScenarioError as error:
                if build is CURRENT:
                    raise ScenarioError(f"line {place}, {line!r}: {error}") from None
                lines.append(f"not possible here: {error}")
        elif line.startswith("# ") or not line:
            lines.append(line)
    return "\n".join(lines) + "\n"


def answers_in(text: str) -> list[str]:
    """What clients were told in the course of a scenario."""
    return [line.strip() for line in text.splitlines() if " answers #" in line]


class Scenario:
    """A cluster, and the commands that move it. The right build is held to every property of `watch.py` on the way."""

    def __init__(self, build: Build = CURRENT) -> None:
        self.build = build
        self.cluster = MemoryCluster((), Limits())
        self.asked: dict[int, Read | Command] = {}
        self.shown_notes = self.shown_answers = 0

    def execute(self, words: list[str]) -> list[str]:
        """One command; returns what it did, a line each."""
        if not words or words[0] not in COMMANDS:
            raise ScenarioError(f"there is no such command; known are {', '.join(COMMANDS)}")
        function = COMMANDS[words[0]]
        self._check(inspect.signature(function), words[1:])
        return [*(function(self, *words[1:]) or ()), *self.news()]

    def _check(self, signature: inspect.Signature, arguments: list[str]) -> None:
        try:
            bound = signature.bind(self, *arguments).arguments
        except TypeError:
            wanted = ", ".join(name for name in list(signature.parameters)[1:])
            raise ScenarioError(f"the arguments are: {wanted or 'none'}") from None
        for name in NODE_ARGUMENTS & bound.keys():
            for node in [bound[name]] if isinstance(bound[name], str) else bound[name]:
                if node not in self.cluster.ids:
                    raise ScenarioError(f"there is no node {node!r}; there are {', '.join(self.cluster.ids) or 'none'}")

    def news(self) -> list[str]:
        """Protocol events and answers since the last time."""
        cluster = self.cluster
        lines = [line for each in cluster.notes[self.shown_notes :] if (line := show_note(*each))]
        for node, reply in cluster.answered[self.shown_answers :]:
            lines.append(f"{node} answers #{reply.token}: {show_outcome(reply.outcome)}")
        self.shown_notes, self.shown_answers = len(cluster.notes), len(cluster.answered)
        return lines


# --- the cluster ----------------------------------------------------------------------------------------------------


def make(scenario: Scenario, count: str, *limits: str) -> None:
    """`cluster 3 window=1`: so many nodes, and limits that are not the usual ones."""
    try:
        chosen = msgspec.convert(dict(limit.split("=") for limit in limits), Limits, strict=False)
    except (ValueError, msgspec.ValidationError) as error:
        raise ScenarioError(f"limits are NAME=VALUE: {error}") from None
    right = scenario.build is CURRENT
    watch = Watch()
    scenario.cluster = MemoryCluster(
        [f"n{each}" for each in range(1, number(count) + 1)],
        chosen,
        rules=scenario.build.rules,
        machine=scenario.build.machine,
        keep=scenario.build.storage.hard_state,
        watcher=watch if right else Watcher(),
    )
    watch.cluster = scenario.cluster
    scenario.shown_notes = scenario.shown_answers = 0
    for node in scenario.cluster.ids:
        scenario.cluster.step(node, Ticked())


def preset(scenario: Scenario, node: str, terms: str, term: str, vote: str = "") -> None:
    """`preset n1 1,1,4 6`: a node's log by the terms of its entries (`-` = empty), its current term, its vote."""
    numbers = [number(word) for word in terms.split(",") if word != "-"]
    scenario.cluster.preset(node, numbers, HardState(number(term), vote))
    scenario.cluster.step(node, Ticked())


def elect(scenario: Scenario, node: str) -> list[str]:
    """Ticks a node until it leads and everybody knows; `tick` and `deliver` show how that goes."""
    scenario.cluster.elect(node)
    return [line for line in scenario.news() if " leads " in line]


# --- time, disks, crashes -------------------------------------------------------------------------------------------


def tick(scenario: Scenario, node: str) -> None:
    """Lets time pass until the node's deadline, and tells it alone."""
    _up(scenario, node)
    scenario.cluster.tick(node)


def run(scenario: Scenario, milliseconds: str) -> None:
    """Lets time pass for all: each node is told of its deadlines, each message arrives at once."""
    cluster = scenario.cluster
    until = cluster.now + number(milliseconds) * MILLISECOND
    cluster.deliver_all()
    for _ in range(10_000):
        up = [node for node in cluster.ids if cluster.nodes[node].up]
        first = min(up, key=lambda node: cluster.nodes[node].core.deadline)
        if cluster.nodes[first].core.deadline > until:
            break
        cluster.tick(first)
        cluster.deliver_all()
    else:
        raise AssertionError("a deadline that passes and comes again at once: time stands still")
    cluster.now = until


def wait(scenario: Scenario, milliseconds: str) -> None:
    """Lets time pass that nobody is told of."""
    scenario.cluster.now += number(milliseconds) * MILLISECOND


def lag(scenario: Scenario, node: str) -> None:
    """From now on what this node writes is durable only by `sync`."""
    scenario.cluster.lagging.add(node)


def sync(scenario: Scenario, node: str) -> None:
    """Makes durable what the node has written."""
    _up(scenario, node)
    if not scenario.cluster.nodes[node].writing:
        raise ScenarioError(f"{node} has nothing to sync")
    scenario.cluster.sync(node)


def crash(scenario: Scenario, node: str) -> None:
    _up(scenario, node)
    scenario.cluster.crash(node)


def restart(scenario: Scenario, node: str) -> None:
    if scenario.cluster.nodes[node].up:
        raise ScenarioError(f"{node} is up: crash it first")
    scenario.cluster.restart(node)


def _up(scenario: Scenario, node: str) -> None:
    if not scenario.cluster.nodes[node].up:
        raise ScenarioError(f"{node} is down")


# --- the network ----------------------------------------------------------------------------------------------------


def deliver(scenario: Scenario, node: str = "", peer: str = "") -> list[str]:
    """What is under way now, in order, but not what that leads to: all, or from one node (to one other) alone."""
    lines = []
    for packet in _take(scenario, node, peer):
        arrives = scenario.cluster.nodes[packet.to].up
        lines.append(show_packet(packet) + ("" if arrives else " (nobody is there)"))
        scenario.cluster.deliver(packet)
        lines += ["  " + line for line in scenario.news()]
    return lines


def lose(scenario: Scenario, node: str, peer: str = "") -> list[str]:
    """Loses what is under way from one node, to another or to all."""
    return [f"lost: {show_packet(packet)}" for packet in _take(scenario, node, peer)]


def _take(scenario: Scenario, node: str, peer: str) -> list[Packet]:
    cluster = scenario.cluster
    between = [
        packet.source == (node or packet.source) and packet.to == (peer or packet.to) for packet in cluster.network
    ]
    if not any(between):
        raise ScenarioError("nothing is under way there")
    taken = [packet for packet, chosen in zip(cluster.network, between, strict=True) if chosen]
    cluster.network = [packet for packet, chosen in zip(cluster.network, between, strict=True) if not chosen]
    return taken


def double(scenario: Scenario, node: str, peer: str) -> None:
    """`double n1 n2`: what is under way between them will arrive twice."""
    network = scenario.cluster.network
    network += [packet for packet in network if (packet.source, packet.to) == (node, peer)]


def connection_lost(scenario: Scenario, node: str, peer: str) -> None:
    """The node's connection to a peer breaks."""
    _up(scenario, node)
    scenario.cluster.step(node, ConnectionLost(peer))


def settle(scenario: Scenario) -> None:
    """Delivers everything, and all that follows from it."""
    scenario.cluster.deliver_all()


def cut(scenario: Scenario, node: str, peer: str) -> None:
    """Cuts one direction of a link."""
    scenario.cluster.cut(node, peer)


def isolate(scenario: Scenario, *nodes: str) -> None:
    """Cuts these nodes off from all others, both ways."""
    scenario.cluster.isolate(*nodes)


def heal(scenario: Scenario) -> None:
    scenario.cluster.heal()


def show_network(scenario: Scenario) -> list[str]:
    """What is under way."""
    return [show_packet(packet) for packet in scenario.cluster.network] or ["nothing"]


# --- clients --------------------------------------------------------------------------------------------------------


def put(scenario: Scenario, node: str, key: str, value: str, identity: str = "") -> list[str]:
    return _ask(scenario, node, Put(key, decoded(value)), identity)


def append(scenario: Scenario, node: str, key: str, element: str, identity: str = "") -> list[str]:
    return _ask(scenario, node, Append(key, decoded(element)), identity)


def cas(scenario: Scenario, node: str, key: str, expect: str, value: str, identity: str = "") -> list[str]:
    return _ask(scenario, node, Cas(key, decoded(expect), decoded(value)), identity)


def delete(scenario: Scenario, node: str, key: str, identity: str = "") -> list[str]:
    return _ask(scenario, node, Delete(key), identity)


def register(scenario: Scenario, node: str) -> list[str]:
    return _ask(scenario, node, Register(), "")


def get(scenario: Scenario, node: str, key: str) -> list[str]:
    return _ask(scenario, node, Read(key), "")


def get_stale(scenario: Scenario, node: str, key: str) -> list[str]:
    return _ask(scenario, node, Read(key, stale=True), "")


def _ask(scenario: Scenario, node: str, ask: Read | Command, identity: str) -> list[str]:
    """Identity as `s1:3`, session and sequence."""
    _up(scenario, node)
    session, _, sequence = identity.partition(":")
    token = scenario.cluster.ask(node, ask, Identity(session, number(sequence)) if identity else None)
    scenario.asked[token] = ask
    return [f"request #{token}"]


def expire(scenario: Scenario, node: str, token: str) -> list[str]:
    """The node's own patience with a request is over: what its client is told."""
    asked = scenario.asked.get(number(token))
    if asked is None or number(token) in scenario.cluster.replies:
        raise ScenarioError(f"nobody waits for #{token}")
    scenario.cluster.step(node, Forgotten((number(token),)))
    answer = scenario.build.answers.timed_out(Asked(type(asked).__name__.lower(), asked, None, ""))
    body = json.loads(answer.body)
    fate = "certainly did not happen" if body["definite"] else "may have happened, or happen yet"
    return [f"{node} answers #{token}: {answer.status} {body['code']}, {fate}"]


# --- what there is --------------------------------------------------------------------------------------------------


def show_logs(scenario: Scenario) -> list[str]:
    """Each node's log, as INDEX@TERM."""
    return [f"{node}: {show_log(node, scenario.cluster)}" for node in scenario.cluster.ids]


def show_status(scenario: Scenario) -> list[str]:
    lines = []
    for name, node in scenario.cluster.nodes.items():
        core = node.core
        facts = f"{core.role} term {core.term} vote {core.vote or '-'} leader {core.leader or '-'}"
        where = f"last {core.log.last_index} durable {core.durable} commit {core.commit} applied {core.applied}"
        lines.append(f"{name}: {facts} {where}" if node.up else f"{name}: down")
    return lines


def show_data(scenario: Scenario, key: str) -> list[str]:
    """What each node's state machine holds at a key."""
    return [f"{name}: {json.dumps(node.core.state.data.get(key))}" for name, node in scenario.cluster.nodes.items()]


COMMANDS: dict[str, Callable[..., list[str] | None]] = {
    "cluster": make,
    "preset": preset,
    "elect": elect,
    "tick": tick,
    "run": run,
    "wait": wait,
    "lag": lag,
    "sync": sync,
    "crash": crash,
    "restart": restart,
    "deliver": deliver,
    "lose": lose,
    "double": double,
    "connection-lost": connection_lost,
    "settle": settle,
    "cut": cut,
    "isolate": isolate,
    "heal": heal,
    "network": show_network,
    "put": put,
    "append": append,
    "cas": cas,
    "delete": delete,
    "register": register,
    "get": get,
    "get-stale": get_stale,
    "expire": expire,
    "log": show_logs,
    "status": show_status,
    "data": show_data,
}


# --- how things are read and written -----------------------------------------------------------------------------------------


def number(word: str) -> int:
    if not word.isdigit():
        raise ScenarioError(f"{word!r} is no whole number")
    return int(word)


def decoded(word: str) -> Any:
    try:
        return json.loads(word)
    except ValueError:
        raise ScenarioError(f"{word!r} is not JSON") from None


def show_packet(packet: Packet) -> str:
    return f"{packet.source} -> {packet.to}: {show_message(packet.message)}"


def show_message(message: Message) -> str:
    match message:
        case RequestVote(term, _, index, last_term, pre, round_):
            return f"{'pre-' * pre}vote? term {term} last {index}@{last_term} round +{round_ % LIFE}"
        case VoteReply(term, _, granted, pre, round_):
            return f"{'pre-' * pre}vote {'granted' if granted else 'denied'} term {term} round +{round_ % LIFE}"
        case AppendEntries(term, _, index, prev_term, entries, commit, round_):
            shown = " ".join(show_entry(place, entry) for place, entry in enumerate(entries, index + 1))
            return f"append term {term} prev {index}@{prev_term} [{shown}] commit {commit} round +{round_ % LIFE}"
        case AppendReply(term, _, True, match, _, _, round_):
            return f"appended term {term} match {match} round +{round_ % LIFE}"
        case AppendReply(term, _, _, _, 0, _, _):
            return f"refused term {term}: yours is older"
        case AppendReply(term, _, _, refused, hint, hint_term, round_):
            clash = f"term {hint_term} begins at {hint}" if hint_term else f"the log ends before {hint}"
            return f"refused term {term} prev {refused}: {clash}, round +{round_ % LIFE}"
        case ReadIndex(term, _, ticket):
            return f"read? term {term} ticket +{ticket % LIFE}"
        case ReadIndexReply(term, ticket, -1):
            return f"read refused term {term} ticket +{ticket % LIFE}"
        case ReadIndexReply(term, ticket, index):
            return f"read at {index} term {term} ticket +{ticket % LIFE}"


def show_entry(index: int, entry: Entry) -> str:
    command: Any = entry.command
    key = "" if isinstance(command, Noop | Register) else f" {command.key}"
    return f"{index}@{entry.term} {type(command).__name__.lower()}{key}"


def show_log(node: str, cluster: MemoryCluster) -> str:
    log = cluster.nodes[node].core.log
    return " ".join(f"{index}@{log.term_at(index)}" for index in range(1, log.last_index + 1)) or "empty"


def show_note(node: str, note: Note) -> str:
    """A protocol event; "" for those that say nothing that others do not."""
    fields = note.fields
    match note.kind:
        case "role" if fields["role"] != "leader":
            return f"{node} is a {fields['role']} in term {fields['term']}"
        case "leader-elected":
            return f"{node} leads term {fields['term']} from index {fields['index']} on"
        case "resigned":
            return f"{node} resigns from term {fields['term']}: {fields['why']}"
        case "vote-granted":
            return f"{node} votes for {fields['candidate']} in term {fields['term']}"
        case "cut":
            return f"{node} cuts {fields['from']}..{fields['last']}"
        case "appended":
            return f"{node} appends {fields['first']}..{fields['last']}, now of term {fields['term']}"
        case "committed":
            return f"{node} commits up to {fields['index']}"
        case _:
            return ""


def show_outcome(outcome: Outcome) -> str:
    match outcome:
        case Answer(code, value, index):
            return f"{code} {json.dumps(value)} at {index}"
        case NotLeader(""):
            return "no leader is known"
        case NotLeader(leader):
            return f"{leader} leads"
        case _:
            return type(outcome).__name__.lower()
