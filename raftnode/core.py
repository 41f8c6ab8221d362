"""`step`: one event in, effects out, each event handed to the room that it concerns. No clock, socket, disk or thread.

A step works on everything that one turn of the driver brought: one persist, one message a peer, one round of heartbeats
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
from raftnode.replica import LEADER, Core, hear, note, promise, send, take_effects
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
) -> Core:
    """A node as its disk remembers it: a follower that knows of no commit and of no leader (figure 2).

    `draw_timeout(term, attempt)` gives an election timeout in nanoseconds.
    """
    core = Core(id=id, members=tuple(members), limits=limits, rules=rules, machine=machine, draw_timeout=draw_timeout)
    core.term, core.vote = hard_state.term, hard_state.vote
    core.log = Log(entries)
    core.durable = core.log.last_index
    return core


def step(core: Core, event: Event, now: int) -> list[Effect]:
    """Handles one event at `now` (nanoseconds) and returns what the driver must do, in order."""
    if not core.started:
        core.started = True
        hear(core, now)
        note(core, "started", term=core.term, vote=core.vote, last=core.log.last_index, commit=core.commit)
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
            replication.own_log_durable(core, event.number)
            elections.own_vote_durable(core, now)
        case ConnectionLost():
            replication.on_lost(core, event.peer)
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
    return take_effects(core)


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
    match message:
        case AppendEntries():
            _on_entries(core, message, now)
        case AppendReply():
            if core.rules.reply_deposes(message.term, core.term):
                elections.follow(core, now, message.term, "", "a follower has a higher term")
            elif core.role == LEADER and message.term >= core.term:
                replication.on_reply(core, now, message)
        case RequestVote():
            elections.on_request(core, now, message)
        case VoteReply():
            elections.on_reply(core, now, message)
        case ReadIndex():
            if message.term > core.term:
                elections.follow(core, now, message.term, "", "a follower has a higher term")
            reads.on_question(core, message)
        case ReadIndexReply():
            if message.term > core.term:
                elections.follow(core, now, message.term, "", "another node has a higher term")
            reads.on_index(core, message)
        case _:
            assert_never(message)


def _on_entries(core: Core, message: AppendEntries, now: int) -> None:
    """AppendEntries is heartbeat and replication in one; whoever sends it in a current term leads."""
    if not core.rules.obeys(message.term, core.term):
        send(core, message.leader, AppendReply(core.term, core.id, False, 0, 0, 0, message.round), promise(core))
        return
    elections.follow(core, now, message.term, message.leader, "another leader was heard")
    core.heard_at = now
    hear(core, now)
    replication.on_entries(core, message)
