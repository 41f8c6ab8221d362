"""Safety decisions of Raft as pure functions, one record of them. No state lives here.

A planted bug replaces one field of `Rules`; nothing else in the core decides what is safe.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from raftnode.messages import Answer, Command, Value


def majority(voters: int) -> int:
    """More than half of the voters (paper section 5.2)."""
    return voters // 2 + 1


def log_is_current(last_term: int, last_index: int, own_term: int, own_index: int) -> bool:
    """A candidate's log must be at least as up to date as the voter's: last term first, then length (section 5.4.1)."""
    return (last_term, last_index) >= (own_term, own_index)


def may_vote(vote: str, candidate: str) -> bool:
    """At most one candidate gets this node's vote in a term (section 5.2)."""
    return vote in {"", candidate}


def reply_deposes(reply_term: int, own_term: int) -> bool:
    """A reply with a higher term makes the receiver a follower (section 5.1)."""
    return reply_term > own_term


def obeys(leader_term: int, own_term: int) -> bool:
    """AppendEntries of a smaller term is rejected (figure 2, AppendEntries, receiver 1)."""
    return leader_term >= own_term


def prev_matches(own_term_at_prev: int | None, prev_term: int) -> bool:
    """Entries are appended only behind an entry that the logs share (figure 2, AppendEntries, receiver 2)."""
    return own_term_at_prev == prev_term


def may_commit(entry_term: int | None, own_term: int) -> bool:
    """A leader counts replicas only of entries of its own term (section 5.4.2, figure 8)."""
    return entry_term == own_term


def may_apply_to(commit: int, last: int) -> int:
    """The last index that may be applied: what is committed (figure 2, all servers)."""
    return min(commit, last)


def read_confirmed(acknowledged: Sequence[int], wanted: int, quorum: int) -> bool:
    """A majority acknowledged a round sent after the read came, so nobody else led when it came (thesis 6.4, step 3)."""
    return sum(round_ >= wanted for round_ in acknowledged) >= quorum


def read_ready(applied: int, index: int) -> bool:
    """The state machine has caught up with the read's index (thesis 6.4, step 4)."""
    return applied >= index


def same_entry(waiter_term: int, entry_term: int) -> bool:
    """The entry that was applied is the one that the client waits for: index and term, not the index alone."""
    return waiter_term == entry_term


def admit(command: Command, present: Callable[[str], Value]) -> Command | Answer:  # noqa: ARG001 - what a wrong rule looks at
    """What enters the log: the command as it came. Data is looked at when it is applied, never before."""
    return command


@dataclass(frozen=True, slots=True)
class Rules:
    """The decisions by name; see the functions above."""

    quorum: Callable[[int], int] = majority
    log_is_current: Callable[[int, int, int, int], bool] = log_is_current
    may_vote: Callable[[str, str], bool] = may_vote
    reply_deposes: Callable[[int, int], bool] = reply_deposes
    obeys: Callable[[int, int], bool] = obeys
    prev_matches: Callable[[int | None, int], bool] = prev_matches
    may_commit: Callable[[int | None, int], bool] = may_commit
    may_apply_to: Callable[[int, int], int] = may_apply_to
    read_confirmed: Callable[[Sequence[int], int, int], bool] = read_confirmed
    read_ready: Callable[[int, int], bool] = read_ready
    same_entry: Callable[[int, int], bool] = same_entry
    admit: Callable[[Command, Callable[[str], Value]], Command | Answer] = admit


RAFT = Rules()
