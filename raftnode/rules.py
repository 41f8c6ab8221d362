"""Safety decisions of Raft as pure functions, one record of them. No state lives here.

A planted bug replaces one field of `Rules`; nothing else in the core decides what is safe. Sections are those of the
paper ("In Search of an Understandable Consensus Algorithm", extended version) unless the thesis is named.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from raftnode.messages import Answer, Command, Value

# --- elections ------------------------------------------------------------------------------------------------------------


def majority(voters: int) -> int:
    """More than half of the voters, so that any two majorities share one (section 5.2)."""
    return voters // 2 + 1


def log_is_current(last_term: int, last_index: int, own_term: int, own_index: int) -> bool:
    """A candidate's log must be at least as up to date as the voter's: last term first, then length (section 5.4.1)."""
    return (last_term, last_index) >= (own_term, own_index)


def may_vote(vote: str, candidate: str) -> bool:
    """At most one candidate gets this node's vote in a term (section 5.2)."""
    return vote in {"", candidate}


def hears_leader(heard_at: int, now: int, election_min: int) -> bool:
    """A leader heard within the minimum election timeout is alive: votes are withheld (thesis 4.2.3). Nanoseconds."""
    return now - heard_at < election_min


def keeps_office(last_contact: int, now: int, limit: int) -> bool:
    """A leader that heard no majority for `limit` ns resigns, so that its clients look elsewhere (thesis 6.2)."""
    return limit == 0 or now - last_contact < limit


def reply_deposes(reply_term: int, own_term: int) -> bool:
    """A reply with a higher term makes the receiver a follower (section 5.1)."""
    return reply_term > own_term


# --- replication ----------------------------------------------------------------------------------------------------------


def obeys(leader_term: int, own_term: int) -> bool:
    """AppendEntries of a smaller term is rejected (figure 2, AppendEntries, receiver 1)."""
    return leader_term >= own_term


def prev_matches(own_term_at_prev: int | None, prev_term: int) -> bool:
    """Entries are appended only behind an entry that the logs share (figure 2, AppendEntries, receiver 2)."""
    return own_term_at_prev == prev_term


def clashes(own_term: int, entry_term: int) -> bool:
    """Only an entry that conflicts with a new one is cut, and all that follow it (figure 2, AppendEntries, receiver 3)."""
    return own_term != entry_term


def acknowledged(prev_index: int, entries: int, _last_index: int) -> int:
    """A follower vouches for what the message let it check, never for a tail of its own behind that (section 5.3)."""
    return prev_index + entries


def follower_commit(leader_commit: int, checked: int, last_index: int) -> int:
    """A follower commits what it checked, not what else it has (figure 2, AppendEntries, receiver 5: last *new* entry)."""
    return min(leader_commit, checked, last_index)


def back_up(match: int, refused: int, hint: int) -> int:
    """The next index to try: earlier than the refused prev, as far as the hint says, never at or below the match."""
    return max(match + 1, min(hint, refused))


def own_match(durable: int, _last_index: int) -> int:
    """The leader's own copy counts from when it is durable (thesis 10.2.1)."""
    return durable


def may_commit(entry_term: int | None, own_term: int) -> bool:
    """A leader counts replicas only of entries of its own term (section 5.4.2, figure 8)."""
    return entry_term == own_term


def may_apply_to(commit: int, _last_index: int) -> int:
    """The last index that may be applied: what is committed (figure 2, all servers)."""
    return commit


# --- clients --------------------------------------------------------------------------------------------------------------


def admit(command: Command, _present: Callable[[str], Value]) -> Command | Answer:
    """What enters the log: the command as it came. Data is looked at when it is applied, never before."""
    return command


def same_entry(waiter_term: int, entry_term: int) -> bool:
    """The entry that was applied is the one that the client waits for: index and term, not the index alone."""
    return waiter_term == entry_term


def read_index(commit: int, first_of_term: int) -> int:
    """All that was answered before a read came lies at or below this index (thesis 6.4, steps 1 and 2).

    What earlier leaders committed lies before this term's first entry, which the new leader may not yet know to be so.
    """
    return max(commit, first_of_term)


def read_confirmed(acknowledged_rounds: Sequence[int], wanted: int, quorum: int) -> bool:
    """A majority acknowledged a round sent after the read came, so nobody else led when it came (thesis 6.4, step 3)."""
    return sum(each >= wanted for each in acknowledged_rounds) >= quorum


def read_ready(applied: int, index: int) -> bool:
    """A follower's state machine has caught up with the index that its leader gave (thesis 6.4, step 4)."""
    return applied >= index


@dataclass(frozen=True, slots=True)
class Rules:
    """The decisions by name; see the functions above."""

    quorum: Callable[[int], int] = majority
    log_is_current: Callable[[int, int, int, int], bool] = log_is_current
    may_vote: Callable[[str, str], bool] = may_vote
    hears_leader: Callable[[int, int, int], bool] = hears_leader
    keeps_office: Callable[[int, int, int], bool] = keeps_office
    reply_deposes: Callable[[int, int], bool] = reply_deposes

    obeys: Callable[[int, int], bool] = obeys
    prev_matches: Callable[[int | None, int], bool] = prev_matches
    clashes: Callable[[int, int], bool] = clashes
    acknowledged: Callable[[int, int, int], int] = acknowledged
    follower_commit: Callable[[int, int, int], int] = follower_commit
    back_up: Callable[[int, int, int], int] = back_up
    own_match: Callable[[int, int], int] = own_match
    may_commit: Callable[[int | None, int], bool] = may_commit
    may_apply_to: Callable[[int, int], int] = may_apply_to

    admit: Callable[[Command, Callable[[str], Value]], Command | Answer] = admit
    same_entry: Callable[[int, int], bool] = same_entry
    read_index: Callable[[int, int], int] = read_index
    read_confirmed: Callable[[Sequence[int], int, int], bool] = read_confirmed
    read_ready: Callable[[int, int], bool] = read_ready


RAFT = Rules()
