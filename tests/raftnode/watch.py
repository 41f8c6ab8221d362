"""What must hold of a cluster after every step; a broken promise is an AssertionError that names it.

The names of figure 3 of the paper are used where it has one. Everything is judged from effects, disks and messages, by
means of its own, never by the rules of the core.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from memory_cluster import MemoryCluster, Node, Watcher

from raftnode.messages import (
    Answer,
    AppendEntries,
    AppendReply,
    Arrived,
    Effect,
    Entry,
    Event,
    Message,
    Note,
    Persist,
    Read,
    ReadIndexReply,
    Reply,
    RequestVote,
    Send,
    VoteReply,
)
from raftnode.replica import LEADER, Core


@dataclass(slots=True)
class Before:
    """A node as it was before a step."""

    term: int
    vote: str
    role: str
    commit: int
    applied: int
    last: int
    digest: str


def before_step(core: Core) -> Before:
    last = core.log.last_index
    return Before(core.term, core.vote, core.role, core.commit, core.applied, last, core.log.digest_at(last))


@dataclass
class Watch(Watcher):
    """The global record, which grows with every step, and the checks against it."""

    cluster: MemoryCluster | None = None
    leaders: dict[int, str] = field(default_factory=dict)
    entries: dict[tuple[int, int], tuple[int, Entry]] = field(default_factory=dict)  # (index, term): term before, entry
    votes: dict[tuple[str, int], str] = field(default_factory=dict)
    committed: list[Entry] = field(default_factory=list)
    committed_in: list[int] = field(default_factory=list)  # the term of the node that first knew of it
    reads: dict[int, int] = field(default_factory=dict)  # token: how much was committed anywhere when it was asked
    was: Before | None = None
    steps: int = 0

    def before(self, node: Node, event: Event) -> None:
        self.was = before_step(node.core)
        if isinstance(event, Arrived):
            for request in event.requests:
                if isinstance(request.ask, Read) and not request.ask.stale:
                    self.reads[request.token] = len(self.committed)

    def after(self, node: Node, event: Event, effects: list[Effect]) -> None:
        assert self.was is not None
        self.steps += 1
        core, was = node.core, self.was
        for effect in effects:
            if isinstance(effect, Persist):
                self.on_persist(node, effect)
            elif isinstance(effect, Note):
                self.on_note(node, effect)
        monotonic(core, was)
        one_note_of_each(effects)
        if core.commit > was.commit:
            self.on_commit(node, was.commit)
        if core.role == LEADER:
            self.on_leader(node)
        if isinstance(event, Arrived) and len(event.messages) == 1 and not event.requests:
            terms_rule(core, was, event.messages[0])

    def on_persist(self, node: Node, effect: Persist) -> None:
        before = node.core.log.term_at(effect.first - 1) if effect.first > 1 else 0
        assert before is not None, "the log has a hole"
        for index, entry in enumerate(effect.entries, effect.first):
            known = self.entries.setdefault((index, entry.term), (before, entry))
            assert known == (before, entry), f"log matching: {index} of term {entry.term} at {node.id}"
            assert before <= entry.term <= effect.hard_state.term, f"terms never fall along a log: {node.id} at {index}"
            before = entry.term

    def durable(self, node: Node, record: Persist) -> None:
        state = record.hard_state
        if state.vote:
            given = self.votes.setdefault((node.id, state.term), state.vote)
            assert given == state.vote, f"one vote a term: {node.id} voted for {given} and {state.vote} in {state.term}"

    def on_note(self, node: Node, note: Note) -> None:
        if note.kind == "leader-elected":
            term = note.fields["term"]
            first = self.leaders.setdefault(term, node.id)
            assert first == node.id, f"election safety: {first} and {node.id} lead term {term}"
            log = node.core.log
            for index in range(len(self.committed), 0, -1):
                if self.committed_in[index - 1] < term:
                    has = log.entry(index) if index <= log.last_index else None
                    assert has == self.committed[index - 1], f"leader completeness: {node.id} in {term} at {index}"
                    break
        elif note.kind == "cut":
            assert self.was is not None
            assert node.core.role != LEADER, "leader append-only"
            assert note.fields["from"] > self.was.commit, f"{node.id} cuts what is committed"

    def on_commit(self, node: Node, before: int) -> None:
        log = node.core.log
        assert node.core.commit <= log.last_index, "what is committed is there"
        for index in range(before + 1, node.core.commit + 1):
            entry = log.entry(index)
            if index > len(self.committed):
                self.committed.append(entry)
                self.committed_in.append(node.core.term)
                assert node.core.role == LEADER, f"{node.id} commits {index} before any leader does"
            assert entry == self.committed[index - 1], f"state machine safety: {node.id} at {index}"

    def on_leader(self, node: Node) -> None:
        assert self.cluster is not None
        core, log = node.core, node.core.log
        assert core.leader == core.vote == node.id, "a leader voted for itself and follows itself"
        majority = len(self.cluster.ids) // 2 + 1
        durable = 0
        for peer in self.cluster.nodes.values():
            if peer.id == node.id:
                durable += holds(peer, core.commit, log.term_at(core.commit))
                continue
            progress = core.progress[peer.id]
            assert progress.next > progress.match, "next is above match"
            moved_on = peer.hard_state.term > core.term
            true = holds(peer, progress.match, log.term_at(progress.match))
            assert moved_on or true, f"match is true: {peer.id} does not hold {progress.match}"
            durable += moved_on or holds(peer, core.commit, log.term_at(core.commit))
        if log.term_at(core.commit) == core.term:
            assert durable >= majority, f"commit on a quorum: {node.id} at {core.commit}"
        held = sorted([core.durable, *(progress.match for progress in core.progress.values())], reverse=True)
        if log.term_at(held[majority - 1]) == core.term:
            assert core.commit >= held[majority - 1], "commit is not late"

    def left(self, node: Node, effect: Send | Reply) -> None:
        if isinstance(effect, Reply):
            outcome = effect.outcome
            if effect.token in self.reads and isinstance(outcome, Answer):
                seen = self.reads[effect.token]
                assert outcome.index >= seen, f"a read at {node.id} saw {outcome.index}, {seen} was committed before it"
            return
        promises_are_durable(node, effect.message)


def holds(node: Node, index: int, term: int | None) -> bool:
    """Whether the node's disk has the entry."""
    return index == 0 or (index <= len(node.entries) and node.entries[index - 1].term == term)


def one_note_of_each(effects: list[Effect]) -> None:
    kinds = [effect.kind for effect in effects if isinstance(effect, Note)]
    assert kinds.count("appended") <= 1, "one step, one note of what was appended"
    assert kinds.count("committed") <= 1, "one step, one note of what was committed"
    assert sum(isinstance(effect, Persist) for effect in effects) <= 1, "one step, one persist"


def monotonic(core: Core, was: Before) -> None:
    assert core.term >= was.term, "the term never falls"
    assert core.commit >= was.commit, "the commit index never falls"
    assert core.applied >= was.applied, "applied never falls"
    assert core.applied <= core.commit, "only what is committed is applied"
    assert core.durable <= core.log.last_index, "what is durable is there"
    if core.term == was.term and was.vote:
        assert core.vote == was.vote, "a vote is kept for its term"


def terms_rule(core: Core, was: Before, message: Message) -> None:
    """A higher term is adopted (unless votes are withheld); a lower one changes nothing."""
    now = before_step(core)
    if isinstance(message, RequestVote) and message.pre:
        assert (now.term, now.vote) == (was.term, was.vote), "a pre-vote leaves no trace"
    elif isinstance(message, AppendEntries | AppendReply | ReadIndexReply) and message.term > was.term:
        assert now.term == message.term, "a higher term is adopted"
        assert now.role != LEADER, "a higher term ends the leadership"
    elif message.term < was.term and not isinstance(message, ReadIndexReply):
        assert now == was, f"a lower term changes nothing: {message}"


def promises_are_durable(node: Node, message: Message) -> None:
    """What leaves rests on the disk: the term that it carries, a vote, an acknowledged entry."""
    disk = node.hard_state
    future = (isinstance(message, RequestVote) and message.pre) or (
        isinstance(message, VoteReply) and message.pre and message.granted
    )
    assert future or message.term <= disk.term, f"{node.id} speaks of term {message.term} before it is durable"
    if disk.term > message.term:
        return  # left late: what it rests on was durable once, and the disk has moved on
    if isinstance(message, VoteReply) and message.granted and not message.pre:
        assert disk.vote, f"{node.id} gives a vote that is not durable"
    elif isinstance(message, RequestVote) and not message.pre:
        assert disk.vote == node.id, f"{node.id} stands before its own vote is durable"
    elif isinstance(message, AppendReply) and message.success:
        assert message.match <= len(node.entries), f"{node.id} acknowledges what is not durable"
