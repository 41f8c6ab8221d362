"""Named wrong nodes: each replaces one function of one of the four records, and says what rule that breaks.

A bug may carry limits that give it its window, such as how long a cut-off leader stays in office: the right node keeps its
promise under the same limits. Nothing outside this module knows of bugs; the right build is `raftnode.build.CURRENT`.
`source` names public bugs that it resembles.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from raftnode.answers import HONEST, Asked, HttpAnswer, refusal
from raftnode.build import CURRENT, Build
from raftnode.machine import KEY_VALUE, Session, same
from raftnode.messages import Answer, Cas, Command, HardState, Limits, Put, Value
from raftnode.rules import RAFT
from raftnode.storage import DURABLE

SECOND = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Bug:
    """A wrong node and what is known of it."""

    name: str
    breaks: str  # the rule, with its place in the paper or the thesis
    caught_by: str  # workload and faults that show it
    source: str  # public bugs of this kind
    build: Build

    @property
    def command(self) -> str:
        """The command that shows it."""
        return f"./splitbrain run --build bug:{self.name}"


# --- wrong rules -----------------------------------------------------------------------------------------------------------


def confirmed_by_nobody(_acknowledged: Sequence[int], _wanted: int, _quorum: int) -> bool:
    """The leader answers from its own state without asking whether it still leads."""
    return True


def ready_at_once(_applied: int, _index: int) -> bool:
    """The follower knows the read's index and answers before it has applied so much."""
    return True


def half(voters: int) -> int:
    """Half of the voters is taken for a majority."""
    return voters // 2


def never_deposed(_reply_term: int, _own_term: int) -> bool:
    """A reply with a higher term is handled like any other one."""
    return False


def obeys_everybody(_leader_term: int, _own_term: int) -> bool:
    """AppendEntries of a smaller term is accepted."""
    return True


def matches_anything(_own_term_at_prev: int | None, _prev_term: int) -> bool:
    """Entries are appended whatever stands before them."""
    return True


def apply_all(_commit: int, last: int) -> int:
    """What is in the log is applied, and answered, before it is committed."""
    return last


def any_entry(_waiter_term: int, _entry_term: int) -> bool:
    """Whatever was applied at the index answers the client that waits for the index."""
    return True


def compare_before_log(command: Command, present: Callable[[str], Value]) -> Command | Answer:
    """Compare-and-set is decided on the leader's present state; only the write enters the log."""
    if not isinstance(command, Cas):
        return command
    actual = present(command.key)
    return Put(command.key, command.value) if same(actual, command.expect) else Answer("cas-mismatch", actual)


# --- wrong storage, machine, answers -----------------------------------------------------------------------------------------


def forget_term(_last: HardState) -> HardState:
    """The current term and the vote are gone after a restart; the log is there."""
    return HardState(0, "")


def recall_nothing(_session: Session, _sequence: int) -> Answer | None:
    """A repeat is applied again."""
    return None


def timeout_says_no(asked: Asked) -> HttpAnswer:
    """A request that was not committed in time is answered as if it had not happened and never would."""
    del asked
    return refusal(504, "timeout", "not committed in time", definite=True)


# --- the library -------------------------------------------------------------------------------------------------------------


def _bug(build: Build, *, breaks: str, caught_by: str, source: str) -> Bug:
    return Bug(build.name, breaks, caught_by, source, replace(build, name=f"bug:{build.name}"))


# A leader that is cut off stays in office for so long: the time in which a wrong one does harm.
LONG_OFFICE = Limits(check_quorum=8 * SECOND)
# Elections as the paper has them (9.3: 150-300 ms), without what the thesis adds: who was cut off has raised its term often, and
# asks for votes as soon as it is back.
PAPER = Limits(pre_vote=False, sticky=False, election_min=SECOND * 3 // 20, election_max=SECOND * 3 // 10)

_LIBRARY = (
    _bug(
        replace(
            CURRENT,
            name="read-without-quorum",
            rules=replace(RAFT, read_confirmed=confirmed_by_nobody),
            limits=LONG_OFFICE,
        ),
        breaks="a leader must confirm by a round of heartbeats that it still leads before it answers a read (thesis 6.4)",
        caught_by="register and append: a cut-off leader answers with what has been overwritten on the other side",
        source="hashicorp/raft#359, jgroups-extras/jgroups-raft#208",
    ),
    _bug(
        replace(
            CURRENT,
            name="follower-read-no-wait",
            rules=replace(RAFT, read_ready=ready_at_once),
            limits=Limits(entries_per_message=1, window=1),
        ),
        breaks="a follower must have applied up to the read's index before it answers (thesis 6.4, step 4)",
        caught_by="register and append: a follower that lags behind answers with an old value",
        source="kin tikv/tikv#6340",
    ),
    _bug(
        replace(CURRENT, name="quorum-half", rules=replace(RAFT, quorum=half)),
        breaks="decisions need more than half of the voters (paper 5.2, 5.3)",
        caught_by="register and append: both sides of a split elect a leader and commit",
        source="no public bug that we know of",
    ),
    _bug(
        replace(CURRENT, name="term-not-persisted", storage=replace(DURABLE, hard_state=forget_term), limits=PAPER),
        breaks="currentTerm and votedFor survive restarts (paper figure 2, persistent state)",
        caught_by="append: after a kill of all nodes terms begin anew, and an old log beats what was committed since",
        source="bakwc/PySyncObj#201, #202, wenweihu86/raft-java#57",
    ),
    _bug(
        replace(
            CURRENT, name="ignores-higher-term", rules=replace(RAFT, reply_deposes=never_deposed), limits=LONG_OFFICE
        ),
        breaks="a reply with a higher term makes a leader step down (paper 5.1)",
        caught_by="register and append: a deposed leader takes refusals for acknowledgements and answers reads",
        source="PySyncObj",
    ),
    _bug(
        replace(CURRENT, name="obeys-older-term", rules=replace(RAFT, obeys=obeys_everybody), limits=LONG_OFFICE),
        breaks="AppendEntries of a smaller term is refused (paper figure 2, AppendEntries, receiver 1)",
        caught_by="append: two leaders that share a follower overwrite in its log what the other has committed",
        source="butaneprotocol/oracles#32",
    ),
    _bug(
        replace(CURRENT, name="no-prev-check", rules=replace(RAFT, prev_matches=matches_anything)),
        breaks="entries are appended only behind an entry that leader and follower share (paper 5.3)",
        caught_by="append: a follower that missed entries appends what comes later, and answers or leads without them",
        source="no public bug that we know of",
    ),
    _bug(
        replace(CURRENT, name="applies-on-append", rules=replace(RAFT, may_apply_to=apply_all)),
        breaks="only committed entries are applied (paper 5.3, figure 2)",
        caught_by="register and append: a leader that is cut off or killed has answered what nobody else has",
        source='"aborted reads" in Jepsen\'s analysis of Redis-Raft 1b3fbf6',
    ),
    _bug(
        replace(CURRENT, name="no-dedup", machine=replace(KEY_VALUE, recall=recall_nothing), limits=LONG_OFFICE),
        breaks="a repeated request gets the first answer and is applied once (paper 8, thesis 6.3)",
        caught_by="append: an element stands twice in its list when an answer was lost and the client asked again",
        source="ktoso/akka-raft#64",
    ),
    _bug(
        replace(CURRENT, name="reply-by-index", rules=replace(RAFT, same_entry=any_entry), limits=LONG_OFFICE),
        breaks="a client is answered for its own entry, which index *and* term name (thesis 6.3)",
        caught_by="append: writes that waited at a deposed leader are acknowledged with another's entry, and are lost",
        source="redpanda-data/redpanda#3003",
    ),
    _bug(
        replace(
            CURRENT,
            name="timeout-says-no",
            answers=replace(HONEST, timed_out=timeout_says_no),
            limits=Limits(check_quorum=8 * SECOND, request_timeout=SECOND // 5),
        ),
        breaks="what was not committed in time may still be: the answer is unknown, not no (Jepsen's info)",
        caught_by="register and append: a write that was called failed is read later",
        source="sofastack/sofa-jraft#1071",
    ),
    _bug(
        replace(CURRENT, name="cas-before-log", rules=replace(RAFT, admit=compare_before_log)),
        breaks="commands are decided when they are applied, in the order of the log (paper 5.3, state machine safety)",
        caught_by="register: two compare-and-sets that expect the same value both succeed; no fault is needed",
        source="no public bug that we know of",
    ),
)

BUGS: dict[str, Bug] = {bug.name: bug for bug in _LIBRARY}
