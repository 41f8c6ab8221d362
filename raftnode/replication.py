"""Replication: proposals into the log, AppendEntries out and in, backing up, commit and apply (paper 5.3, 5.4.2).

Entries leave for followers while the leader's own disk still writes them: the leader's copy counts only once it is
durable, which is what makes the parallel write safe (thesis 10.2.1).
"""

from __future__ import annotations

import msgspec

from raftnode.machine import apply
from raftnode.messages import (
    Answer,
    AppendEntries,
    AppendReply,
    Busy,
    Command,
    Entry,
    NotLeader,
    Overwritten,
    Request,
)
from raftnode.replica import LEADER, Core, Progress, append, cut, promise, reply, send

_ENCODER = msgspec.msgpack.Encoder()


def propose(core: Core, request: Request, command: Command) -> None:
    """Takes a client's command into the log, or says at once why not."""
    if core.role != LEADER:
        reply(core, request.token, NotLeader(core.leader))
        return
    if core.uncommitted_bytes > core.limits.uncommitted_bytes:
        reply(core, request.token, Busy())
        return
    admitted = core.rules.admit(command, core.state.data.get)
    if isinstance(admitted, Answer):
        reply(core, request.token, admitted)
        return
    entry = Entry(core.term, admitted, request.identity)
    append(core, (entry,))
    index = core.log.last_index
    size = len(_ENCODER.encode(entry))
    core.uncommitted.append((index, size))
    core.uncommitted_bytes += size
    core.waiters.setdefault(index, []).append((request.token, core.term))
    core.waiting_at[request.token] = index


def forget(core: Core, tokens: tuple[int, ...]) -> None:
    """Nobody waits behind these tokens any more."""
    for token in tokens:
        index = core.waiting_at.pop(token, None)
        if index is not None:
            left = [waiter for waiter in core.waiters[index] if waiter[0] != token]
            if left:
                core.waiters[index] = left
            else:
                del core.waiters[index]


def leave_office(core: Core) -> None:
    """What only a leader keeps. Clients that wait for an index go on waiting: nobody knows yet what becomes of it."""
    core.progress = {}
    core.uncommitted.clear()
    core.uncommitted_bytes = 0


# --- the follower's side ----------------------------------------------------------------------------------------------


def on_entries(core: Core, message: AppendEntries) -> None:
    """Appends what follows a shared entry; cuts only what clashes: a late message must not remove what came after it."""
    own = core.log.term_at(message.prev_index)
    if not core.rules.prev_matches(own, message.prev_term):
        refuse(core, message)
        return
    index = message.prev_index
    for place, entry in enumerate(message.entries):
        index = message.prev_index + 1 + place
        if index <= core.log.last_index and core.log.term_at(index) == entry.term:
            continue
        if index <= core.log.last_index:
            cut(core, index)
        append(core, message.entries[place:])
        break
    match = message.prev_index + len(message.entries)
    # Only what was checked against this leader may be taken for committed, never the tail behind it.
    core.commit = max(core.commit, min(message.commit, match, core.log.last_index))
    answer = AppendReply(core.term, core.id, True, match, 0, 0, message.round)
    send(core, message.leader, answer, promise(core))


def refuse(core: Core, message: AppendEntries) -> None:
    """Says no, with a hint that lets the leader skip a whole term (end of section 5.3)."""
    clash = core.log.term_at(message.prev_index)
    if clash:
        hint = (core.log.first_of_term_at(message.prev_index), clash)
    else:
        hint = (core.log.last_index + 1, 0)
    answer = AppendReply(core.term, core.id, False, 0, *hint, message.round)
    send(core, message.leader, answer, promise(core))


# --- the leader's side ------------------------------------------------------------------------------------------------


def on_reply(core: Core, now: int, message: AppendReply) -> None:
    """Learns how far a follower is. The caller has seen that the term is current and that this node leads."""
    progress = core.progress.get(message.follower)
    if progress is None:
        return
    progress.contact = now
    progress.round_acked = max(progress.round_acked, message.round)
    if not message.success:
        _back_up(core, progress, message)
        return
    progress.waiting = False
    if message.match > core.log.last_index:
        return  # no right follower says so
    progress.match = max(progress.match, message.match)
    progress.next = max(progress.next, progress.match + 1)
    while progress.in_flight and progress.in_flight[0] <= progress.match:
        progress.in_flight.popleft()
    progress.probing = False


def _back_up(core: Core, progress: Progress, message: AppendReply) -> None:
    """Finds an earlier place to try, never at or below what is known to match."""
    if not message.hint_index:
        return  # it was not the log that was refused
    shared = core.log.last_of_term(message.hint_term) if message.hint_term else None
    # Behind the leader's last entry of the clashing term, if that is progress; else before the follower's first of it.
    behind = shared + 1 if shared is not None and shared + 1 < progress.next else message.hint_index
    if progress.next > progress.match + 1:
        progress.next = max(progress.match + 1, min(behind, progress.next - 1))
    progress.probing, progress.waiting = True, False
    progress.in_flight.clear()


def on_lost(core: Core, peer: str) -> None:
    """What was in flight may be lost: probe from what is known to match."""
    progress = core.progress.get(peer)
    if progress is not None:
        progress.next = progress.match + 1
        progress.probing, progress.waiting = True, False
        progress.in_flight.clear()


def own_log_durable(core: Core, number: int) -> None:
    """The disk has the log up to what it was at persist `number`, unless that was cut or replaced since."""
    while core.unsynced and core.unsynced[0][0] <= number:
        _, last, term = core.unsynced.popleft()
        if core.log.term_at(last) == term:
            core.durable = max(core.durable, last)


def advance(core: Core) -> None:
    """Commits what a majority holds durably, if it is of this term (section 5.4.2)."""
    held = sorted([core.durable, *(progress.match for progress in core.progress.values())], reverse=True)
    index = held[core.quorum - 1]
    if index > core.commit and core.rules.may_commit(core.log.term_at(index), core.term):
        core.commit = index
        while core.uncommitted and core.uncommitted[0][0] <= index:
            core.uncommitted_bytes -= core.uncommitted.popleft()[1]


def apply_entries(core: Core) -> None:
    """Applies what may be applied, in order, and answers the clients that wait for it."""
    end = core.rules.may_apply_to(core.commit, core.log.last_index)
    while core.applied < end:
        core.applied += 1
        index = core.applied
        entry = core.log.entry(index)
        answer = apply(core.machine, core.state, entry, index, core.limits.sessions)
        for token, term in core.waiters.pop(index, ()):
            del core.waiting_at[token]
            reply(core, token, answer if core.rules.same_entry(term, entry.term) else Overwritten())


def broadcast(core: Core, now: int) -> None:
    """Sends each follower what is new for it: entries, the commit index, a round for waiting reads, or a heartbeat."""
    beat = now >= core.heartbeat_at
    if beat:
        core.heartbeat_at = now + core.limits.heartbeat
    for peer, progress in core.progress.items():
        if progress.probing:
            if not progress.waiting or beat or progress.round_sent < core.round:
                _send_entries(core, peer, progress)
                progress.waiting = True
            continue
        sent = False
        while progress.next <= core.log.last_index and len(progress.in_flight) < core.limits.window:
            _send_entries(core, peer, progress)
            sent = True
        if not sent and (beat or progress.round_sent < core.round or progress.commit_told < _commit_for(core, progress)):
            _send_heartbeat(core, peer, progress)


def _commit_for(core: Core, progress: Progress) -> int:
    """The commit index as far as it can mean anything to this follower now."""
    return min(core.commit, progress.next - 1)


def _send_entries(core: Core, peer: str, progress: Progress) -> None:
    entries = core.log.entries_from(progress.next, core.limits.entries_per_message)
    _send(core, peer, progress, entries)
    if not progress.probing and entries:
        progress.next += len(entries)
        progress.in_flight.append(progress.next - 1)


def _send_heartbeat(core: Core, peer: str, progress: Progress) -> None:
    _send(core, peer, progress, ())


def _send(core: Core, peer: str, progress: Progress, entries: tuple[Entry, ...]) -> None:
    prev = progress.next - 1
    prev_term = core.log.term_at(prev) or 0
    message = AppendEntries(core.term, core.id, prev, prev_term, entries, core.commit, core.round)
    # The entries need no disk of ours, but the term in the message does: it is that of a durable candidacy.
    send(core, peer, message, core.vote_number)
    progress.round_sent = core.round
    progress.commit_told = core.commit
