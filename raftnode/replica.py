"""The state of one Raft node, each field with its invariant, and the few steps that every room of the core shares.

Nothing here decides anything: decisions are in `rules.py`, behaviour in `elections.py`, `replication.py`, `reads.py`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from raftnode.log import Log
from raftnode.machine import Machine, State
from raftnode.messages import (
    Effect,
    Entry,
    HardState,
    Limits,
    Message,
    Note,
    Outcome,
    Persist,
    Reply,
    Send,
)
from raftnode.rules import Rules

FOLLOWER, PRE_CANDIDATE, CANDIDATE, LEADER = "follower", "pre-candidate", "candidate", "leader"
NEVER = 1 << 62  # nanoseconds: a deadline that does not come
LIFE = 1 << 32  # rounds and tickets of a life start at a multiple of this, so that no other life has the same


@dataclass(slots=True)
class Progress:
    """What a leader knows of one follower."""

    match: int = 0  # invariant: the follower has the leader's log durably up to here
    next: int = 1  # the first index to send next; invariant: next > match
    probing: bool = True  # one message at a time, until the follower says where it stands (thesis 10.2.1)
    waiting: bool = False  # a probe is under way; `next` moves with its answer only
    in_flight: deque[int] = field(default_factory=deque)  # last index of each message sent and not acknowledged
    commit_told: int = 0
    round_sent: int = 0
    round_acked: int = 0  # the latest round that the follower answered in this term
    contact: int = 0  # ns: when it last answered


@dataclass(slots=True)
class ReadWait:
    """A read at the leader that waits for its round: a client's (`token`) or a follower's (`follower`, `ticket`)."""

    index: int
    round: int
    token: int = 0
    key: str = ""
    follower: str = ""
    ticket: int = 0


@dataclass(slots=True)
class Core:
    """One node's Raft state. Times are nanoseconds of the driver's clock."""

    id: str
    members: tuple[str, ...]
    limits: Limits
    rules: Rules
    machine: Machine
    draw_timeout: Callable[[int, int], int]  # (term, attempt) -> ns: the one random thing, an input
    peers: tuple[str, ...] = ()  # the other members

    # Persistent (figure 2): what `Persist` effects carry.
    term: int = 0
    vote: str = ""
    log: Log = field(default_factory=Log)

    # Volatile, all nodes.
    role: str = FOLLOWER
    leader: str = ""
    commit: int = 0  # invariant: never falls
    applied: int = 0  # invariant: never falls; at most `commit`
    state: State = field(default_factory=State)  # what entries 1..applied make
    started: bool = False
    attempt: int = 0  # how many elections this life has stood for
    timeout: int = 0  # ns: the election timeout drawn for this attempt
    election_at: int = 0
    heard_at: int = -NEVER  # when a leader of this term was last heard
    round: int = 0  # of the candidate's attempt, or of the leader's heartbeats; never falls
    votes: dict[str, bool] = field(default_factory=dict)  # who granted this attempt; a node counts once

    # Persists. Invariant: persisted <= issued; `dirty`: this step will end with the next one.
    issued: int = 0
    persisted: int = 0
    dirty: bool = False
    dirty_from: int = 0  # first index that changed, 0: none
    unsynced: deque[tuple[int, int, int]] = field(default_factory=deque)  # under way: (number, last index, ns since)
    durable: int = 0  # this node's own log is durable up to here; invariant: at most its last index
    vote_number: int = 0  # the persist of this term's own candidacy

    # Leaders only.
    progress: dict[str, Progress] = field(default_factory=dict)
    first_of_term: int = 0  # index of this term's no-op
    heartbeat_at: int = 0
    leader_since: int = 0
    last_quorum: int = 0  # when a majority, and the own disk, had last answered
    read_waits: list[ReadWait] = field(default_factory=list)

    # Clients that wait here, whatever this node's role is by now.
    waiters: dict[int, list[tuple[int, int]]] = field(default_factory=dict)  # index -> (token, term)
    waiting_at: dict[int, int] = field(default_factory=dict)  # token -> index
    tickets: dict[int, list[tuple[int, str]]] = field(default_factory=dict)  # asked of the leader: (token, key)
    last_ticket: int = 0
    ready_reads: list[tuple[int, int, str]] = field(default_factory=list)  # confirmed: (index, token, key)

    # What this step has come to so far.
    effects: list[Effect] = field(default_factory=list)
    appended_from: int = 0
    committed_before: int = 0

    @property
    def deadline(self) -> int:
        """When the driver owes the core a Ticked()."""
        if not self.started or self.applied < self.apply_end:
            return 0
        if self.role == LEADER:
            limit = self.limits.check_quorum
            return min(self.heartbeat_at, self.last_quorum + limit) if limit else self.heartbeat_at
        return self.election_at

    @property
    def apply_end(self) -> int:
        """The last index that may be applied and is there to be."""
        last = self.log.last_index
        return min(self.rules.may_apply_to(self.commit, last), last)

    @property
    def quorum(self) -> int:
        return self.rules.quorum(len(self.members))


def promise(core: Core) -> int:
    """The persist that whatever leaves now rests on: this step's, if it changed anything, else the last one issued."""
    return core.issued + 1 if core.dirty else core.issued


def send(core: Core, to: str, message: Message, after: int) -> None:
    core.effects.append(Send(to, message, after))


def reply(core: Core, token: int, outcome: Outcome) -> None:
    """Answers a client. What is committed is durable at a majority: no disk of this node has to be waited for."""
    core.effects.append(Reply(token, outcome))


def note(core: Core, kind: str, **fields: Any) -> None:
    core.effects.append(Note(kind, fields))


def set_hard_state(core: Core, term: int, vote: str) -> None:
    core.term, core.vote, core.dirty = term, vote, True


def append(core: Core, entries: tuple[Entry, ...]) -> None:
    """Adds entries to the log's end; they become durable with this step's persist."""
    first = core.log.last_index + 1
    core.log.append(entries)
    _touch(core, first)
    core.appended_from = min(core.appended_from or first, first)


def cut(core: Core, first: int) -> None:
    """Removes the log from `first` on."""
    note(core, "cut", **{"from": first, "last": core.log.last_index})
    core.log.cut(first)
    # Neither what is durable nor what is on its way to the disk vouches for anything at `first` or behind it any more.
    core.durable = min(core.durable, first - 1)
    core.unsynced = deque((number, min(last, first - 1), since) for number, last, since in core.unsynced)
    if core.appended_from >= first:
        core.appended_from = 0
    _touch(core, first)


def _touch(core: Core, first: int) -> None:
    core.dirty = True
    core.dirty_from = min(core.dirty_from or first, first)


def take_effects(core: Core, now: int) -> list[Effect]:
    """Ends a step: the persist of all that changed, first, then everything else in order."""
    effects, core.effects = core.effects, []
    last = core.log.last_index
    if core.appended_from:
        span = {"first": core.appended_from, "last": last, "term": core.log.last_term}
        effects.append(Note("appended", {**span, "digest": core.log.digest_at(last)}))
    if core.commit > core.committed_before:
        index = min(core.commit, last)
        fields = {"index": core.commit, "term": core.log.term_at(index), "digest": core.log.digest_at(index)}
        effects.append(Note("committed", fields))
    core.appended_from, core.committed_before = 0, core.commit
    if core.dirty:
        core.issued += 1
        entries = core.log.entries_from(core.dirty_from) if core.dirty_from else ()
        effects.insert(0, Persist(core.issued, HardState(core.term, core.vote), core.dirty_from, entries))
        core.unsynced.append((core.issued, last, now))
        core.dirty, core.dirty_from = False, 0
    return effects


def wait_for_leader(core: Core, now: int) -> None:
    """A leader was heard, or a vote given, or an election begun: the next election is a timeout away."""
    core.election_at = now + core.timeout


def draw_timeout(core: Core) -> None:
    """A new election timeout, so that nodes that stood at the same time will not do so again (paper section 5.2)."""
    core.timeout = core.draw_timeout(core.term, core.attempt)
    core.attempt += 1
