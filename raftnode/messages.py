"""The vocabulary of a node: peer messages, events in, effects out, requests and results.

No behaviour lives here. All types are frozen msgspec structs: they are compared by value, encoded by `wire.py`
(peer messages) and by `storage.py` (entries, hard state), and never changed after they were made.

Names follow the Raft paper (figure 2) and Ongaro's thesis; the section that a field comes from stands beside it.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

Value = Any
"""A JSON value: None, bool, int, float, str, list or dict. Immutable by convention once it is in an entry."""

Count = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]
"""A term, index, sequence or round as it comes from a peer or from the disk: one that is below 0 would be an index from
the log's end, one too large could never be written again. Checked where bytes are decoded."""


# --- commands: what an entry of the log asks the state machine to do ------------------------------------------------


class Noop(msgspec.Struct, frozen=True, tag="noop", array_like=True):
    """What a new leader appends first, so that an entry of its own term can commit (thesis 3.6.2, 6.4)."""


class Register(msgspec.Struct, frozen=True, tag="register", array_like=True):
    """Opens a client session; its answer is the session's id, made from the entry's index (thesis 6.3)."""


class Put(msgspec.Struct, frozen=True, tag="put", array_like=True):
    key: str
    value: Value


class Delete(msgspec.Struct, frozen=True, tag="delete", array_like=True):
    key: str


class Cas(msgspec.Struct, frozen=True, tag="cas", array_like=True):
    key: str
    expect: Value
    value: Value


class Append(msgspec.Struct, frozen=True, tag="append", array_like=True):
    """Appends one element to the list at `key`; an absent key counts as the empty list."""

    key: str
    element: Value


Command = Noop | Register | Put | Delete | Cas | Append


class Identity(msgspec.Struct, frozen=True, array_like=True):
    """Who asks, and the how-manieth request of that client this is: what makes a retry harmless (thesis 6.3)."""

    session: str
    sequence: Count


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """One entry of the replicated log. Its index is its place in the log and is not repeated in it."""

    term: Count
    command: Command
    identity: Identity | None = None


# --- peer messages (figure 2; `round` ties a reply to the heartbeat round that asked, for ReadIndex: thesis 6.4) --------


class RequestVote(msgspec.Struct, frozen=True, tag="vote", array_like=True):
    term: Count
    candidate: str
    last_index: Count
    last_term: Count
    pre: bool  # a pre-vote changes nothing at either side (thesis 9.6)
    round: Count  # the candidate's attempt; a grant of another attempt does not count


class VoteReply(msgspec.Struct, frozen=True, tag="voted", array_like=True):
    term: Count
    voter: str
    granted: bool
    pre: bool
    round: Count


class AppendEntries(msgspec.Struct, frozen=True, tag="append", array_like=True):
    term: Count
    leader: str
    prev_index: Count
    prev_term: Count
    entries: tuple[Entry, ...]
    commit: Count
    round: Count


class AppendReply(msgspec.Struct, frozen=True, tag="appended", array_like=True):
    term: Count
    follower: str
    success: bool
    match: Count  # success: prev_index + len(entries). Refused: the prev_index that was refused
    hint_index: Count  # refused: the first index of the clashing term, or one past the log; 0: the term was refused
    hint_term: Count  # refused: the clashing term, 0 where the log was too short
    round: Count


class ReadIndex(msgspec.Struct, frozen=True, tag="read", array_like=True):
    """A follower asks its leader for an index at which a read is linearizable (thesis 6.4)."""

    term: Count
    follower: str
    ticket: Count


class ReadIndexReply(msgspec.Struct, frozen=True, tag="readable", array_like=True):
    term: Count
    ticket: Count
    index: Annotated[int, msgspec.Meta(ge=-1)]  # -1: refused; ask again later or elsewhere


Message = RequestVote | VoteReply | AppendEntries | AppendReply | ReadIndex | ReadIndexReply


# --- client requests and results ---------------------------------------------------------------------------------------


class Read(msgspec.Struct, frozen=True):
    key: str
    stale: bool = False  # True: answered from this node's state as it is, linearizable or not


class Request(msgspec.Struct, frozen=True):
    """What the shell asks of the core for one client. `token` names the waiting connection; the reply carries it."""

    token: int
    ask: Read | Command
    identity: Identity | None = None


class Answer(msgspec.Struct, frozen=True):
    """The state machine's output for one applied entry, or a read's value. Kept in the session table for repeats.

    `code` is "ok", or the reason why the operation, though applied, changed nothing: "cas-mismatch", "key-not-found",
    "wrong-type", "unknown-session", "sequence-passed".
    """

    code: str
    value: Value = None  # read: the value; cas-mismatch: the actual value; append: the new length; register: the id
    index: int = 0


class NotLeader(msgspec.Struct, frozen=True):
    """This node does not lead. `leader` is the one it follows, "" where it knows none. The request certainly did nothing."""

    leader: str


class Busy(msgspec.Struct, frozen=True):
    """Too much is uncommitted already; the request was not taken in and certainly did nothing."""


class Overwritten(msgspec.Struct, frozen=True):
    """Another leader's entry was committed at the index that held this request's: it certainly did not and will not happen."""


class Unconfirmed(msgspec.Struct, frozen=True):
    """A read that could not be confirmed before this node lost its leadership or its leader. A read changes nothing."""


Outcome = Answer | NotLeader | Busy | Overwritten | Unconfirmed


# --- events: what the driver tells the core ---------------------------------------------------------------------------


class Arrived(msgspec.Struct, frozen=True):
    """Everything that one turn of the driver's loop brought, in order of arrival (batching: thesis 10.2.1)."""

    messages: tuple[Message, ...] = ()
    requests: tuple[Request, ...] = ()


class Ticked(msgspec.Struct, frozen=True):
    """The time `core.deadline` has come (or passed)."""


class Persisted(msgspec.Struct, frozen=True):
    """All Persist effects up to `number` are durable."""

    number: int


class ConnectionLost(msgspec.Struct, frozen=True):
    """What was sent to this peer since its last reply may be lost: fall back to probing (thesis 10.2.1)."""

    peer: str


class Forgotten(msgspec.Struct, frozen=True):
    """The clients behind these tokens are gone (timeout or closed connection): nobody waits for the replies any more."""

    tokens: tuple[int, ...]


Event = Arrived | Ticked | Persisted | ConnectionLost | Forgotten


# --- effects: what the core asks of the driver ----------------------------------------------------------------------------


class HardState(msgspec.Struct, frozen=True, array_like=True):
    """What figure 2 calls persistent state, without the log."""

    term: int
    vote: str  # "" = none in this term


class Persist(msgspec.Struct, frozen=True):
    """Make durable, as one record: the hard state, then entries from index `first` on (cutting what stood there before).

    Numbers rise by one from 1 in each life of a node. `first` = 0: no entries and nothing to cut. `first` > 0 with no
    entries: cut only.
    """

    number: int
    hard_state: HardState
    first: int = 0
    entries: tuple[Entry, ...] = ()


class Send(msgspec.Struct, frozen=True):
    """A message to a peer. It may leave once all persists up to `after` are durable (0: at once)."""

    to: str
    message: Message
    after: int = 0


class Reply(msgspec.Struct, frozen=True):
    """The outcome for the client behind `token`. It may leave once all persists up to `after` are durable (0: at once)."""

    token: int
    outcome: Outcome
    after: int = 0


class Note(msgspec.Struct, frozen=True):
    """A protocol event for the node's event log: who leads, who voted, what was appended, cut, committed."""

    kind: str
    fields: dict[str, Any]


Effect = Persist | Send | Reply | Note


# --- limits: everything tunable, an input so that a seed or a planted bug can draw it ----------------------------------------


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All times in nanoseconds, all sizes in entries or bytes.

    Defaults are those of the design: election 300-600 ms, heartbeat 60 ms.
    """

    election_min: int = 300_000_000
    election_max: int = 600_000_000
    heartbeat: int = 60_000_000
    check_quorum: int = 600_000_000  # a leader that no majority, or its disk, answered for so long resigns; 0 = never
    pre_vote: bool = True  # thesis 9.6
    sticky: bool = True  # votes are withheld while a leader is heard (thesis 4.2.3)
    entries_per_message: int = 256
    bytes_per_message: int = 1024 * 1024  # of entries, but one entry always goes; well below the limit of a frame
    window: int = 64  # AppendEntries in flight to one peer in replicate state
    uncommitted_bytes: int = 16 * 1024 * 1024  # more than this uncommitted at the leader: Busy
    sessions: int = 100_000  # the session used longest ago goes when there are more (a rule every replica shares)
    request_timeout: int = 2_000_000_000  # the shell answers "unknown" after so long
