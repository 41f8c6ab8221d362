"""`step`: one event in, effects out, each event handed to the room that it concerns. No clock, socket, disk or thread.

A step works on everything that one turn of the driver brought: one persist, few messages a peer, one round of heartbeats
for all reads (batching: thesis 10.2.1). Every Send and Reply names the persist that it rests on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import assert_never

from raftnode import elections, reads, replication
from raftnode.log import Log
from raftnode.machine import Machine
from raftnode.messages import (
    AppendEntries,
    AppendReply,
    Arrived,
    ConnectionLost,
    Effect,
    Entry,
    Event,
    Forgotten,
    HardState,
    Limits,
    Message,
    Persisted,
    Read,
    ReadIndex,
    ReadIndexReply,
    Request,
    RequestVote,
    Ticked,
    VoteReply,
)
from raftnode.replica import LEADER, LIFE, Core, draw_timeout, note, promise, send, take_effects, wait_for_leader
from raftnode.rules import Rules


def recover(
    *,
    id: str,  # noqa: A002 - the paper's word for it
    members: Sequence[str],
    limits: Limits,
    rules: Rules,
    machine: Machine,
    draw_timeout: Callable[[int, int], int],
    hard_state: HardState,
    entries: Sequence[Entry],
    life: int = 0,
) -> Core:
    """A node as its disk remembers it: a follower that knows of no commit and of no leader (figure 2).

    `draw_timeout(term, attempt)` gives an election timeout in nanoseconds. `life` is the how-manieth start of this node
    it is: an answer to a question that an earlier life asked must not be taken for one to a question of this life.
    """
    peers = tuple(member for member in members if member != id)
    core = Core(id, tuple(members), limits, rules, machine, draw_timeout, peers)
    core.term, core.vote = hard_state.term, hard_state.vote
    core.log = Log(entries)
    core.durable = core.log.last_index
    core.round = core.last_ticket = life * LIFE
    return core


def step(core: Core, event: Event, now: int) -> list[Effect]:
    """Handles one event at `now` (nanoseconds) and returns what the driver must do, in order."""
    if not core.started:
        _start(core, now)
    if core.role == LEADER:
        # Before anything is served: a leader that was stopped for long may have been replaced.
        elections.check_quorum(core, now)
    match event:
        case Arrived():
            for message in event.messages:
                _receive(core, message, now)
            _take_requests(core, event.requests)
        case Ticked():
            if core.role != LEADER and now >= core.election_at:
                elections.campaign(core, now)
        case Persisted():
            core.persisted = event.number
            replication.own_log_durable(core)
            elections.own_vote_durable(core, now)
        case ConnectionLost():
            replication.on_lost(core, event.peer)
            if event.peer == core.leader:
                reads.leader_lost(core)
        case Forgotten():
            replication.forget(core, event.tokens)
            reads.forget(core, event.tokens)
        case _:
            assert_never(event)
    if core.role == LEADER:
        replication.advance(core)
    replication.apply_entries(core)
    reads.settle(core)
    if core.role == LEADER:
        replication.broadcast(core, now)
    return take_effects(core, now)


def _start(core: Core, now: int) -> None:
    core.started = True
    draw_timeout(core)
    wait_for_leader(core, now)
    note(core, "started", term=core.term, vote=core.vote, last=core.log.last_index, commit=core.commit)


def _take_requests(core: Core, requests: tuple[Request, ...]) -> None:
    questions = []
    for request in requests:
        if isinstance(request.ask, Read):
            questions.append(request)
        else:
            replication.propose(core, request, request.ask)
    if questions:
        reads.ask(core, questions)


def _receive(core: Core, message: Message, now: int) -> None:
    """Hands a message to its room. One that names no peer of this node as its sender is not for this cluster."""
    match message:
        case AppendEntries(leader=sender):
            if sender in core.peers:
                _on_entries(core, message, now)
        case AppendReply(follower=sender):
            if sender in core.peers:
                _on_append_reply(core, message, now)
        case RequestVote(candidate=sender):
            if sender in core.peers:
                elections.on_request(core, now, message)
        case VoteReply(voter=sender):
            if sender in core.peers:
                elections.on_reply(core, now, message)
        case ReadIndex(follower=sender):
            if sender in core.peers:
                _adopt(core, now, message.term)
                reads.on_question(core, message)
        case ReadIndexReply():
            _adopt(core, now, message.term)
            reads.on_index(core, message)
        case _:
            assert_never(message)


def _adopt(core: Core, now: int, term: int) -> None:
    """A higher term in a message is one that this node is behind (paper section 5.1)."""
    if term > core.term:
        elections.follow(core, now, term, "", "another node has a higher term")


def _on_entries(core: Core, message: AppendEntries, now: int) -> None:
    """AppendEntries is heartbeat and replication in one; whoever sends it in a current term leads."""
    if not core.rules.obeys(message.term, core.term):
        send(core, message.leader, AppendReply(core.term, core.id, False, 0, 0, 0, message.round), promise(core))
        return
    elections.follow(core, now, message.term, message.leader, "another leader was heard")
    core.heard_at = now
    wait_for_leader(core, now)
    replication.on_entries(core, message)


def _on_append_reply(core: Core, message: AppendReply, now: int) -> None:
    """Only a reply to what this node sent as a leader in this term says anything about its followers."""
    if core.rules.reply_deposes(message.term, core.term):
        elections.follow(core, now, message.term, "", "a follower has a higher term")
    elif core.role == LEADER and message.term >= core.term:
        replication.on_reply(core, now, message)
