"""Linearizable reads by ReadIndex, at the leader and at followers (thesis 6.4).

A read waits for three things: an entry of the leader's own term is committed (so that the leader knows what is), a round
of heartbeats sent after the read came is acknowledged by a majority (so that nobody else led then), and the state machine
has caught up with the read's index.
"""

from __future__ import annotations

from raftnode.messages import Answer, NotLeader, Read, ReadIndex, ReadIndexReply, Request, Unconfirmed
from raftnode.replica import LEADER, Core, ReadWait, promise, reply, send

REFUSED = -1


# --- questions ------------------------------------------------------------------------------------------------------------


def ask(core: Core, requests: list[Request]) -> None:
    """Takes in the reads that one step brought: they share one round, or one question to the leader."""
    fresh = []
    for request in requests:
        assert isinstance(request.ask, Read), "only reads come here"
        if request.ask.stale:
            _answer(core, request.token, request.ask.key)
        elif not core.leader:
            reply(core, request.token, NotLeader(""))
        else:
            fresh.append((request.token, request.ask.key))
    if not fresh:
        return
    if core.role == LEADER:
        _new_round(core)
        index = _index(core)
        core.read_waits += [ReadWait(index, core.round, token=token, key=key) for token, key in fresh]
        return
    core.last_ticket += 1
    core.tickets[core.last_ticket] = fresh
    send(core, core.leader, ReadIndex(core.term, core.id, core.last_ticket), promise(core))


def on_question(core: Core, message: ReadIndex) -> None:
    """A follower asks for an index. The caller has seen to a higher term."""
    if core.role != LEADER or message.term != core.term:
        _refuse(core, message.follower, message.ticket)
        return
    _new_round(core)
    core.read_waits.append(ReadWait(_index(core), core.round, follower=message.follower, ticket=message.ticket))


def on_index(core: Core, message: ReadIndexReply) -> None:
    """The leader's answer: the reads of that ticket may be answered once this node has applied up to the index."""
    asked = core.tickets.pop(message.ticket, [])
    if message.index == REFUSED:
        _unconfirmed(core, asked)
    else:
        core.ready_reads += [(message.index, token, key) for token, key in asked]


def _new_round(core: Core) -> None:
    """The reads of one step share a round that nobody was sent before they came."""
    if any(progress.round_sent == core.round for progress in core.progress.values()):
        core.round += 1


def _index(core: Core) -> int:
    return core.rules.read_index(core.commit, core.first_of_term)


# --- answers --------------------------------------------------------------------------------------------------------------


def settle(core: Core) -> None:
    """Answers every read that is confirmed and whose index is applied."""
    if core.read_waits:
        rounds = [core.round, *(progress.round_acked for progress in core.progress.values())]
        core.read_waits = [wait for wait in core.read_waits if not _settled(core, wait, rounds)]
    if core.ready_reads:
        late = []
        for index, token, key in core.ready_reads:
            if core.rules.read_ready(core.applied, index):
                _answer(core, token, key)
            else:
                late.append((index, token, key))
        core.ready_reads = late


def _settled(core: Core, wait: ReadWait, rounds: list[int]) -> bool:
    """Answers one read at the leader, if it can be answered now."""
    if not core.rules.read_confirmed(rounds, wait.round, core.quorum):
        return False
    if wait.follower:
        # The follower waits by itself until it has applied so much, which it can only once that is committed.
        send(core, wait.follower, ReadIndexReply(core.term, wait.ticket, wait.index), core.vote_number)
        return True
    if core.applied < wait.index:
        return False
    _answer(core, wait.token, wait.key)
    return True


def _answer(core: Core, token: int, key: str) -> None:
    """The value as it is now; the answer's index says up to where."""
    code = "ok" if key in core.state.data else "key-not-found"
    reply(core, token, Answer(code, core.state.data.get(key), core.applied))


# --- what ends a wait ---------------------------------------------------------------------------------------------------


def forget(core: Core, tokens: tuple[int, ...]) -> None:
    """Nobody waits behind these tokens any more."""
    gone = set(tokens)
    core.read_waits = [wait for wait in core.read_waits if wait.token not in gone or wait.follower]
    core.ready_reads = [wait for wait in core.ready_reads if wait[1] not in gone]
    for ticket, asked in list(core.tickets.items()):
        left = [each for each in asked if each[0] not in gone]
        if left:
            core.tickets[ticket] = left
        else:
            del core.tickets[ticket]


def leave_office(core: Core) -> None:
    """A leader that is none any more confirms nothing; a read did nothing, so saying no is safe."""
    for wait in core.read_waits:
        if wait.follower:
            _refuse(core, wait.follower, wait.ticket)
        else:
            reply(core, wait.token, Unconfirmed())
    core.read_waits = []


def leader_lost(core: Core) -> None:
    """Questions to a leader that is gone will not be answered: say so at once instead of letting clients wait."""
    for asked in core.tickets.values():
        _unconfirmed(core, asked)
    core.tickets = {}


def _refuse(core: Core, follower: str, ticket: int) -> None:
    send(core, follower, ReadIndexReply(core.term, ticket, REFUSED), promise(core))


def _unconfirmed(core: Core, asked: list[tuple[int, str]]) -> None:
    for token, _ in asked:
        reply(core, token, Unconfirmed())
