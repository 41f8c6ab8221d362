"""Elections: timeouts, pre-votes, votes, taking and leaving office (paper 5.2, 5.4.1; thesis 4.2.3, 6.2, 9.6)."""

from __future__ import annotations

from raftnode import reads, replication
from raftnode.messages import Entry, Noop, RequestVote, VoteReply
from raftnode.replica import (
    CANDIDATE,
    FOLLOWER,
    LEADER,
    PRE_CANDIDATE,
    Core,
    Progress,
    append,
    draw_timeout,
    note,
    promise,
    send,
    set_hard_state,
    wait_for_leader,
)


def follow(core: Core, now: int, term: int, leader: str, why: str) -> None:
    """Becomes a follower. A higher term comes without a vote; in the same term the vote stays (figure 2)."""
    if core.role == FOLLOWER and leader == core.leader and term <= core.term:
        return
    was = core.role
    if was == LEADER:
        note(core, "resigned", term=core.term, why=why)
    if term > core.term:
        set_hard_state(core, term, "")
        draw_timeout(core)  # else whoever drew a long one keeps it for as long as others stand first
    core.role = FOLLOWER
    if was != FOLLOWER:
        note(core, "role", role=FOLLOWER, term=core.term, leader=leader)
    if leader and leader != core.leader:
        note(core, "leader-known", term=core.term, leader=leader)
    if was == LEADER:
        replication.leave_office(core)
        reads.leave_office(core)
        wait_for_leader(core, now)
    lose_leader(core, leader)


def lose_leader(core: Core, successor: str) -> None:
    """Another leader, or none ("" ): what this node asked the last one will not be answered."""
    if core.leader != successor:
        core.leader = successor
        reads.leader_lost(core)


def campaign(core: Core, now: int) -> None:
    """The election timeout is over: ask around first, without changing anything (thesis 9.6), or stand at once."""
    lose_leader(core, "")
    draw_timeout(core)
    wait_for_leader(core, now)
    core.round += 1
    if not core.limits.pre_vote:
        _stand(core, now)
        return
    core.role = PRE_CANDIDATE
    core.votes = {core.id: True}
    note(core, "role", role=PRE_CANDIDATE, term=core.term, leader="")
    _ask(core, core.term + 1, pre=True)
    _count(core, now)


def _stand(core: Core, now: int) -> None:
    """Becomes a candidate. Its own vote counts once it is durable, as does everybody's."""
    core.role = CANDIDATE
    core.votes = {}
    set_hard_state(core, core.term + 1, core.id)
    core.vote_number = core.issued + 1
    wait_for_leader(core, now)
    note(core, "role", role=CANDIDATE, term=core.term, leader="")
    _ask(core, core.term, pre=False)


def _ask(core: Core, term: int, *, pre: bool) -> None:
    message = RequestVote(term, core.id, core.log.last_index, core.log.last_term, pre, core.round)
    for peer in core.peers:
        send(core, peer, message, promise(core))


def own_vote_durable(core: Core, now: int) -> None:
    """The disk has this candidacy: the candidate's own vote counts now."""
    if core.role == CANDIDATE and core.persisted >= core.vote_number and core.id not in core.votes:
        core.votes[core.id] = True
        _count(core, now)


def on_request(core: Core, now: int, message: RequestVote) -> None:
    """Grants or denies a vote or a pre-vote."""
    if core.limits.sticky and _hears_a_leader(core, now):
        _answer(core, message, granted=False)  # neither the term nor the vote changes (thesis 4.2.3)
        return
    if message.term > core.term and not message.pre:
        follow(core, now, message.term, "", "a candidate has a higher term")
    current = core.rules.log_is_current(message.last_term, message.last_index, core.log.last_term, core.log.last_index)
    if message.pre:
        _answer(core, message, granted=message.term > core.term and current)
        return
    granted = message.term == core.term and current and core.rules.may_vote(core.vote, message.candidate)
    if granted:
        if core.vote != message.candidate:
            set_hard_state(core, core.term, message.candidate)
            note(core, "vote-granted", term=core.term, candidate=message.candidate)
        follow(core, now, core.term, core.leader, "voted for another")  # a pre-candidate gives up its own attempt
        wait_for_leader(core, now)
    _answer(core, message, granted=granted)


def _hears_a_leader(core: Core, now: int) -> bool:
    heard_at = core.last_quorum if core.role == LEADER else core.heard_at
    return core.leader != "" and core.rules.hears_leader(heard_at, now, core.limits.election_min)


def _answer(core: Core, message: RequestVote, *, granted: bool) -> None:
    # A granted pre-vote speaks of the term to come, everything else of the voter's own.
    term = message.term if granted else core.term
    send(core, message.candidate, VoteReply(term, core.id, granted, message.pre, message.round), promise(core))


def on_reply(core: Core, now: int, message: VoteReply) -> None:
    """Counts a vote of this attempt; a node counts once, however many messages it sends."""
    granted_pre_vote = message.pre and message.granted  # its term is one that nobody has yet
    if core.rules.reply_deposes(message.term, core.term) and not granted_pre_vote:
        follow(core, now, message.term, "", "a voter has a higher term")
        return
    role, term = (PRE_CANDIDATE, core.term + 1) if message.pre else (CANDIDATE, core.term)
    if core.role == role and message.granted and message.term == term and message.round == core.round:
        core.votes[message.voter] = True
        _count(core, now)


def _count(core: Core, now: int) -> None:
    if len(core.votes) < core.quorum:
        return
    if core.role == PRE_CANDIDATE:
        _stand(core, now)
    else:
        _lead(core, now)


def _lead(core: Core, now: int) -> None:
    """Takes office: a no-op of the own term goes out at once, so that earlier entries can commit (section 8)."""
    core.role = LEADER
    core.leader = core.id
    core.leader_since = core.last_quorum = now
    core.first_of_term = core.log.last_index + 1
    core.progress = {peer: Progress(next=core.first_of_term, contact=now) for peer in core.peers}
    core.heartbeat_at = now
    note(core, "role", role=LEADER, term=core.term, leader=core.id)
    note(core, "leader-elected", term=core.term, index=core.first_of_term)
    append(core, (Entry(core.term, Noop()),))


def check_quorum(core: Core, now: int) -> None:
    """A leader that a majority, or its own disk, has not answered for long resigns (thesis 6.2).

    It may have been replaced, or its heartbeats may hide that nothing can be committed any more.
    """
    contacts = sorted((progress.contact for progress in core.progress.values()), reverse=True)
    heard_at = [now, *contacts][core.quorum - 1]
    disk_at = core.unsynced[0][2] if core.unsynced else now
    core.last_quorum = min(heard_at, disk_at)
    if not core.rules.keeps_office(core.last_quorum, now, core.limits.check_quorum):
        why = "no majority was heard" if heard_at <= disk_at else "the own disk does not answer"
        follow(core, now, core.term, "", why)
