"""Replication: proposals into the log, AppendEntries out and in, backing up, commit and apply (paper 5.3, 5.4.2).

Entries leave for followers while the leader's own disk still writes them: the leader's copy counts only once it is
durable, which is what makes the parallel write safe (thesis 10.2.1).
"""

from __future__ import annotations

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
    Send,
)
from raftnode.replica import LEADER, Core, Progress, append, cut, promise, reply, send

# A restart applies its whole log. In parts of this size a leader does not miss a heartbeat meanwhile.
APPLY_PER_STEP = 10_000


# --- clients ----------------------------------------------------------------------------------------------------------------


def propose(core: Core, request: Request, command: Command) -> None:
    """Takes a client's command into the log, or says at once why not."""
    if core.role != LEADER:
        reply(core, request.token, NotLeader(core.leader))
        return
    if core.log.bytes_after(core.commit) > core.limits.uncommitted_bytes:
        reply(core, request.token, Busy())
        return
    admitted = core.rules.admit(command, core.state.data.get)
    if isinstance(admitted, Answer):
        reply(core, request.token, admitted)
        return
    append(core, (Entry(core.term, admitted, request.identity),))
    index = core.log.last_index
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


# --- the follower's side ----------------------------------------------------------------------------------------------


def on_entries(core: Core, message: AppendEntries) -> None:
    """Appends what follows a shared entry; cuts only what clashes: a late message must not remove what came after it."""
    rules, log = core.rules, core.log
    if not rules.prev_matches(log.term_at(message.prev_index), message.prev_term):
        _refuse(core, message)
        return
    index = message.prev_index
    for place, entry in enumerate(message.entries):
        index += 1
        own_term = log.term_at(index)
        if own_term is not None and not rules.clashes(own_term, entry.term):
            continue
        if own_term is not None:
            cut(core, index)
        append(core, message.entries[place:])
        break
    match = rules.acknowledged(message.prev_index, len(message.entries), log.last_index)
    core.commit = max(core.commit, rules.follower_commit(message.commit, match, log.last_index))
    _acknowledge(core, message, match)


def _acknowledge(core: Core, message: AppendEntries, match: int) -> None:
    """One acknowledgement for all messages of a leader that came in one step: the last says what the others say."""
    round_ = message.round
    last = core.effects[-1] if core.effects else None
    if isinstance(last, Send) and last.to == message.leader and isinstance(last.message, AppendReply):
        earlier = last.message
        if earlier.success and earlier.term == message.term:
            core.effects.pop()
            match, round_ = max(match, earlier.match), max(round_, earlier.round)
    # The term is the message's: who obeys an order acknowledges it to the one who gave it.
    answer = AppendReply(message.term, core.id, True, match, 0, 0, round_)
    send(core, message.leader, answer, promise(core))


def _refuse(core: Core, message: AppendEntries) -> None:
    """Says no, with a hint that lets the leader skip a whole term (end of section 5.3)."""
    clash = core.log.term_at(message.prev_index)
    hint = (core.log.first_of_term_at(message.prev_index), clash) if clash else (core.log.last_index + 1, 0)
    answer = AppendReply(message.term, core.id, False, message.prev_index, *hint, message.round)
    send(core, message.leader, answer, promise(core))


# --- the leader's side ------------------------------------------------------------------------------------------------


def on_reply(core: Core, now: int, message: AppendReply) -> None:
    """Learns how far a follower is. The caller has seen that the term is current and that this node leads."""
    progress = core.progress[message.follower]
    progress.contact = now
    progress.round_acked = max(progress.round_acked, message.round)
    if not message.success:
        _back_up(core, progress, message)
        return
    progress.probing = progress.waiting = False
    # No right follower claims more than there is; the match of a wrong one must not reach beyond the log.
    progress.match = max(progress.match, min(message.match, core.log.last_index))
    progress.next = max(progress.next, progress.match + 1)
    while progress.in_flight and progress.in_flight[0] <= progress.match:
        progress.in_flight.popleft()


def _back_up(core: Core, progress: Progress, message: AppendReply) -> None:
    """Finds an earlier place to try. A refusal of what is known to match by now, or of an earlier probe, is stale."""
    refused = message.match
    if not message.hint_index or refused <= progress.match or (progress.probing and refused != progress.next - 1):
        return
    # Behind the leader's own last entry of the clashing term, if it has one before; else at the follower's first of it.
    shared = core.log.last_of_term(message.hint_term) if message.hint_term else None
    hint = shared + 1 if shared is not None and shared < refused else message.hint_index
    progress.next = core.rules.back_up(progress.match, refused, hint)
    progress.probing, progress.waiting = True, False
    progress.in_flight.clear()


def on_lost(core: Core, peer: str) -> None:
    """What was in flight may be lost: probe from what is known to match."""
    progress = core.progress.get(peer)
    if progress is not None:
        progress.next = progress.match + 1
        progress.probing, progress.waiting = True, False
        progress.in_flight.clear()


def own_log_durable(core: Core) -> None:
    """The disk has the log up to what it was at the last persist, unless that was cut since (see `cut`)."""
    while core.unsynced and core.unsynced[0][0] <= core.persisted:
        _, last, _ = core.unsynced.popleft()
        core.durable = max(core.durable, last)


def advance(core: Core) -> None:
    """Commits what a majority holds durably, if it is of this term (section 5.4.2)."""
    held = [progress.match for progress in core.progress.values()]
    held.append(core.rules.own_match(core.durable, core.log.last_index))
    held.sort(reverse=True)
    index = held[core.quorum - 1]
    if index > core.commit and core.rules.may_commit(core.log.term_at(index), core.term):
        core.commit = index


def apply_entries(core: Core) -> None:
    """Applies what may be applied, in order, and answers the clients that wait for it."""
    log, state, machine, sessions = core.log, core.state, core.machine, core.limits.sessions
    end = min(core.apply_end, core.applied + APPLY_PER_STEP)
    while core.applied < end:
        core.applied += 1
        index = core.applied
        entry = log.entry(index)
        answer = apply(machine, state, entry, index, sessions)
        for token, term in core.waiters.pop(index, ()):
            del core.waiting_at[token]
            reply(core, token, answer if core.rules.same_entry(term, entry.term) else Overwritten())


def broadcast(core: Core, now: int) -> None:
    """Sends each follower what is new for it: entries, the commit index, a round for waiting reads, or a heartbeat."""
    beat = now >= core.heartbeat_at
    if beat:
        core.heartbeat_at = now + core.limits.heartbeat
    last, window = core.log.last_index, core.limits.window
    for peer, progress in core.progress.items():
        sent = False
        if progress.probing and not progress.waiting:
            _send_entries(core, peer, progress)
            progress.waiting = sent = True
        while not progress.probing and progress.next <= last and len(progress.in_flight) < window:
            progress.next += _send_entries(core, peer, progress)
            progress.in_flight.append(progress.next - 1)
            sent = True
        news = not progress.probing and progress.commit_told < min(core.commit, progress.next - 1)
        if not sent and (beat or news or progress.round_sent < core.round):
            _send(core, peer, progress, ())


def _send_entries(core: Core, peer: str, progress: Progress) -> int:
    """Sends what comes next, as much as one message takes; returns how many entries that was."""
    limits = core.limits
    entries = core.log.entries_from(progress.next, limits.entries_per_message, limits.bytes_per_message)
    _send(core, peer, progress, entries)
    return len(entries)


def _send(core: Core, peer: str, progress: Progress, entries: tuple[Entry, ...]) -> None:
    prev = progress.next - 1
    message = AppendEntries(core.term, core.id, prev, core.log.term_at(prev) or 0, entries, core.commit, core.round)
    # The entries need no disk of ours, but the term in the message does: it is that of a durable candidacy.
    send(core, peer, message, core.vote_number)
    progress.round_sent = core.round
    progress.commit_told = core.commit
